//! Dining philosophers, producers and consumers, readers and writers: the programs of `guest-examples/system_calls`, each of
//! their tasks begun at the command line, on one peer and on two.

use crate::scenarios::{begin, complete, json, living, out, wait_for_waiters};
use potluck_tests::{Cluster, NodeBuilder, Output, TestNode, dist, wait_for};
use serde_json::{Value, json};
use std::thread::JoinHandle;

const PYTHONS: [&str; 2] = ["python", "sandbox"];
const SEATS: usize = 5;
/// How often the ordered philosophers dine where the environment does not say it in POTLUCK_PHILOSOPHER_RUNS.
const RUNS: usize = 12;

fn peer(builder: NodeBuilder) -> NodeBuilder {
    complete(builder.cpu("workers = 2"))
}

/// Begins one function of an example as a task.
fn begin_example(node: &TestNode, runtime: &str, file: &str, function: &str, args: &Value) -> JoinHandle<Output> {
    let path = dist().join("share/guest-examples/system_calls").join(file);
    let (path, args) = (path.to_str().unwrap(), args.to_string());
    let words = ["--json", "cpu", "--file", path, "--runtime", runtime, "--function", function, "--args", &args];
    begin(node, &[&words[..], &["--timeout", "300"]].concat())
}

fn result(task: JoinHandle<Output>) -> Value {
    task.join().unwrap().success().json()["result"].take()
}

/// Seats five, each a task of its own on one of `nodes`, with the forks on `table`; waits until all starve, ends one of them,
/// and checks that the others eat.
fn starve(nodes: &[&TestNode], table: &TestNode, runtime: &str) {
    let name = format!("{runtime}-table");
    let seat = |seat: usize| {
        let args = json!([seat, name, SEATS, table.peer_id()]);
        begin_example(nodes[seat % nodes.len()], runtime, "philosophers_naive.py", "dine", &args)
    };
    let philosophers: Vec<_> = (0..SEATS).map(seat).collect();
    (0..SEATS).for_each(|fork| wait_for_waiters(table, &format!("{name}-fork-{fork}"), 1));
    let found = table.cli(["--json", "deadlock"]);
    assert_eq!(found.status, 1, "{found:?}");
    let found = found.json();
    let named = found["deadlocked_processes"].as_array().unwrap();
    let cycle = found["cycle"].as_array().unwrap();
    assert_eq!((named.len(), cycle.len()), (SEATS, SEATS), "{found:#}");
    // Each has the fork that the one before it waits for.
    for (number, edge) in cycle.iter().enumerate() {
        assert!(named.contains(&edge["pid"]), "{found:#}");
        assert_eq!(edge["held_by"], cycle[(number + 1) % SEATS]["pid"], "{found:#}");
        assert!(edge["waits_for"].as_str().unwrap().starts_with(&format!("semaphore:{name}-fork-")), "{found:#}");
    }
    let text = table.cli(["deadlock"]).stdout;
    for pid in named {
        assert!(text.contains(&format!("{} has semaphore:{name}-fork-", pid.as_str().unwrap())), "{text}");
    }
    let text = out(table, "deadlock resolve");
    assert_eq!(text.lines().filter(|line| line.contains(" ended, because ")).count(), 1, "{text}");
    let ends: Vec<Output> = philosophers.into_iter().map(|task| task.join().unwrap()).collect();
    let eaten = ends.iter().filter(|end| end.status == 0 && end.stdout.contains("has eaten")).count();
    assert_eq!(eaten, SEATS - 1, "{ends:#?}");
    assert_eq!(table.cli(["deadlock"]).status, 0);
    for fork in 0..SEATS {
        out(table, &format!("sem delete {name}-fork-{fork}"));
    }
    out(table, &format!("sem delete {name}-gate"));
    out(table, &format!("del-mem --key {name}-holding"));
    for node in nodes {
        wait_for("no process to be left", || living(node).is_empty());
    }
}

#[test]
fn five_naive_philosophers_starve_until_one_is_ended() {
    let node = peer(TestNode::peer()).start();
    for runtime in PYTHONS {
        starve(&[&node], &node, runtime);
    }
    node.check_serving();
}

