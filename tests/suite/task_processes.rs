//! Tasks as processes: what the table shows of them, what is done to them through it, the tasks that they begin, and what
//! the providers of results, limits and history have to do with each.

use potluck_tests::{Cluster, TestNode, Wire, task, wait_for, wait_for_some, with};
use serde_json::{Value, json};

/// Never ends.
const ENDLESS: &str = "def main():\n    while True:\n        pass\n";
/// Waits for a semaphore that nobody signals.
const WAITS: &str = "
import potluck
def main(name):
    potluck.call('SEMAPHORE_WAIT', sem_id=name)
    return 'granted'
";
/// Begins an endless task, and waits for it.
const PARENT: &str = "
import potluck
CHILD = '''
def main():
    while True:
        pass
'''
def main():
    child = potluck.call('TASK_SPAWN', task={'program': CHILD, 'task_id': 'child'})['child']
    return potluck.call('TASK_JOIN', child=child)
";

fn node() -> TestNode {
    with_processes(TestNode::peer().cpu("workers = 2")).start()
}

fn with_processes(builder: potluck_tests::NodeBuilder) -> potluck_tests::NodeBuilder {
    builder.plugin("process", "").plugin("ipc", "")
}

fn begin(node: &TestNode, message: Value) -> Wire {
    let mut wire = node.wire();
    wire.send(message);
    wire
}

fn processes(node: &TestNode) -> Vec<Value> {
    let list = node.call(json!({ "type": "LIST_PROCESSES", "limit": 1000 }));
    list["processes"].as_array().unwrap_or_else(|| panic!("{list:#}")).clone()
}

fn process(node: &TestNode, task_id: &str) -> Option<Value> {
    processes(node).into_iter().find(|process| process["task_id"] == task_id)
}

/// Waits until the process of a task is in a state, and tells all that is known of it.
fn wait_for_state(node: &TestNode, task_id: &str, state: &str) -> Value {
    wait_for_some(&format!("{task_id} to be {state}"), || {
        process(node, task_id).filter(|found| found["state"] == state)
    })
}

fn signal(node: &TestNode, pid: &Value, signal: &str) {
    let reply = node.call(json!({ "type": "SIGNAL_PROCESS", "pid": pid, "signal": signal }));
    assert_eq!(reply["status"], "OK", "{reply:#}");
}

fn named(message: Value, task_id: &str) -> Value {
    with(message, json!({ "task_id": task_id }))
}

#[test]
fn every_task_is_a_process_from_its_beginning_to_its_end() {
    let node = node();
    let result = node.call(named(task("def main(): return 7", json!([])), "short"));
    assert_eq!(result["result"], 7, "{result:#}");
    let pid = result["pid"].as_str().unwrap().to_owned();
    let ended = wait_for_some("the process to have ended", || {
        process(&node, "short").filter(|found| found.get("exit").is_some())
    });
    assert_eq!((&ended["pid"], &ended["exit"]["exit_code"]), (&json!(pid), &json!(0)), "{ended:#}");
    assert_eq!((&ended["function"], &ended["runtime"]), (&json!("main"), &json!("python")), "{ended:#}");
    assert_eq!(ended["requested_by"], "local", "{ended:#}");

    let failed = node.call(named(task("def main(): return 1 / 0", json!([])), "fails"));
    let exit = wait_for_some("the failure to be known", || {
        process(&node, "fails").and_then(|found| found.get("exit").cloned())
    });
    assert_eq!((&exit["exit_code"], &exit["outcome"]), (&json!(1), &json!("task_failed")), "{exit:#} {failed:#}");
}

