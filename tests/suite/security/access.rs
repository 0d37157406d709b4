//! `[access]` of plugins.toml: what the node's owner says beside what the providers declare.

use super::callers::{assert_forbidden, pool_of_one};
use potluck_tests::{Stranger, TestNode, TlsWire, task, with};
use serde_json::{Value, json};

fn get() -> Value {
    json!({ "type": "GET_MEM", "key": "k" })
}

fn set() -> Value {
    json!({ "type": "SET_MEM", "key": "k", "value": 1 })
}

fn set_scheduler() -> Value {
    json!({ "type": "SET_SCHEDULER", "algorithm": "FCFS" })
}

/// A node with rules, and the connection of a member to whom none is made to measure.
fn ruled(rules: &str) -> (TestNode, TlsWire) {
    let (node, token) = pool_of_one(rules, "");
    let wire = Stranger::new().member_at(&node, &node, &token);
    (node, wire)
}

/// As [`ruled`], with rules for that member.
fn ruled_for_peer(rules: &str) -> (TestNode, TlsWire, String) {
    let stranger = Stranger::new();
    let id = stranger.peer_id();
    let (node, token) = pool_of_one(&format!("[access.peers.\"{id}\"]\n{rules}\n"), "");
    let wire = stranger.member_at(&node, &node, &token);
    (node, wire, id)
}

#[test]
fn a_message_can_be_kept_for_this_machines_user() {
    let (node, mut wire) = ruled("[access.messages]\nSET_MEM = \"local\"\nCPU_TASK = \"local\"\nPING = \"local\"\n");
    for message in [set(), task("def main(): pass", json!([])), json!({ "type": "PING" })] {
        let message_type = message["type"].as_str().unwrap();
        assert_forbidden(&wire.call(message.clone()), &[message_type, "`local`", "[access.messages] in plugins.toml"]);
    }
    assert_eq!(node.call(set())["status"], "OK");
    assert_eq!(wire.call(get())["value"], 1, "other messages are as they were");
    node.check_serving();
}

#[test]
fn a_message_can_be_opened_to_members_and_to_tasks() {
    let (node, mut wire) = ruled("[access.messages]\nSET_SCHEDULER = \"member\"\nSTATUS = \"task\"\n");
    assert_eq!(wire.call(set_scheduler())["status"], "OK");
    assert_eq!(node.status()["scheduler"]["stats"]["algorithm"], "FCFS");
    let behalf = json!({ "behalf": "task" });
    assert_forbidden(&wire.call(with(set_scheduler(), behalf.clone())), &["[access.messages]", "`task`"]);
    assert_eq!(wire.call(with(json!({ "type": "STATUS" }), behalf))["status"], "OK");
    assert_forbidden(&wire.call(json!({ "type": "LIST_PLUGINS" })), &["`local`"]);
}

#[test]
fn a_message_that_nobody_may_send_is_refused_to_this_machines_user_too() {
    let (node, mut wire) = ruled("[access.messages]\nDELETE_MEM = \"nobody\"\nPOOL_TOKEN = \"nobody\"\n");
    let delete = json!({ "type": "DELETE_MEM", "key": "k" });
    assert_eq!(node.call(set())["status"], "OK");
    for reply in [node.call(&delete), wire.call(delete), node.call(json!({ "type": "POOL_TOKEN" }))] {
        assert_forbidden(&reply, &["nobody", "[access.messages] in plugins.toml"]);
    }
    assert_eq!(node.call(get())["value"], 1);
}

