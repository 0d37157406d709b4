//! Files in the original system's form, its registry, and the file that is written beside the database.

use super::*;

#[test]
fn files_in_the_originals_form_are_their_registrants_alone() {
    let (node, owner, other) = (tracker(), member(1), member(2));
    owner.comes(&node, "10.0.0.1", 9001);
    other.comes(&node, "10.0.0.2", 9002);
    let register = json!({"type": "REGISTER_OWNED_FILE", "filename": "a.txt", "owner_ip": "10.0.0.1",
        "owner_port": 9001, "owner_id": owner.text, "storage_ip": "10.0.0.2", "storage_port": 9002});
    refused(other.ask(&node, register.clone()), "forbidden");
    assert_eq!(owner.ask(&node, register.clone()).unwrap()["filename"], "a.txt");
    let mut second = register.clone();
    second["storage_port"] = json!(9003);
    owner.ask(&node, second).unwrap();
    // Without the id, but with the owner's port.
    let mut thief = register.clone();
    thief.as_object_mut().unwrap().remove("owner_id");
    refused(other.ask(&node, thief), "forbidden");
    assert_eq!(
        owner.ask(&node, json!({"type": "REGISTER_OWNED_FILE", "filename": "b"})).unwrap_err().message,
        "Missing required fields"
    );

    let find = json!({"type": "FIND_OWNED_FILE", "filename": "a.txt", "requester_port": 9001});
    let found = owner.ask(&node, find.clone()).unwrap();
    assert_eq!(
        (&found["found"], &found["owner_port"], &found["owner_id"]),
        (&json!(true), &json!(9001), &json!(owner.text))
    );
    assert_eq!(found["storage_peers"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&found["storage_peers"][0]["state"], &found["storage_peers"][1]["state"]),
        (&json!("unchecked"), &json!("away"))
    );
    refused(other.ask(&node, find), "forbidden");
    let own = json!({"type": "FIND_OWNED_FILE", "filename": "a.txt", "requester_port": 9002});
    assert_eq!(other.ask(&node, own).unwrap()["error"], "File not found");

    owner.registers(&node, &owner.version(1, 1), &[]).unwrap();
    let (first, then) = (owner.lists(&node, "", 1), owner.lists(&node, &name_tag(1), 1));
    assert_eq!((&first["owned_files"][0]["filename"], &first["next"]), (&json!(""), &json!(name_tag(1))));
    assert_eq!((&then["owned_files"][0]["filename"], &then["next"]), (&json!("a.txt"), &Value::Null));
    assert_eq!(then["owned_files"][0]["storage_peers"][0]["port"], 9002);

    // A holder adds itself to what is known, and invents nothing.
    let report = json!({"type": "REPORT_OWNED_FILES", "storage_port": 9004, "storage_ip": "10.0.0.4", "owned_files": [
        {"filename": "a.txt", "owner_ip": "10.0.0.1", "owner_port": 9001, "owner_id": owner.text},
        {"filename": "c.txt", "owner_ip": "10.0.0.1", "owner_port": 9001, "owner_id": owner.text},
        {"filename": 5}, {"filename": "d.txt"}]});
    assert_eq!(other.ask(&node, report).unwrap()["updated_count"], 1);

    let delete = json!({"type": "DELETE_OWNED_FILE", "filename": "a.txt", "owner_port": 9001});
    refused(other.ask(&node, delete.clone()), "forbidden");
    let deleted = owner.ask(&node, delete.clone()).unwrap();
    assert_eq!((&deleted["deleted"], deleted["storage_peers"].as_array().unwrap().len()), (&json!(true), 3));
    let again = owner.ask(&node, delete).unwrap();
    assert_eq!((&again["deleted"], &again["message"]), (&json!(false), &json!("File not in registry")));
}

const OLD_REGISTRY: &str = r#"{
  "new.txt": {"owner": {"ip": "10.0.0.1", "port": 9001, "peer_id": "0b39b39c-58f3-4a4c-9a4f-5f8d0d6c8a11"},
              "storage": [{"ip": "10.0.0.2", "port": 9002}, {"ip": "10.0.0.3", "port": 9003}]},
  "old.txt": {"owner": {"ip": "10.0.0.1", "port": 9001}, "storage": [{"ip": "10.0.0.2", "port": 9002}]},
  "empty.txt": {"owner": {"ip": "10.0.0.1", "port": 9001, "peer_id": ""}, "storage": []},
  "broken.txt": {"owner": {"ip": "10.0.0.1", "port": "what"}, "storage": []},
  "worse.txt": 7
}"#;

