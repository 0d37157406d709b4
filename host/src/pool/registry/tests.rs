//! What the registry keeps, whom it admits, and whom it finds.

use super::*;
use crate::key::KeyPair;
use std::os::unix::fs::PermissionsExt;
use std::sync::Barrier;
use tempfile::TempDir;

const NOW: u64 = 1_000_000;
const LATER: u64 = NOW + 3600;

fn registry() -> (TempDir, Registry) {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(folder.path()).unwrap();
    (folder, registry)
}

fn key() -> PublicKey {
    KeyPair::generate().unwrap().public()
}

fn add_token(registry: &Registry, reusable: bool) -> JoinToken {
    let token = JoinToken::generate(PeerId::from_hash([1; 16]), [2; 32], LATER, Vec::new()).unwrap();
    registry.add_token(&token, reusable, NOW).unwrap();
    token
}

/// Joins at a time, with a proof that holds only for the token's own secret; gives the code of a refusal.
fn join_at(registry: &Registry, token: &JoinToken, key: PublicKey, now: u64) -> Result<(), &'static str> {
    let expected = join_key(&token.secret);
    let proof_holds = |join_key: &[u8; 32]| *join_key == expected;
    registry.join(&token.token_id_text(), proof_holds, key, "laptop", now).map(|_| ()).map_err(|refusal| refusal.code())
}

fn join(registry: &Registry, token: &JoinToken, key: PublicKey) -> Result<(), &'static str> {
    join_at(registry, token, key, NOW)
}

fn revocations(registry: &Registry) -> (u64, Vec<PeerId>) {
    (registry.revocations_version(), registry.revoked())
}

fn states(registry: &Registry, now: u64) -> Vec<(String, u64)> {
    registry.tokens(now).unwrap().into_iter().map(|token| (token.state.into_owned(), token.uses)).collect()
}

fn state(name: &str, uses: u64) -> Vec<(String, u64)> {
    vec![(name.to_owned(), uses)]
}

#[test]
fn a_registry_from_an_old_copy_catches_up_with_the_list_that_others_have() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(folder.path()).unwrap();
    let (lost, good) = (key(), key());
    for member in [lost, good] {
        registry.add_founder(member, "x", NOW).unwrap();
    }
    let unknown = key().peer_id();
    let list = Revocations { version: 7, revoked: [lost.peer_id(), unknown].into() };
    registry.catch_up(&list, NOW).unwrap();
    assert!(registry.revocations_version() > 7);
    assert_eq!(registry.revoked().into_iter().collect::<HashSet<_>>(), [lost.peer_id(), unknown].into());
    assert!(registry.is_revoked(&unknown) && registry.find(&unknown.to_string()) == Ok(unknown));
    let version = registry.revocations_version();
    registry.revoke(&good.peer_id(), NOW).unwrap();
    assert!(registry.revocations_version() > version);
    drop(registry);
    let registry = Registry::open(folder.path()).unwrap();
    assert!(registry.revocations_version() > version && registry.is_revoked(&unknown));
    assert!(registry.readmit(&unknown).unwrap() && !registry.is_revoked(&unknown));
}

#[test]
fn a_registry_that_is_opened_again_knows_everything() {
    let (folder, registry) = registry();
    let (founder, member, revoked) = (key(), key(), key());
    registry.set_meta("pool_name", "lab").unwrap();
    registry.add_founder(founder, "tracker", NOW).unwrap();
    let token = add_token(&registry, true);
    let cancelled = add_token(&registry, false);
    assert!(registry.cancel_token(&cancelled.token_id_text()).unwrap());
    join(&registry, &token, member).unwrap();
    join(&registry, &token, revoked).unwrap();
    assert!(registry.revoke(&revoked.peer_id(), NOW + 5).unwrap());
    let (members, tokens) = (registry.members().unwrap(), registry.tokens(NOW).unwrap());
    let listed = revocations(&registry);
    drop(registry);

    let registry = Registry::open(folder.path()).unwrap();
    assert_eq!(registry.meta("pool_name").unwrap().as_deref(), Some("lab"));
    assert_eq!(registry.meta("other").unwrap(), None);
    assert_eq!(registry.members().unwrap(), members);
    assert_eq!(registry.tokens(NOW).unwrap(), tokens);
    assert_eq!(revocations(&registry), listed);
    assert_eq!(listed.1, [revoked.peer_id()]);
    assert_eq!(registry.member(&founder.peer_id()).unwrap().name, "tracker");
    assert_eq!(
        registry.member(&member.peer_id()).unwrap(),
        Member { key: member, name: "laptop".into(), revoked: false }
    );
    assert!(registry.member(&revoked.peer_id()).unwrap().revoked);
    assert_eq!(registry.member(&key().peer_id()), None);
    assert_eq!(join(&registry, &cancelled, key()), Err("token_cancelled"));
    let entries: Vec<_> = members.iter().map(|entry| (entry.peer_id, entry.token_id.clone())).collect();
    let token_id = Some(token.token_id_text());
    let expected = [(founder.peer_id(), None), (member.peer_id(), token_id.clone()), (revoked.peer_id(), token_id)];
    assert_eq!(entries, expected);
    assert_eq!(members[1].fingerprint, member.fingerprint());
    assert_eq!((members[1].joined_unix_seconds, members[1].revoked_unix_seconds), (NOW, None));
    assert_eq!(members[2].revoked_unix_seconds, Some(NOW + 5));
}

