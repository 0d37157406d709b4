//! Guests and sandboxed programs that run on another peer.

use super::{ECHO, WORLD, assert_failed, assert_ran, call, guest_task, wasm};
use potluck_tests::{Cluster, NodeBuilder, TestNode, Wire, sandboxed, task, wait_for, with};
use serde_json::{Value, json};
use std::fs;

/// Two peers, the first of which is occupied, so that its tasks go to the second.
fn near_and_far(configure: impl Fn(usize, NodeBuilder) -> NodeBuilder) -> (Cluster, Wire) {
    let cluster = Cluster::start_with(2, |number, builder| configure(number, builder.cpu("workers = 1")));
    let [near, far] = [&cluster.peers[0], &cluster.peers[1]];
    wait_for("the peers to know each other's workers", || {
        let entries = near.call(json!({ "type": "LIST_PEERS" }))["peers"].take();
        let mut entries = entries.as_array().unwrap().iter();
        entries.any(|entry| entry["port"] == far.port() && entry["workers"] == 1)
    });
    let mut wire = near.wire();
    let stays = json!({ "source_peer": "127.0.0.1:1", "timeout": 3600, "estimated_time": 3600 });
    wire.send(with(task("import time\ndef main(): time.sleep(3600)", json!([])), stays));
    near.wait_for_tasks(1, 0);
    (cluster, wire)
}

fn kept(node: &TestNode) -> usize {
    fs::read_dir(node.provider_dir("cpu").join("modules")).unwrap().count()
}

fn assert_ran_on(node: &TestNode, reply: &Value, result: &Value) {
    assert_ran(reply, result);
    assert_eq!(reply["executed_by"], node.address(), "{reply:#}");
}

#[test]
fn a_peer_that_runs_a_guest_gets_it_by_itself() {
    let (cluster, _occupied) = near_and_far(|_, builder| builder);
    let [near, far] = [&cluster.peers[0], &cluster.peers[1]];
    assert_eq!(kept(far), 0);
    let first = call(near, &wasm(ECHO), json!([1, "é"]), json!({ "task_id": "mine" }));
    assert_ran_on(far, &first, &json!([1, "é"]));
    assert_eq!(
        (&first["task_id"], &first["attempts"], &first["deterministic"]),
        (&json!("mine"), &json!(1), &json!(true))
    );
    assert_eq!((kept(near), kept(far)), (1, 1));
    // By name: the far one has it now.
    let by_name = json!({ "module_sha256": first["module_sha256"] });
    let second = near.call(with(guest_task(json!([2])), by_name.clone()));
    assert_ran_on(far, &second, &json!([2]));
    assert_eq!(second["module_sha256"], first["module_sha256"]);
    // One that the far peer has lost meanwhile is sent again.
    let reply = call(near, &wasm(WORLD), json!(["why"]), json!({ "function": "fail" }));
    assert_failed(&reply, "task_failed", "why");
    assert_eq!(reply["executed_by"], far.address(), "{reply:#}");
    let batch = json!({ "type": "BATCH_TASK", "tasks": [
        with(guest_task(json!([3])), by_name), { "runtime": "wasm", "args": [4] },
    ] });
    let reply = near.call_with(batch, &wasm(WORLD)).value();
    assert_ran_on(far, &reply["results"][0], &json!([3]));
    assert_ran_on(far, &reply["results"][1], &json!([4]));
}

#[test]
fn a_guest_that_a_peer_has_forgotten_is_sent_to_it_again() {
    let (mut cluster, _occupied) = near_and_far(|_, builder| builder);
    let first = call(&cluster.peers[0], &wasm(ECHO), json!([1]), json!({}));
    assert_ran_on(&cluster.peers[1], &first, &json!([1]));
    assert!(cluster.peers[1].stop().success());
    fs::remove_dir_all(cluster.peers[1].provider_dir("cpu").join("modules")).unwrap();
    cluster.peers[1].restart();
    cluster.wait_until_complete();
    let [near, far] = [&cluster.peers[0], &cluster.peers[1]];
    let by_name = with(guest_task(json!([2])), json!({ "module_sha256": first["module_sha256"], "timeout": 60 }));
    wait_for("the task to be placed on the far peer", || {
        let reply = near.call(with(by_name.clone(), json!({ "timeout": 2 })));
        if reply["code"] == "timeout" {
            return false;
        }
        assert_ran_on(far, &reply, &json!([2]));
        true
    });
    assert_eq!(kept(far), 1);
}

