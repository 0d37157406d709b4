//! The text of every message and reply of the provider `ipc`, frozen: a change here is a change of the protocol.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

#[path = "support/golden.rs"]
mod support;

use potluck_sdk::message::RawValue;
use potluck_sdk::message::ipc::*;
use potluck_sdk::message::resources::{Holder, ResourceState, Resources, Waiter};
use support::golden;

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

#[test]
fn queues() {
    let create = CreateQueue { queue_id: Some("q".into()), max_size: Some(5), exist_ok: true };
    golden(&create, r#"{"type":"CREATE_QUEUE","queue_id":"q","max_size":5,"exist_ok":true}"#);
    golden(&CreateQueue::default(), r#"{"type":"CREATE_QUEUE"}"#);
    golden(
        &QueueCreated { status: "OK".into(), queue_id: "q".into(), max_size: 5, created: true },
        r#"{"type":"STATUS","status":"OK","queue_id":"q","max_size":5,"created":true}"#,
    );
    golden(&DeleteQueue { queue_id: Some("q".into()) }, r#"{"type":"DELETE_QUEUE","queue_id":"q"}"#);
    golden(
        &QueueDeleted { status: "OK".into(), queue_id: "q".into(), messages: 2, waiters: 1 },
        r#"{"type":"STATUS","status":"OK","queue_id":"q","messages":2,"waiters":1}"#,
    );
    let page = ListPage { prefix: "jobs".into(), after: Some("jobs-1".into()), limit: Some(10) };
    golden(&ListQueues { page: page.clone() }, r#"{"type":"LIST_QUEUES","prefix":"jobs","after":"jobs-1","limit":10}"#);
    golden(&ListQueues::default(), r#"{"type":"LIST_QUEUES"}"#);
    golden(
        &QueueList {
            queues: vec![QueueInfo {
                queue_id: "q".to_owned(),
                messages: 1,
                max_size: 5,
                bytes: 300,
                sent: 7,
                receivers: 2,
                waiting_receivers: 0,
                waiting_senders: 3,
            }],
            next: Some("q".to_owned()),
            queue_count: 9,
        },
        r#"{"type":"QUEUE_LIST","queues":[{"queue_id":"q","messages":1,"max_size":5,"bytes":300,"sent":7,"receivers":2,"waiting_receivers":0,"waiting_senders":3}],"next":"q","queue_count":9}"#,
    );
    for (topic, text) in [(QUEUE_CREATED_TOPIC, "ipc.queue_created"), (QUEUE_DELETED_TOPIC, "ipc.queue_deleted")] {
        assert_eq!(topic, text);
    }
}

#[test]
fn messages() {
    let data = raw("[1.10, 2]");
    let send = SendMessage {
        queue_id: Some("q".into()),
        sender: Some("P1".into()),
        receiver: Some("P2".into()),
        message_type: Some("WORK".into()),
        data: Some(&data),
        timeout: Some(0.5),
    };
    golden(
        &send,
        r#"{"type":"SEND_MESSAGE","queue_id":"q","sender":"P1","receiver":"P2","message_type":"WORK","data":[1.10, 2],"timeout":0.5}"#,
    );
    golden(
        &MessageSent { status: "OK".into(), queue_id: "q".into(), message_id: "MSG7".into() },
        r#"{"type":"STATUS","status":"OK","queue_id":"q","message_id":"MSG7"}"#,
    );
    golden(
        &ReceiveMessage { queue_id: Some("q".into()), receiver: Some("P2".into()), timeout: Some(0.0) },
        r#"{"type":"RECEIVE_MESSAGE","queue_id":"q","receiver":"P2","timeout":0.0}"#,
    );
    golden(&PeekMessage { queue_id: Some("q".into()), receiver: None }, r#"{"type":"PEEK_MESSAGE","queue_id":"q"}"#);
    let received = MessageReceived {
        status: "OK".into(),
        queue_id: "q".into(),
        message_id: "MSG7".into(),
        sender: "P1".into(),
        receiver: "*".into(),
        message_type: "DATA".into(),
        data: &data,
    };
    golden(
        &received,
        r#"{"type":"STATUS","status":"OK","queue_id":"q","message_id":"MSG7","sender":"P1","receiver":"*","message_type":"DATA","data":[1.10, 2]}"#,
    );
    golden(
        &JoinQueue { queue_id: Some("q".into()), receiver: Some("P2".into()) },
        r#"{"type":"JOIN_QUEUE","queue_id":"q","receiver":"P2"}"#,
    );
    golden(
        &LeaveQueue { queue_id: Some("q".into()), receiver: Some("P2".into()) },
        r#"{"type":"LEAVE_QUEUE","queue_id":"q","receiver":"P2"}"#,
    );
    golden(
        &QueueMembership { status: "OK".into(), queue_id: "q".into(), receiver: "P2".into(), changed: true },
        r#"{"type":"STATUS","status":"OK","queue_id":"q","receiver":"P2","changed":true}"#,
    );
}

#[test]
fn semaphores() {
    let create = CreateSemaphore {
        sem_id: Some("m".into()),
        initial_value: Some(0),
        kind: Some(SemaphoreKind::Binary),
        exist_ok: true,
    };
    golden(&create, r#"{"type":"CREATE_SEMAPHORE","sem_id":"m","initial_value":0,"kind":"binary","exist_ok":true}"#);
    golden(
        &SemaphoreCreated {
            status: "OK".into(),
            sem_id: "m".into(),
            value: 3,
            kind: SemaphoreKind::Counting,
            created: false,
        },
        r#"{"type":"STATUS","status":"OK","sem_id":"m","value":3,"kind":"counting","created":false}"#,
    );
    golden(&DeleteSemaphore { sem_id: Some("m".into()) }, r#"{"type":"DELETE_SEMAPHORE","sem_id":"m"}"#);
    golden(
        &SemaphoreDeleted { status: "OK".into(), sem_id: "m".into(), waiters: 2 },
        r#"{"type":"STATUS","status":"OK","sem_id":"m","waiters":2}"#,
    );
    golden(&ListSemaphores::default(), r#"{"type":"LIST_SEMAPHORES"}"#);
    golden(
        &SemaphoreList {
            semaphores: vec![SemaphoreInfo {
                sem_id: "m".to_owned(),
                kind: SemaphoreKind::Counting,
                value: 0,
                initial_value: 1,
                owned: true,
                holders: vec!["P1".to_owned()],
                holder_count: 1,
                waiting: 4,
            }],
            next: None,
            semaphore_count: 1,
        },
        r#"{"type":"SEMAPHORE_LIST","semaphores":[{"sem_id":"m","kind":"counting","value":0,"initial_value":1,"owned":true,"holders":["P1"],"holder_count":1,"waiting":4}],"next":null,"semaphore_count":1}"#,
    );
    golden(
        &SemaphoreWait { sem_id: Some("m".into()), process_id: Some("P1".into()), timeout: Some(1.5) },
        r#"{"type":"SEMAPHORE_WAIT","sem_id":"m","process_id":"P1","timeout":1.5}"#,
    );
    golden(
        &SemaphoreSignal { sem_id: Some("m".into()), process_id: Some("P1".into()) },
        r#"{"type":"SEMAPHORE_SIGNAL","sem_id":"m","process_id":"P1"}"#,
    );
    golden(
        &SemaphoreState { status: STATUS_BLOCKED.into(), sem_id: "m".into(), value: 0 },
        r#"{"type":"STATUS","status":"BLOCKED","sem_id":"m","value":0}"#,
    );
    assert_eq!(SEMAPHORE_CREATED_TOPIC, "ipc.semaphore_created");
    assert_eq!(SEMAPHORE_DELETED_TOPIC, "ipc.semaphore_deleted");
}

#[test]
fn the_detection_of_deadlocks() {
    golden(&IpcResources {}, r#"{"type":"IPC_RESOURCES"}"#);
    let state = ResourceState {
        resource_id: "semaphore:m".to_owned(),
        kind: "semaphore".to_owned(),
        total_units: 1,
        available_units: 0,
        owned: true,
        holders: vec![Holder { pid: "P1".to_owned(), units: 1 }],
        waiters: vec![Waiter { pid: "P2".to_owned(), units: 1, since_unix_milliseconds: 9, bounded: false }],
    };
    golden(
        &Resources { resources: vec![state] },
        r#"{"type":"RESOURCES","resources":[{"resource_id":"semaphore:m","kind":"semaphore","total_units":1,"available_units":0,"owned":true,"holders":[{"pid":"P1","units":1}],"waiters":[{"pid":"P2","units":1,"since_unix_milliseconds":9,"bounded":false}]}]}"#,
    );
    golden(
        &CancelWaits { process_id: "P1".into(), code: "deadlock_victim".into(), reason: "it was chosen".into() },
        r#"{"type":"CANCEL_WAITS","process_id":"P1","code":"deadlock_victim","reason":"it was chosen"}"#,
    );
    golden(
        &WaitsCancelled { status: "OK".into(), waits: 2, permits: 1 },
        r#"{"type":"STATUS","status":"OK","waits":2,"permits":1}"#,
    );
}
