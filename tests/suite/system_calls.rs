//! What running tasks ask of their node: `import potluck` in both Pythons, and guests that call it.

mod examples;
mod guests;
mod map;
mod misuse;

use potluck_tests::{NodeBuilder, TestNode, task, wait_for_some, with};
use serde_json::{Value, json};

/// Both have the module.
const PYTHONS: [&str; 2] = ["python", "sandbox"];

/// A peer with everything that tasks may call.
fn peer() -> NodeBuilder {
    with_plugins(TestNode::peer())
}

fn with_plugins(mut builder: NodeBuilder) -> NodeBuilder {
    for plugin in ["process", "ipc", "disk", "memory-manager", "deadlock"] {
        builder = builder.plugin(plugin, "");
    }
    builder
}

/// A CPU_TASK whose program begins with the import; never answered from a cache.
fn calling(runtime: &str, program: &str, args: Value) -> Value {
    let members = json!({ "runtime": runtime, "cache": false });
    with(task(&format!("import potluck\n{program}"), args), members)
}

/// Runs `main` of a program and returns what it returned.
#[track_caller]
fn run(node: &TestNode, runtime: &str, program: &str, args: Value) -> Value {
    let mut reply = node.call(calling(runtime, program, args));
    assert_eq!((&reply["error"], &reply["runtime"]), (&Value::Null, &json!(runtime)), "{reply:#}");
    reply["result"].take()
}

/// Sends a task, and leaves it running.
fn begin(node: &TestNode, runtime: &str, program: &str, args: Value) -> potluck_tests::Wire {
    let mut wire = node.wire();
    wire.send(calling(runtime, program, args));
    wire
}

#[track_caller]
fn result(mut wire: potluck_tests::Wire) -> Value {
    let mut reply = wire.read();
    assert_eq!(reply["error"], Value::Null, "{reply:#}");
    reply["result"].take()
}

#[track_caller]
fn ok(node: &TestNode, message: Value) -> Value {
    let reply = node.call(&message);
    assert_ne!(reply["type"], "ERROR", "{message} was answered with {reply}");
    reply
}

/// Waits until so many wait for a semaphore.
fn wait_for_waiters(node: &TestNode, name: &str, count: u64) {
    wait_for_some(&format!("{count} to wait for {name}"), || {
        let list = node.call(json!({ "type": "LIST_SEMAPHORES", "prefix": name }));
        list["semaphores"].as_array()?.iter().find(|one| one["sem_id"] == name && one["waiting"] == count).map(|_| ())
    });
}

#[test]
fn values_are_shared_and_changed_without_losing_a_change() {
    let node = peer().start();
    for runtime in PYTHONS {
        ok(&node, json!({ "type": "SET_MEM", "key": "outside", "value": { "a": [1, null] } }));
        let program = "def main(name):
    key = name + '-value'
    first = potluck.set(key, [1])
    steps = [
        potluck.get('outside'), potluck.get('missing', 7),
        potluck.cas(key, [1], [2]), potluck.cas(key, [1], [3]),
        potluck.cas(key, first, [4]), potluck.entry(key).version > first,
        potluck.cas(name + '-new', potluck.MISSING, 1), potluck.cas(name + '-new', potluck.MISSING, 2),
        potluck.get(key), potluck.keys(name),
        potluck.update(name + '-count', lambda count: count + 1, 0),
        potluck.delete(key), potluck.delete(key), potluck.entry(key).found,
    ]
    potluck.set(key, 'soon gone', ttl=1000)
    return steps + [potluck.entry(key).expires_in > 900]
";
        let (value, new) = (format!("{runtime}-value"), format!("{runtime}-new"));
        assert_eq!(
            run(&node, runtime, program, json!([runtime])),
            json!([
                { "a": [1, null] }, 7, true, false, false, true, true, false, [2], [new, value], 1, true, false, false,
                true
            ]),
        );
        let add = "def main(key):\n    for _ in range(10):\n        potluck.update(key, lambda count: count + 1, 0)\n";
        let key = format!("{runtime}-sum");
        let adding: Vec<_> = (0..4).map(|_| begin(&node, runtime, add, json!([key]))).collect();
        adding.into_iter().for_each(|wire| drop(result(wire)));
        assert_eq!(node.call(json!({ "type": "GET_MEM", "key": key }))["value"], 40);
    }
}

