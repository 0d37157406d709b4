//! The provider through its real table, as a node calls it; the other providers are scripted.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use parking_lot::Mutex;
use potluck_sdk::testing::{Harness, PendingCall};
use potluck_sdk::{Caller, ProviderError};
use provider_deadlock::Deadlock;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const PEER: &str = "5f0c6b1e-0000-8000-8000-000000000000";

/// CPU 4, MEMORY 1000, DISK 10.
fn node() -> Harness {
    node_with(json!({"preset": "classroom"}))
}

fn node_with(config: Value) -> Harness {
    Harness::start::<Deadlock>(config).unwrap()
}

fn ok(node: &Harness, message: Value) -> Value {
    node.call(message).unwrap()
}

#[track_caller]
fn refused(node: &Harness, message: Value) -> (String, String) {
    let error = node.call(message).unwrap_err();
    (error.code.into_owned(), error.message)
}

fn register(node: &Harness, pid: &str, max_need: Value) {
    ok(node, json!({"type": "REGISTER_PROCESS", "pid": pid, "max_need": max_need}));
}

fn request(pid: &str, resource: &str, units: i64) -> Value {
    json!({"type": "REQUEST_RESOURCE", "pid": pid, "resource_id": resource, "units": units})
}

fn waiting_request(pid: &str, resource: &str, units: i64) -> Value {
    let mut message = request(pid, resource, units);
    message["wait"] = json!(true);
    message
}

fn release(pid: &str, resource: &str, units: i64) -> Value {
    json!({"type": "RELEASE_RESOURCE", "pid": pid, "resource_id": resource, "units": units})
}

fn check(node: &Harness) -> Value {
    ok(node, json!({"type": "DEADLOCK_CHECK"}))
}

/// Its name, who has it, and who waits for it.
type Semaphore = (String, Option<String>, Vec<String>);

/// Semaphores of a scripted ipc.
#[derive(Clone, Default)]
struct Semaphores(Arc<Mutex<Vec<Semaphore>>>);

impl Semaphores {
    /// `forks[n]` is held by the n-th process, and the one before it waits for it.
    fn circle(pids: &[&str]) -> Semaphores {
        let count = pids.len();
        let fork = |index: usize| {
            let waiter = pids[(index + count - 1) % count];
            (format!("semaphore:fork-{index}"), Some(pids[index].to_owned()), vec![waiter.to_owned()])
        };
        Semaphores(Arc::new(Mutex::new((0..count).map(fork).collect())))
    }

    fn serve(&self, node: &Harness) {
        let state = self.clone();
        node.answer("IPC_RESOURCES", move |_| {
            let semaphores = state.0.lock();
            let resources = semaphores.iter().map(|(name, holder, waiters)| {
                let holders: Vec<Value> = holder.iter().map(|pid| json!({"pid": pid, "units": 1})).collect();
                let waiters = waiters
                    .iter()
                    .map(|pid| json!({"pid": pid, "units": 1, "since_unix_milliseconds": 7, "bounded": false}));
                json!({
                    "resource_id": name, "kind": "semaphore", "total_units": 1,
                    "available_units": 1 - holders.len(), "owned": true, "holders": holders,
                    "waiters": waiters.collect::<Vec<_>>(),
                })
            });
            json!({"type": "RESOURCES", "resources": resources.collect::<Vec<_>>()})
        });
    }

    /// As ipc does when a process has ended: its waits go, and what it has goes to the first who waits.
    fn end(&self, pid: &str) {
        for (_, holder, waiters) in self.0.lock().iter_mut() {
            waiters.retain(|waiter| waiter != pid);
            if holder.as_deref() == Some(pid) {
                *holder = (!waiters.is_empty()).then(|| waiters.remove(0));
            }
        }
    }
}