#[test]
fn what_a_task_does_is_its_state() {
    let node = node();
    let mut runs = begin(&node, named(task(ENDLESS, json!([])), "runs"));
    let created = node.call(json!({ "type": "CREATE_SEMAPHORE", "sem_id": "door", "initial_value": 0 }));
    assert_eq!(created["status"], "OK", "{created:#}");
    let mut waits = begin(&node, named(task(WAITS, json!(["door"])), "waits"));
    wait_for_state(&node, "runs", "RUNNING");
    let waiting = wait_for_state(&node, "waits", "WAITING");
    assert_eq!(waiting["reason"], "semaphore door", "{waiting:#}");
    // It holds no slot, so another one gets it.
    let mut second = begin(&node, named(task(ENDLESS, json!([])), "second"));
    wait_for_state(&node, "second", "RUNNING");
    let _third = begin(&node, named(task(ENDLESS, json!([])), "third"));
    wait_for_state(&node, "third", "READY");
    let second_pid = process(&node, "second").unwrap()["pid"].clone();
    signal(&node, &second_pid, "terminate");
    assert_eq!(second.read()["code"], "cancelled");
    node.call(json!({ "type": "SEMAPHORE_SIGNAL", "sem_id": "door", "process_id": "test" }));
    let runs_pid = process(&node, "runs").unwrap()["pid"].clone();
    signal(&node, &runs_pid, "kill");
    assert_eq!(runs.read()["code"], "cancelled");
    let result = waits.read();
    assert_eq!(result["result"], "granted", "{result:#}");
    let exits = wait_for_some("both to have ended", || {
        let exit = |task_id| process(&node, task_id)?.get("exit")?.get("exit_code").cloned();
        Some((exit("second")?, exit("runs")?))
    });
    assert_eq!(exits, (json!(143), json!(137)));
}

#[test]
fn a_paused_task_holds_no_slot_and_goes_on_when_it_is_resumed() {
    let node = with_processes(TestNode::peer().cpu("workers = 1")).start();
    let counts = "
import potluck
def main():
    import time
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        pass
    while potluck.call('GET_MEM', key='go').get('found') is not True:
        pass
    return 'done'
";
    let mut paused = begin(&node, named(task(counts, json!([])), "paused"));
    let pid = wait_for_state(&node, "paused", "RUNNING")["pid"].clone();
    signal(&node, &pid, "pause");
    let waiting = wait_for_state(&node, "paused", "WAITING");
    assert_eq!(waiting["reason"], "paused", "{waiting:#}");
    let meanwhile = node.call(task("def main(): return 'the slot is free'", json!([])));
    assert_eq!(meanwhile["result"], "the slot is free", "{meanwhile:#}");
    node.call(json!({ "type": "SET_MEM", "key": "go", "value": 1 }));
    signal(&node, &pid, "resume");
    let result = paused.read();
    assert_eq!(result["result"], "done", "{result:#}");
}

#[test]
fn a_parent_that_is_ended_ends_its_children() {
    let node = node();
    let mut parent = begin(&node, named(task(PARENT, json!([])), "parent"));
    let child = wait_for_state(&node, "child", "RUNNING");
    let waiting = wait_for_state(&node, "parent", "WAITING");
    assert_eq!(child["ppid"], waiting["pid"], "{child:#}");
    assert_eq!(waiting["reason"], format!("child {}", child["pid"].as_str().unwrap()), "{waiting:#}");
    let reply = node.call(json!({ "type": "TERMINATE_PROCESS", "pid": waiting["pid"] }));
    assert_eq!(reply["terminated"], 2, "{reply:#}");
    assert_eq!(parent.read()["code"], "cancelled");
    wait_for("the child to have ended", || {
        process(&node, "child").is_none_or(|found| found["exit"]["exit_code"] == 143)
    });
    node.wait_until("no task to run", |status| status["scheduler"]["stats"]["active_tasks"] == 0);
}

#[test]
fn a_time_out_of_a_parent_ends_its_children_too() {
    let node = node();
    let result = node.call(with(task(PARENT, json!([])), json!({ "task_id": "parent", "timeout": 1.5 })));
    assert_eq!(result["code"], "timeout", "{result:#}");
    node.wait_until("no task to run", |status| status["scheduler"]["stats"]["active_tasks"] == 0);
}