#[test]
fn only_the_owner_can_read_the_files() {
    let (folder, registry) = registry();
    registry.set_meta("pool_name", "lab").unwrap();
    let mut names = Vec::new();
    for entry in folder.path().read_dir().unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.file_name());
        names.push(entry.file_name().into_string().unwrap());
    }
    assert!(names.contains(&"pool.sqlite".to_owned()) && names.contains(&"pool.sqlite-wal".to_owned()), "{names:?}");
}

#[test]
fn every_commit_waits_for_the_disk() {
    let (_folder, registry) = registry();
    let database = registry.database.lock();
    let pragma = |name| database.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0)).unwrap();
    assert_eq!(pragma("journal_mode"), "wal".to_owned().into());
    assert_eq!(pragma("synchronous"), 2.into());
}

#[test]
fn the_files_do_not_hold_the_secret() {
    let (folder, registry) = registry();
    let token = add_token(&registry, false);
    for entry in folder.path().read_dir().unwrap() {
        let content = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!content.windows(32).any(|window| window == token.secret));
    }
}

#[test]
fn a_file_that_is_no_registry_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pool.sqlite"), [7; 4096]).unwrap();
    let error = format!("{:#}", Registry::open(folder.path()).err().unwrap());
    assert!(error.contains("restore it from a copy"), "{error}");
}

#[test]
fn a_registry_of_a_later_version_is_refused() {
    let (folder, registry) = registry();
    registry.database.lock().pragma_update(None, "user_version", 2).unwrap();
    drop(registry);
    let error = format!("{:#}", Registry::open(folder.path()).err().unwrap());
    assert!(error.contains("update Potluck"), "{error}");
}

#[test]
fn a_member_with_another_members_key_is_found_out() {
    let (folder, registry) = registry();
    registry.add_founder(key(), "a", NOW).unwrap();
    registry.database.lock().execute("UPDATE members SET key = ?1", [key().0]).unwrap();
    drop(registry);
    assert!(Registry::open(folder.path()).is_err());
}

#[test]
fn a_token_is_good_once_or_often() {
    let (_folder, registry) = registry();
    let once = add_token(&registry, false);
    assert_eq!(states(&registry, NOW), state("valid", 0));
    assert_eq!(join(&registry, &once, key()), Ok(()));
    assert_eq!(join(&registry, &once, key()), Err("token_used"));
    assert_eq!(states(&registry, NOW), state("used", 1));
    let often = add_token(&registry, true);
    assert_eq!(join(&registry, &often, key()), Ok(()));
    assert_eq!(join(&registry, &often, key()), Ok(()));
    // The newest comes first.
    assert_eq!(states(&registry, NOW), [state("valid", 2), state("used", 1)].concat());
    assert_eq!(registry.members().unwrap().len(), 3);
}

#[test]
fn of_two_nodes_that_race_for_one_token_one_joins() {
    let (_folder, registry) = registry();
    for _ in 0..20 {
        let token = add_token(&registry, false);
        let start = Barrier::new(2);
        let race = |key| {
            start.wait();
            join(&registry, &token, key)
        };
        let results = std::thread::scope(|scope| {
            let racers = [key(), key()].map(|key| scope.spawn(move || race(key)));
            racers.map(|racer| racer.join().unwrap())
        });
        assert!(matches!(results, [Ok(()), Err("token_used")] | [Err("token_used"), Ok(())]), "{results:?}");
    }
    assert_eq!(registry.members().unwrap().len(), 20);
}