#[test]
fn a_peer_can_be_allowed_more_and_its_tasks_are_not() {
    let (node, mut wire, id) = ruled_for_peer("allow = [\"SET_SCHEDULER\", \"LIST_PLUGINS\"]");
    assert_eq!(wire.call(set_scheduler())["status"], "OK");
    assert_eq!(wire.call(json!({ "type": "LIST_PLUGINS" }))["type"], "PLUGIN_LIST");
    assert_forbidden(&wire.call(json!({ "type": "POOL_TOKEN" })), &["`local`", &id]);
    let reply = wire.call(with(set_scheduler(), json!({ "behalf": "task" })));
    assert_forbidden(&reply, &["`task`", &id]);
    // Nobody else has that right.
    let token = node.call(json!({ "type": "POOL_TOKEN" }))["token"].as_str().unwrap().to_owned();
    let mut other = Stranger::new().member_at(&node, &node, &token);
    assert_forbidden(&other.call(set_scheduler()), &["SET_SCHEDULER", "`member`"]);
}

#[test]
fn a_peer_can_be_denied_a_message_in_whatever_form_its_id_stands() {
    let stranger = Stranger::new();
    let id = stranger.peer_id().to_uppercase();
    let rules = format!("[access.peers.\"{id}\"]\ndeny = [\"CPU_TASK\", \"GET_MEM\"]\n");
    let (node, token) = pool_of_one(&rules, "");
    let mut wire = stranger.member_at(&node, &node, &token);
    let rule = format!("[access.peers.\"{}\"] deny", stranger.peer_id());
    assert_forbidden(&wire.call(task("def main(): pass", json!([]))), &["CPU_TASK", &rule]);
    assert_forbidden(&wire.call(get()), &["GET_MEM", &rule]);
    let reply = wire.call(with(get(), json!({ "behalf": "task" })));
    assert_forbidden(&reply, &["GET_MEM", &rule]);
    assert_eq!(wire.call(set())["status"], "OK");
    node.check_serving();
}

#[test]
fn what_is_denied_is_denied_although_it_is_allowed() {
    let (_node, mut wire, id) = ruled_for_peer("allow = [\"SET_SCHEDULER\", \"GET_MEM\"]\ndeny = [\"SET_SCHEDULER\"]");
    assert_forbidden(&wire.call(set_scheduler()), &["SET_SCHEDULER", &id, "deny in plugins.toml"]);
    assert_eq!(wire.call(get())["found"], false);
}

#[test]
fn a_star_denies_everything_that_a_peer_could_ask_for() {
    let (node, mut wire, id) = ruled_for_peer("allow = [\"PING\"]\ndeny = [\"*\"]");
    for message in [
        get(),
        set(),
        set_scheduler(),
        task("def main(): pass", json!([])),
        json!({ "type": "PING" }),
        json!({ "type": "STATUS" }),
        json!({ "type": "LIST_PEERS" }),
        json!({ "type": "REGISTER", "port": 9 }),
    ] {
        let message_type = message["type"].as_str().unwrap();
        assert_forbidden(&wire.call(message.clone()), &[message_type, &id, "deny"]);
    }
    node.check_serving();
}

#[test]
fn a_star_allows_what_is_this_machines_users_and_nothing_that_is_the_providers() {
    let (_node, mut wire, _id) = ruled_for_peer("allow = [\"*\"]");
    assert_eq!(wire.call(set_scheduler())["status"], "OK");
    assert_eq!(wire.call(json!({ "type": "POOL_MEMBERS" }))["type"], "POOL_MEMBER_LIST");
    let reply = wire.call(json!({ "type": "PING", "to": "127.0.0.1:1" }));
    assert_forbidden(&reply, &["through this node"]);
}

#[test]
fn all_connections_of_a_peer_share_its_rate() {
    let (node, token) = pool_of_one("[access]\nrate_per_second = 0.001\nrate_burst = 3\n", "");
    let stranger = Stranger::new();
    let mut one = stranger.member_at(&node, &node, &token);
    let mut two = stranger.member_at(&node, &node, &token);
    for _ in 0..2 {
        assert_eq!(one.call(set())["status"], "OK");
    }
    assert_eq!(two.call(set())["status"], "OK");
    let rule = ["0.001 messages a second", "[access] rate_per_second in plugins.toml", "try again in"];
    for wire in [&mut one, &mut two] {
        for message in [set(), json!({ "type": "PING" }), set_scheduler()] {
            assert_forbidden(&wire.call(message.clone()), &rule);
            // On behalf of a task it is the same peer's message.
            assert_forbidden(&wire.call(with(message, json!({ "behalf": "task" }))), &rule);
        }
    }
    // To come again helps as little.
    drop((one, two));
    let mut again = stranger.member_at(&node, &node, &token);
    assert_forbidden(&again.call(get()), &rule);
    // Another peer has its own, and this machine's user has no limit.
    let mut other = Stranger::new().member_at(&node, &node, &token);
    assert_eq!(other.call(get())["value"], 1);
    for _ in 0..20 {
        assert_eq!(node.call(get())["value"], 1);
    }
}