#[test]
fn a_task_has_the_results_of_its_children() {
    let node = node();
    let program = "
import potluck
CHILD = 'def main(n):\\n    print(n)\\n    return n * n'
def main():
    children = [potluck.call('TASK_SPAWN', task={'program': CHILD, 'args': [n]})['child'] for n in range(10)]
    results = [potluck.call('TASK_JOIN', child=child) for child in reversed(children)]
    codes = []
    for message in [
        {'child': children[0]},
        {'child': 'P1'},
        {},
    ]:
        try:
            potluck.call('TASK_JOIN', **message)
        except potluck.PotluckError as error:
            codes.append(error.code)
    return [result['result'] for result in results], results[0]['stdout'], codes
";
    let result = node.call(task(program, json!([])));
    let squares: Vec<u64> = (0..10).rev().map(|n| n * n).collect();
    let expected = json!([squares, "9\n", ["not_found", "not_found", "invalid_message"]]);
    assert_eq!(result["result"], expected, "{result:#}");
}

#[test]
fn a_wait_for_a_child_ends_when_its_time_is_over_and_the_child_goes_on() {
    let node = node();
    let program = "
import potluck
CHILD = '''
import potluck
def main():
    potluck.call('SEMAPHORE_WAIT', sem_id='go')
    return 'went'
'''
def main():
    child = potluck.call('TASK_SPAWN', task={'program': CHILD})['child']
    codes = []
    for timeout in (0, 0.1):
        try:
            potluck.call('TASK_JOIN', child=child, timeout=timeout)
        except potluck.PotluckError as error:
            codes.append(error.code)
    potluck.call('SEMAPHORE_SIGNAL', sem_id='go')
    return codes, potluck.call('TASK_JOIN', child=child)['result']
";
    node.call(json!({ "type": "CREATE_SEMAPHORE", "sem_id": "go", "initial_value": 0 }));
    let result = node.call(task(program, json!([])));
    assert_eq!(result["result"], json!([["timeout", "timeout"], "went"]), "{result:#}");
}

#[test]
fn what_is_sandboxed_begins_nothing_outside_of_the_sandbox() {
    let node = node();
    let program = "
import potluck
def main():
    try:
        potluck.call('TASK_SPAWN', task={'program': 'def main(): return 1', 'runtime': 'python'})
    except potluck.PotluckError as error:
        refused = error.code
    child = potluck.call('TASK_SPAWN', task={'program': 'def main(): return 1'})['child']
    return refused, potluck.call('TASK_JOIN', child=child)['runtime']
";
    let result = node.call(with(task(program, json!([])), json!({ "runtime": "sandbox" })));
    assert_eq!(result["result"], json!(["invalid_task", "sandbox"]), "{result:#}");
}

#[test]
fn a_task_that_is_ended_gives_back_what_it_holds_and_waits_for() {
    let node = node();
    node.call(json!({ "type": "CREATE_SEMAPHORE", "sem_id": "m", "initial_value": 1 }));
    let holds = "
import potluck
def main():
    potluck.call('SEMAPHORE_WAIT', sem_id='m')
    while True:
        pass
";
    let mut holder = begin(&node, named(task(holds, json!([])), "holder"));
    wait_for("the semaphore to be held", || {
        let list = node.call(json!({ "type": "LIST_SEMAPHORES" }));
        list["semaphores"][0]["value"] == 0
    });
    let mut waiter = begin(&node, named(task(WAITS, json!(["m"])), "waiter"));
    let mut other = begin(&node, named(task(WAITS, json!(["m"])), "other"));
    let pid = wait_for_state(&node, "waiter", "WAITING")["pid"].clone();
    wait_for_state(&node, "other", "WAITING");
    signal(&node, &pid, "kill");
    assert_eq!(waiter.read()["code"], "cancelled");
    let pid = process(&node, "holder").unwrap()["pid"].clone();
    signal(&node, &pid, "kill");
    assert_eq!(holder.read()["code"], "cancelled");
    let result = other.read();
    assert_eq!(result["result"], "granted", "{result:#}");
}