#[test]
fn a_joined_node_that_lost_the_reply_can_repeat() {
    let (_folder, registry) = registry();
    let (token, member) = (add_token(&registry, false), key());
    join(&registry, &token, member).unwrap();
    let before = registry.members().unwrap();
    assert_eq!(join(&registry, &token, member), Ok(()));
    assert_eq!(join_at(&registry, &token, member, LATER), Ok(()));
    assert_eq!(states(&registry, NOW), state("used", 1));
    // A member does not use up a token that is good for somebody else.
    let other = add_token(&registry, false);
    assert_eq!(join(&registry, &other, member), Ok(()));
    assert_eq!(join(&registry, &other, key()), Ok(()));
    assert_eq!(registry.members().unwrap()[..1], before);
    // It keeps its name, and hears of it.
    let repeated = registry.join(&token.token_id_text(), |_| true, member, "other", NOW);
    assert_eq!(repeated.unwrap(), Joined { name: "laptop".to_owned(), is_new: false });
    // Without the secret it learns nothing, member or not.
    let wrong = registry.join(&token.token_id_text(), |_| false, member, "laptop", NOW);
    assert_eq!(wrong.unwrap_err().code(), "proof_wrong");
}

#[test]
fn an_expired_or_cancelled_token_lets_nobody_in() {
    let (_folder, registry) = registry();
    let token = add_token(&registry, true);
    assert_eq!(join_at(&registry, &token, key(), LATER - 1), Ok(()));
    assert_eq!(join_at(&registry, &token, key(), LATER), Err("token_expired"));
    assert_eq!(states(&registry, LATER), state("expired", 1));
    assert!(registry.cancel_token(&token.token_id_text()).unwrap());
    assert!(!registry.cancel_token(&token.token_id_text()).unwrap());
    assert!(!registry.cancel_token("0000000000000000").unwrap());
    assert_eq!(join(&registry, &token, key()), Err("token_cancelled"));
    assert_eq!(states(&registry, NOW), state("cancelled", 1));
    assert_eq!(registry.members().unwrap().len(), 1);
}

#[test]
fn who_lacks_the_secret_learns_nothing_about_the_token() {
    let (_folder, registry) = registry();
    let (used, cancelled, valid) =
        (add_token(&registry, false), add_token(&registry, false), add_token(&registry, false));
    join(&registry, &used, key()).unwrap();
    registry.cancel_token(&cancelled.token_id_text()).unwrap();
    let revoked = key();
    registry.add_founder(revoked, "x", NOW).unwrap();
    registry.revoke(&revoked.peer_id(), NOW).unwrap();
    let texts = [&used, &cancelled, &valid].map(JoinToken::token_id_text);
    for token_id in texts.iter().map(String::as_str).chain(["", "ffffffffffffffff", "' OR 1 = 1 --", "\0"]) {
        for (key, now) in [(key(), NOW), (key(), LATER), (revoked, NOW)] {
            let mut looked = false;
            let proof_holds = |_: &[u8; 32]| {
                looked = true;
                false
            };
            let refusal = registry.join(token_id, proof_holds, key, "laptop", now).unwrap_err();
            assert_eq!(refusal.code(), "proof_wrong", "{token_id}");
            assert!(looked, "a proof is looked at even for {token_id}");
        }
    }
    // A proof under the key that stands in for that of an unknown token is worth nothing.
    assert_eq!(registry.join("ffffffffffffffff", |_| true, key(), "x", NOW).unwrap_err().code(), "proof_wrong");
    assert_eq!(registry.members().unwrap().len(), 2);
    assert_eq!(join(&registry, &valid, key()), Ok(()));
}

#[test]
fn a_revoked_node_stays_out_until_it_is_readmitted() {
    let (_folder, registry) = registry();
    let (token, member) = (add_token(&registry, true), key());
    join(&registry, &token, member).unwrap();
    assert_eq!(revocations(&registry), (0, vec![]));
    assert!(registry.revoke(&member.peer_id(), NOW).unwrap());
    assert!(!registry.revoke(&member.peer_id(), NOW).unwrap());
    assert_eq!(join(&registry, &token, member), Err("member_revoked"));
    let (version, revoked) = revocations(&registry);
    assert_eq!(revoked, [member.peer_id()]);
    registry.add_founder(member, "laptop", NOW).unwrap();
    assert!(registry.member(&member.peer_id()).unwrap().revoked, "a founder cannot come back that way");
    assert!(registry.readmit(&member.peer_id()).unwrap());
    assert!(!registry.readmit(&member.peer_id()).unwrap());
    assert!(registry.revocations_version() > version && registry.revoked().is_empty());
    assert_eq!(join(&registry, &token, member), Ok(()));
    assert_eq!(registry.members().unwrap()[0].revoked_unix_seconds, None);
}

