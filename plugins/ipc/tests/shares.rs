//! What each other node may have of what is bounded for all.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use potluck_sdk::testing::{Harness, PendingCall};
use potluck_sdk::{Caller, ProviderError};
use provider_ipc::Ipc;
use serde_json::{Value, json};
use std::sync::mpsc;

/// Ids of other nodes.
const FAR: &str = "5f0c6b1e-0000-8000-8000-000000000000";
const AWAY: &str = "6a0c6b1e-0000-8000-8000-000000000000";

/// Four of each, of which another node may have two.
fn node() -> Harness {
    let config = json!({
        "queues_max": 4, "semaphores_max": 4, "waits_max": 4, "bytes_max": 20_000, "queue_bytes_max": 20_000,
        "message_bytes_max": 6000, "peer_share": 0.5
    });
    Harness::start_with_clock(config, |host, config, clock| Ipc::start_with_clock(host, config, move || clock.now()))
        .unwrap()
}

fn call(node: &Harness, caller: Caller<'_>, message: &Value) -> Result<Value, ProviderError> {
    node.message(message).caller(caller).call()
}

fn begin(node: &Harness, caller: Caller<'_>, message: &Value) -> PendingCall {
    node.message(message).caller(caller).begin()
}

#[track_caller]
fn refused(answer: Result<Value, ProviderError>) {
    let error = answer.unwrap_err();
    assert_eq!(error.code, ProviderError::LIMIT_REACHED);
    assert!(error.message.contains(FAR) && error.message.contains("peer_share in [plugins.ipc]"), "{error}");
}

fn create_queue(id: &str) -> Value {
    json!({"type": "CREATE_QUEUE", "queue_id": id, "max_size": 1})
}

fn create_semaphore(id: &str) -> Value {
    json!({"type": "CREATE_SEMAPHORE", "sem_id": id, "initial_value": 0})
}

fn wait(id: &str, process: &str) -> Value {
    json!({"type": "SEMAPHORE_WAIT", "sem_id": id, "process_id": process})
}

fn signal(id: &str, process: &str) -> Value {
    json!({"type": "SEMAPHORE_SIGNAL", "sem_id": id, "process_id": process})
}

fn send(queue: &str, bytes: usize) -> Value {
    json!({"type": "SEND_MESSAGE", "queue_id": queue, "sender": "s", "receiver": "?", "data": "x".repeat(bytes)})
}

fn receive(queue: &str, process: &str) -> Value {
    json!({"type": "RECEIVE_MESSAGE", "queue_id": queue, "receiver": process})
}

#[test]
fn a_node_with_its_tasks_has_no_more_queues_and_semaphores_than_its_share() {
    let node = node();
    for create in [create_queue, create_semaphore] {
        call(&node, Caller::Member(FAR), &create("a")).unwrap();
        call(&node, Caller::Task(FAR), &create("b")).unwrap();
        refused(call(&node, Caller::Member(FAR), &create("c")));
        refused(call(&node, Caller::Task(FAR), &create("c")));
        call(&node, Caller::Member(AWAY), &create("c")).unwrap();
        call(&node, Caller::Local, &create("d")).unwrap();
    }
    let full = call(&node, Caller::Local, &create_queue("e")).unwrap_err();
    assert!(full.message.contains("queues_max"), "this node's user is bounded by the total: {full}");
    // Whoever deletes it, the place is that of the node which has made it.
    for (delete, create, id) in
        [("DELETE_QUEUE", create_queue("e"), "queue_id"), ("DELETE_SEMAPHORE", create_semaphore("e"), "sem_id")]
    {
        call(&node, Caller::Local, &json!({"type": delete, id: "c"})).unwrap();
        refused(call(&node, Caller::Member(FAR), &create));
        call(&node, Caller::Local, &json!({"type": delete, id: "a"})).unwrap();
        call(&node, Caller::Member(FAR), &create).unwrap();
        refused(call(&node, Caller::Member(FAR), &json!({"type": create["type"], id: "f"})));
    }
}

