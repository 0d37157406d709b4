//! Attacks on the operating system of a node: members, tasks and clients that speak for others, poison the cache, or flood.

use potluck_tests::{Cluster, NodeBuilder, TestNode, task, wait_for, with};
use serde_json::{Value, json};

const PLUGINS: [&str; 8] = ["process", "ipc", "memory-manager", "deadlock", "cache", "quota", "history", "disk"];

fn full(mut builder: NodeBuilder) -> NodeBuilder {
    for plugin in PLUGINS {
        builder = builder.plugin(plugin, "");
    }
    builder
}

fn two() -> Cluster {
    Cluster::start_with(2, |_, builder| full(builder.cpu("workers = 2")))
}

#[track_caller]
fn ok(node: &TestNode, message: Value) -> Value {
    let reply = node.call(&message);
    assert_ne!(reply["type"], "ERROR", "{message}: {reply}");
    reply
}

/// Sends a message to a node as another member of its pool.
fn call_as(member: &TestNode, node: &TestNode, message: Value) -> Value {
    member.call(with(message, json!({ "to": node.peer_id() })))
}

fn permits(node: &TestNode, name: &str) -> Value {
    ok(node, json!({ "type": "LIST_SEMAPHORES", "prefix": name }))["semaphores"][0]["value"].clone()
}

#[test]
fn a_task_that_works_for_another_node_gives_back_what_it_holds_here() {
    let cluster = two();
    let (member, node) = (&cluster.peers[0], &cluster.peers[1]);
    ok(node, json!({ "type": "CREATE_SEMAPHORE", "sem_id": "m" }));
    let holds = "
import potluck
def main():
    potluck.call('SEMAPHORE_WAIT', sem_id='m')
    potluck.call('ALLOCATE_MEMORY', size=4096)
    while True:
        pass
";
    for ending in ["cancel", "kill"] {
        let mut wire = member.wire();
        wire.send(with(task(holds, json!([])), json!({ "task_id": "holder", "to": node.peer_id() })));
        wait_for("the semaphore to be held", || permits(node, "m") == 0);
        let blocks = || node.call(json!({ "type": "MEMORY_MAP" }))["fragmentation"]["allocated_memory"].clone();
        wait_for("the memory to be held", || blocks() != 0);
        if ending == "cancel" {
            ok(member, json!({ "type": "CANCEL_TASK", "task_id": "holder", "to": node.peer_id() }));
        } else {
            let running =
                || ok(node, json!({ "type": "LIST_PROCESSES", "state": "RUNNING" }))["processes"][0]["pid"].clone();
            wait_for("the process to run", || !running().is_null());
            ok(node, json!({ "type": "TERMINATE_PROCESS", "pid": running() }));
        }
        assert_eq!(wire.read()["code"], "cancelled");
        wait_for("the permit to come back", || permits(node, "m") == 1);
        wait_for("the memory to come back", || blocks() == 0);
    }
}

#[test]
fn what_one_submitter_was_told_is_no_result_of_anothers_task() {
    let cluster = two();
    let (member, node) = (&cluster.peers[0], &cluster.peers[1]);
    ok(node, json!({ "type": "SET_MEM", "key": "k", "value": "first" }));
    let program = "import potluck\ndef main(): return [potluck.get('k'), potluck.call('TASK_SELF')['submitter']]";
    let asked = with(task(program, json!([])), json!({ "runtime": "sandbox", "cache": true }));
    let own = node.call(&asked);
    assert_eq!(own["result"], json!(["first", node.peer_id()]), "{own:#}");
    for cache in [json!(true), json!("auto")] {
        let theirs = call_as(member, node, with(asked.clone(), json!({ "cache": cache })));
        assert_eq!(theirs["result"], json!(["first", member.peer_id()]), "{theirs:#}");
    }
    // Who one is is no argument either.
    let program = "import potluck\ndef main(): return potluck.call('TASK_SELF')['submitter']";
    let asked = with(task(program, json!([])), json!({ "runtime": "sandbox" }));
    for (submitter, reply) in [(node, node.call(&asked)), (member, call_as(member, node, asked.clone()))] {
        assert_eq!(reply["result"], submitter.peer_id(), "{reply:#}");
    }
}

#[test]
fn a_run_with_other_limits_is_another_run() {
    let node = full(TestNode::peer()).start();
    let program = "
def main():
    try:
        return len(bytearray(600_000_000))
    except MemoryError:
        return 'too little'
";
    let asked = with(task(program, json!([])), json!({ "runtime": "sandbox" }));
    let little = node.call(with(asked.clone(), json!({ "memory_limit_bytes": 200_000_000 })));
    let much = node.call(asked);
    assert_eq!(
        (&little["result"], &much["result"]),
        (&json!("too little"), &json!(600_000_000)),
        "{little:#} {much:#}"
    );
}