#[test]
fn a_task_waits_until_a_value_changes() {
    let node = peer().start();
    for runtime in PYTHONS {
        let key = format!("{runtime}-watched");
        let program = "def main(key):
    before = potluck.entry(key)
    potluck.set(key + '-waits', True)
    after = potluck.watch(key, before.version)
    try:
        potluck.watch(key, timeout=0.05)
    except potluck.TimedOut as error:
        return [before.found, after.value, error.code]
";
        let waiting = begin(&node, runtime, program, json!([key]));
        wait_for_some("the task to wait", || {
            let flag = node.call(json!({ "type": "GET_MEM", "key": format!("{key}-waits") }));
            (flag["value"] == true).then_some(())
        });
        ok(&node, json!({ "type": "SET_MEM", "key": key, "value": "new" }));
        assert_eq!(result(waiting), json!([false, "new", "timeout"]));
    }
}

#[test]
fn queues_carry_values_between_tasks_and_clients() {
    let node = peer().start();
    for runtime in PYTHONS {
        let name = format!("{runtime}-queue");
        let program = "def main(name):
    jobs = potluck.queue(name, 2)
    before = jobs.peek()
    jobs.send({'n': 1})
    jobs.send([2])
    problems = []
    for attempt in (lambda: jobs.send(3, timeout=0), lambda: potluck.queue(name + '-empty').receive(timeout=0)):
        try:
            attempt()
        except potluck.TimedOut as error:
            problems.append(error.code)
    seen = jobs.peek()
    return [before, seen.data, seen.sender == potluck.me().pid, jobs.receive(), problems]
";
        let expected = json!([null, { "n": 1 }, true, { "n": 1 }, ["queue_full", "no_message"]]);
        assert_eq!(run(&node, runtime, program, json!([name])), expected);
        let message = json!({ "type": "RECEIVE_MESSAGE", "queue_id": name, "receiver": "client-1", "timeout": 5 });
        assert_eq!(ok(&node, message)["data"], json!([2]));
        let receive = "def main(name):\n    return potluck.queue(name).receive()\n";
        let receiving = begin(&node, runtime, receive, json!([name]));
        let send =
            json!({ "type": "SEND_MESSAGE", "queue_id": name, "sender": "client-1", "receiver": "?", "data": "x" });
        ok(&node, send);
        assert_eq!(result(receiving), "x");
    }
}

#[test]
fn semaphores_let_one_in_at_a_time_and_are_given_back_when_their_holder_ends() {
    let node = peer().start();
    for runtime in PYTHONS {
        let name = format!("{runtime}-door");
        let program = "def main(name, rounds):
    door = potluck.lock(name)
    for _ in range(rounds):
        with door:
            inside = potluck.get(name, 0)
            potluck.set(name, inside + 1)
    return door.acquire(timeout=5)
";
        // Each ends while it holds it.
        let tasks: Vec<_> = (0..3).map(|_| begin(&node, runtime, program, json!([name, 5]))).collect();
        assert!(tasks.into_iter().all(|wire| result(wire) == true));
        assert_eq!(node.call(json!({ "type": "GET_MEM", "key": name }))["value"], 15);

        let wait = json!({ "type": "SEMAPHORE_WAIT", "sem_id": name, "process_id": "client-1", "timeout": 5 });
        assert_eq!(ok(&node, wait)["status"], "OK");
        let blocked = "def main(name): return potluck.lock(name).acquire(timeout=0)\n";
        assert_eq!(run(&node, runtime, blocked, json!([name])), false);
        let waiting =
            begin(&node, runtime, "def main(name):\n    with potluck.lock(name): return 'in'\n", json!([name]));
        wait_for_waiters(&node, &name, 1);
        ok(&node, json!({ "type": "SEMAPHORE_SIGNAL", "sem_id": name, "process_id": "client-1" }));
        assert_eq!(result(waiting), "in");
    }
}

#[test]
fn tasks_start_tasks_and_get_their_results() {
    // One place is for the child that never ends.
    let node = peer().cpu("workers = 2").start();
    for runtime in PYTHONS {
        let program = "def square(x): return x * x
def fail(): raise KeyError('no such thing')
def forever():
    while True: pass
def main():
    child = potluck.spawn(square, 12)
    both = [child.result(), potluck.map(square, range(5))]
    other = potluck.spawn('def twice(x): return 2 * x', 'ab', function='twice').result()
    try:
        potluck.spawn(fail).result()
    except potluck.TaskFailed as error:
        both += [other, error.code, error.error_type, 'no such thing' in error.traceback]
    for wrong in (len, lambda: 1):
        try:
            potluck.spawn(wrong)
        except ValueError as error:
            both.append('at the top' in str(error))
    endless = potluck.spawn(forever, timeout=60)
    try:
        endless.result(timeout=0.05)
    except potluck.TimedOut as error:
        both.append(error.code)
    endless.cancel()
    try:
        endless.result()
    except potluck.TaskFailed as error:
        both.append(error.code)
    return both
";
        let expected =
            json!([144, [0, 1, 4, 9, 16], "abab", "task_failed", "KeyError", true, true, true, "timeout", "cancelled"]);
        assert_eq!(run(&node, runtime, program, json!([])), expected);
    }
    node.check_serving();
}