#[test]
fn this_nodes_user_and_tasks_may_have_everything() {
    let (own_id, known) = mpsc::channel();
    let config = json!({"queues_max": 4, "semaphores_max": 4, "peer_share": 0.5});
    let node = Harness::start_with_clock(config, move |host, config, clock| {
        own_id.send(host.node().peer_id.to_string()).unwrap();
        Ipc::start_with_clock(host, config, move || clock.now())
    })
    .unwrap();
    let own_id = known.recv().unwrap();
    for (number, caller) in
        [Caller::Local, Caller::Task(&own_id), Caller::Local, Caller::Task(&own_id)].into_iter().enumerate()
    {
        call(&node, caller, &create_queue(&format!("q{number}"))).unwrap();
        call(&node, caller, &create_semaphore(&format!("m{number}"))).unwrap();
    }
}

#[test]
fn messages_count_for_who_has_sent_them_until_they_are_received() {
    let node = node();
    for id in ["a", "b", "c"] {
        call(&node, Caller::Local, &create_queue(id)).unwrap();
    }
    call(&node, Caller::Member(FAR), &send("a", 5000)).unwrap();
    refused(call(&node, Caller::Member(FAR), &send("b", 5000)));
    // One that waits for room counts as well, until it goes away.
    let waiting = begin(&node, Caller::Member(FAR), &send("a", 3000));
    refused(call(&node, Caller::Task(FAR), &with_process(send("b", 3000), "P7")));
    call(&node, Caller::Local, &send("b", 5000)).unwrap();
    waiting.cancel();
    let waiting = begin(&node, Caller::Member(FAR), &send("a", 3000));
    assert!(waiting.try_answer().is_none());
    call(&node, Caller::Local, &receive("a", "r")).unwrap();
    waiting.wait().unwrap();
    call(&node, Caller::Member(FAR), &send("c", 5000)).unwrap();
    refused(call(&node, Caller::Member(FAR), &send("b", 3000)));
    call(&node, Caller::Local, &json!({"type": "DELETE_QUEUE", "queue_id": "c"})).unwrap();
    call(&node, Caller::Local, &receive("b", "r")).unwrap();
    call(&node, Caller::Member(FAR), &send("b", 3000)).unwrap();
    for id in ["a", "b"] {
        call(&node, Caller::Local, &receive(id, "r")).unwrap();
    }
    assert_eq!(node.status()["ipc"]["message_bytes"], 0);
}

/// Says which process a task is: the harness takes it from `behalf`, as a node does.
fn with_process(mut message: Value, process: &str) -> Value {
    message["behalf"] = json!(format!("task:{process}"));
    message
}

#[test]
fn waits_at_queues_and_receivers_count_for_the_node_that_waits() {
    let node = node();
    call(&node, Caller::Local, &create_queue("q")).unwrap();
    let waits = [
        begin(&node, Caller::Member(FAR), &receive("q", "P1")),
        begin(&node, Caller::Task(FAR), &with_process(receive("q", "ignored"), "P2")),
    ];
    assert!(waits.iter().all(|wait| wait.try_answer().is_none()));
    refused(call(&node, Caller::Member(FAR), &receive("q", "P3")));
    let own = begin(&node, Caller::Local, &receive("q", "P1"));
    let away = begin(&node, Caller::Member(AWAY), &receive("q", "P1"));
    assert!(own.try_answer().is_none() && away.try_answer().is_none());
    call(&node, Caller::Local, &send("q", 1)).unwrap();
    waits[0].wait().unwrap();
    let next = begin(&node, Caller::Member(FAR), &receive("q", "P3"));
    assert!(next.try_answer().is_none());
    // Of the 16 receivers that all queues know, its own are eight at most.
    let join = |number: usize| json!({"type": "JOIN_QUEUE", "queue_id": "q", "receiver": format!("r{number}")});
    for number in 0..5 {
        call(&node, Caller::Member(FAR), &join(number)).unwrap();
    }
    refused(call(&node, Caller::Member(FAR), &join(5)));
    call(&node, Caller::Member(FAR), &join(0)).unwrap();
    call(&node, Caller::Local, &join(5)).unwrap();
    assert!(node.emit("process.ended", json!({"pid": format!("*@{FAR}"), "reason": "gone"})));
    assert_eq!(next.wait().unwrap_err().code, "process_ended");
    for number in 0..7 {
        call(&node, Caller::Member(FAR), &join(number)).unwrap();
    }
}