#[test]
fn a_guest_at_a_peer_can_be_cancelled() {
    let (cluster, _occupied) = near_and_far(|_, builder| builder);
    let [near, far] = [&cluster.peers[0], &cluster.peers[1]];
    let guest = wasm(WORLD);
    let mut wire = near.wire();
    let members = json!({ "task_id": "distant", "timeout": 600, "function": "loop", "attachment": guest.len() });
    wire.send_with(with(guest_task(json!([])), members), &guest);
    far.wait_for_tasks(1, 0);
    assert_eq!(near.call(json!({ "type": "CANCEL_TASK", "task_id": "distant" }))["status"], "CANCELLED");
    assert_failed(&wire.read(), "cancelled", "");
    far.wait_for_tasks(0, 0);
}

#[test]
fn a_guest_goes_with_a_message_that_names_its_peer() {
    let cluster = Cluster::start(2);
    let [near, far] = [&cluster.peers[0], &cluster.peers[1]];
    let reply = call(near, &wasm(ECHO), json!([1]), json!({ "to": far.peer_id() }));
    assert_ran_on(far, &reply, &json!([1]));
    assert_eq!((kept(near), kept(far)), (0, 1));
}

#[test]
fn a_sandboxed_program_runs_sandboxed_on_another_peer() {
    let (cluster, _occupied) = near_and_far(|_, builder| builder);
    let [near, far] = [&cluster.peers[0], &cluster.peers[1]];
    let program = "import sys\ndef main(x):\n    print('out')\n    return [sys.platform, x]";
    let reply = near.call(sandboxed(program, json!(["é"])));
    assert_eq!((&reply["result"], &reply["runtime"]), (&json!(["wasi", "é"]), &json!("sandbox")), "{reply:#}");
    assert_eq!((&reply["executed_by"], &reply["deterministic"]), (&json!(far.address()), &json!(true)), "{reply:#}");
    assert_eq!(reply["stdout"], "out\n");
    let reply = near.call(sandboxed("import time\ndef main(): return time.time()", json!([])));
    assert_eq!((&reply["executed_by"], &reply["deterministic"]), (&json!(far.address()), &json!(false)), "{reply:#}");
}

#[test]
fn equal_monte_carlo_tasks_on_different_peers_draw_different_numbers() {
    let cluster = Cluster::start(2);
    let program = "import random\ndef main(): return [random.random() for _ in range(4)]";
    let [one, other] = [0, 1].map(|peer: usize| {
        let members = json!({ "confidential": true });
        let reply = cluster.peers[peer].call(with(sandboxed(program, json!([])), members));
        assert_eq!(reply["executed_by"], cluster.peers[peer].address(), "{reply:#}");
        reply["result"].clone()
    });
    assert_ne!(one, other);
}

#[test]
fn a_peer_whose_owner_wants_it_so_runs_the_work_of_others_in_the_sandbox() {
    let remote_runtime = |number, builder: NodeBuilder| match number {
        1 => builder.cpu("remote_runtime = \"sandbox\""),
        _ => builder,
    };
    let (cluster, _occupied) = near_and_far(remote_runtime);
    let [near, far] = [&cluster.peers[0], &cluster.peers[1]];
    let program = "import sys\ndef main(): return sys.platform";
    let reply = near.call(task(program, json!([])));
    assert_eq!(reply["executed_by"], far.address(), "{reply:#}");
    assert_eq!((&reply["result"], &reply["runtime"]), (&json!("wasi"), &json!("sandbox")), "{reply:#}");
    // What the owner's own user sends runs as it says.
    assert_eq!(far.run(program, json!([])), "linux");
    let claims = far.call(with(task(program, json!([])), json!({ "source_peer": "127.0.0.1:9", "runtime": "python" })));
    assert_eq!((&claims["result"], &claims["runtime"]), (&json!("wasi"), &json!("sandbox")), "{claims:#}");
}
