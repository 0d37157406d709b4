//! TASK_HISTORY: what becomes of tasks, kept through the end of the node.

use potluck_tests::{Cluster, TestNode, potluck_command, run, task, wait_for, with};
use serde_json::{Value, json};

fn node() -> TestNode {
    TestNode::peer().plugin("history", "").start()
}

fn total(node: &TestNode) -> u64 {
    node.status()["task_history"]["total_tasks"].as_u64().unwrap()
}

/// Runs a task under a name.
fn run_task(node: &TestNode, id: &str, program: &str) -> Value {
    node.call(with(task(program, json!([])), json!({ "task_id": id })))
}

fn wait_for_records(node: &TestNode, count: u64) {
    node.wait_until(&format!("{count} tasks to be recorded"), |status| status["task_history"]["total_tasks"] == count);
}

fn ids(reply: &Value) -> Vec<&str> {
    let records = reply["history"].as_array().unwrap_or_else(|| panic!("{reply:#}"));
    records.iter().map(|record| record["task_id"].as_str().unwrap()).collect()
}

#[test]
fn each_task_is_recorded_once_with_what_became_of_it() {
    let node = node();
    run_task(&node, "good", "def main(): return [1, 'x']");
    run_task(&node, "bad", "def main(): return 1 / 0");
    run_task(&node, "late", "def main(): return 3");
    wait_for_records(&node, 3);
    let reply = node.call(json!({ "type": "TASK_HISTORY", "limit": 100, "task_type": null }));
    assert_eq!(ids(&reply), ["good", "bad", "late"]);
    let statistics = &reply["statistics"];
    assert_eq!((&statistics["total_tasks"], &statistics["successful"]), (&json!(3), &json!(2)), "{statistics}");
    assert_eq!(*statistics, node.status()["task_history"]);
    let good = &reply["history"][0];
    assert_eq!((&good["status"], &good["task_type"]), (&json!("SUCCESS"), &json!("CPU_TASK")), "{good}");
    assert_eq!((&good["requested_by"], &good["role"]), (&json!("local"), &json!("EXECUTOR")), "{good}");
    assert!(good["execution_time"].as_f64().is_some_and(|time| time > 0.0), "{good}");
    assert_eq!(good["peer_info"], node.address(), "{good}");
    let bad = node.call(json!({ "type": "TASK_HISTORY", "task_id": "bad" }));
    assert_eq!((&bad["task"]["status"], &bad["task"]["error"]), (&json!("FAILED"), &json!("division by zero")));
    assert_eq!(ids(&node.call(json!({ "type": "TASK_HISTORY", "status": "FAILED" }))), ["bad"]);
}

#[test]
fn a_task_that_was_answered_is_in_the_history_at_once() {
    let node = node();
    for id in ["first", "second", "third"] {
        run_task(&node, id, "def main(): return 1");
        let found = node.call(json!({ "type": "TASK_HISTORY", "task_id": id }));
        assert_eq!(found["task"]["task_id"], id, "{found}");
    }
    let long = "i".repeat(256);
    run_task(&node, &long, "def main(): return 1");
    assert_eq!(node.call(json!({ "type": "TASK_HISTORY", "task_id": long }))["task"]["task_id"], *long);
}

#[test]
fn nothing_that_a_confidential_task_said_is_kept() {
    let node = node();
    let secret = with(task("def main(): return 'whisper'", json!([])), json!({ "task_id": "t", "confidential": true }));
    assert_eq!(node.call(secret)["result"], "whisper");
    wait_for_records(&node, 1);
    let reply = node.call_raw(json!({ "type": "TASK_HISTORY" }));
    assert!(!reply.contains("whisper"), "{reply}");
}

#[test]
fn what_was_recorded_is_there_after_the_node_was_killed() {
    let mut node = node();
    for number in 0..20 {
        run_task(&node, &format!("t{number}"), "def main(): return 1");
    }
    wait_for_records(&node, 20);
    node.kill9();
    node.restart();
    assert_eq!(total(&node), 20);
    let reply = node.call(json!({ "type": "TASK_HISTORY", "limit": 3 }));
    assert_eq!(ids(&reply), ["t17", "t18", "t19"]);
    let before = node.call(json!({ "type": "TASK_HISTORY", "limit": 2, "before": reply["next"] }));
    assert_eq!(ids(&before), ["t15", "t16"]);
}

#[test]
fn a_damaged_database_keeps_no_node_from_starting() {
    let mut node = node();
    run_task(&node, "lost", "def main(): return 1");
    wait_for_records(&node, 1);
    node.stop();
    let file = node.data_dir().join("history.sqlite");
    std::fs::write(&file, vec![0xa5; 20_000]).unwrap();
    node.restart();
    assert_eq!(total(&node), 0);
    run_task(&node, "new", "def main(): return 1");
    wait_for_records(&node, 1);
    assert!(node.log_text().contains("damaged"), "{}", node.log_tail());
}

