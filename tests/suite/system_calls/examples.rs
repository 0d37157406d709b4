//! The programs in `guest-examples/system_calls`, through the command line.

use super::{PYTHONS, ok, peer, wait_for_waiters, with_plugins};
use potluck_tests::{Cluster, TestNode, dist, wait_for_some};
use serde_json::{Value, json};
use std::fs;
use std::thread;

fn path(file: &str) -> String {
    let path = dist().join("share/guest-examples/system_calls").join(file);
    path.to_str().unwrap().to_owned()
}

fn example(node: &TestNode, runtime: &str, file: &str, args: &Value) -> Value {
    let (file, args) = (path(file), args.to_string());
    let words = ["--json", "cpu", "--file", &file, "--runtime", runtime, "--args", &args];
    node.cli(words).success().json()["result"].take()
}

#[test]
fn the_examples_finish_on_one_place() {
    let node = peer().cpu("workers = 1").start();
    for runtime in PYTHONS {
        let name = json!(format!("{runtime}-work"));
        for (file, args, expected) in [
            ("philosophers_ordered.py", json!([name, 5, 3]), json!([3, 3, 3, 3, 3])),
            ("readers_writers.py", json!([4, 2, 5, name]), json!({ "reads": 20, "writes": 10, "last": 10, "torn": 0 })),
            ("spawn_tree.py", json!([2, 2]), json!({ "tasks": 7, "nodes": { node.peer_id(): 7 } })),
            ("progress.py", json!([1000, 4]), json!(168)),
        ] {
            assert_eq!(example(&node, runtime, file, &args), expected, "{file}");
        }
        let made = example(&node, runtime, "producer_consumer.py", &json!([2, 2, 20, 4, name]));
        assert_eq!(made["sum"], (0..40).sum::<u64>(), "{made}");
        let consumed = made["consumed"].as_array().unwrap().iter().map(|count| count.as_u64().unwrap());
        assert_eq!(consumed.sum::<u64>(), 40, "{made}");
    }
    assert_eq!(ok(&node, json!({ "type": "LIST_SEMAPHORES" }))["semaphores"], json!([]));
    assert_eq!(ok(&node, json!({ "type": "LIST_QUEUES" }))["queues"], json!([]));
}

#[test]
fn the_examples_finish_across_two_peers() {
    let cluster = Cluster::start_with(2, |_, builder| with_plugins(builder).cpu("workers = 1"));
    let node = &cluster.peers[0];
    for runtime in PYTHONS {
        let name = json!(format!("{runtime}-work"));
        let made = example(node, runtime, "producer_consumer.py", &json!([2, 2, 10, 2, name]));
        assert_eq!(made["sum"], (0..20).sum::<u64>(), "{made}");
        let read = example(node, runtime, "readers_writers.py", &json!([4, 2, 3, name]));
        assert_eq!(read, json!({ "reads": 12, "writes": 6, "last": 6, "torn": 0 }));
        let eaten = example(node, runtime, "philosophers_ordered.py", &json!([name, 5, 2]));
        assert_eq!(eaten, json!([2, 2, 2, 2, 2]));
    }
}

#[test]
fn naive_philosophers_starve_until_one_is_given_up() {
    let node = peer().start();
    for runtime in PYTHONS {
        let table = format!("{runtime}-table");
        let args = json!([table, 5]);
        let ends = thread::scope(|scope| {
            let dinner = scope.spawn(|| example(&node, runtime, "philosophers_naive.py", &args));
            (0..5).for_each(|fork| wait_for_waiters(&node, &format!("{table}-fork-{fork}"), 1));
            let found = wait_for_some("the deadlock", || {
                let found = node.call(json!({ "type": "DEADLOCK_CHECK" }));
                (found["deadlock"] == true).then_some(found)
            });
            assert_eq!(found["deadlocked_processes"].as_array().unwrap().len(), 5, "{found:#}");
            ok(&node, json!({ "type": "RESOLVE_DEADLOCK" }));
            dinner.join().unwrap()
        });
        let ends: Vec<&str> = ends.as_array().unwrap().iter().map(|end| end.as_str().unwrap()).collect();
        assert_eq!(ends.iter().filter(|end| end.contains("has eaten")).count(), 4, "{ends:?}");
        assert_eq!(ends.iter().filter(|end| end.contains("has starved")).count(), 1, "{ends:?}");
    }
}

#[test]
fn every_example_is_run_by_a_test() {
    let source = include_str!("examples.rs");
    for entry in fs::read_dir(dist().join("share/guest-examples/system_calls")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(source.contains(&format!("\"{name}\"")), "{name} is not run");
    }
}