#[test]
fn who_holds_permits_and_who_waits_for_them_count_together() {
    let node = node();
    call(&node, Caller::Local, &json!({"type": "CREATE_SEMAPHORE", "sem_id": "m"})).unwrap();
    call(&node, Caller::Local, &create_semaphore("n")).unwrap();
    call(&node, Caller::Member(FAR), &wait("m", "P1")).unwrap();
    let waiting = begin(&node, Caller::Member(FAR), &wait("m", "P2"));
    assert!(waiting.try_answer().is_none());
    refused(call(&node, Caller::Member(FAR), &wait("n", "P3")));
    let own = begin(&node, Caller::Local, &wait("n", "P3"));
    assert!(own.try_answer().is_none());
    // The place of the one that waited goes on as that of a holder; the first holder's is free.
    call(&node, Caller::Member(FAR), &signal("m", "P1")).unwrap();
    waiting.wait().unwrap();
    let waiting = begin(&node, Caller::Member(FAR), &wait("n", "P3"));
    assert!(waiting.try_answer().is_none());
    refused(call(&node, Caller::Member(FAR), &wait("n", "P4")));
    waiting.cancel();
    assert!(node.emit("process.ended", json!({"pid": format!("P2@{FAR}"), "reason": "killed"})));
    let both = ["P5", "P6"].map(|process| begin(&node, Caller::Member(FAR), &wait("n", process)));
    assert!(both.iter().all(|wait| wait.try_answer().is_none()));
    refused(call(&node, Caller::Member(FAR), &wait("n", "P7")));
}

/// One queue of eight messages that this node's user has made; another node may have four of them.
fn node_with_queue() -> Harness {
    let config = json!({"receivers_max": 4, "peer_share": 0.5});
    let node = Harness::start_with_clock(config, |host, config, clock| {
        Ipc::start_with_clock(host, config, move || clock.now())
    })
    .unwrap();
    call(&node, Caller::Local, &json!({"type": "CREATE_QUEUE", "queue_id": "q", "max_size": 8})).unwrap();
    node
}

fn send_within(seconds: f64) -> Value {
    json!({"type": "SEND_MESSAGE", "queue_id": "q", "sender": "s", "receiver": "?", "timeout": seconds})
}

#[test]
fn a_node_that_floods_a_queue_keeps_nobody_from_sending() {
    let node = node_with_queue();
    for _ in 0..4 {
        call(&node, Caller::Member(FAR), &send_within(0.0)).unwrap();
    }
    let error = call(&node, Caller::Member(FAR), &send_within(0.0)).unwrap_err();
    assert_eq!(error.code, ProviderError::LIMIT_REACHED);
    for words in [FAR, "the queue q", "at most 4 of its messages", "receive some first", "peer_share in [plugins.ipc]"]
    {
        assert!(error.message.contains(words), "{words}: {error}");
    }
    // Who is ready to wait does, and stands in nobody's way.
    let flood: Vec<PendingCall> = (0..50).map(|_| begin(&node, Caller::Member(FAR), &send_within(9.0))).collect();
    for caller in [Caller::Local, Caller::Member(AWAY), Caller::Member(AWAY), Caller::Local] {
        call(&node, caller, &send_within(0.0)).unwrap();
    }
    let full = call(&node, Caller::Local, &send_within(0.0)).unwrap_err();
    assert_eq!((&*full.code, &*full.message), ("queue_full", "Failed to send message"));
    let own = begin(&node, Caller::Local, &send_within(9.0));
    // When one of its messages is taken its next is, for it has waited longest; then it has its share again.
    call(&node, Caller::Local, &receive("q", "r")).unwrap();
    flood[0].try_answer().unwrap().unwrap();
    assert!(flood[1].try_answer().is_none() && own.try_answer().is_none());
    for _ in 0..4 {
        call(&node, Caller::Local, &receive("q", "r")).unwrap();
    }
    own.wait().unwrap();
    node.advance(std::time::Duration::from_secs(9));
    let answers: Vec<_> = flood.iter().skip(1).map(PendingCall::wait).collect();
    let refused_count = answers.iter().filter(|answer| answer.is_err()).count();
    assert!(refused_count > 40 && refused_count < answers.len(), "{refused_count} of {}", answers.len());
    for error in answers.into_iter().filter_map(Result::err) {
        assert!(error.code == ProviderError::LIMIT_REACHED && error.message.contains("the queue q"), "{error}");
    }
}

