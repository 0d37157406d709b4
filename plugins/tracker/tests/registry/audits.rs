//! Replicas are checked, and those that are lost are made anew.

use super::*;

/// A tracker on which nobody dies of silence while the test moves the clock.
fn patient_tracker() -> Harness {
    tracker_with(json!({"dead_after_seconds": 1e6}))
}

fn audited(message: &Value, bad: &str) -> Value {
    if message["to"] == bad {
        // It says that it has it and shows nothing.
        return json!({"type": "OWNED_FILE_RESPONSE", "found": true});
    }
    json!({"type": "ERROR", "code": "busy", "error": "later"})
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
    node.answer("AUDIT_OWNED_FILE", |message| audited(message, "10.0.0.3:9003"));
    node.answer("REPLICATE_OWNED_FILE", |_| json!({"type": "STATUS", "status": "OK"}));
    assert!(sent(&node, "AUDIT_OWNED_FILE").is_empty());
    node.advance(Duration::from_secs(3600));
    node.wait_until("it is repaired", || states(&node).len() == 2);
    let events = [(json!(bad.text), json!("damaged")), (json!(bad.text), json!("unchecked"))];
    assert_eq!(states(&node), events);
    let repair = &sent(&node, "REPLICATE_OWNED_FILE")[0];
    assert_eq!(
        (&repair["to"], &repair["target"], &repair["blob"]),
        (&json!("10.0.0.2:9002"), &json!(bad.text), &json!(version.blob))
    );
    assert!(sent(&node, "AUDIT_OWNED_FILE").iter().all(|audit| audit["block"].as_u64().unwrap() < 5));
}

#[test]
fn a_holder_that_stays_away_is_replaced() {
    let (node, owner, good, away, new) = (patient_tracker(), member(1), member(2), member(3), member(4));
    good.comes(&node, "10.0.0.2", 9002);
    new.comes(&node, "10.0.0.4", 9004);
    owner.registers(&node, &owner.version_with(7, 1, 2, 100), &[&good, &away]).unwrap();
    node.answer("REPLICATE_OWNED_FILE", |_| json!({"type": "STATUS", "status": "OK"}));
    let mut rounds = 0;
    node.wait_until("somebody else has it", || {
        node.advance(Duration::from_secs(3600));
        rounds += 1;
        !sent(&node, "REPLICATE_OWNED_FILE").is_empty()
    });
    assert!(rounds >= 24, "it might have come back: {rounds}");
    let repair = &sent(&node, "REPLICATE_OWNED_FILE")[0];
    assert_eq!((&repair["to"], &repair["target"]), (&json!("10.0.0.2:9002"), &json!(new.text)));
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
    owner.registers(&node, &owner.version_with(7, 1, 2, 3 << 20), &[&good, &bad]).unwrap();
    owner.registers(&node, &owner.version_with(8, 1, 1, 100), &[&good]).unwrap();
    node.answer("AUDIT_OWNED_FILE", |message| audited(message, "10.0.0.2:9003"));
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
    assert_eq!(audits.iter().filter(|audit| audit["to"] == "10.0.0.2:9003").count(), 3);
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
    node.answer("REPLICATE_OWNED_FILE", |_| json!({"type": "STATUS", "status": "OK"}));
    bad.reports(&node, &[with(&version.signed, json!({"damaged": true}))], &[]);
    node.wait_until("it is repaired", || states(&node).len() == 2);
    assert_eq!(sent(&node, "REPLICATE_OWNED_FILE")[0]["target"], bad.text);
    assert_eq!(states(&node)[0], (json!(bad.text), json!("damaged")));
}