fn warnings(node: &Harness) -> Vec<String> {
    let logs = node.logs().into_iter();
    logs.filter(|(level, _)| *level == potluck_sdk::Level::Warn).map(|(_, line)| line).collect()
}

#[test]
fn both_old_formats_are_imported_and_a_malformed_entry_costs_itself() {
    let node = tracker_in(|folder| std::fs::write(folder.join("owned_files.json"), OLD_REGISTRY).unwrap());
    assert_eq!(warnings(&node).len(), 2, "{:?}", warnings(&node));
    let owner = member(1);
    let find = |node: &Harness, name: &str| {
        owner.ask(node, json!({"type": "FIND_OWNED_FILE", "filename": name})).unwrap()["found"].clone()
    };
    // A port or a random id proves nothing: the administrator says whose they are.
    owner.comes(&node, "10.0.0.1", 9001);
    assert_eq!(find(&node, "old.txt"), false);
    let bind = |old: &str| json!({"type": "BIND_OWNER", "owner": old, "peer_id": owner.text});
    refused(owner.ask(&node, bind("port_9001")), "forbidden");
    assert_eq!(node.call(bind("port_9001")).unwrap()["file_count"], 2);
    refused(node.call(bind("port_9002")), "not_found");
    assert_eq!(find(&node, "old.txt"), true);
    assert_eq!(find(&node, "new.txt"), false);
    assert_eq!(node.call(bind("0b39b39c-58f3-4a4c-9a4f-5f8d0d6c8a11")).unwrap()["file_count"], 1);
    assert_eq!(find(&node, "new.txt"), true);
    assert_eq!(owner.lists(&node, "", 10)["owned_files"].as_array().unwrap().len(), 3);
    // What was deleted is not imported once more.
    owner.ask(&node, json!({"type": "DELETE_OWNED_FILE", "filename": "old.txt", "owner_port": 9001})).unwrap();
    let node = tracker_on(node.data_dir());
    assert_eq!((find(&node, "old.txt"), find(&node, "new.txt")), (json!(false), json!(true)));
}

#[test]
fn a_file_that_is_no_registry_is_kept_and_stops_nobody() {
    let node = tracker_in(|folder| std::fs::write(folder.join("owned_files.json"), "{\"a\": ").unwrap());
    assert_eq!(warnings(&node).len(), 1);
    let kept = node.data_dir().join("tracker_state/owned_files.imported.json");
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "{\"a\": ");
    member(1).registers(&node, &member(1).version(1, 1), &[]).unwrap();
}

#[test]
fn the_registry_is_written_as_json_beside_the_database() {
    let (node, owner, holder) = (tracker(), member(1), member(2));
    owner.comes(&node, "10.0.0.1", 9001);
    holder.comes(&node, "10.0.0.2", 9002);
    holder.reports(&node, &[], &[]);
    owner.registers(&node, &owner.version(1, 1), &[&holder]).unwrap();
    owner.registers(&node, &owner.version(2, 1), &[&holder]).unwrap();
    owner.deletes(&node, 2, 2).unwrap();
    let path = node.data_dir().join("tracker_state/owned_files.json");
    let key = format!("{}/{}", owner.text, name_tag(1));
    let expected = json!({key: {"owner": {"ip": "10.0.0.1", "port": 9001, "peer_id": owner.text},
        "storage": [{"ip": "10.0.0.2", "port": 9002}]}});
    node.wait_until("it is written", || {
        node.advance(Duration::from_secs(1));
        std::fs::read(&path).is_ok_and(|text| serde_json::from_slice::<Value>(&text).unwrap() == expected)
    });
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("{\n  \""));
    // When only that is left, it is no old registry: nothing is made up from it.
    let text = std::fs::read(&path).unwrap();
    let again = tracker_in(move |folder| std::fs::write(folder.join("owned_files.json"), text).unwrap());
    assert!(warnings(&again).is_empty());
    assert!(owner.lists(&again, "", 10)["owned_files"].as_array().unwrap().is_empty());
}
