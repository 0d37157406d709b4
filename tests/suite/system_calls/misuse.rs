//! Calls that are refused, and programs that call in ways that nobody should.

use super::{PYTHONS, begin, calling, ok, peer, result, run};
use potluck_tests::wait_for_some;
use serde_json::{Value, json};

#[test]
fn errors_of_the_node_are_exceptions_with_its_codes() {
    let node = peer().start();
    for runtime in PYTHONS {
        let program = "def main():
    codes = []
    for message in ({'type': 'NO_SUCH_THING'}, {'type': 'SET_SCHEDULER', 'algorithm': 'RR'}, {'type': 'SET_MEM', 'key': None},
                    {'type': 'SEMAPHORE_WAIT', 'sem_id': 'none'}, {'type': 'TASK_JOIN', 'child': 'P1'}):
        try:
            potluck.call(**message)
        except potluck.PotluckError as error:
            codes.append([type(error).__name__, error.code])
    try:
        potluck.set('a', float('nan'))
    except ValueError as error:
        codes.append(type(error).__name__)
    try:
        potluck.set('a', 'x' * (13 << 20))
    except potluck.LimitReached as error:
        codes.append(error.code)
    return codes
";
        assert_eq!(
            run(&node, runtime, program, json!([])),
            json!([
                ["NoProvider", "no_provider"],
                ["Forbidden", "forbidden"],
                ["InvalidMessage", "invalid_message"],
                ["NotFound", "not_found"],
                ["NotFound", "not_found"],
                "ValueError",
                "limit_reached"
            ]),
        );
    }
}

#[test]
fn a_task_speaks_for_itself_alone() {
    let node = peer().start();
    ok(&node, json!({ "type": "CREATE_SEMAPHORE", "sem_id": "own" }));
    for runtime in PYTHONS {
        let program = "def main():
    potluck.call('SEMAPHORE_WAIT', sem_id='own', process_id='P1', behalf='task:P1')
    held = potluck.call('LIST_SEMAPHORES', prefix='own')['semaphores'][0]['holders']
    return held == [potluck.me().pid]
";
        assert_eq!(run(&node, runtime, program, json!([])), true);
    }
}

#[test]
fn many_threads_of_a_task_call_at_once() {
    let node = peer().start();
    let program = "import threading
def main(name):
    done = []
    def work(number):
        for step in range(20):
            potluck.set(f'{name}-{number}', step)
            assert potluck.get(f'{name}-{number}') == step
        done.append(number)
    # One of them waits all the time, and the others go on.
    gate = potluck.semaphore(name, 0)
    waiting = threading.Thread(target=gate.acquire)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in [waiting, *threads]: thread.start()
    for thread in threads: thread.join()
    gate.release()
    waiting.join()
    return sorted(done)
";
    assert_eq!(run(&node, "python", program, json!(["crowd"])), Value::from_iter(0..20));
    // The worker goes on with the next one, and so do tasks that were sent while it waited.
    let waiting = begin(&node, "python", "def main(): return potluck.queue('late').receive()", json!([]));
    node.check_serving();
    ok(&node, json!({ "type": "CREATE_QUEUE", "queue_id": "late", "exist_ok": true }));
    ok(&node, json!({ "type": "SEND_MESSAGE", "queue_id": "late", "sender": "c", "receiver": "?", "data": 5 }));
    assert_eq!(result(waiting), 5);
}

#[test]
fn a_process_that_a_task_has_started_cannot_call() {
    // Others' tasks may not start any.
    let node = peer().cpu("trusted = true").start();
    let program = "import os
def main():
    potluck.set('a', 1)
    here, there = os.pipe()
    if os.fork() == 0:
        try:
            potluck.get('a')
        except potluck.NotRunning as error:
            os.write(there, error.code.encode())
        os._exit(0)
    os.wait()
    return [os.read(here, 100).decode(), potluck.get('a')]
";
    assert_eq!(run(&node, "python", program, json!([])), json!(["forked", 1]));
}

#[test]
fn a_task_that_leaves_a_waiting_thread_behind_ends_and_so_does_the_thread() {
    let node = peer().cpu("workers = 1").start();
    let program = "import threading, time
def main():
    gate = potluck.semaphore('left', 0)
    threading.Thread(target=gate.acquire, daemon=True).start()
    while not potluck.call('LIST_SEMAPHORES', prefix='left')['semaphores'][0]['waiting']: pass
    return 'ended'
";
    assert_eq!(run(&node, "python", program, json!([])), "ended");
    wait_for_some("the wait to be called off", || {
        let list = node.call(json!({ "type": "LIST_SEMAPHORES", "prefix": "left" }));
        (list["semaphores"][0]["waiting"] == 0).then_some(())
    });
    node.check_serving();
}

#[test]
fn a_task_that_is_cancelled_while_it_waits_is_gone_at_once() {
    let node = peer().start();
    for runtime in PYTHONS {
        let name = format!("{runtime}-never");
        let program = "def main(name): potluck.semaphore(name, 0).acquire()\n";
        let mut wire = node.wire();
        let message = potluck_tests::with(calling(runtime, program, json!([name])), json!({ "task_id": name }));
        wire.send(message);
        super::wait_for_waiters(&node, &name, 1);
        ok(&node, json!({ "type": "CANCEL_TASK", "task_id": name }));
        assert_eq!(wire.read()["code"], "cancelled");
        super::wait_for_waiters(&node, &name, 0);
    }
    node.check_serving();
}

#[test]
fn a_task_that_sends_garbage_to_the_node_harms_only_itself() {
    let node = peer().start();
    let waiting = begin(&node, "sandbox", "def main(): return potluck.queue('other').receive()", json!([]));
    for frame in [
        r#"{"call": 1, "slot": 0, "message": "no object"}"#,
        r#"{"call": 1, "slot": 63, "message": {"type": "STATUS"}}"#,
        r#"{"call": 1}"#,
        r#"{"answer": 1, "message": {}}"#,
        "nonsense",
    ] {
        let program = "import os
def main(frame):
    data = frame.encode()
    for descriptor in range(3, 64):
        for _ in range(200):
            try:
                os.set_blocking(descriptor, False)
                os.write(descriptor, len(data).to_bytes(4, 'big') + data)
            except OSError:
                break
    return potluck.get('a')
";
        let reply = node.call(calling("python", program, json!([frame])));
        assert_eq!(reply["type"], "CPU_RESULT", "{reply:#}");
        node.check_serving();
    }
    ok(&node, json!({ "type": "CREATE_QUEUE", "queue_id": "other", "exist_ok": true }));
    ok(&node, json!({ "type": "SEND_MESSAGE", "queue_id": "other", "sender": "c", "receiver": "?", "data": 1 }));
    assert_eq!(result(waiting), 1);
}
