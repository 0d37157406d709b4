//! The provider through its real table, as a node calls it.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use potluck_sdk::testing::{Harness, PendingCall};
use potluck_sdk::{Caller, ProviderError};
use provider_ipc::Ipc;
use serde_json::{Value, json};
use std::time::Duration;

/// The id of another node.
const FAR: &str = "5f0c6b1e-0000-8000-8000-000000000000";

fn node() -> Harness {
    node_with(json!({}))
}

/// Time stands still until the test moves it.
fn node_with(config: Value) -> Harness {
    Harness::start_with_clock(config, |host, config, clock| Ipc::start_with_clock(host, config, move || clock.now()))
        .unwrap()
}

fn queue(node: &Harness, id: &str, max_size: u64) {
    node.call(json!({"type": "CREATE_QUEUE", "queue_id": id, "max_size": max_size})).unwrap();
}

fn semaphore(node: &Harness, id: &str, initial: u64) {
    node.call(json!({"type": "CREATE_SEMAPHORE", "sem_id": id, "initial_value": initial})).unwrap();
}

fn send(node: &Harness, receiver: &str, data: impl Into<Value>) -> PendingCall {
    let data = data.into();
    node.begin(json!({"type": "SEND_MESSAGE", "queue_id": "q", "sender": "s", "receiver": receiver, "data": data}))
}

fn receive(node: &Harness, receiver: &str) -> PendingCall {
    node.begin(json!({"type": "RECEIVE_MESSAGE", "queue_id": "q", "receiver": receiver}))
}

/// What is there for a receiver at once.
fn take(node: &Harness, receiver: &str) -> Value {
    let message = json!({"type": "RECEIVE_MESSAGE", "queue_id": "q", "receiver": receiver, "timeout": 0});
    match node.call(message) {
        Ok(message) => message["data"].clone(),
        Err(error) => json!(error.code),
    }
}

fn wait(node: &Harness, semaphore: &str, process: &str) -> PendingCall {
    node.begin(json!({"type": "SEMAPHORE_WAIT", "sem_id": semaphore, "process_id": process}))
}

fn signal(node: &Harness, semaphore: &str, process: &str) -> Value {
    node.call(json!({"type": "SEMAPHORE_SIGNAL", "sem_id": semaphore, "process_id": process})).unwrap()
}

fn status_of(call: &PendingCall) -> Option<String> {
    let answer = call.try_answer()?;
    Some(match answer {
        Ok(answer) => answer["status"].as_str().unwrap().to_owned(),
        Err(error) => error.code.into_owned(),
    })
}

fn ended(node: &Harness, pid: &str) {
    assert!(node.emit("process.ended", json!({"pid": pid, "reason": "killed"})));
}

fn resources(node: &Harness) -> Vec<Value> {
    let message = node.message(json!({"type": "IPC_RESOURCES"})).caller(Caller::Plugin("deadlock"));
    message.call().unwrap()["resources"].as_array().unwrap().clone()
}

#[track_caller]
fn refused(node: &Harness, message: Value) -> (String, String) {
    let error = node.call(message).unwrap_err();
    (error.code.into_owned(), error.message)
}

#[test]
fn it_starts_as_a_node_starts_it() {
    let node = Harness::start::<Ipc>(json!({"queues_max": 1})).unwrap();
    queue(&node, "q", 0);
    assert_eq!(node.timers(), 0, "nothing wakes up by itself");
}