#[test]
fn a_task_knows_who_it_is_and_tells_how_far_it_is() {
    let node = peer().start();
    let mut watcher = node.wire();
    for runtime in PYTHONS {
        let program = "def main():
    for step in range(1, 3):
        potluck.progress(step / 2, f'step {step}')
    return potluck.me()
";
        let watch = json!({ "type": "WATCH_EVENTS", "topics": ["task.progress"], "after": 0 });
        let message = with(calling(runtime, program, json!([])), json!({ "task_id": runtime, "priority": 3 }));
        let facts = node.call(message)["result"].take();
        let pid = facts["pid"].as_str().unwrap();
        assert!(pid.starts_with('P'), "{facts}");
        assert_eq!(
            [&facts["task_id"], &facts["node"], &facts["executed_by"], &facts["priority"], &facts["parent_pid"]],
            [&json!(runtime), &json!(node.peer_id()), &json!(node.address()), &json!(3), &Value::Null],
        );
        let events = wait_for_some("two events", || {
            let events = watcher.call(&watch)["events"].take();
            let all = events.as_array()?.iter().map(|event| event["body"].clone());
            let own: Vec<Value> = all.filter(|body| body["task_id"] == runtime).collect();
            (own.len() == 2).then_some(own)
        });
        for (event, (fraction, text)) in events.iter().zip([(0.5, "step 1"), (1.0, "step 2")]) {
            assert_eq!([&event["pid"], &event["text"]], [&facts["pid"], &json!(text)], "{event}");
            assert_eq!(event["fraction"].as_f64(), Some(fraction), "{event}");
        }
    }
}

#[test]
fn files_of_the_node_are_read_and_written_within_the_rules() {
    let node = peer().start();
    for runtime in PYTHONS {
        let name = format!("{runtime}.bin");
        let program = "def main(name):
    data = bytes(range(256)) * 1000
    potluck.write_file(name, data)
    same = potluck.read_file(name) == data
    listed = [file['filename'] for file in potluck.list_files(name)]
    potluck.write_file(name + '.txt', 'héllo')
    gone = potluck.delete_file(name + '.txt')
    try:
        potluck.read_file(name + '.txt')
    except potluck.NotFound as error:
        return [same, listed, gone, error.code]
";
        assert_eq!(run(&node, runtime, program, json!([name])), json!([true, [name], true, "file_not_found"]));
    }
}

#[test]
fn blocks_of_the_arena_belong_to_their_task_and_go_with_it() {
    let node = peer().start();
    for runtime in PYTHONS {
        let program = "def main():
    left = potluck.allocate(100)
    with potluck.allocate(5 << 20) as block:
        block.write(b'hello', 3)
        large = bytes(range(250)) * (5 << 12)
        block.write(large, 10)
        same = block.read(10, len(large)) == large
        text = block.read(2, 7)
    try:
        block.read()
    except potluck.NotFound as error:
        return [len(left), same, text.hex(), error.code]
";
        let expected = json!([100, true, format!("00{}00", "68656c6c6f"), "block_not_found"]);
        assert_eq!(run(&node, runtime, program, json!([])), expected);
    }
    wait_for_some("the blocks to come back", || {
        let map = ok(&node, json!({ "type": "MEMORY_MAP" }));
        (map["fragmentation"]["allocated_memory"] == 0).then_some(())
    });
}

#[test]
fn what_a_task_hears_from_the_node_makes_its_result_depend_on_more_than_its_arguments() {
    let node = peer().start();
    let reply = node.call(calling("sandbox", "def main(): return 1", json!([])));
    assert_eq!(reply["deterministic"], true, "the import alone changes nothing: {reply:#}");
    let reply = node.call(calling("sandbox", "def main(): return potluck.get('a')", json!([])));
    assert_eq!(reply["deterministic"], false, "{reply:#}");
}