#[test]
fn replies_are_those_of_the_protocol() {
    let node = node();
    let cases = [
        (
            r#"{"type":"REGISTER_RESOURCE","resource_id":"R1","resource_type":"network","total_units":2}"#,
            r#"{"type":"STATUS","status":"OK","resource_id":"R1","resource_type":"NETWORK","total_units":2}"#,
        ),
        (
            r#"{"type":"REGISTER_PROCESS","pid":"P1","max_need":{"R1":2,"CPU":1,"DISK":0}}"#,
            r#"{"type":"STATUS","status":"OK","pid":"P1","max_need":{"CPU":1,"R1":2},"allocation":{}}"#,
        ),
        (
            r#"{"type":"REQUEST_RESOURCE","pid":"P1","resource_id":"R1"}"#,
            r#"{"type":"STATUS","status":"OK","pid":"P1","resource_id":"R1","units":1,"allocation":{"R1":1}}"#,
        ),
        (
            r#"{"type":"REQUEST_RESOURCE","pid":"P1","requests":{"R1":1,"CPU":1}}"#,
            r#"{"type":"STATUS","status":"OK","pid":"P1","requests":{"CPU":1,"R1":1},"allocation":{"CPU":1,"R1":2}}"#,
        ),
        (
            r#"{"type":"RELEASE_RESOURCE","pid":"P1","resource_id":"R1","units":2}"#,
            r#"{"type":"STATUS","status":"OK","pid":"P1","resource_id":"R1","units":2,"allocation":{"CPU":1}}"#,
        ),
        (
            r#"{"type":"LIST_RESOURCES"}"#,
            r#"{"type":"RESOURCE_LIST","resources":[{"resource_id":"CPU","resource_type":"CPU","total":4,"available":3,"allocated":1},{"resource_id":"DISK","resource_type":"DISK","total":10,"available":10,"allocated":0},{"resource_id":"MEMORY","resource_type":"MEMORY","total":1000,"available":1000,"allocated":0},{"resource_id":"R1","resource_type":"NETWORK","total":2,"available":2,"allocated":0}],"processes":[{"pid":"P1","allocation":{"CPU":1},"need":{"R1":2},"max_need":{"CPU":1,"R1":2}}],"waiting":[],"waiting_count":0,"safe_state":true,"safe_sequence":["P1"],"next":null}"#,
        ),
        (
            r#"{"type":"DEADLOCK_CHECK"}"#,
            r#"{"type":"STATUS","status":"OK","deadlock":false,"deadlocked_processes":[],"deadlocked_count":0,"cycle":[],"cycles":[],"cycle_count":0,"explanation":"No deadlock: nobody waits for anything without a time-out.","victim":null,"waiting":0}"#,
        ),
        (
            r#"{"type":"UNREGISTER_PROCESS","pid":"P1"}"#,
            r#"{"type":"STATUS","status":"OK","pid":"P1","max_need":{"CPU":1,"R1":2},"allocation":{"CPU":1}}"#,
        ),
        (
            r#"{"type":"UNREGISTER_RESOURCE","resource_id":"R1"}"#,
            r#"{"type":"STATUS","status":"OK","resource_id":"R1","resource_type":"NETWORK","total_units":2}"#,
        ),
        (
            r#"{"type":"RESOLVE_DEADLOCK"}"#,
            r#"{"type":"STATUS","status":"OK","ended":[],"deadlock":false,"deadlocked_processes":[],"explanation":"There is no deadlock, so nobody was ended."}"#,
        ),
    ];
    for (message, reply) in cases {
        assert_eq!(node.call_raw(message), reply);
    }
    assert_eq!(node.timers(), 0, "nothing wakes up by itself");
}

