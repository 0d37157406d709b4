//! The list of files alone, and messages that are refused.

use super::*;
use potluck_sdk::files::to_hex;

fn key(number: u64) -> PeerKey {
    PeerKey::for_test(number)
}

fn named(name: &str, size: u64) -> Named<'_> {
    Named { name, facts: Facts { size: Some(size), sha256: None } }
}

fn found(files: &mut SharedFiles, name: &str) -> Vec<(PeerKey, Option<u64>)> {
    files.find(name).into_iter().map(|(peer, facts)| (peer, facts.size)).collect()
}

#[test]
fn names_are_exact_and_each_holder_tells_of_its_own_file() {
    let mut files = SharedFiles::new(10, 10);
    files.register(key(1), &[named("a", 1), named("a/b", 2)], false).unwrap();
    files.register(key(2), &[named("a", 3)], false).unwrap();
    files.register(key(1), &[named("a", 4)], false).unwrap();
    assert_eq!(found(&mut files, "a"), [(key(1), Some(4)), (key(2), Some(3))]);
    assert_eq!(found(&mut files, "A"), []);
    assert_eq!((files.len(), files.count(key(1))), (3, 2));
    files.unregister(key(1), &["a", "never there"]);
    assert_eq!(found(&mut files, "a"), [(key(2), Some(3))]);
}

#[test]
fn what_a_peer_has_told_goes_with_it_and_moves_with_it() {
    let mut files = SharedFiles::new(10, 10);
    files.register(key(1), &[named("a", 1), named("b", 2)], false).unwrap();
    files.register(key(2), &[named("b", 3)], false).unwrap();
    files.move_peer(key(1), key(3));
    assert_eq!(found(&mut files, "b"), [(key(2), Some(3)), (key(3), Some(2))]);
    assert_eq!((files.count(key(1)), files.count(key(3))), (0, 2));
    files.remove_peer(key(3));
    assert_eq!((found(&mut files, "a"), files.len()), (Vec::new(), 1));
    files.remove_peer(key(2));
    assert!(files.holders.is_empty() && files.names.is_empty() && files.counts.is_empty());
}

#[test]
fn a_replaced_list_forgets_the_one_before() {
    let mut files = SharedFiles::new(10, 10);
    files.register(key(1), &[named("a", 1), named("b", 2)], false).unwrap();
    files.register(key(1), &[named("c", 3)], true).unwrap();
    assert_eq!((files.count(key(1)), found(&mut files, "a")), (1, Vec::new()));
    files.register(key(1), &[], true).unwrap();
    assert_eq!(files.len(), 0);
}

#[test]
fn limits_hold_for_one_and_for_all() {
    let mut files = SharedFiles::new(3, 2);
    let three = [named("a", 1), named("b", 1), named("c", 1)];
    assert_eq!(files.register(key(1), &three, false), Err(TrackerError::PeerFilesFull(2)));
    assert_eq!(files.count(key(1)), 2, "what fits is kept");
    assert_eq!(files.register(key(2), &three[..2], false), Err(TrackerError::FilesFull(3)));
    files.register(key(1), &three[..1], false).unwrap();
    files.unregister(key(1), &["a"]);
    files.register(key(2), &three[1..2], false).unwrap();
}

#[test]
fn of_many_holders_all_are_named_in_turn() {
    let mut files = SharedFiles::new(1000, 1000);
    for number in 1..=150 {
        files.register(key(number), &[named("a", number)], false).unwrap();
    }
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let holders = files.find("a");
        assert_eq!(holders.len(), HOLDERS_MAX);
        seen.extend(holders.into_iter().map(|(peer, _)| peer));
    }
    assert_eq!(seen.len(), 150);
}

#[test]
fn messages_that_name_nothing_or_too_much_are_refused() {
    let file = |name: &'static str, sha256: Option<String>| RegisteredFile {
        filename: name.into(),
        size: 1,
        sha256: sha256.map(Into::into),
    };
    let refused = |files: Vec<RegisteredFile<'_>>| registered(&RegisterFile { files, ..RegisterFile::default() }).err();
    assert_eq!(refused(Vec::new()), Some(TrackerError::FilenameRequired));
    assert_eq!(refused(vec![file("", None)]), Some(TrackerError::FilenameRequired));
    assert_eq!(refused(vec![file("a", Some("AB".to_owned()))]), Some(TrackerError::Sha256));
    assert_eq!(refused(vec![file("a", Some(to_hex(&[7; 32])))]), None);
    assert_eq!(refused(vec![file("a", None); REGISTERED_FILES_MAX + 1]), Some(TrackerError::FilesAtOnce));
    let replace = RegisterFile { replace: true, ..RegisterFile::default() };
    assert_eq!(registered(&replace), Ok(Vec::new()));
    for name in ["x".repeat(2000), "../a".to_owned(), "/etc/passwd".to_owned()] {
        let message = RegisterFile { filename: Some(name.as_str().into()), ..RegisterFile::default() };
        assert!(matches!(registered(&message), Err(TrackerError::Name(_))), "{name}");
    }
    assert_eq!(unregistered(&UnregisterFile::default()).err(), Some(TrackerError::FilenameRequired));
    let many = UnregisterFile { filenames: vec!["a".into(); REGISTERED_FILES_MAX + 1], ..UnregisterFile::default() };
    assert_eq!(unregistered(&many).err(), Some(TrackerError::FilesAtOnce));
}