#[test]
fn a_member_acts_for_none_but_its_own_processes() {
    let cluster = two();
    let (member, node) = (&cluster.peers[0], &cluster.peers[1]);
    let pid = ok(node, json!({ "type": "CREATE_PROCESS", "name": "the user's" }))["pid"].clone();
    ok(node, json!({ "type": "CREATE_SEMAPHORE", "sem_id": "m" }));
    ok(node, json!({ "type": "SEMAPHORE_WAIT", "sem_id": "m", "process_id": pid }));
    let block = ok(node, json!({ "type": "ALLOCATE_MEMORY", "pid": pid, "size": 100 }))["address"].clone();
    ok(node, json!({ "type": "REGISTER_RESOURCE", "resource_id": "r", "resource_type": "OTHER", "total_units": 2 }));
    ok(node, json!({ "type": "REGISTER_PROCESS", "pid": pid, "max_need": { "r": 2 } }));
    ok(node, json!({ "type": "REQUEST_RESOURCE", "pid": pid, "resource_id": "r", "units": 2 }));
    for behalf in [
        Value::Null,
        json!("task"),
        json!(format!("task:{}", pid.as_str().unwrap())),
        json!(format!("task:{}@{}", pid.as_str().unwrap(), node.peer_id())),
    ] {
        for message in [
            json!({ "type": "TERMINATE_PROCESS", "pid": pid }),
            json!({ "type": "SIGNAL_PROCESS", "pid": pid, "signal": "kill", "tree": true }),
            json!({ "type": "SET_PRIORITY", "pid": pid, "priority": 9 }),
            json!({ "type": "SET_PROCESS_STATE", "pid": pid, "state": "TERMINATED" }),
            json!({ "type": "WAIT_PROCESS", "pid": pid, "timeout": 0 }),
            json!({ "type": "PROCESS_INFO", "pid": pid }),
            json!({ "type": "CREATE_PROCESS", "parent_pid": pid }),
            json!({ "type": "READ_BLOCK", "pid": pid, "address": block }),
            json!({ "type": "WRITE_BLOCK", "pid": pid, "address": block, "data": "////" }),
            json!({ "type": "DEALLOCATE_MEMORY", "pid": pid }),
            json!({ "type": "RELEASE_RESOURCE", "pid": pid, "resource_id": "r" }),
            json!({ "type": "UNREGISTER_PROCESS", "pid": pid }),
            json!({ "type": "CANCEL_WAITS", "process_id": pid, "code": "x", "reason": "x" }),
            json!({ "type": "PROCESS_CHANGES", "changes": [{ "change": "ended", "pid": pid, "unix_ms": 0 }] }),
            json!({ "type": "RECORD_TASKS", "batch": "b", "records": [] }),
            json!({ "type": "CACHE_PUT", "key": "k", "value": 1 }),
            json!({ "type": "CACHE_GET", "key": "k" }),
            json!({ "type": "QUOTA_TAKE", "resource": "cpu_tasks", "caller": "local", "caller_id": "", "amount": 1 }),
            json!({ "type": "SIGNAL_TASK", "pid": pid, "signal": "kill" }),
            json!({ "type": "SET_SCHEDULER", "algorithm": "FCFS" }),
            json!({ "type": "COMPARE_SCHEDULERS", "workload": "mixed" }),
            json!({ "type": "SET_ALLOCATOR", "algorithm": "BUDDY" }),
            json!({ "type": "RESOLVE_DEADLOCK" }),
            json!({ "type": "HISTORY_CLEAR" }),
            json!({ "type": "CACHE_CLEAR" }),
            json!({ "type": "PROCESS_ENDED", "pid": "*", "reason": "x" }),
            json!({ "type": "PROCESS_ENDED", "pid": format!("{}@{}", pid.as_str().unwrap(), node.peer_id()), "reason": "x" }),
        ] {
            let message = with(message, json!({ "behalf": behalf }));
            let reply = call_as(member, node, message.clone());
            let is_harmless = message["type"] == "PROCESS_ENDED" && message["pid"] == "*";
            assert!(reply["type"] == "ERROR" || is_harmless, "{message}: {reply:#}");
        }
    }
    call_as(member, node, json!({ "type": "PROCESS_ENDED", "pid": pid, "reason": "x" }));
    let process = ok(node, json!({ "type": "PROCESS_INFO", "pid": pid }))["process"].clone();
    assert_eq!((&process["state"], &process["priority"]), (&json!("NEW"), &json!(0)), "{process:#}");
    assert_eq!(permits(node, "m"), 0);
    let data = ok(node, json!({ "type": "READ_BLOCK", "pid": pid, "address": block, "length": 3 }))["data"].clone();
    assert_eq!(data, "AAAA", "the member wrote nothing: it is zeros, {data}");
    node.check_serving();
}
