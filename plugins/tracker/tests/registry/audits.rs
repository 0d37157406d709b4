//! Replicas are checked, and those that are lost are made anew.

use super::*;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A tracker on which nobody dies of silence while the test moves the clock.
fn patient_tracker() -> Harness {
    tracker_with(json!({"dead_after_seconds": 1e6}))
}

/// What holders answer to audits of some files. `shows` says who has what it should, by address.
fn audits_are_answered(node: &Harness, versions: &[&Version], shows: impl Fn(&str) -> bool + Send + Sync + 'static) {
    let known: HashMap<String, (Vec<u8>, Vec<u8>)> = versions
        .iter()
        .map(|version| (version.blob.clone(), (version.content.clone(), version.hashes.clone())))
        .collect();
    node.answer_with_attachment("AUDIT_OWNED_FILE", move |message| {
        let (content, hashes) = &known[message["blob"].as_str().unwrap()];
        let to = message["to"].as_str().unwrap();
        let bytes = match message["block"].as_u64() {
            // It says that it has it and shows nothing.
            _ if !shows(to.rsplit_once('@').map_or(to, |(_, address)| address)) => Vec::new(),
            Some(block) => content[(block as usize) << 20..content.len().min((block as usize + 1) << 20)].to_vec(),
            None => hashes.clone(),
        };
        (json!({"type": "OWNED_FILE_RESPONSE", "found": true}), bytes)
    });
}

/// Somebody who is mended shows what it was brought.
fn repairs_are_done(node: &Harness) -> Arc<AtomicBool> {
    let done = Arc::new(AtomicBool::new(false));
    let is_done = Arc::clone(&done);
    node.answer("REPLICATE_OWNED_FILE", move |_| {
        is_done.store(true, Ordering::SeqCst);
        json!({"type": "STATUS", "status": "OK"})
    });
    done
}

fn states(node: &Harness) -> Vec<(Value, Value)> {
    let events = node.events();
    let events = events.iter().filter(|event| event.topic == "file.replica");
    events.map(|event| (event.body["peer"].clone(), event.body["state"].clone())).collect()
}

#[test]
fn an_audit_finds_a_damaged_replica_and_has_it_repaired() {
    let (node, owner, good, bad) = (patient_tracker(), member(1), member(2), member(3));
    good.comes(&node, "10.0.0.2", 9002);
    bad.comes(&node, "10.0.0.3", 9003);
    let version = owner.version_with(7, 1, 2, 5 << 20);
    owner.registers(&node, &version, &[&good, &bad]).unwrap();
    let done = repairs_are_done(&node);
    audits_are_answered(&node, &[&version], move |at| at != "10.0.0.3:9003" || done.load(Ordering::SeqCst));
    assert!(sent(&node, "AUDIT_OWNED_FILE").is_empty());
    node.advance(Duration::from_secs(3600));
    node.wait_until("it is repaired", || states(&node).len() == 3);
    let mut told = states(&node);
    let audited = told.iter().position(|event| event == &(json!(good.text), json!("ok"))).unwrap();
    told.remove(audited);
    assert_eq!(told, [(json!(bad.text), json!("damaged")), (json!(bad.text), json!("unchecked"))]);
    let peers = owner.finds(&node, 7)["storage_peers"].clone();
    assert!(peers[0]["state"] == "ok" && peers[0]["checked_unix_seconds"].as_u64().is_some(), "{peers}");
    let repair = &sent(&node, "REPLICATE_OWNED_FILE")[0];
    assert_eq!(
        (&repair["to"], &repair["target"], &repair["blob"]),
        (&json!(format!("{}@10.0.0.2:9002", good.text)), &json!(bad.text), &json!(version.blob))
    );
    assert!(sent(&node, "AUDIT_OWNED_FILE").iter().all(|audit| audit["block"].as_u64().unwrap() < 5));
}

#[test]
fn a_holder_that_stays_away_is_replaced() {
    let (node, owner, good, away, new) = (patient_tracker(), member(1), member(2), member(3), member(4));
    good.comes(&node, "10.0.0.2", 9002);
    new.comes(&node, "10.0.0.4", 9004);
    let version = owner.version_with(7, 1, 2, 100);
    owner.registers(&node, &version, &[&good, &away]).unwrap();
    audits_are_answered(&node, &[&version], |_| true);
    repairs_are_done(&node);
    let mut rounds = 0;
    node.wait_until("somebody else has it", || {
        node.advance(Duration::from_secs(3600));
        rounds += 1;
        !sent(&node, "REPLICATE_OWNED_FILE").is_empty()
    });
    assert!(rounds >= 24, "it might have come back: {rounds}");
    let repair = &sent(&node, "REPLICATE_OWNED_FILE")[0];
    assert_eq!((&repair["to"], &repair["target"]), (&json!(format!("{}@10.0.0.2:9002", good.text)), &json!(new.text)));
    node.wait_until("it is known", || {
        holders(&owner.finds(&node, 7)).iter().map(|(id, _)| id.clone()).eq([good.text.clone(), new.text.clone()])
    });
    // The one that was away comes back with its replica: so there is one more.
    away.comes(&node, "10.0.0.3", 9003);
    away.reports(&node, &[owner.version_with(7, 1, 2, 100).signed], &[]);
    assert_eq!(holders(&owner.finds(&node, 7)).len(), 3);
}