#[test]
fn a_task_says_who_it_is_and_how_far_it_is() {
    let node = node();
    let program = "
import potluck
def main():
    potluck.call('TASK_PROGRESS', fraction=0.25, text='a quarter')
    return potluck.call('TASK_SELF')
";
    let result = node.call(with(task(program, json!([])), json!({ "task_id": "me", "priority": 3 })));
    let facts = &result["result"];
    assert_eq!((&facts["task_id"], &facts["pid"], &facts["priority"]), (&json!("me"), &result["pid"], &json!(3)));
    assert_eq!((&facts["node"], &facts["submitter"]), (&json!(node.peer_id()), &json!(node.peer_id())));
    let events = node.call(json!({ "type": "WATCH_EVENTS", "topics": ["task.progress"], "after": 0 }));
    let body = &events["events"][0]["body"];
    assert_eq!((&body["task_id"], &body["fraction"], &body["text"]), (&json!("me"), &json!(0.25), &json!("a quarter")));
}

#[test]
fn without_the_other_providers_tasks_run_as_ever() {
    let node = TestNode::peer().start();
    let program = "
import potluck
def main():
    potluck.call('SET_MEM', key='k', value=1)
    child = potluck.call('TASK_SPAWN', task={'program': 'def main(): return 2'})['child']
    return potluck.call('GET_MEM', key='k')['value'], potluck.call('TASK_JOIN', child=child)['result']
";
    let result = node.call(task(program, json!([])));
    assert_eq!((&result["result"], result.get("pid")), (&json!([1, 2]), None), "{result:#}");
}

#[test]
fn an_equal_run_in_the_sandbox_is_the_earlier_one() {
    let node = TestNode::peer().plugin("cache", "").plugin("history", "").start();
    let square =
        with(task("def main(n):\n    print('ran')\n    return n * n", json!([12])), json!({ "runtime": "sandbox" }));
    let first = node.call(square.clone());
    assert_eq!((&first["result"], &first["cached"]), (&json!(144), &json!(false)), "{first:#}");
    let second = node.call(square.clone());
    assert_eq!((&second["result"], &second["cached"]), (&json!(144), &json!(true)), "{second:#}");
    assert_eq!((&second["stdout"], &second["attempts"]), (&json!("ran\n"), &json!(0)), "{second:#}");
    let fresh = node.call(with(square, json!({ "cache": false })));
    assert_eq!(fresh["cached"], false, "{fresh:#}");

    let random =
        with(task("import random\ndef main(): return random.random()", json!([])), json!({ "runtime": "sandbox" }));
    let results: Vec<Value> = (0..3).map(|_| node.call(random.clone())).collect();
    assert!(results.iter().all(|result| result["cached"] == false), "{results:#?}");
    assert_ne!(results[0]["result"], results[1]["result"]);

    let python = task("def main(): return 5", json!([]));
    let plain: Vec<Value> = (0..2).map(|_| node.call(python.clone())["cached"].clone()).collect();
    assert_eq!(plain, [false, false]);
    let asked: Vec<Value> =
        (0..2).map(|_| node.call(with(python.clone(), json!({ "cache": true })))["cached"].clone()).collect();
    assert_eq!(asked, [false, true]);
    let statistics = node.wait_until("all to be in the history", |status| status["task_history"]["total_tasks"] == 10);
    assert_eq!(statistics["task_history"]["successful"], 10, "{statistics:#}");
}

#[test]
fn equal_runs_at_once_are_one_run() {
    let node = TestNode::peer().cpu("workers = 2").plugin("cache", "").start();
    let slow = "
def main(n):
    total = 0
    for i in range(n):
        total += i * i
    return total
";
    let message = with(task(slow, json!([2_000_000])), json!({ "runtime": "sandbox" }));
    let batch = node.call(json!({ "type": "BATCH_TASK", "tasks": vec![message; 8] }));
    let results = batch["results"].as_array().unwrap();
    let runs = results.iter().filter(|result| result["cached"] == false).count();
    assert_eq!((results.len(), runs), (8, 1), "{batch:#}");
}

