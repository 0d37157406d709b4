//! The text of the messages about processes, frozen: a change here is a change of the protocol.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

#[path = "support/golden.rs"]
mod golden;

use golden::golden;
use potluck_sdk::message::RawValue;
use potluck_sdk::message::process::*;
use std::collections::BTreeMap;

#[test]
fn making_and_ending_processes() {
    let data = RawValue::from_string(r#"{"n":123456789012345678901234567890}"#.to_owned()).unwrap();
    let task = RawValue::from_string(r#"{"program":"p"}"#.to_owned()).unwrap();
    golden(
        &CreateProcess {
            task_data: Some(&data),
            task: Some(&task),
            parent_pid: Some("P1".into()),
            group_id: Some("g".into()),
            priority: Some(-2),
            name: Some("n".into()),
        },
        r#"{"type":"CREATE_PROCESS","task_data":{"n":123456789012345678901234567890},"task":{"program":"p"},"parent_pid":"P1","group_id":"g","priority":-2,"name":"n"}"#,
    );
    golden(&ProcessCreated { status: "OK", pid: "P2".into() }, r#"{"type":"STATUS","status":"OK","pid":"P2"}"#);
    golden(&TerminateProcess { pid: Some("P2".into()) }, r#"{"type":"TERMINATE_PROCESS","pid":"P2"}"#);
    golden(
        &ProcessTerminated { status: "OK", pid: "P2".into(), terminated: 3 },
        r#"{"type":"STATUS","status":"OK","pid":"P2","terminated":3}"#,
    );
    golden(
        &SignalProcess { pid: Some("P2".into()), signal: Some(Signal::Pause), tree: true },
        r#"{"type":"SIGNAL_PROCESS","pid":"P2","signal":"pause","tree":true}"#,
    );
    golden(
        &ProcessSignalled { status: "OK", pid: "P2".into(), signal: Signal::Resume, signalled: 1 },
        r#"{"type":"STATUS","status":"OK","pid":"P2","signal":"resume","signalled":1}"#,
    );
    golden(
        &SetProcessState { pid: Some("P2".into()), state: Some(ProcessState::Terminated), exit_code: Some(3) },
        r#"{"type":"SET_PROCESS_STATE","pid":"P2","state":"TERMINATED","exit_code":3}"#,
    );
    golden(
        &ProcessStateSet { status: "OK", pid: "P2".into(), state: ProcessState::Zombie },
        r#"{"type":"STATUS","status":"OK","pid":"P2","state":"ZOMBIE"}"#,
    );
    golden(
        &SetPriority { pid: Some("P2".into()), priority: Some(4) },
        r#"{"type":"SET_PRIORITY","pid":"P2","priority":4}"#,
    );
    golden(
        &PrioritySet { status: "OK", pid: "P2".into(), priority: 4 },
        r#"{"type":"STATUS","status":"OK","pid":"P2","priority":4}"#,
    );
    golden(
        &WaitProcess { pid: Some("P2".into()), timeout: Some(1.5) },
        r#"{"type":"WAIT_PROCESS","pid":"P2","timeout":1.5}"#,
    );
    golden(
        &ProcessWaited { status: "OK", pid: "P2".into(), exit: exit() },
        r#"{"type":"STATUS","status":"OK","pid":"P2","exit_code":1,"outcome":"timeout","error":"too long","cpu_seconds":0.5,"peak_memory_bytes":1000,"context_switches":2,"unix_milliseconds":9}"#,
    );
}

fn exit() -> ProcessExit {
    ProcessExit {
        exit_code: 1,
        outcome: "timeout".to_owned(),
        error: "too long".to_owned(),
        cpu_seconds: Some(0.5),
        peak_memory_bytes: Some(1000),
        context_switches: Some(2),
        unix_milliseconds: 9,
    }
}

#[test]
fn what_is_shown_of_them() {
    golden(
        &ProcessTree { root_pid: Some("P1".into()), ..ProcessTree::default() },
        r#"{"type":"PROCESS_TREE","root_pid":"P1"}"#,
    );
    golden(&ProcessTree { root_pid: None, usage: true }, r#"{"type":"PROCESS_TREE","usage":true}"#);
    let leaf = TreeNode { pid: "P2".to_owned(), ppid: Some("P1".to_owned()), more_children: 7, ..TreeNode::default() };
    let root = TreeNode {
        pid: "P1".to_owned(),
        state: ProcessState::Waiting,
        priority: 1,
        name: "n".to_owned(),
        reason: "paused".to_owned(),
        executed_by: "10.0.0.7:9000".to_owned(),
        children: vec![leaf],
        ..TreeNode::default()
    };
    golden(
        &ProcessTreeReply {
            status: "OK".to_owned(),
            tree: Some(Tree::Whole(Forest { roots: vec![root], total_processes: 9 })),
        },
        r#"{"type":"STATUS","status":"OK","tree":{"roots":[{"pid":"P1","ppid":null,"state":"WAITING","priority":1,"name":"n","reason":"paused","executed_by":"10.0.0.7:9000","children":[{"pid":"P2","ppid":"P1","state":"NEW","priority":0,"children":[],"more_children":7}]}],"total_processes":9}}"#,
    );
    golden(&ProcessTreeReply { status: "OK".to_owned(), tree: None }, r#"{"type":"STATUS","status":"OK","tree":null}"#);
    golden(&ProcessInfo { pid: Some("P1".into()) }, r#"{"type":"PROCESS_INFO","pid":"P1"}"#);
    golden(
        &ListProcesses {
            state: Some(ProcessState::Ready),
            group_id: Some("g".into()),
            after: Some("P1".into()),
            limit: Some(5),
            usage: true,
        },
        r#"{"type":"LIST_PROCESSES","state":"READY","group_id":"g","after":"P1","limit":5,"usage":true}"#,
    );
    golden(&ListProcesses::default(), r#"{"type":"LIST_PROCESSES"}"#);
    let facts = ProcessFacts {
        pid: "P2".to_owned(),
        group_id: Some("g".to_owned()),
        requested_by: "local".to_owned(),
        task_id: "T".to_owned(),
        function: "main".to_owned(),
        runtime: "python".to_owned(),
        created_unix_milliseconds: 1,
        state_unix_milliseconds: 2,
        exit: Some(exit()),
        ..ProcessFacts::default()
    };
    golden(
        &ProcessList { processes: vec![facts], next: Some("P2".to_owned()), total_processes: 3 },
        r#"{"type":"PROCESS_LIST","processes":[{"pid":"P2","ppid":null,"state":"NEW","priority":0,"group_id":"g","requested_by":"local","task_id":"T","function":"main","runtime":"python","children":0,"created_unix_milliseconds":1,"state_unix_milliseconds":2,"exit":{"exit_code":1,"outcome":"timeout","error":"too long","cpu_seconds":0.5,"peak_memory_bytes":1000,"context_switches":2,"unix_milliseconds":9}}],"next":"P2","total_processes":3}"#,
    );
    let running = ProcessFacts {
        pid: "P3".to_owned(),
        state: ProcessState::Running,
        requested_by: "local".to_owned(),
        usage: Some(ProcessUsage { cpu_seconds: 1.5, memory_bytes: 4096, context_switches: 2 }),
        ..ProcessFacts::default()
    };
    golden(
        &ProcessInfoReply { status: "OK".to_owned(), process: running },
        r#"{"type":"STATUS","status":"OK","process":{"pid":"P3","ppid":null,"state":"RUNNING","priority":0,"requested_by":"local","children":0,"created_unix_milliseconds":0,"state_unix_milliseconds":0,"usage":{"cpu_seconds":1.5,"memory_bytes":4096,"context_switches":2}}}"#,
    );
}

#[test]
fn groups() {
    golden(
        &CreateGroup { group_id: Some("g".into()), pids: vec!["P1".into()] },
        r#"{"type":"CREATE_GROUP","group_id":"g","pids":["P1"]}"#,
    );
    golden(
        &GroupCreated { status: "OK", group_id: "g".into(), members: 1 },
        r#"{"type":"STATUS","status":"OK","group_id":"g","members":1}"#,
    );
    golden(&KillGroup { group_id: Some("g".into()) }, r#"{"type":"KILL_GROUP","group_id":"g"}"#);
    golden(
        &GroupKilled { status: "OK", group_id: "g".into(), terminated: 2 },
        r#"{"type":"STATUS","status":"OK","group_id":"g","terminated":2}"#,
    );
    golden(
        &SignalGroup { group_id: Some("g".into()), signal: Some(Signal::Kill) },
        r#"{"type":"SIGNAL_GROUP","group_id":"g","signal":"kill"}"#,
    );
    golden(
        &GroupSignalled { status: "OK", group_id: "g".into(), signal: Signal::Terminate, signalled: 2 },
        r#"{"type":"STATUS","status":"OK","group_id":"g","signal":"terminate","signalled":2}"#,
    );
    golden(&ListGroups {}, r#"{"type":"LIST_GROUPS"}"#);
    golden(
        &GroupList {
            groups: vec![GroupFacts { group_id: "g".to_owned(), pids: vec!["P1".to_owned()], members: 1 }],
            total_groups: 1,
        },
        r#"{"type":"GROUP_LIST","groups":[{"group_id":"g","pids":["P1"],"members":1}],"total_groups":1}"#,
    );
}

#[test]
fn what_cpu_and_process_tell_each_other() {
    golden(&ReservePids { count: 256 }, r#"{"type":"RESERVE_PIDS","count":256}"#);
    golden(&PidsReserved { first: 1, count: 256 }, r#"{"type":"PIDS_RESERVED","first":1,"count":256}"#);
    let created = Change {
        change: ChangeKind::Created,
        pid: "P7".into(),
        unix_milliseconds: 5,
        parent_pid: "P1".into(),
        group_id: "g".into(),
        task_id: "T".into(),
        function: "main".into(),
        runtime: "wasm".into(),
        priority: 3,
        requested_by: "local".into(),
        ..Change::default()
    };
    let state = Change {
        pid: "P7".into(),
        state: Some(ProcessState::Waiting),
        reason: "semaphore s".into(),
        executed_by: "10.0.0.7:9000".into(),
        ..Change::default()
    };
    let ended = Change {
        change: ChangeKind::Ended,
        pid: "P7".into(),
        exit_code: Some(1),
        outcome: "timeout".into(),
        error: "too long".into(),
        cpu_seconds: Some(0.5),
        peak_memory_bytes: Some(1000),
        context_switches: Some(2),
        ..Change::default()
    };
    let joined = Change { change: ChangeKind::Joined, pid: "P7".into(), ..Change::default() };
    golden(
        &ProcessChanges { changes: vec![created, state, ended, joined] },
        r#"{"type":"PROCESS_CHANGES","changes":[{"change":"created","pid":"P7","unix_milliseconds":5,"parent_pid":"P1","group_id":"g","task_id":"T","function":"main","runtime":"wasm","priority":3,"requested_by":"local"},{"change":"state","pid":"P7","unix_milliseconds":0,"state":"WAITING","reason":"semaphore s","executed_by":"10.0.0.7:9000"},{"change":"ended","pid":"P7","unix_milliseconds":0,"exit_code":1,"outcome":"timeout","error":"too long","cpu_seconds":0.5,"peak_memory_bytes":1000,"context_switches":2},{"change":"joined","pid":"P7","unix_milliseconds":0}]}"#,
    );
    golden(
        &ReportEnded { pid: Some("P7".into()), reason: "it crashed".into() },
        r#"{"type":"PROCESS_ENDED","pid":"P7","reason":"it crashed"}"#,
    );
    golden(&ProcessEnded { pid: "*@5f0c".into(), reason: "gone".into() }, r#"{"pid":"*@5f0c","reason":"gone"}"#);
    golden(
        &ProcessesChanged {
            created: 2,
            ended: 1,
            changes: vec![ProcessChanged {
                pid: "P7".to_owned(),
                state: ProcessState::Zombie,
                reason: String::new(),
                exit_code: Some(0),
            }],
            more: 1,
            processes_by_state: BTreeMap::from([("ZOMBIE".to_owned(), 1)]),
        },
        r#"{"created":2,"ended":1,"changes":[{"pid":"P7","state":"ZOMBIE","exit_code":0}],"more":1,"processes_by_state":{"ZOMBIE":1}}"#,
    );
}

#[test]
fn an_end_is_meant_for_one_process_or_for_all_of_a_peer() {
    let ended = |pid: &'static str| ProcessEnded { pid: pid.into(), reason: "".into() };
    assert!(ended("P7").is_meant("P7") && !ended("P7").is_meant("P70") && !ended("P7").is_meant("P7@x"));
    assert!(ended("*@x").is_meant("P7@x") && !ended("*@x").is_meant("P7") && !ended("*@x").is_meant("P7@y"));
}