#[test]
fn denials_have_the_texts_of_the_protocol() {
    let node = node();
    let pair = |code: &str, text: &str| (code.to_owned(), text.to_owned());
    assert_eq!(refused(&node, request("P1", "CPU", 1)), pair("not_registered", "Process P1 not registered"));
    register(&node, "P1", json!({"CPU": 4}));
    register(&node, "P2", json!({"CPU": 3}));
    assert_eq!(refused(&node, request("P1", "GPU", 1)), pair("not_registered", "Resource GPU not registered"));
    assert_eq!(refused(&node, request("P1", "CPU", 5)), pair("exceeds_need", "Request exceeds need"));
    ok(&node, request("P1", "CPU", 2));
    assert_eq!(
        refused(&node, request("P2", "CPU", 3)),
        pair("insufficient_resources", "Insufficient resources available")
    );
    assert_eq!(refused(&node, request("P2", "CPU", 2)), pair("unsafe_state", "Allocation would lead to unsafe state"));
    assert_eq!(refused(&node, release("P2", "CPU", 1)), pair("not_allocated", "Failed to release resource"));
    let invalid = ProviderError::INVALID_MESSAGE;
    let missing = pair(invalid, "pid and resource_id required");
    assert_eq!(refused(&node, json!({"type": "REQUEST_RESOURCE", "pid": "P1"})), missing);
    assert_eq!(refused(&node, json!({"type": "RELEASE_RESOURCE", "resource_id": "CPU"})), missing);
    for units in [0, -1, i64::MIN] {
        for message in [request("P1", "CPU", units), release("P1", "CPU", units)] {
            let (code, text) = refused(&node, message);
            assert!(code == invalid && text.contains("units must be above 0"), "{text}");
        }
        let message = json!({"type": "REQUEST_RESOURCE", "pid": "P1", "requests": {"CPU": units}});
        assert_eq!(refused(&node, message).0, invalid);
        let message = json!({"type": "REGISTER_RESOURCE", "resource_id": "R", "total_units": units});
        assert_eq!(refused(&node, message).0, invalid);
    }
    let (code, text) = refused(&node, json!({"type": "REGISTER_PROCESS", "pid": "P1", "max_need": {"CPU": -1}}));
    assert!(code == invalid && text.contains("max_need of CPU"), "{text}");
    assert_eq!(node.status()["deadlock_detector"]["resources"]["CPU"]["allocations"], json!({"P1": 2}));
}