#[test]
fn they_starve_likewise_with_their_forks_on_another_peer() {
    let cluster = Cluster::start_with(2, |_, builder| peer(builder));
    let [here, there] = &cluster.peers[..] else { unreachable!() };
    for runtime in PYTHONS {
        starve(&[here], there, runtime);
    }
}

#[test]
fn they_starve_likewise_when_they_come_from_two_peers() {
    let cluster = Cluster::start_with(2, |_, builder| peer(builder));
    let [here, there] = &cluster.peers[..] else { unreachable!() };
    for runtime in PYTHONS {
        starve(&[here, there], there, runtime);
    }
}

#[test]
fn ordered_philosophers_never_starve() {
    let runs = std::env::var("POTLUCK_PHILOSOPHER_RUNS").map_or(RUNS, |text| text.parse().unwrap());
    let node = peer(TestNode::peer()).start();
    for run in 0..runs {
        let runtime = PYTHONS[run % 2];
        let args = json!([format!("table-{run}"), SEATS, 3]);
        let dinner = begin_example(&node, runtime, "philosophers_ordered.py", "main", &args);
        assert_eq!(result(dinner), json!(vec![3; SEATS]), "run {run}");
    }
    assert_eq!(json(&node, "sem list")["semaphores"], json!([]));
    assert_eq!(out(&node, "deadlock").lines().next(), Some("No deadlock"));
}

#[test]
fn ordered_philosophers_of_both_pythons_and_two_peers_share_a_table() {
    let cluster = Cluster::start_with(2, |_, builder| peer(builder));
    let table = cluster.peers[1].peer_id();
    let seat = |seat: usize| {
        let args = json!([seat, "table", SEATS, 4, table]);
        begin_example(&cluster.peers[seat % 2], PYTHONS[seat / 2 % 2], "philosophers_ordered.py", "dine", &args)
    };
    let philosophers: Vec<_> = (0..SEATS).map(seat).collect();
    for philosopher in philosophers {
        assert_eq!(result(philosopher), 4);
    }
}

#[test]
fn producers_on_one_peer_and_consumers_on_the_other_meet_at_a_queue() {
    const ITEMS: u64 = 15;
    let cluster = Cluster::start_with(2, |_, builder| peer(builder));
    let [here, there] = &cluster.peers[..] else { unreachable!() };
    let file = "producer_consumer.py";
    let consume = |runtime| begin_example(there, runtime, file, "consume", &json!(["work", 3, there.peer_id()]));
    let produce = |(number, runtime)| {
        let args = json!(["work", 3, there.peer_id(), number as u64 * ITEMS, ITEMS]);
        begin_example(here, runtime, file, "produce", &args)
    };
    let consumers = PYTHONS.map(consume);
    let producers: Vec<_> = PYTHONS.into_iter().enumerate().map(produce).collect();
    for producer in producers {
        assert_eq!(result(producer), ITEMS);
    }
    for _ in PYTHONS {
        out(here, &format!("queue send work null --receiver ? --to {}", there.peer_id()));
    }
    let taken = consumers.map(result);
    let sum = |at: usize| taken.iter().map(|one| one[at].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum(0), sum(1)), ((0..2 * ITEMS).sum(), 2 * ITEMS), "{taken:?}");
}

#[test]
fn readers_of_one_peer_and_writers_of_the_other_see_no_half_of_a_change() {
    let cluster = Cluster::start_with(2, |_, builder| peer(builder));
    let [here, there] = &cluster.peers[..] else { unreachable!() };
    let file = "readers_writers.py";
    for side in ["left", "right"] {
        there.call(json!({ "type": "SET_MEM", "key": format!("page-{side}"), "value": 0 }));
    }
    let mut readers = Vec::new();
    let mut writers = Vec::new();
    for runtime in PYTHONS {
        let args = json!(["page", 4, there.peer_id()]);
        readers.extend([here, there].map(|node| begin_example(node, runtime, file, "read", &args)));
        writers.extend([here, there].map(|node| begin_example(node, runtime, file, "write", &args)));
    }
    assert!(readers.into_iter().all(|reader| result(reader) == 0));
    assert!(writers.into_iter().all(|writer| result(writer) == 4));
    assert_eq!(json(there, "get-mem --key page-left")["value"], 16);
}
