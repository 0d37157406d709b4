//! A task that holds what is on another peer, and dies there, or with its peer.

use super::deaths::{HOLDER, Waiters, kill};
use super::{begin_task, complete, json, living};
use potluck_tests::{Cluster, Gate, TestNode, wait_for};

/// Two peers with one slot each, which soon notice that one of them is gone.
fn two() -> Cluster {
    let tracker = TestNode::tracker().plugins("[plugins.tracker]\nheartbeat_seconds = 0.2\ndead_after_seconds = 2.0\n");
    let configure =
        |_, builder: potluck_tests::NodeBuilder| complete(builder.node("heartbeat_seconds = 0.2").cpu("workers = 1"));
    Cluster::start_under(tracker, 2, configure)
}

#[test]
fn what_is_held_here_is_given_back_when_its_worker_there_is_killed() {
    let cluster = two();
    let [here, there] = &cluster.peers[..] else { unreachable!() };
    Waiters::expect(here);
    let holder = begin_task(there, "holder", "python", HOLDER, here.peer_id());
    let waiters = Waiters::begin(here);
    kill(u32::try_from(json(here, "get-mem --key holder")["value"].as_u64().unwrap()).unwrap());
    waiters.get_all(here);
    let ended = holder.join().unwrap();
    assert!(ended.status == 1 && ended.stdout.contains("worker_died"), "{ended:?}");
    wait_for("no process to be left", || living(there).is_empty());
}

#[test]
fn what_is_held_here_is_given_back_when_a_whole_peer_is_killed() {
    let mut cluster = two();
    Waiters::expect(&cluster.peers[0]);
    let holder = begin_task(&cluster.peers[1], "holder", "python", HOLDER, cluster.peers[0].peer_id());
    let waiters = Waiters::begin(&cluster.peers[0]);
    cluster.peers[1].kill9();
    waiters.get_all(&cluster.peers[0]);
    assert_eq!(holder.join().unwrap().status, 1);
}

#[test]
fn a_task_of_this_node_that_dies_with_another_peer_gives_back_what_it_held_here() {
    let mut cluster = two();
    let here = &cluster.peers[0];
    Waiters::expect(here);
    // The slot here is taken, so the task runs there.
    let gate = Gate::new(here);
    let mut busy = here.wire();
    busy.send(gate.task());
    here.wait_for_tasks(1, 0);
    let holder = begin_task(here, "holder", "python", HOLDER, here.peer_id());
    let waiters = Waiters::begin(here);
    cluster.peers[1].kill9();
    let here = &cluster.peers[0];
    waiters.get_all(here);
    let ended = holder.join().unwrap();
    assert!(ended.status == 1 && ended.stdout.contains("peer_lost"), "{ended:?}");
    gate.open();
    busy.read();
    wait_for("no process to be left", || living(here).is_empty());
}