#[test]
fn every_task_is_in_the_history_once() {
    // Providers stop in the order opposite to that of plugins.toml: whoever has something to tell the history stops first.
    let mut node = TestNode::peer().plugins("[plugins.process]\n[plugins.history]\n[plugins.cpu]\n").start();
    let batch: Vec<Value> =
        (0..500).map(|n| named(task("def main(n): return n", json!([n])), &format!("n{n}"))).collect();
    node.call(json!({ "type": "BATCH_TASK", "tasks": batch }));
    node.call(named(task("def main(): return 1 / 0", json!([])), "fails"));
    node.stop();
    node.restart();
    let page = node.call(json!({ "type": "TASK_HISTORY", "limit": 1000 }));
    let history = page["history"].as_array().unwrap_or_else(|| panic!("{page:#}"));
    let mut names: Vec<&str> = history.iter().map(|record| record["task_id"].as_str().unwrap()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!((history.len(), names.len()), (501, 501));
    let failed = node.call(json!({ "type": "TASK_HISTORY", "task_id": "fails" }))["task"].take();
    assert_eq!((&failed["status"], &failed["code"]), (&json!("FAILED"), &json!("task_failed")), "{failed:#}");
    assert_eq!((&failed["role"], &failed["requested_by"]), (&json!("EXECUTOR"), &json!("local")), "{failed:#}");
}

#[test]
fn a_submitter_is_refused_at_exactly_its_limit() {
    let node = TestNode::peer().plugin("quota", "preset = \"classroom\"").start();
    let ones: Vec<Value> = (0..103).map(|_| task("def main(): return 1", json!([]))).collect();
    let batch = node.call(json!({ "type": "BATCH_TASK", "tasks": ones }));
    let results = batch["results"].as_array().unwrap();
    let refused: Vec<&Value> = results.iter().filter(|result| result["code"] == "quota_exceeded").collect();
    assert_eq!(refused.len(), 3, "{batch:#}");
    let text = refused[0]["error"].as_str().unwrap();
    assert!(text.starts_with("CPU task quota exceeded (100 per 3600.0s)"), "{text}");
}

/// Two nodes, of which the first sends its tasks to the second as soon as one of its own runs.
fn two() -> Cluster {
    Cluster::start_with(2, |_, builder| with_processes(builder.cpu("workers = 1")).plugin("history", ""))
}

/// Keeps the first node busy, and begins a task, which runs on the second.
fn begin_there(cluster: &Cluster, message: Value) -> (Wire, Wire) {
    let busy = begin(&cluster.peers[0], named(task(ENDLESS, json!([])), "busy"));
    wait_for_state(&cluster.peers[0], "busy", "RUNNING");
    (busy, begin(&cluster.peers[0], message))
}

#[test]
fn a_task_that_runs_elsewhere_is_paused_resumed_and_ended_from_here() {
    let cluster = two();
    let (here, there) = (&cluster.peers[0], &cluster.peers[1]);
    let (_busy, mut remote) = begin_there(&cluster, named(task(ENDLESS, json!([])), "remote"));
    let process_here = wait_for_state(here, "remote", "RUNNING");
    assert_eq!(process_here["executed_by"], there.address(), "{process_here:#}");
    let running = || processes(there).into_iter().find(|found| found["requested_by"] == here.peer_id());
    let state = |wanted: &str| running().is_some_and(|found| found["state"] == wanted);
    wait_for("the task to run there", || state("RUNNING"));
    signal(here, &process_here["pid"], "pause");
    wait_for("the task to be paused there", || state("WAITING"));
    wait_for_state(here, "remote", "WAITING");
    signal(here, &process_here["pid"], "resume");
    wait_for("the task to go on there", || state("RUNNING"));
    signal(here, &process_here["pid"], "terminate");
    let result = remote.read();
    assert_eq!(result["code"], "cancelled", "{result:#}");
    wait_for("the task to have ended there", || running().is_none_or(|found| found["exit"]["exit_code"] == 143));
    let record = wait_for_some("the task to be in the history", || {
        let reply = here.call(json!({ "type": "TASK_HISTORY", "task_id": "remote" }));
        Some(reply["task"].clone()).filter(|task| !task.is_null())
    });
    assert_eq!(record["status"], "CANCELLED", "{record:#}");
}

#[test]
fn a_task_elsewhere_ends_its_children_with_it_and_tells_how_far_it_is() {
    let cluster = two();
    let (here, there) = (&cluster.peers[0], &cluster.peers[1]);
    let program = format!(
        "{PARENT}\n_main = main\ndef main():\n    potluck.call('TASK_PROGRESS', fraction=0.5)\n    return _main()\n"
    );
    let (_busy, mut parent) = begin_there(&cluster, named(task(&program, json!([])), "parent"));
    wait_for_state(there, "child", "RUNNING");
    let events = here.call(json!({ "type": "WATCH_EVENTS", "topics": ["task.progress"], "after": 0 }));
    assert_eq!(events["events"][0]["body"]["task_id"], "parent", "{events:#}");
    let pid = process(here, "parent").unwrap()["pid"].clone();
    let reply = here.call(json!({ "type": "TERMINATE_PROCESS", "pid": pid }));
    assert_eq!(reply["status"], "OK", "{reply:#}");
    assert_eq!(parent.read()["code"], "cancelled");
    there.wait_until("no task to run there", |status| status["scheduler"]["stats"]["active_tasks"] == 0);
}

#[test]
fn a_child_that_runs_elsewhere_ends_with_its_parent() {
    let cluster = two();
    let (here, there) = (&cluster.peers[0], &cluster.peers[1]);
    // The parent waits without a slot, so the first child runs here and the second one there.
    let program = "
import potluck
CHILD = 'def main():\\n    while True:\\n        pass'
def main():
    names = ['one', 'two']
    children = [potluck.call('TASK_SPAWN', task={'program': CHILD, 'task_id': name})['child'] for name in names]
    return [potluck.call('TASK_JOIN', child=child) for child in children]
";
    let mut parent = begin(here, named(task(program, json!([])), "parent"));
    wait_for_state(here, "one", "RUNNING");
    wait_for_state(here, "two", "RUNNING");
    there.wait_until("a child to run there", |status| status["scheduler"]["stats"]["active_tasks"] == 1);
    let pid = process(here, "parent").unwrap()["pid"].clone();
    let reply = here.call(json!({ "type": "TERMINATE_PROCESS", "pid": pid }));
    assert_eq!(reply["terminated"], 3, "{reply:#}");
    assert_eq!(parent.read()["code"], "cancelled");
    for node in [here, there] {
        node.wait_until("no task to run", |status| status["scheduler"]["stats"]["active_tasks"] == 0);
    }
}

#[test]
fn a_task_elsewhere_uses_what_is_on_the_node_that_it_works_for() {
    let cluster = two();
    let here = &cluster.peers[0];
    here.call(json!({ "type": "CREATE_SEMAPHORE", "sem_id": "home", "initial_value": 0 }));
    let program = "
import potluck
def main():
    me = potluck.call('TASK_SELF')
    home = me['submitter']
    potluck.call('SET_MEM', to=home, key='from', value=me['node'])
    potluck.call('SEMAPHORE_WAIT', to=home, sem_id='home')
    return me['node']
";
    let (_busy, mut remote) = begin_there(&cluster, named(task(program, json!([])), "remote"));
    let there = cluster.peers[1].peer_id();
    wait_for("the task to write here", || here.call(json!({ "type": "GET_MEM", "key": "from" }))["value"] == there);
    wait_for("the task to wait here", || {
        let list = here.call(json!({ "type": "LIST_SEMAPHORES" }));
        list["semaphores"][0]["waiting"] == 1
    });
    here.call(json!({ "type": "SEMAPHORE_SIGNAL", "sem_id": "home", "process_id": "test" }));
    let result = remote.read();
    assert_eq!(result["result"], there, "{result:#}");

    // What it holds is released here when it is ended there.
    let mut remote = begin(here, named(task(program, json!([])), "again"));
    wait_for("the task to wait here again", || {
        let list = here.call(json!({ "type": "LIST_SEMAPHORES" }));
        list["semaphores"][0]["waiting"] == 1
    });
    let pid = process(here, "again").unwrap()["pid"].clone();
    signal(here, &pid, "kill");
    assert_eq!(remote.read()["code"], "cancelled");
    wait_for("the wait to be taken back", || {
        let list = here.call(json!({ "type": "LIST_SEMAPHORES" }));
        list["semaphores"][0]["waiting"] == 0
    });
}