#[test]
fn a_peer_can_have_a_rate_of_its_own() {
    let [slow, free] = [Stranger::new(), Stranger::new()];
    let rules = format!(
        "[access]\nrate_per_second = 0.001\nrate_burst = 1\n[access.peers.\"{}\"]\nrate_per_second = 0.002\n\
         rate_burst = 2\n[access.peers.\"{}\"]\nrate_per_second = 0\n",
        slow.peer_id(),
        free.peer_id()
    );
    let (node, token) = pool_of_one(&rules, "");
    let mut wire = slow.member_at(&node, &node, &token);
    for _ in 0..2 {
        assert_eq!(wire.call(set())["status"], "OK");
    }
    let table = format!("[access.peers.\"{}\"] rate_per_second", slow.peer_id());
    assert_forbidden(&wire.call(get()), &["0.002 messages a second", &table]);
    let mut wire = free.member_at(&node, &node, &token);
    for _ in 0..20 {
        assert_eq!(wire.call(get())["value"], 1);
    }
}

#[test]
fn rules_that_make_no_sense_stop_the_start_and_are_named() {
    let id = Stranger::new().peer_id();
    for (rules, words) in [
        ("[access]\nrates = 1\n".to_owned(), ["[access]", "rates"]),
        ("[access]\nrate_per_second = -1\n".to_owned(), ["[access]", "`rate_per_second`"]),
        ("[access]\nrate_per_second = 1\nrate_burst = 99999\n".to_owned(), ["[access]", "`rate_burst`"]),
        ("[access.messages]\nGET_MEM = \"everybody\"\n".to_owned(), ["[access]", "everybody"]),
        ("[access.messages]\nget_mem = \"local\"\n".to_owned(), ["[access]", "get_mem"]),
        ("[access.peers.somebody]\ndeny = [\"*\"]\n".to_owned(), ["[access]", "peers.\"somebody\""]),
        (format!("[access.peers.\"{id}\"]\nalow = [\"*\"]\n"), ["[access]", "alow"]),
        (format!("[access.peers.\"{id}\"]\ndeny = [\"cpu_task\"]\n"), [id.as_str(), "deny"]),
        (format!("[access.peers.\"{id}\"]\ndeny = \"CPU_TASK\"\n"), ["[access]", "deny"]),
    ] {
        let failure = TestNode::peer().plugins(format!("{rules}[plugins.memory]\n")).try_start().err();
        let failure = failure.unwrap_or_else(|| panic!("the node started with {rules}"));
        assert_ne!(failure.status, Some(0), "{rules}");
        for word in ["plugins.toml", words[0], words[1]] {
            assert!(failure.log.contains(word), "{word:?} is missing after {rules}: {}", failure.log);
        }
    }
}

#[test]
fn rules_without_an_effect_are_told_when_the_node_starts() {
    let id = Stranger::new().peer_id();
    let rules = format!("[access.messages]\nGET_MEN = \"nobody\"\n[access.peers.\"{id}\"]\ndeny = [\"CPU_TSK\"]\n");
    let node = TestNode::peer().plugins(format!("{rules}[plugins.memory]\n")).start();
    for word in ["GET_MEN", "CPU_TSK", &id] {
        assert!(node.log_text().contains(word), "{word:?} is missing in {}", node.log_text());
    }
}