#[test]
fn a_full_pool_takes_nobody_and_keeps_the_token() {
    let (_folder, mut registry) = registry();
    registry.members_max = 1;
    let (token, other) = (add_token(&registry, false), add_token(&registry, false));
    let member = key();
    assert_eq!(join(&registry, &token, member), Ok(()));
    assert_eq!(join(&registry, &other, key()), Err("pool_full"));
    assert_eq!(join(&registry, &token, member), Ok(()));
    registry.members_max = 2;
    assert_eq!(join(&registry, &other, key()), Ok(()));
}

#[test]
fn a_failed_write_admits_nobody() {
    let (_folder, registry) = registry();
    let (token, member) = (add_token(&registry, false), key());
    registry.database.lock().pragma_update(None, "query_only", true).unwrap();
    assert_eq!(join(&registry, &token, member), Err("registry_failed"));
    assert_eq!(registry.member(&member.peer_id()), None);
    registry.database.lock().pragma_update(None, "query_only", false).unwrap();
    assert_eq!(join(&registry, &token, member), Ok(()));
    registry.database.lock().pragma_update(None, "query_only", true).unwrap();
    assert!(registry.revoke(&member.peer_id(), NOW).is_err());
    assert_eq!(revocations(&registry), (0, vec![]));
}

#[test]
fn a_member_is_found_by_id_beginning_and_name() {
    let (_folder, registry) = registry();
    let (first, second, third) = (key(), key(), key());
    registry.add_founder(first, "Büro", NOW).unwrap();
    registry.add_founder(second, "twin", NOW).unwrap();
    registry.add_founder(third, "twin", NOW).unwrap();
    let id = first.peer_id();
    for text in
        [id.to_string(), id.to_string()[..13].to_owned(), id.to_string()[..13].to_uppercase(), "Büro".to_owned()]
    {
        assert_eq!(registry.find(&text), Ok(id), "{text}");
    }
    for text in ["", "b", "büro", "nobody", &key().peer_id().to_string(), &id.to_string()[..3], &"é".repeat(1000)] {
        assert!(matches!(registry.find(text), Err(FindError::Unknown(_))), "{text}");
    }
    let error = registry.find("twin").unwrap_err().to_string();
    for key in [second, third] {
        assert!(error.contains(&key.peer_id().to_string()), "{error}");
    }
}

#[test]
fn nobody_can_pass_for_another_by_its_name() {
    let (_folder, registry) = registry();
    let (victim, liar) = (key(), key());
    registry.add_founder(victim, "victim", NOW).unwrap();
    let id = victim.peer_id();
    registry.add_founder(liar, &id.short(), NOW).unwrap();
    assert!(matches!(registry.find(&id.short()), Err(FindError::Ambiguous { .. })));
    let second = key();
    registry.add_founder(second, &id.to_string(), NOW).unwrap();
    assert_eq!(registry.find(&id.to_string()), Ok(id));
}

#[test]
fn a_name_is_cleaned_and_never_empty() {
    let (_folder, registry) = registry();
    let (first, second) = (key(), key());
    registry.add_founder(first, "a\u{1b}b\n", NOW).unwrap();
    registry.add_founder(second, "\t", NOW).unwrap();
    assert_eq!(registry.member(&first.peer_id()).unwrap().name, "ab");
    assert_eq!(registry.member(&second.peer_id()).unwrap().name, second.peer_id().short());
}

#[test]
fn an_ambiguous_name_lists_a_few_ids_only() {
    let ids: Vec<PeerId> = (0..20).map(|number| PeerId::from_hash([number; 16])).collect();
    let error = FindError::Ambiguous { text: "twin".into(), ids }.to_string();
    assert!(error.ends_with("or 12 others; give the whole id"), "{error}");
}

#[test]
fn an_id_of_nobody_known_can_be_revoked_and_then_cannot_join() {
    let (_folder, registry) = registry();
    let (token, stranger) = (add_token(&registry, true), key());
    assert!(registry.revoke(&stranger.peer_id(), NOW).unwrap());
    assert!(!registry.revoke(&stranger.peer_id(), NOW).unwrap());
    assert_eq!(join(&registry, &token, stranger), Err("member_revoked"));
    assert!(registry.readmit(&stranger.peer_id()).unwrap());
    assert_eq!(join(&registry, &token, stranger), Ok(()));
}