#[test]
fn replies_are_those_of_the_protocol() {
    let node = node();
    let cases = [
        (
            r#"{"type":"CREATE_QUEUE","queue_id":"q"}"#,
            r#"{"type":"STATUS","status":"OK","queue_id":"q","max_size":100,"created":true}"#,
        ),
        (
            r#"{"type":"CREATE_QUEUE","queue_id":"q","max_size":5,"exist_ok":true}"#,
            r#"{"type":"STATUS","status":"OK","queue_id":"q","max_size":100,"created":false}"#,
        ),
        (
            r#"{"type":"SEND_MESSAGE","queue_id":"q","sender":"a","data": {"n": 10000000000000000000000.10}}"#,
            r#"{"type":"STATUS","status":"OK","queue_id":"q","message_id":"MSG1"}"#,
        ),
        (
            r#"{"type":"PEEK_MESSAGE","queue_id":"q"}"#,
            r#"{"type":"STATUS","status":"OK","queue_id":"q","message_id":"MSG1","sender":"a","receiver":"*","message_type":"DATA","data":{"n": 10000000000000000000000.10}}"#,
        ),
        (
            r#"{"type":"RECEIVE_MESSAGE","queue_id":"q","receiver":"b"}"#,
            r#"{"type":"STATUS","status":"OK","queue_id":"q","message_id":"MSG1","sender":"a","receiver":"*","message_type":"DATA","data":{"n": 10000000000000000000000.10}}"#,
        ),
        (
            r#"{"type":"RECEIVE_MESSAGE","queue_id":"q","receiver":"b","timeout":0}"#,
            r#"{"type":"ERROR","code":"no_message","error":"No message received"}"#,
        ),
        (
            r#"{"type":"JOIN_QUEUE","queue_id":"q","receiver":"c"}"#,
            r#"{"type":"STATUS","status":"OK","queue_id":"q","receiver":"c","changed":true}"#,
        ),
        (
            r#"{"type":"LEAVE_QUEUE","queue_id":"q","receiver":"d"}"#,
            r#"{"type":"STATUS","status":"OK","queue_id":"q","receiver":"d","changed":false}"#,
        ),
        (
            r#"{"type":"LIST_QUEUES"}"#,
            r#"{"type":"QUEUE_LIST","queues":[{"queue_id":"q","messages":0,"max_size":100,"bytes":0,"sent":1,"receivers":2,"waiting_receivers":0,"waiting_senders":0}],"next":null,"queue_count":1}"#,
        ),
        (
            r#"{"type":"DELETE_QUEUE","queue_id":"q"}"#,
            r#"{"type":"STATUS","status":"OK","queue_id":"q","messages":0,"waiters":0}"#,
        ),
        (
            r#"{"type":"CREATE_SEMAPHORE","sem_id":"m"}"#,
            r#"{"type":"STATUS","status":"OK","sem_id":"m","value":1,"kind":"counting","created":true}"#,
        ),
        (
            r#"{"type":"SEMAPHORE_WAIT","sem_id":"m","process_id":"P1"}"#,
            r#"{"type":"STATUS","status":"OK","sem_id":"m","value":0}"#,
        ),
        (
            r#"{"type":"SEMAPHORE_WAIT","sem_id":"m","process_id":"P2","timeout":0}"#,
            r#"{"type":"STATUS","status":"BLOCKED","sem_id":"m","value":0}"#,
        ),
        (
            r#"{"type":"LIST_SEMAPHORES"}"#,
            r#"{"type":"SEMAPHORE_LIST","semaphores":[{"sem_id":"m","kind":"counting","value":0,"initial_value":1,"owned":true,"holders":["P1"],"holder_count":1,"waiting":0}],"next":null,"semaphore_count":1}"#,
        ),
        (
            r#"{"type":"SEMAPHORE_SIGNAL","sem_id":"m","process_id":"P1"}"#,
            r#"{"type":"STATUS","status":"OK","sem_id":"m","value":1}"#,
        ),
        (r#"{"type":"DELETE_SEMAPHORE","sem_id":"m"}"#, r#"{"type":"STATUS","status":"OK","sem_id":"m","waiters":0}"#),
    ];
    for (message, reply) in cases {
        assert_eq!(node.call_raw(message), reply);
    }
    let topics: Vec<String> = node.events().into_iter().map(|event| event.topic).collect();
    let topics: Vec<&String> = topics.iter().filter(|topic| *topic != "process.named").collect();
    let expected = ["ipc.queue_created", "ipc.queue_deleted", "ipc.semaphore_created", "ipc.semaphore_deleted"];
    assert_eq!(topics, expected, "only what is made and removed is told");
}

#[test]
fn errors_have_the_texts_of_the_protocol() {
    let node = node();
    queue(&node, "q", 1);
    semaphore(&node, "m", 1);
    let text = |message: Value| refused(&node, message).1;
    assert_eq!(text(json!({"type": "CREATE_QUEUE"})), "queue_id required");
    assert_eq!(text(json!({"type": "CREATE_QUEUE", "queue_id": "q"})), "Queue already exists");
    assert_eq!(text(json!({"type": "SEND_MESSAGE", "queue_id": "q"})), "queue_id and sender required");
    assert_eq!(text(json!({"type": "SEND_MESSAGE", "sender": "a"})), "queue_id and sender required");
    assert_eq!(text(json!({"type": "SEND_MESSAGE", "queue_id": "x", "sender": "a"})), "Queue x not found");
    assert_eq!(text(json!({"type": "RECEIVE_MESSAGE", "queue_id": "q"})), "queue_id and receiver required");
    assert_eq!(text(json!({"type": "RECEIVE_MESSAGE", "queue_id": "x", "receiver": "a"})), "Queue x not found");
    assert_eq!(text(json!({"type": "CREATE_SEMAPHORE"})), "sem_id required");
    assert_eq!(text(json!({"type": "CREATE_SEMAPHORE", "sem_id": "m"})), "Semaphore already exists");
    for message_type in ["SEMAPHORE_WAIT", "SEMAPHORE_SIGNAL"] {
        assert_eq!(text(json!({"type": message_type, "sem_id": "m"})), "sem_id and process_id required");
        let unknown = json!({"type": message_type, "sem_id": "x", "process_id": "P1"});
        assert_eq!(text(unknown), "Semaphore x not found");
    }
    send(&node, "?", 1).wait().unwrap();
    let full = json!({"type": "SEND_MESSAGE", "queue_id": "q", "sender": "a", "timeout": 0});
    assert_eq!(refused(&node, full), ("queue_full".to_owned(), "Failed to send message".to_owned()));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let node = node();
    semaphore(&node, "m", 1);
    let code = |message: Value| refused(&node, message).0;
    let long = "x".repeat(129);
    for id in ["", "a\nb", &long] {
        assert_eq!(code(json!({"type": "CREATE_QUEUE", "queue_id": id})), ProviderError::INVALID_MESSAGE);
        assert_eq!(code(json!({"type": "CREATE_SEMAPHORE", "sem_id": id})), ProviderError::INVALID_MESSAGE);
        let wait = json!({"type": "SEMAPHORE_WAIT", "sem_id": "m", "process_id": id});
        assert_eq!(code(wait), ProviderError::INVALID_MESSAGE);
    }
    queue(&node, "q", 1);
    for receiver in ["@", "@peer", "a\nb", &"x".repeat(200)] {
        assert_eq!(send(&node, receiver, 1).wait().unwrap_err().code, ProviderError::INVALID_MESSAGE);
    }
    for timeout in ["-1", "1e300", "\"5\""] {
        let wait = format!(r#"{{"type":"SEMAPHORE_WAIT","sem_id":"m","process_id":"P1","timeout":{timeout}}}"#);
        assert_eq!(node.call(wait).unwrap_err().code, ProviderError::INVALID_MESSAGE);
    }
    for create in [
        json!({"type": "CREATE_SEMAPHORE", "sem_id": "b", "kind": "binary", "initial_value": 2}),
        json!({"type": "CREATE_SEMAPHORE", "sem_id": "b", "initial_value": -1}),
        json!({"type": "CREATE_SEMAPHORE", "sem_id": "b", "initial_value": u64::MAX}),
        json!({"type": "CREATE_SEMAPHORE", "sem_id": "b", "kind": "ternary"}),
    ] {
        assert_eq!(code(create), ProviderError::INVALID_MESSAGE);
    }
    assert_eq!(node.call(json!({"type": "LIST_SEMAPHORES"})).unwrap()["semaphore_count"], 1);
}

#[test]
fn a_receiver_waits_and_a_message_for_another_is_left_where_it_is() {
    let node = node();
    queue(&node, "q", 10);
    let waiting = receive(&node, "b");
    for number in 0..3 {
        send(&node, "a", number).wait().unwrap();
    }
    assert!(waiting.try_answer().is_none());
    send(&node, "b", "for b").wait().unwrap();
    assert_eq!(waiting.wait().unwrap()["data"], "for b");
    assert_eq!([take(&node, "a"), take(&node, "a"), take(&node, "a")], [json!(0), json!(1), json!(2)]);
}

#[test]
fn everybody_gets_a_broadcast_once_and_whoever_asks_first_an_open_message() {
    let node = node();
    queue(&node, "q", 10);
    send(&node, "*", "before anybody came").wait().unwrap();
    assert_eq!(take(&node, "late"), "before anybody came", "the first that asks gets it");
    for receiver in ["a", "b"] {
        node.call(json!({"type": "JOIN_QUEUE", "queue_id": "q", "receiver": receiver})).unwrap();
    }
    let waiting = receive(&node, "late");
    send(&node, "*", "to all").wait().unwrap();
    assert_eq!(waiting.wait().unwrap()["data"], "to all");
    for receiver in ["a", "b"] {
        assert_eq!([take(&node, receiver), take(&node, receiver)], [json!("to all"), json!("no_message")]);
    }
    assert_eq!(take(&node, "new"), "no_message");
    send(&node, "?", "to one").wait().unwrap();
    assert_eq!([take(&node, "b"), take(&node, "a")], [json!("to one"), json!("no_message")]);
}

#[test]
fn a_sender_waits_for_room_and_gives_up_after_five_seconds() {
    let node = node();
    queue(&node, "q", 1);
    send(&node, "?", 1).wait().unwrap();
    let (second, third) = (send(&node, "?", 2), send(&node, "?", 3));
    assert!(second.try_answer().is_none());
    assert_eq!(take(&node, "a"), 1);
    assert_eq!(second.wait().unwrap()["message_id"], "MSG2");
    node.advance(Duration::from_millis(4999));
    assert!(third.try_answer().is_none());
    node.advance(Duration::from_millis(1));
    assert_eq!(third.wait().unwrap_err().message, "Failed to send message");
    assert_eq!([take(&node, "a"), take(&node, "a")], [json!(2), json!("no_message")]);
}

#[test]
fn a_receiver_gives_up_when_its_time_is_over() {
    let node = node();
    queue(&node, "q", 1);
    let message = json!({"type": "RECEIVE_MESSAGE", "queue_id": "q", "receiver": "a", "timeout": 1.5});
    let waiting = node.begin(message);
    node.advance(Duration::from_millis(1500));
    assert_eq!(waiting.wait().unwrap_err().message, "No message received");
    send(&node, "?", 1).wait().unwrap();
    assert_eq!(take(&node, "a"), 1, "the one that gave up has taken nothing");
}

#[test]
fn those_who_wait_are_told_when_the_queue_or_the_semaphore_is_removed() {
    let node = node();
    queue(&node, "q", 1);
    semaphore(&node, "m", 0);
    let calls = [receive(&node, "a"), wait(&node, "m", "P1")];
    node.call(json!({"type": "DELETE_QUEUE", "queue_id": "q"})).unwrap();
    node.call(json!({"type": "DELETE_SEMAPHORE", "sem_id": "m"})).unwrap();
    let codes = calls.map(|call| call.wait().unwrap_err().code);
    assert_eq!(codes, ["queue_deleted", "semaphore_deleted"]);
}

#[test]
fn permits_are_handed_on_first_come_first_served() {
    let node = node();
    semaphore(&node, "m", 1);
    assert_eq!(status_of(&wait(&node, "m", "P1")).as_deref(), Some("OK"));
    let (second, third) = (wait(&node, "m", "P2"), wait(&node, "m", "P3"));
    assert_eq!(signal(&node, "m", "P1")["value"], 0);
    assert_eq!((status_of(&second).as_deref(), status_of(&third)), (Some("OK"), None));
    signal(&node, "m", "P2");
    assert_eq!(third.wait().unwrap()["status"], "OK");
    assert_eq!(signal(&node, "m", "P3")["value"], 1);
}

#[test]
fn a_wait_that_is_over_is_blocked_and_takes_nothing() {
    let node = node();
    semaphore(&node, "m", 0);
    let message = json!({"type": "SEMAPHORE_WAIT", "sem_id": "m", "process_id": "P1", "timeout": 0.25});
    let waiting = node.begin(message);
    node.advance(Duration::from_millis(250));
    assert_eq!(waiting.wait().unwrap()["status"], "BLOCKED");
    assert_eq!(signal(&node, "m", "P2")["value"], 1);
}

#[test]
fn a_caller_that_goes_away_waits_no_more() {
    let node = node();
    semaphore(&node, "m", 0);
    queue(&node, "q", 1);
    let (first, second) = (wait(&node, "m", "P1"), wait(&node, "m", "P2"));
    let receiver = receive(&node, "P1");
    first.cancel();
    receiver.cancel();
    signal(&node, "m", "P3");
    assert_eq!(second.wait().unwrap()["status"], "OK");
    send(&node, "?", 1).wait().unwrap();
    assert_eq!(take(&node, "P4"), 1);
    let status = &node.status()["ipc"];
    assert_eq!((&status["semaphore_waits"], &status["queue_waits"]), (&json!(0), &json!(0)));
}

#[test]
fn what_a_process_held_is_free_when_it_ends_and_its_waits_are_over() {
    let node = node();
    semaphore(&node, "m", 1);
    semaphore(&node, "items", 0);
    queue(&node, "q", 1);
    wait(&node, "m", "P1").wait().unwrap();
    let waiting = wait(&node, "m", "P2");
    let of_the_dead = [wait(&node, "items", "P1"), receive(&node, "P1"), wait(&node, "m", "P1")];
    ended(&node, "P1");
    assert_eq!(waiting.wait().unwrap()["status"], "OK");
    for call in of_the_dead {
        let error = call.wait().unwrap_err();
        assert_eq!((&*error.code, &*error.message), ("process_ended", "process P1 has ended: killed"));
    }
    send(&node, "*", 1).wait().unwrap();
    assert_eq!(take(&node, "P2"), 1, "the queue has forgotten the one that ended");
}

#[test]
fn processes_of_other_nodes_are_apart_and_end_with_their_node() {
    let node = node();
    semaphore(&node, "m", 2);
    let message = json!({"type": "SEMAPHORE_WAIT", "sem_id": "m", "process_id": "P1"});
    node.message(&message).caller(Caller::Member(FAR)).call().unwrap();
    node.call(&message).unwrap();
    let waiting = wait(&node, "m", "P2");
    let holders = node.call(json!({"type": "LIST_SEMAPHORES"})).unwrap()["semaphores"][0]["holders"].clone();
    assert_eq!(holders, json!(["P1", format!("P1@{FAR}")]));
    ended(&node, &format!("*@{FAR}"));
    assert_eq!(waiting.wait().unwrap()["status"], "OK");
    let forged = json!({"type": "SEMAPHORE_SIGNAL", "sem_id": "m", "process_id": format!("P2@{FAR}")});
    let error = node.message(forged).caller(Caller::Member(FAR)).call().unwrap_err();
    assert_eq!(error.code, ProviderError::INVALID_MESSAGE);
}

#[test]
fn a_task_is_who_the_host_says_and_names_those_of_its_own_node() {
    let node = node();
    queue(&node, "q", 10);
    // The harness takes the process from the message's `behalf`, as a node does with a plugin's.
    let receive = json!({"type": "RECEIVE_MESSAGE", "queue_id": "q", "receiver": "P1", "behalf": "task:P7"});
    let waiting = node.message(receive).caller(Caller::Task(FAR)).begin();
    let to_peer = json!({"type": "SEND_MESSAGE", "queue_id": "q", "sender": "P2", "receiver": "P7@", "data": 1});
    node.message(&to_peer).caller(Caller::Member(FAR)).call().unwrap();
    let answer = waiting.wait().unwrap();
    assert_eq!(answer["receiver"], format!("P7@{FAR}"), "what it claims is ignored");
    assert_eq!(answer["sender"], format!("P2@{FAR}"));
}

#[test]
fn the_detection_of_deadlocks_sees_holders_and_waiters() {
    let node = node();
    semaphore(&node, "fork", 1);
    semaphore(&node, "items", 0);
    wait(&node, "fork", "P1").wait().unwrap();
    let _waiting = wait(&node, "fork", "P2");
    let bounded = json!({"type": "SEMAPHORE_WAIT", "sem_id": "items", "process_id": "P3", "timeout": 9});
    let _bounded = node.begin(bounded);
    let shown = resources(&node);
    let fork = &shown[0];
    assert_eq!((&fork["resource_id"], &fork["owned"]), (&json!("semaphore:fork"), &json!(true)));
    assert_eq!((&fork["total_units"], &fork["available_units"]), (&json!(1), &json!(0)));
    assert_eq!(fork["holders"], json!([{"pid": "P1", "units": 1}]));
    assert_eq!((&fork["waiters"][0]["pid"], &fork["waiters"][0]["bounded"]), (&json!("P2"), &json!(false)));
    assert!(fork["waiters"][0]["since_unix_milliseconds"].as_u64().unwrap() > 1_600_000_000_000);
    let items = &shown[1];
    assert_eq!((&items["owned"], &items["waiters"][0]["bounded"]), (&json!(false), &json!(true)));
    assert_eq!(node.call(json!({"type": "IPC_RESOURCES"})).unwrap_err().code, ProviderError::FORBIDDEN);
}

#[test]
fn that_somebody_waits_without_a_time_out_is_told_once_and_not_when_it_was_for_a_moment() {
    let node = node();
    semaphore(&node, "m", 1);
    let told = || node.events().into_iter().filter(|event| event.topic == "resource.waiting").count();
    wait(&node, "m", "P0").wait().unwrap();
    for number in 0..5 {
        let next = wait(&node, "m", &format!("P{}", number + 1));
        signal(&node, "m", &format!("P{number}"));
        next.wait().unwrap();
    }
    assert_eq!(node.timers(), 1);
    node.advance(Duration::from_secs(1));
    assert_eq!((told(), node.timers()), (0, 0));
    let _waiting = [wait(&node, "m", "P8"), wait(&node, "m", "P9")];
    node.advance(Duration::from_secs(1));
    assert_eq!((told(), node.timers()), (1, 0));
}

#[test]
fn a_victim_of_a_deadlock_waits_no_more_and_gives_back() {
    let node = node();
    semaphore(&node, "a", 1);
    semaphore(&node, "b", 1);
    wait(&node, "a", "P1").wait().unwrap();
    wait(&node, "b", "P2").wait().unwrap();
    let (first, second) = (wait(&node, "b", "P1"), wait(&node, "a", "P2"));
    let cancel =
        json!({"type": "CANCEL_WAITS", "process_id": "P1", "code": "deadlock_victim", "reason": "P1 is the victim"});
    let reply = node.message(cancel).caller(Caller::Plugin("deadlock")).call().unwrap();
    assert_eq!((&reply["waits"], &reply["permits"]), (&json!(1), &json!(1)));
    let error = first.wait().unwrap_err();
    assert_eq!((&*error.code, &*error.message), ("deadlock_victim", "P1 is the victim"));
    assert_eq!(second.wait().unwrap()["status"], "OK");
}

#[test]
fn a_semaphore_that_is_signalled_by_others_is_for_signalling() {
    let node = node();
    semaphore(&node, "empty", 2);
    wait(&node, "empty", "producer").wait().unwrap();
    assert_eq!(signal(&node, "empty", "consumer")["value"], 2);
    wait(&node, "empty", "producer").wait().unwrap();
    ended(&node, "producer");
    let info = node.call(json!({"type": "LIST_SEMAPHORES"})).unwrap()["semaphores"][0].clone();
    assert_eq!((&info["owned"], &info["value"]), (&json!(false), &json!(1)), "nobody knows whose it is: {info}");
}

#[test]
fn a_binary_semaphore_has_one_permit_however_often_it_is_signalled() {
    let node = node();
    node.call(json!({"type": "CREATE_SEMAPHORE", "sem_id": "m", "kind": "binary", "initial_value": 0})).unwrap();
    assert_eq!([signal(&node, "m", "a")["value"].clone(), signal(&node, "m", "a")["value"].clone()], [1, 1]);
    wait(&node, "m", "P1").wait().unwrap();
    let message = json!({"type": "SEMAPHORE_WAIT", "sem_id": "m", "process_id": "P1", "timeout": 0});
    assert_eq!(node.call(message).unwrap()["status"], "BLOCKED");
}

#[test]
fn limits_refuse_with_what_to_do() {
    let config = json!({"queues_max": 1, "semaphores_max": 1, "waits_max": 2, "message_bytes_max": 20});
    let node = node_with(config);
    queue(&node, "q", 0);
    semaphore(&node, "m", 1);
    let text_of = |message: Value| {
        let (code, text) = refused(&node, message);
        assert_eq!(code, ProviderError::LIMIT_REACHED);
        text
    };
    assert!(text_of(json!({"type": "CREATE_QUEUE", "queue_id": "r"})).contains("queues_max"));
    assert!(text_of(json!({"type": "CREATE_SEMAPHORE", "sem_id": "n"})).contains("semaphores_max"));
    let large = json!({"type": "SEND_MESSAGE", "queue_id": "q", "sender": "a", "data": "x".repeat(30)});
    assert!(text_of(large).contains("message_bytes_max"));
    wait(&node, "m", "P1").wait().unwrap();
    let _waiting = wait(&node, "m", "P2");
    assert!(text_of(json!({"type": "SEMAPHORE_WAIT", "sem_id": "m", "process_id": "P3"})).contains("waits_max"));
    let _waiting = [receive(&node, "a"), receive(&node, "b")];
    assert!(text_of(json!({"type": "RECEIVE_MESSAGE", "queue_id": "q", "receiver": "c"})).contains("waits_max"));
}

#[test]
fn lists_come_a_page_at_a_time_and_status_shows_the_first() {
    let node = node();
    for number in 0..250 {
        queue(&node, &format!("jobs-{number:03}"), 1);
        semaphore(&node, &format!("lock-{number:03}"), 1);
    }
    queue(&node, "other", 1);
    let mut seen = Vec::new();
    let mut after = Value::Null;
    loop {
        let page = node.call(json!({"type": "LIST_QUEUES", "prefix": "jobs-", "after": after, "limit": 99})).unwrap();
        assert_eq!(page["queue_count"], 251);
        let queues = page["queues"].as_array().unwrap();
        seen.extend(queues.iter().map(|queue| queue["queue_id"].as_str().unwrap().to_owned()));
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert_eq!(seen, (0..250).map(|number| format!("jobs-{number:03}")).collect::<Vec<_>>());
    let page = node.call(json!({"type": "LIST_SEMAPHORES"})).unwrap();
    assert_eq!((&page["next"], &page["semaphores"][99]["sem_id"]), (&json!("lock-099"), &json!("lock-099")));
    let status = &node.status()["ipc"];
    assert_eq!((&status["queue_count"], &status["semaphore_count"]), (&json!(251), &json!(250)));
    assert_eq!(status["queues"].as_array().unwrap().len(), 100);
    assert_eq!(status["message_queues"].as_object().unwrap().len(), 100);
    assert_eq!(status["semaphores"].as_object().unwrap().len(), 100);
}

#[test]
fn waits_are_answered_when_the_node_stops() {
    let node = node();
    queue(&node, "q", 1);
    semaphore(&node, "m", 0);
    let calls = [receive(&node, "a"), wait(&node, "m", "P1")];
    node.stop();
    for call in calls {
        assert_eq!(call.wait().unwrap_err().code, ProviderError::NODE_STOPPING);
    }
}

#[test]
fn configuration_is_checked() {
    let error = |config| Harness::start::<Ipc>(config).err().unwrap().message;
    assert!(error(json!({"queue_max": 3})).contains("unknown field `queue_max`"));
    assert!(error(json!({"waits_max": 0})).contains("key `waits_max`: it must be at least 1"));
    assert!(error(json!({"message_bytes_max": 16 << 20})).contains("key `message_bytes_max`"));
    assert!(error(json!({"bytes_max": 1000})).contains("at most bytes_max"));
    for part in [0.0, -0.1, 1.1] {
        assert!(error(json!({"peer_share": part})).contains("key `peer_share`: it must be more than 0 and at most 1"));
    }
}
