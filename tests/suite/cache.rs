//! The cache of results: which runs are made once, and which are not.

use potluck_tests::{TestNode, task, wait_for, with};
use serde_json::{Value, json};
use std::thread;

/// Another number whenever it runs.
const CHANCE: &str = "import random\ndef main(*args): return random.getrandbits(64)";
const PURE: &str = "def main(n): return sum(range(n))";

fn node(settings: &str) -> TestNode {
    TestNode::peer().plugin("cache", settings).start()
}

fn asked(node: &TestNode, program: &str, args: Value, more: Value) -> Value {
    let reply = node.call(with(task(program, args), more));
    assert_eq!(reply["error"], Value::Null, "{reply:#}");
    reply
}

#[test]
fn a_run_is_reused_on_request_with_its_program_and_arguments() {
    let node = node("");
    let reuse = || json!({ "cache": true });
    let first = asked(&node, CHANCE, json!([1]), reuse());
    assert_eq!(first["cached"], false);
    let second = asked(&node, CHANCE, json!([1]), reuse());
    assert_eq!((&second["cached"], &second["result"]), (&json!(true), &first["result"]));
    assert_ne!(asked(&node, CHANCE, json!([2]), reuse())["result"], first["result"]);
    assert_ne!(asked(&node, &format!("{CHANCE}\n"), json!([1]), reuse())["result"], first["result"]);
    for never in [json!({}), json!({ "cache": false }), json!({ "cache": true, "confidential": true })] {
        let again = asked(&node, CHANCE, json!([1]), never.clone());
        assert_eq!(again["cached"], false, "{never}");
        assert_ne!(again["result"], first["result"], "{never}");
    }
    let cache = &node.status()["cache"];
    assert_eq!((&cache["size"], &cache["hits"], &cache["misses"]), (&json!(3), &json!(1), &json!(3)), "{cache}");
}

#[test]
fn everything_is_reused_when_the_owner_says_that_it_is_pure() {
    let node = node("assume_pure = true");
    let first = asked(&node, CHANCE, json!([1]), json!({}));
    assert_eq!(asked(&node, CHANCE, json!([1]), json!({}))["result"], first["result"]);
    assert_ne!(asked(&node, CHANCE, json!([1]), json!({ "cache": false }))["result"], first["result"]);
}

#[test]
fn many_who_ask_for_the_same_at_once_cost_one_run() {
    let node = node("");
    let program = "import time, random\ndef main():\n    time.sleep(0.3)\n    return random.getrandbits(64)";
    let replies: Vec<Value> = thread::scope(|scope| {
        let ask = || asked(&node, program, json!([]), json!({ "cache": true }));
        let calls: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert!(replies.iter().all(|reply| reply["result"] == replies[0]["result"]), "{replies:#?}");
    assert_eq!(replies.iter().filter(|reply| reply["cached"] == false).count(), 1, "{replies:#?}");
}

#[test]
fn a_run_that_fails_is_made_again() {
    let node = node("");
    let fail = with(task("def main(): return 1 / 0", json!([])), json!({ "cache": true }));
    for _ in 0..2 {
        let reply = node.call(&fail);
        assert_eq!((&reply["error"], &reply["cached"]), (&json!("division by zero"), &json!(false)));
    }
    assert_eq!(node.status()["cache"]["size"], 0);
    wait_for("no run to be waited for", || node.status()["cache"]["leases"] == 0);
}

#[test]
fn runs_whose_result_is_not_kept_go_on_beside_each_other() {
    let node = TestNode::peer().cpu("workers = 3").plugin("cache", "").start();
    // The first run waits for the first gate, those that begin after it for the second; none returns anything.
    let program = "import os, time\ndef main(first, second):\n    gate = second if os.path.exists(first) else first\n    \
                   while not os.path.exists(gate): time.sleep(0.002)";
    let gates = ["first", "second"].map(|name| node.folder().join(name));
    let more = json!({ "cache": true, "timeout": 600, "source_peer": "127.0.0.1:9" });
    let replies: Vec<Value> = thread::scope(|scope| {
        let ask = || asked(&node, program, json!(gates), more.clone());
        let calls: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        node.wait_until("one to run and the others to wait for it", |status| {
            status["scheduler"]["stats"]["active_tasks"] == 1 && status["cache"]["waiting"] == 3
        });
        std::fs::File::create(&gates[0]).unwrap();
        node.wait_until("the others to run all at once", |status| status["scheduler"]["stats"]["active_tasks"] == 3);
        std::fs::File::create(&gates[1]).unwrap();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert!(replies.iter().all(|reply| reply["result"] == Value::Null && reply["cached"] == false), "{replies:#?}");
}

#[test]
fn the_command_shows_and_clears_it() {
    let node = node("entries_max = 7");
    let first = asked(&node, PURE, json!([10]), json!({ "cache": true }));
    assert_eq!(asked(&node, PURE, json!([10]), json!({ "cache": true }))["cached"], true);
    let text = node.cli(["cache"]).success().stdout;
    assert!(text.contains("1 of 7") && text.contains("50.0 %"), "{text}");
    assert_eq!(node.cli(["cache", "show", "--json"]).success().json()["cache"], node.status()["cache"]);
    assert_eq!(node.cli(["cache", "clear"]).success().stdout, "1 result forgotten\n");
    let again = asked(&node, PURE, json!([10]), json!({ "cache": true }));
    assert_eq!((&again["cached"], &again["result"]), (&json!(false), &first["result"]));
}