#[test]
fn a_node_may_fill_a_queue_of_its_own() {
    let node = node_with_queue();
    call(&node, Caller::Local, &json!({"type": "DELETE_QUEUE", "queue_id": "q"})).unwrap();
    let create = json!({"type": "CREATE_QUEUE", "queue_id": "q", "max_size": 8});
    call(&node, Caller::Member(FAR), &create).unwrap();
    for number in 0..8 {
        let caller = if number % 2 == 0 { Caller::Member(FAR) } else { Caller::Task(FAR) };
        call(&node, caller, &with_process(send_within(0.0), "P1")).unwrap();
    }
    assert_eq!(call(&node, Caller::Member(FAR), &send_within(0.0)).unwrap_err().code, "queue_full");
}

#[test]
fn the_newcomers_of_a_node_push_out_its_own_receivers_alone() {
    let node = node_with_queue();
    let join = |caller, name: &str| {
        call(&node, caller, &json!({"type": "JOIN_QUEUE", "queue_id": "q", "receiver": name})).map(drop)
    };
    let known = || {
        let list = call(&node, Caller::Local, &json!({"type": "LIST_QUEUES"})).unwrap();
        list["queues"][0]["receivers"].as_u64().unwrap()
    };
    join(Caller::Local, "own").unwrap();
    for number in 0..20 {
        join(Caller::Member(FAR), &format!("r{number}")).unwrap();
    }
    assert_eq!(known(), 3, "two are its share");
    join(Caller::Member(AWAY), "other").unwrap();
    // All four are known. The place of another node's receiver, or of this one's, is not for it.
    call(&node, Caller::Local, &json!({"type": "LEAVE_QUEUE", "queue_id": "q", "receiver": format!("r18@{FAR}")}))
        .unwrap();
    call(&node, Caller::Local, &json!({"type": "LEAVE_QUEUE", "queue_id": "q", "receiver": format!("r19@{FAR}")}))
        .unwrap();
    join(Caller::Local, "own-2").unwrap();
    join(Caller::Local, "own-3").unwrap();
    let error = join(Caller::Member(FAR), "late").unwrap_err();
    assert!(error.code == ProviderError::LIMIT_REACHED && error.message.contains("receivers_max"), "{error}");
    let message = json!({"type": "SEND_MESSAGE", "queue_id": "q", "sender": "s", "receiver": "*", "data": 7});
    call(&node, Caller::Local, &message).unwrap();
    assert_eq!(call(&node, Caller::Local, &receive("q", "own")).unwrap()["data"], 7);
    assert_eq!(call(&node, Caller::Member(AWAY), &receive("q", "other")).unwrap()["data"], 7);
    // This node's user is bounded as before: the one that was silent longest is forgotten.
    join(Caller::Local, "own-4").unwrap();
    assert_eq!(known(), 4);
}

#[test]
fn receivers_of_a_node_that_wait_are_never_pushed_out() {
    let node = node_with_queue();
    let waits = ["P1", "P2"].map(|name| begin(&node, Caller::Member(FAR), &receive("q", name)));
    let error = call(&node, Caller::Member(FAR), &receive("q", "P3")).unwrap_err();
    assert_eq!(error.code, ProviderError::LIMIT_REACHED);
    for words in [FAR, "the queue q", "at most 2 of its receivers", "LEAVE_QUEUE", "peer_share in [plugins.ipc]"] {
        assert!(error.message.contains(words), "{words}: {error}");
    }
    call(&node, Caller::Local, &send_within(0.0)).unwrap();
    let [first, second] = waits;
    first.wait().unwrap();
    let third = begin(&node, Caller::Member(FAR), &receive("q", "P3"));
    assert!(second.try_answer().is_none() && third.try_answer().is_none());
}