#[test]
fn the_textbook_example_over_messages() {
    let resources = json!({"CPU": 0, "MEMORY": 0, "DISK": 0, "A": 10, "B": 5, "C": 7});
    let node = node_with(json!({"preset": "classroom", "resources": resources}));
    let vector = |numbers: [i64; 3]| {
        let pairs = ["A", "B", "C"].into_iter().zip(numbers).filter(|(_, units)| *units > 0);
        pairs.map(|(name, units)| (name.to_owned(), json!(units))).collect::<serde_json::Map<_, _>>()
    };
    let ask = |pid: &str, numbers| json!({"type": "REQUEST_RESOURCE", "pid": pid, "requests": vector(numbers)});
    for (pid, max, allocation) in [
        ("P0", [7, 5, 3], [0, 1, 0]),
        ("P1", [3, 2, 2], [2, 0, 0]),
        ("P2", [9, 0, 2], [3, 0, 2]),
        ("P3", [2, 2, 2], [2, 1, 1]),
        ("P4", [4, 3, 3], [0, 0, 2]),
    ] {
        register(&node, pid, Value::Object(vector(max)));
        ok(&node, ask(pid, allocation));
    }
    let available = || {
        let list = ok(&node, json!({"type": "LIST_RESOURCES"}));
        list["resources"].as_array().unwrap().iter().map(|line| line["available"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(available(), [3, 3, 2]);
    ok(&node, ask("P1", [1, 0, 2]));
    assert_eq!(available(), [2, 3, 0]);
    assert_eq!(refused(&node, ask("P4", [3, 3, 0])).1, "Insufficient resources available");
    assert_eq!(refused(&node, ask("P0", [0, 2, 0])).1, "Allocation would lead to unsafe state");
    let list = ok(&node, json!({"type": "LIST_RESOURCES"}));
    assert_eq!((&list["safe_state"], &list["safe_sequence"]), (&json!(true), &json!(["P1", "P3", "P4", "P2", "P0"])));
}

#[test]
fn a_request_waits_until_it_is_safe_or_its_time_is_over() {
    let node = node();
    register(&node, "P1", json!({"CPU": 4}));
    register(&node, "P2", json!({"CPU": 3}));
    register(&node, "P3", json!({"CPU": 1}));
    ok(&node, request("P1", "CPU", 2));
    let mut timed = request("P2", "CPU", 2);
    timed["timeout"] = json!(1.5);
    let late = node.begin(&timed);
    assert_eq!(node.timers(), 1, "its own time alone");
    node.advance(Duration::from_secs(2));
    let error = late.wait().unwrap_err();
    assert_eq!(error.code, "unsafe_state");
    assert!(error.message.contains("has waited 1.5 s in vain"), "{error}");

    let second = node.begin(waiting_request("P2", "CPU", 2));
    let third = node.begin(waiting_request("P3", "CPU", 1));
    let list = ok(&node, json!({"type": "LIST_RESOURCES"}));
    assert_eq!(list["waiting_count"], 2);
    assert_eq!(list["waiting"][0]["why"], "Allocation would lead to unsafe state");
    assert_eq!(
        list["waiting"][1]["why"],
        "Insufficient resources available: an older request, of process P2, comes first"
    );
    assert!(second.try_answer().is_none() && third.try_answer().is_none());
    ok(&node, release("P1", "CPU", 2));
    assert_eq!(second.wait().unwrap()["allocation"], json!({"CPU": 2}));
    assert_eq!(third.wait().unwrap()["allocation"], json!({"CPU": 1}));
}

#[test]
fn a_wait_ends_with_its_caller_and_with_its_process() {
    let node = node();
    for pid in ["P1", "P2", "P3", "P4"] {
        register(&node, pid, json!({"CPU": 4}));
    }
    ok(&node, request("P1", "CPU", 4));
    let left = node.begin(waiting_request("P2", "CPU", 4));
    let ended = node.begin(waiting_request("P3", "CPU", 4));
    let last = node.begin(waiting_request("P4", "CPU", 4));
    left.cancel();
    node.emit("process.ended", json!({"pid": "P3", "reason": "killed"}));
    let error = ended.wait().unwrap_err();
    assert_eq!((&*error.code, error.message.as_str()), ("process_ended", "process P3 has ended: killed"));
    assert!(last.try_answer().is_none());
    node.emit("process.ended", json!({"pid": "P1", "reason": "killed"}));
    assert_eq!(last.wait().unwrap()["allocation"], json!({"CPU": 4}));
    let detector = node.status()["deadlock_detector"].clone();
    assert_eq!((&detector["waiting"], &detector["total_processes"]), (&json!(0), &json!(2)), "{detector}");
}

#[test]
fn a_task_acts_for_itself_alone_and_a_member_for_its_own() {
    let node = node();
    let message = json!({"type": "REGISTER_PROCESS", "pid": "P1", "max_need": {"CPU": 1}});
    let member = node.message(&message).caller(Caller::Member(PEER)).call().unwrap();
    assert_eq!(member["pid"], format!("P1@{PEER}"));
    assert_eq!(refused(&node, request("P1", "CPU", 1)).0, "not_registered");
    let task = node.message(&message).caller(Caller::Task(PEER)).call();
    assert_eq!(task.unwrap_err().code, ProviderError::INVALID_MESSAGE, "a task without a name has nothing");
    for message_type in ["REGISTER_RESOURCE", "UNREGISTER_RESOURCE", "RESOLVE_DEADLOCK"] {
        let refused = node.message(json!({"type": message_type})).caller(Caller::Member(PEER)).call();
        assert_eq!(refused.unwrap_err().code, ProviderError::FORBIDDEN);
    }
    node.emit("process.ended", json!({"pid": format!("*@{PEER}"), "reason": "it has left"}));
    assert_eq!(node.status()["deadlock_detector"]["total_processes"], 0);
}

#[test]
fn philosophers_are_named_with_their_circle_and_the_reason() {
    let node = node();
    let pids = ["P1", "P2", "P3", "P4", "P5"];
    Semaphores::circle(&pids).serve(&node);
    node.answer("MEMORY_RESOURCES", |_| json!({"type": "ERROR", "code": "internal", "error": "it is broken"}));
    node.answer("PROCESS_INFO", |message| {
        let (name, priority) = if message["pid"] == "P4" { ("philosopher-4", 1) } else { ("", 5) };
        let process =
            json!({"pid": message["pid"], "name": name, "priority": priority, "created_unix_milliseconds": 1});
        json!({"type": "STATUS", "status": "OK", "process": process})
    });
    let found = check(&node);
    assert_eq!((&found["deadlock"], &found["deadlocked_processes"]), (&json!(true), &json!(pids)));
    let edge = json!({"pid": "P1", "waits_for": "semaphore:fork-1", "units": 1, "held_by": "P2"});
    assert_eq!((found["cycle"].as_array().unwrap().len(), &found["cycle"][0]), (5, &edge));
    let explanation = found["explanation"].as_str().unwrap();
    assert!(explanation.contains("P3, P4 (philosopher-4) and P5 wait for one another"), "{explanation}");
    assert!(
        explanation.contains("P5 has semaphore:fork-4 and waits for semaphore:fork-0, which P1 has."),
        "{explanation}"
    );
    assert_eq!(found["victim"]["pid"], "P4");
    assert!(found["victim"]["why"].as_str().unwrap().contains("lowest priority"), "{found}");
    assert_eq!(found["not_looked_at"], json!(["memory-manager: it is broken"]));
}

#[test]
fn what_only_looks_like_a_deadlock_is_not_reported() {
    let node = node();
    let looks = Arc::new(Mutex::new(7));
    let since = Arc::clone(&looks);
    node.answer("IPC_RESOURCES", move |_| {
        // The waits are others at each look: both processes go on all the time.
        *since.lock() += 1;
        let semaphore = |name: &str, holder: &str, waiter: &str| {
            json!({
                "resource_id": name, "kind": "semaphore", "total_units": 1, "available_units": 0, "owned": true,
                "holders": [{"pid": holder, "units": 1}],
                "waiters": [{"pid": waiter, "units": 1, "since_unix_milliseconds": *since.lock(), "bounded": false}],
            })
        };
        json!({"type": "RESOURCES", "resources": [semaphore("a", "P1", "P2"), semaphore("b", "P2", "P1")]})
    });
    assert_eq!(check(&node)["deadlock"], false);
    assert_eq!(*looks.lock(), 9, "it has looked twice");
}

#[test]
fn a_deadlock_between_the_bank_and_a_semaphore_is_found() {
    let node = node();
    register(&node, "P1", json!({"CPU": 4}));
    register(&node, "P2", json!({"CPU": 2}));
    ok(&node, request("P1", "CPU", 3));
    let _wait = node.begin(waiting_request("P2", "CPU", 1));
    assert_eq!(check(&node)["deadlock"], false);
    let semaphores =
        Semaphores(Arc::new(Mutex::new(vec![("semaphore:s".into(), Some("P2".into()), vec!["P1".into()])])));
    semaphores.serve(&node);
    let found = check(&node);
    assert_eq!(found["deadlocked_processes"], json!(["P1", "P2"]));
    let explanation = found["explanation"].as_str().unwrap();
    assert!(explanation.contains("Banker's algorithm may not give that out before P1"), "{explanation}");
}

#[test]
fn resolving_terminates_one_after_the_other_until_none_is_deadlocked() {
    let node = node();
    let semaphores = Semaphores::circle(&["P1", "P2", "P3"]);
    semaphores.0.lock().extend(Semaphores::circle(&["P7", "P8"]).0.lock().drain(..));
    semaphores.serve(&node);
    let state = semaphores.clone();
    node.answer("TERMINATE_PROCESS", move |message| {
        state.end(message["pid"].as_str().unwrap());
        json!({"type": "STATUS", "status": "OK", "pid": message["pid"], "terminated": 1})
    });
    let call = node.begin(json!({"type": "RESOLVE_DEADLOCK"}));
    let is_sent = |pid: &str| {
        node.sent()
            .iter()
            .any(|sent| sent.json.contains("TERMINATE_PROCESS") && sent.json.contains(&format!("\"{pid}\"")))
    };
    for pid in ["P3", "P8"] {
        node.wait_until("the victim is told to end", || is_sent(pid));
        assert!(call.try_answer().is_none(), "it waits until the process has given back what it had");
        node.emit("process.ended", json!({"pid": pid, "reason": "terminated"}));
    }
    let resolved = call.wait().unwrap();
    assert_eq!((&resolved["deadlock"], resolved["ended"].as_array().unwrap().len()), (&json!(false), 2), "{resolved}");
    assert_eq!((&resolved["ended"][0]["pid"], &resolved["ended"][0]["how"]), (&json!("P3"), &json!("terminated")));
    assert!(resolved["explanation"].as_str().unwrap().ends_with("No deadlock is left."), "{resolved}");
    let topics: Vec<String> = node.events().into_iter().map(|event| event.topic).collect();
    assert_eq!(topics, ["deadlock.resolved", "deadlock.resolved"]);
    // The next one may come.
    assert_eq!(ok(&node, json!({"type": "RESOLVE_DEADLOCK"}))["ended"], json!([]));
}

#[test]
fn a_name_that_is_no_process_of_the_node_is_said_to_have_ended() {
    let node = node();
    let semaphores = Semaphores::circle(&["client-1", "client-2"]);
    semaphores.serve(&node);
    let state = semaphores.clone();
    node.answer("TERMINATE_PROCESS", move |message| {
        state.end(message["pid"].as_str().unwrap());
        json!({"type": "ERROR", "code": "not_found", "error": "Process client-1 not found"})
    });
    let resolved = ok(&node, json!({"type": "RESOLVE_DEADLOCK", "pid": "client-1"}));
    assert_eq!(
        resolved["ended"],
        json!([{"pid": "client-1", "why": "it was named in the message", "how": "released"}])
    );
    let events = node.events();
    assert_eq!((events[0].topic.as_str(), &events[0].body["pid"]), ("process.ended", &json!("client-1")));
}

#[test]
fn a_process_of_another_node_loses_its_waits_and_what_it_has_here() {
    let node = node();
    let pid = format!("P9@{PEER}");
    let semaphores = Semaphores::circle(&[pid.as_str(), "P1"]);
    semaphores.serve(&node);
    let state = semaphores.clone();
    node.answer("CANCEL_WAITS", move |message| {
        assert_eq!(message["code"], "deadlock_victim");
        state.end(message["process_id"].as_str().unwrap());
        json!({"type": "STATUS", "status": "OK", "waits": 1, "permits": 1})
    });
    let resolved = ok(&node, json!({"type": "RESOLVE_DEADLOCK", "pid": pid}));
    assert_eq!((&resolved["ended"][0]["how"], &resolved["deadlock"]), (&json!("waits_cancelled"), &json!(false)));
    let topics: Vec<String> = node.events().into_iter().map(|event| event.topic).collect();
    assert_eq!(topics, ["deadlock.victim", "deadlock.resolved"]);
}

#[test]
fn what_is_kept_in_the_name_of_a_process_that_has_ended_before_is_released() {
    let node = node();
    let semaphores = Semaphores::circle(&["P1", "P2"]);
    semaphores.serve(&node);
    let state = semaphores.clone();
    node.answer("TERMINATE_PROCESS", move |message| {
        state.end(message["pid"].as_str().unwrap());
        json!({"type": "ERROR", "code": "process_ended", "error": "Process P2 has ended"})
    });
    let resolved = ok(&node, json!({"type": "RESOLVE_DEADLOCK"}));
    assert_eq!((&resolved["ended"][0]["pid"], &resolved["ended"][0]["how"]), (&json!("P2"), &json!("released")));
    let text = resolved["explanation"].as_str().unwrap();
    assert!(text.starts_with("P2 has ended before: ") && text.ends_with("No deadlock is left."), "{text}");
    let events = node.events();
    assert_eq!((events[0].topic.as_str(), &events[0].body["pid"]), ("process.ended", &json!("P2")));
}

#[test]
fn a_victim_whose_end_is_not_heard_of_is_released_and_not_called_terminated() {
    let node = node();
    // Nobody keeps less in its name for being told to end: the deadlock stays.
    Semaphores::circle(&["P1", "P2"]).serve(&node);
    node.answer("TERMINATE_PROCESS", |message| json!({"type": "STATUS", "status": "OK", "pid": message["pid"]}));
    let call = node.begin(json!({"type": "RESOLVE_DEADLOCK"}));
    for (number, pid) in ["P2", "P1"].into_iter().enumerate() {
        node.wait_until("the end to be waited for", || node.timers() == 1);
        let ended = || node.events().iter().filter(|event| event.topic == "process.ended").count();
        assert_eq!(ended(), number);
        node.advance(Duration::from_secs(5));
        node.wait_until("it to be said to have ended", || {
            node.events().iter().any(|event| event.topic == "process.ended" && event.body["pid"] == pid)
        });
    }
    let resolved = call.wait().unwrap();
    assert_eq!((&resolved["deadlock"], &resolved["deadlocked_processes"]), (&json!(true), &json!(["P1", "P2"])));
    let hows: Vec<&Value> = resolved["ended"].as_array().unwrap().iter().map(|ended| &ended["how"]).collect();
    assert_eq!(hows, ["released", "released"]);
    let text = resolved["explanation"].as_str().unwrap();
    assert!(text.contains("P2 was told to end, and has not said that it has"), "{text}");
    assert!(text.ends_with("2 processes are still deadlocked."), "{text}");
    assert_eq!(node.timers(), 0);
}

#[test]
fn memory_in_pieces_that_are_too_small_is_a_deadlock() {
    let node = node();
    node.answer("MEMORY_RESOURCES", |_| {
        let waiter = |pid: &str| json!({"pid": pid, "units": 320, "since_unix_milliseconds": 7, "bounded": false});
        json!({
            "type": "RESOURCES",
            "resources": [{
                "resource_id": "memory", "kind": "memory", "total_units": 1024, "available_units": 512, "owned": true,
                "holders": [{"pid": "P1", "units": 256}, {"pid": "P2", "units": 256}],
                "waiters": [waiter("P1"), waiter("P2")],
            }],
            "places": [{"resource_id": "memory", "blocks": [
                {"pid": "P1", "address": 0, "size": 256}, {"pid": "P2", "address": 512, "size": 256},
            ]}],
        })
    });
    let found = check(&node);
    assert_eq!(found["deadlocked_processes"], json!(["P1", "P2"]));
    let text = found["explanation"].as_str().unwrap();
    assert!(text.contains("512 of 1024 are free, but no more than 256 in one piece"), "{text}");
}

#[test]
fn who_cannot_be_ended_is_told_and_another_is_tried() {
    let node = node();
    Semaphores::circle(&["P1", "P2"]).serve(&node);
    node.answer("TERMINATE_PROCESS", |_| json!({"type": "ERROR", "code": "internal", "error": "it does not stop"}));
    let resolved = ok(&node, json!({"type": "RESOLVE_DEADLOCK"}));
    assert_eq!((&resolved["ended"], &resolved["deadlock"]), (&json!([]), &json!(true)));
    let text = resolved["explanation"].as_str().unwrap();
    assert!(text.contains("P1 could not be ended") && text.contains("P2 could not be ended"), "{text}");
    let (code, text) = refused(&node, json!({"type": "RESOLVE_DEADLOCK", "pid": "P3"}));
    assert_eq!(
        (code.as_str(), text.as_str()),
        ("not_deadlocked", "P3 is not deadlocked; the deadlocked processes are P1, P2")
    );
}

#[test]
fn it_looks_by_itself_while_somebody_waits_and_not_longer() {
    let node = node();
    let semaphores = Semaphores::circle(&["P1", "P2"]);
    semaphores.serve(&node);
    assert_eq!(node.timers(), 0);
    node.emit("resource.waiting", json!({"kind": "semaphore"}));
    node.emit("resource.waiting", json!({"kind": "memory"}));
    assert_eq!(node.timers(), 1);
    node.advance(Duration::from_secs(1));
    node.wait_until("the deadlock is told", || node.events().iter().any(|event| event.topic == "deadlock.detected"));
    let event = node.events().remove(0);
    assert_eq!(event.body["deadlocked_processes"], json!(["P1", "P2"]));
    assert_eq!(event.body["cycle"].as_array().unwrap().len(), 2);
    node.wait_until("it looks again", || node.timers() == 1);
    let looks = || node.sent().iter().filter(|sent| sent.json.contains("IPC_RESOURCES")).count();
    let before = looks();
    node.advance(Duration::from_secs(3600));
    node.wait_until("it has looked again", || looks() > before && node.timers() == 1);
    assert_eq!(node.events().len(), 1, "it is told once");
    semaphores.end("P1");
    semaphores.end("P2");
    node.advance(Duration::from_secs(3600));
    node.wait_until("it stops when nobody waits", || node.timers() == 0);
    node.emit("resource.waiting", json!({"kind": "semaphore"}));
    node.wait_until("it begins again", || node.timers() == 1);
}

#[test]
fn its_own_first_wait_makes_it_look_as_well() {
    let node = node();
    register(&node, "P1", json!({"CPU": 4}));
    register(&node, "P2", json!({"CPU": 4}));
    ok(&node, request("P1", "CPU", 4));
    let wait: PendingCall = node.begin(waiting_request("P2", "CPU", 4));
    assert_eq!(node.timers(), 1);
    drop(wait);
    node.advance(Duration::from_secs(1));
    node.wait_until("it stops when nobody waits", || node.timers() == 0);

    let node = node_with(json!({"check_seconds": 0}));
    node.emit("resource.waiting", json!({"kind": "semaphore"}));
    assert_eq!(node.timers(), 0, "it can be switched off");
}

#[test]
fn the_default_resources_are_what_the_node_has() {
    let node = node_with(json!({"resources": {"PRINTER": 2}}));
    let resources = node.status()["deadlock_detector"]["resources"].clone();
    let cores = std::thread::available_parallelism().unwrap().get();
    assert_eq!(resources["CPU"]["total"], cores);
    for name in ["MEMORY", "DISK", "NETWORK"] {
        assert!(resources[name]["total"].as_u64().unwrap() > 0, "{resources}");
    }
    assert_eq!(resources["PRINTER"], json!({"total": 2, "available": 2, "allocated": 0, "allocations": {}}));
    let classroom = self::node().status()["deadlock_detector"].clone();
    let total = |name: &str| classroom["resources"][name]["total"].clone();
    assert_eq!(
        [total("CPU"), total("MEMORY"), total("DISK"), total("NETWORK")],
        [json!(4), json!(1000), json!(10), json!(null)]
    );
    assert_eq!((&classroom["safe_state"], &classroom["processes"]), (&json!(true), &json!({})));
}

#[test]
fn limits_of_plugins_toml_are_kept_and_named() {
    let limits = json!({"resources_max": 4, "processes_max": 2, "needs_max": 3, "waits_max": 1, "preset": "classroom"});
    let node = node_with(limits);
    let resource = |name: &str| json!({"type": "REGISTER_RESOURCE", "resource_id": name, "total_units": 1});
    ok(&node, resource("R1"));
    assert!(refused(&node, resource("R2")).1.contains("resources_max"));
    let other_type =
        json!({"type": "REGISTER_RESOURCE", "resource_id": "R1", "resource_type": "CPU", "total_units": 1});
    assert_eq!(refused(&node, other_type).0, "already_exists");
    register(&node, "P1", json!({"CPU": 4, "R1": 1}));
    let more = json!({"type": "REGISTER_PROCESS", "pid": "P2", "max_need": {"CPU": 1, "DISK": 1}});
    assert!(refused(&node, more).1.contains("needs_max"));
    register(&node, "P2", json!({"CPU": 4}));
    let third = json!({"type": "REGISTER_PROCESS", "pid": "P3", "max_need": {}});
    assert!(refused(&node, third).1.contains("processes_max"));
    ok(&node, request("P1", "CPU", 4));
    let _wait = node.begin(waiting_request("P2", "CPU", 1));
    assert!(refused(&node, waiting_request("P2", "CPU", 1)).1.contains("waits_max"));
    assert_eq!(refused(&node, json!({"type": "UNREGISTER_RESOURCE", "resource_id": "R1"})).0, "in_use");
    let long = json!({"type": "REGISTER_RESOURCE", "resource_id": "x".repeat(129), "total_units": 1});
    assert_eq!(refused(&node, long).0, ProviderError::INVALID_MESSAGE);
}

#[test]
fn one_other_node_cannot_take_the_whole_tables() {
    let node = node_with(json!({"processes_max": 8, "waits_max": 4, "preset": "classroom"}));
    register(&node, "P1", json!({"CPU": 4}));
    ok(&node, request("P1", "CPU", 4));
    for number in 0..2 {
        register(&node, &format!("P{number}@{PEER}"), json!({"CPU": 1}));
    }
    let third = json!({"type": "REGISTER_PROCESS", "pid": format!("P3@{PEER}"), "max_need": {}});
    assert!(refused(&node, third).1.contains("2 processes of one other node"));
    let _wait = node.begin(waiting_request(&format!("P0@{PEER}"), "CPU", 1));
    assert!(refused(&node, waiting_request(&format!("P1@{PEER}"), "CPU", 1)).1.contains("of one other node"));
    register(&node, "P2", json!({"CPU": 1}));
}

#[test]
fn a_wrong_table_is_refused_by_the_name_of_its_key() {
    let cases = [
        (json!({"check_second": 1}), "check_second"),
        (json!({"check_seconds": -1}), "check_seconds"),
        (json!({"preset": "school"}), "preset"),
        (json!({"processes_max": 0}), "processes_max"),
        (json!({"resources": {"A": 1, "B": 1}, "resources_max": 1}), "resources_max"),
    ];
    for (config, key) in cases {
        let Err(error) = Harness::start::<Deadlock>(config) else { panic!("{key} is taken") };
        assert_eq!(error.code, ProviderError::INVALID_CONFIG);
        assert!(error.message.contains(key), "{error}");
    }
}