#[test]
fn an_owner_has_its_files_checked_and_repaired_now() {
    let (node, owner, good, bad, new) = (patient_tracker(), member(1), member(2), member(3), member(4));
    for (holder, port) in [(&good, 9002), (&bad, 9003), (&new, 9004)] {
        holder.comes(&node, "10.0.0.2", port);
    }
    let (large, small) = (owner.version_with(7, 1, 2, 3 << 20), owner.version_with(8, 1, 1, 100));
    owner.registers(&node, &large, &[&good, &bad]).unwrap();
    owner.registers(&node, &small, &[&good]).unwrap();
    audits_are_answered(&node, &[&large, &small], |at| at != "10.0.0.2:9003");
    // The disk of the one that has lost it takes nothing any more.
    let text = bad.text.clone();
    node.answer("REPLICATE_OWNED_FILE", move |message| match message["target"] == text.as_str() {
        true => json!({"type": "ERROR", "code": "disk_failed", "error": "it is broken"}),
        false => json!({"type": "STATUS", "status": "OK"}),
    });
    let repair = json!({"type": "REPAIR_OWNED_FILES", "requester_id": owner.text});
    let answer = owner.ask(&node, repair).unwrap();
    assert_eq!(answer["checked_files"], 2, "{answer}");
    assert_eq!((&answer["damaged_replicas"], &answer["repaired_replicas"]), (&json!(1), &json!(1)), "{answer}");
    assert_eq!(answer["errors"].as_array().unwrap().len(), 1);
    // All blocks of a small file are asked for.
    let audits = sent(&node, "AUDIT_OWNED_FILE");
    assert_eq!(audits.iter().filter(|audit| audit["to"] == format!("{}@10.0.0.2:9003", bad.text)).count(), 3);
    let now: Vec<String> = holders(&owner.finds(&node, 7)).into_iter().map(|(id, _)| id).collect();
    assert_eq!(now, [good.text.clone(), new.text.clone()]);
    let other = json!({"type": "REPAIR_OWNED_FILES", "name_tag": name_tag(7)});
    assert_eq!(new.ask(&node, other).unwrap()["checked_files"], 0);
}

#[test]
fn a_holder_that_reports_damage_is_helped_soon() {
    let (node, owner, good, bad) = (patient_tracker(), member(1), member(2), member(3));
    good.comes(&node, "10.0.0.2", 9002);
    bad.comes(&node, "10.0.0.3", 9003);
    let version = owner.version_with(7, 1, 2, 100);
    owner.registers(&node, &version, &[&good, &bad]).unwrap();
    audits_are_answered(&node, &[&version], |_| true);
    repairs_are_done(&node);
    bad.reports(&node, &[with(&version.signed, json!({"damaged": true}))], &[]);
    node.wait_until("it is repaired", || states(&node).len() == 2);
    assert_eq!(sent(&node, "REPLICATE_OWNED_FILE")[0]["target"], bad.text);
    assert_eq!(states(&node)[0], (json!(bad.text), json!("damaged")));
}

#[test]
fn who_only_says_that_it_was_mended_is_replaced() {
    let (node, owner, good, liar, new) = (patient_tracker(), member(1), member(2), member(3), member(4));
    for (holder, port) in [(&good, 9002), (&liar, 9003), (&new, 9004)] {
        holder.comes(&node, "10.0.0.2", port);
    }
    let version = owner.version_with(7, 1, 2, 100);
    owner.registers(&node, &version, &[&good, &liar]).unwrap();
    audits_are_answered(&node, &[&version], |at| at != "10.0.0.2:9003");
    repairs_are_done(&node);
    node.advance(Duration::from_secs(3600));
    node.wait_until("somebody else has it", || {
        holders(&owner.finds(&node, 7)).iter().map(|(id, _)| id.clone()).eq([good.text.clone(), new.text.clone()])
    });
}

#[test]
fn a_holder_that_is_too_busy_for_every_audit_is_replaced() {
    let (node, owner, good, liar, new) = (patient_tracker(), member(1), member(2), member(3), member(4));
    for (holder, port) in [(&good, 9002), (&liar, 9003), (&new, 9004)] {
        holder.comes(&node, "10.0.0.2", port);
    }
    let version = owner.version_with(7, 1, 2, 100);
    owner.registers(&node, &version, &[&good, &liar]).unwrap();
    let content = version.content.clone();
    node.answer_with_attachment("AUDIT_OWNED_FILE", move |message| match message["to"].as_str() {
        Some(to) if to.ends_with("9003") => (json!({"type": "ERROR", "code": "busy", "error": "later"}), Vec::new()),
        _ => (json!({"type": "OWNED_FILE_RESPONSE", "found": true}), content.clone()),
    });
    repairs_are_done(&node);
    let mut rounds = 0;
    node.wait_until("somebody else has it", || {
        node.advance(Duration::from_secs(3600));
        rounds += 1;
        holders(&owner.finds(&node, 7)).iter().map(|(id, _)| id.clone()).eq([good.text.clone(), new.text.clone()])
    });
    assert!(rounds >= 24, "it might really have been busy: {rounds}");
}

#[test]
fn the_hashes_of_a_reported_file_come_from_a_holder_that_shows_the_right_ones() {
    let (node, owner, wrong, right) = (patient_tracker(), member(1), member(2), member(3));
    wrong.comes(&node, "10.0.0.2", 9002);
    right.comes(&node, "10.0.0.3", 9003);
    let version = owner.version_with(7, 1, 2, 3 << 20);
    audits_are_answered(&node, &[&version], |at| at != "10.0.0.2:9002");
    for holder in [&wrong, &right] {
        holder.reports(&node, std::slice::from_ref(&version.signed), &[]);
    }
    let find = json!({"type": "FIND_OWNED_FILE", "name_tag": name_tag(7)});
    node.wait_until("they are known", || {
        let asked = node.message(&find).caller(Caller::Member(&owner.text)).begin();
        asked.wait_response().unwrap().attachment == version.hashes
    });
}