#[test]
fn a_member_sees_the_tasks_that_ran_for_it() {
    let cluster = Cluster::start_with(2, |_, peer| peer.plugin("history", ""));
    let [here, there] = &cluster.peers[..] else { panic!("two peers") };
    run_task(there, "of-there", "def main(): return 1");
    let to = json!({ "task_id": "of-here", "to": there.peer_id() });
    let reply = here.call(with(task("def main(): return 2", json!([])), to));
    assert_eq!(reply["result"], 2, "{reply:#}");
    wait_for_records(there, 2);
    let seen = here.call(json!({ "type": "TASK_HISTORY", "to": there.peer_id() }));
    assert_eq!(ids(&seen), ["of-here"], "{seen:#}");
    assert_eq!(seen["statistics"]["total_tasks"], 1);
    let all = there.call(json!({ "type": "TASK_HISTORY" }));
    assert_eq!(ids(&all), ["of-there", "of-here"]);
    assert_eq!(all["history"][1]["requested_by"], here.peer_id());
    let hidden = here.call(json!({ "type": "TASK_HISTORY", "task_id": "of-there", "to": there.peer_id() }));
    assert_eq!(hidden["task"], Value::Null);
}

#[test]
fn the_oldest_records_make_room() {
    let node = TestNode::peer().plugin("history", "records_max = 20").start();
    for number in 0..60 {
        run_task(&node, &format!("t{number}"), "def main(): return 1");
    }
    let newest = || node.call(json!({ "type": "TASK_HISTORY", "limit": 0 }));
    wait_for("the oldest to go", || {
        let reply = newest();
        ids(&reply).last() == Some(&"t59") && total(&node) <= 22
    });
    assert_eq!(node.call(json!({ "type": "TASK_HISTORY", "task_id": "t0" }))["task"], Value::Null);
}

#[test]
fn the_command_prints_statistics_and_the_last_ten() {
    let node = node();
    for number in 0..12 {
        run_task(&node, &format!("t{number}"), "def main(): return 1");
    }
    run_task(&node, "bad, \"really\"", "def main(): return 1 / 0");
    wait_for_records(&node, 13);
    let text = node.cli(["history"]).success().stdout;
    assert!(text.starts_with("Task History Statistics:\n{\n  \"total_tasks\": 13,"), "{text}");
    assert!(text.contains("\n\nRecent Tasks (13):\n  t3: SUCCESS - CPU_TASK, ended "), "{text}");
    assert!(text.lines().last().unwrap().starts_with("  bad, \"really\": FAILED - CPU_TASK, ended "), "{text}");
    let bad = &node.call(json!({ "type": "TASK_HISTORY", "limit": 1 }))["history"][0];
    let (ended, _) = bad["timestamp"].as_str().unwrap().split_once('.').unwrap();
    assert!(text.lines().last().unwrap().contains(&format!("ended {ended} after ")), "{text}: {bad}");
    let table = node.cli(["history", "--table", "--status", "failed", "--since", "1h"]).success().stdout;
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(table.contains("division by zero"), "{table}");
    assert_eq!(
        node.cli(["history", "--json", "--limit", "2"]).success().json()["history"].as_array().unwrap().len(),
        2
    );
    assert_eq!(node.cli(["history", "--task-id", "t5"]).success().stdout.lines().next(), Some("{"));
    assert_eq!(node.cli(["history", "--task-id", "nothing"]).status, 1);
    assert_eq!(node.cli(["history", "--status", "odd"]).status, 1);
    let cleared = node.cli(["history", "clear"]).success().stdout;
    assert_eq!(cleared, "13 records forgotten\n");
    assert!(node.cli(["history"]).success().stdout.contains("Recent Tasks (0):"));
}

#[test]
fn records_are_exported_for_other_programs() {
    let node = node();
    for number in 0..5 {
        run_task(&node, &format!("t{number}"), "def main(): return 'a,b'");
    }
    run_task(&node, "bad", "def main(): return 1 / 0");
    wait_for_records(&node, 6);
    let records: Vec<Value> =
        serde_json::from_str(&node.cli(["history", "--export", "json"]).success().stdout).unwrap();
    let exported: Vec<&str> = records.iter().map(|record| record["task_id"].as_str().unwrap()).collect();
    assert_eq!(exported, ["t0", "t1", "t2", "t3", "t4", "bad"]);
    let file = node.folder().join("out.csv");
    node.cli(["history", "--export", "csv", "--status", "SUCCESS", "--save", file.to_str().unwrap()]).success();
    // Another program's reader of CSV.
    let script = "import csv, sys; rows = list(csv.DictReader(open(sys.argv[1], newline=''))); \
        print(len(rows), rows[0]['task_id'], rows[-1]['task_id'], rows[0]['result'], rows[0]['status'])";
    let mut python = std::process::Command::new("python3");
    let read = run(python.args(["-c", script, file.to_str().unwrap()]), "").success();
    assert_eq!(read.stdout.trim(), "5 t0 t4 \"a,b\" SUCCESS");
    let none = run(potluck_command().args(["history", "--save", "x"]), "");
    assert_eq!(none.status, 2, "--save is for --export");
}
