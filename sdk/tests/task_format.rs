//! The text of what tasks ask for themselves, and of what is done to them, frozen: a change here is a change of the protocol.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

#[path = "support/golden.rs"]
mod golden;

use golden::golden;
use potluck_sdk::message::RawValue;
use potluck_sdk::message::cpu::*;
use potluck_sdk::message::process::{ProcessUsage, Signal};

#[test]
fn whether_an_earlier_result_will_do_is_a_flag_or_a_word() {
    let policy = |json: &str| serde_json::from_str::<CpuTask<'_>>(json).map(|task| task.cache.unwrap_or_default());
    assert_eq!(policy(r#"{"cache":true}"#).unwrap(), CachePolicy::Always);
    assert_eq!(policy(r#"{"cache":false}"#).unwrap(), CachePolicy::Never);
    assert_eq!(policy(r#"{"cache":"auto"}"#).unwrap(), CachePolicy::Auto);
    assert_eq!(policy(r#"{"cache":null}"#).unwrap(), CachePolicy::Auto);
    assert_eq!(policy("{}").unwrap(), CachePolicy::Auto);
    assert!(policy(r#"{"cache":"sometimes"}"#).unwrap_err().to_string().contains(r#"true, false or "auto""#));
    golden(
        &CpuTask { cache: Some(CachePolicy::Never), ..CpuTask::default() },
        r#"{"type":"CPU_TASK","program":null,"cache":false}"#,
    );
}

#[test]
fn what_is_done_to_a_task() {
    golden(
        &SignalTask { pid: Some("P7".into()), task_id: None, signal: Signal::Pause },
        r#"{"type":"SIGNAL_TASK","pid":"P7","signal":"pause"}"#,
    );
    golden(
        &SignalTask { pid: None, task_id: Some("T1".into()), signal: Signal::Kill },
        r#"{"type":"SIGNAL_TASK","task_id":"T1","signal":"kill"}"#,
    );
    golden(
        &SetTaskPriority { pid: Some("P7".into()), task_id: None, priority: -3 },
        r#"{"type":"SET_TASK_PRIORITY","pid":"P7","priority":-3}"#,
    );
    golden(&TaskDone { status: "OK" }, r#"{"type":"STATUS","status":"OK"}"#);
}

#[test]
fn what_tasks_use() {
    golden(&TaskUsage { pids: vec!["P7".into(), "P8".into()] }, r#"{"type":"TASK_USAGE","pids":["P7","P8"]}"#);
    let usage = ProcessUsage { cpu_seconds: 1.5, memory_bytes: 4096, context_switches: 2 };
    golden(
        &TasksUsed { tasks: vec![TaskUsed { pid: "P7".into(), usage }] },
        r#"{"type":"TASK_USAGE","tasks":[{"pid":"P7","usage":{"cpu_seconds":1.5,"memory_bytes":4096,"context_switches":2}}]}"#,
    );
}

#[test]
fn what_a_task_asks_for() {
    let body = RawValue::from_string(r#"{"program":"p"}"#.to_owned()).unwrap();
    golden(&TaskSpawn { task: Some(&body) }, r#"{"type":"TASK_SPAWN","task":{"program":"p"}}"#);
    golden(
        &TaskSpawned { status: "OK", child: "P9".into(), pid: Some("P9".into()) },
        r#"{"type":"STATUS","status":"OK","child":"P9","pid":"P9"}"#,
    );
    golden(
        &TaskSpawned { status: "OK", child: "#1".into(), pid: None },
        r##"{"type":"STATUS","status":"OK","child":"#1"}"##,
    );
    golden(
        &TaskJoin { child: Some("P9".into()), timeout: Some(1.5) },
        r#"{"type":"TASK_JOIN","child":"P9","timeout":1.5}"#,
    );
    golden(&TaskCancel { child: Some("P9".into()) }, r#"{"type":"TASK_CANCEL","child":"P9"}"#);
    golden(
        &TaskProgress { task_id: None, fraction: Some(0.5), text: Some("half".into()) },
        r#"{"type":"TASK_PROGRESS","fraction":0.5,"text":"half"}"#,
    );
    golden(
        &TaskProgressed { task_id: "T1".into(), pid: Some("P7".into()), fraction: Some(0.5), text: None },
        r#"{"task_id":"T1","pid":"P7","fraction":0.5}"#,
    );
    golden(&TaskSelf {}, r#"{"type":"TASK_SELF"}"#);
    golden(
        &TaskFacts {
            pid: Some("P7".into()),
            task_id: "T1".into(),
            parent_pid: Some("P3".into()),
            node: "n".into(),
            executed_by: "10.0.0.7:9000".into(),
            submitter: "s".into(),
            priority: 2,
        },
        r#"{"type":"TASK_SELF","pid":"P7","task_id":"T1","parent_pid":"P3","node":"n","executed_by":"10.0.0.7:9000","submitter":"s","priority":2}"#,
    );
}
