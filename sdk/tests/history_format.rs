//! The text of the messages of the provider `history`, frozen: a change here is a change of the protocol.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

#[path = "support/golden.rs"]
mod golden;

use golden::golden;
use potluck_sdk::message::history::*;
use potluck_sdk::message::to_json;

fn record() -> TaskRecord {
    TaskRecord {
        number: 12,
        task_id: "T1".to_owned(),
        task_type: "CPU_TASK".to_owned(),
        status: status::FAILED.to_owned(),
        timestamp: "2026-01-02T03:04:05.678000".to_owned(),
        finished_unix_ms: 1_767_323_045_678,
        execution_time: Some(1.5),
        peer_info: Some("10.0.0.7:9000".to_owned()),
        requested_by: Some("local".to_owned()),
        role: Some(role::CLIENT.to_owned()),
        result: None,
        error: Some("division by zero".to_owned()),
        pid: Some("P7".to_owned()),
        function: Some("main".to_owned()),
        runtime: Some("python".to_owned()),
        peer_id: Some("abababab-abab-8bab-abab-abababababab".to_owned()),
        code: Some("task_failed".to_owned()),
        waiting_time: Some(0.5),
        cpu_seconds: Some(0.25),
        attempts: Some(2),
        cached: true,
        confidential: true,
    }
}

const RECORD: &str = r#"{"number":12,"task_id":"T1","task_type":"CPU_TASK","status":"FAILED","timestamp":"2026-01-02T03:04:05.678000","finished_unix_ms":1767323045678,"execution_time":1.5,"peer_info":"10.0.0.7:9000","requested_by":"local","role":"CLIENT","error":"division by zero","pid":"P7","function":"main","runtime":"python","peer_id":"abababab-abab-8bab-abab-abababababab","code":"task_failed","waiting_time":0.5,"cpu_seconds":0.25,"attempts":2,"cached":true,"confidential":true}"#;

#[test]
fn what_is_recorded() {
    golden(&record(), RECORD);
    let least = TaskRecord {
        task_id: "T1".to_owned(),
        task_type: "CPU_TASK".to_owned(),
        status: status::SUCCESS.to_owned(),
        ..TaskRecord::default()
    };
    golden(
        &RecordTasks { batch: "b".to_owned(), defaults: None, records: vec![least] },
        r#"{"type":"RECORD_TASKS","batch":"b","records":[{"task_id":"T1","task_type":"CPU_TASK","status":"SUCCESS","finished_unix_ms":0,"execution_time":null}]}"#,
    );
    let defaults = RecordDefaults {
        task_type: "CPU_TASK".to_owned(),
        status: status::SUCCESS.to_owned(),
        peer_info: "10.0.0.7:9000".to_owned(),
        requested_by: "local".to_owned(),
        role: role::EXECUTOR.to_owned(),
        runtime: "python".to_owned(),
        peer_id: "abababab-abab-8bab-abab-abababababab".to_owned(),
    };
    golden(
        &RecordTasks { batch: "b".to_owned(), defaults: Some(defaults), records: Vec::<TaskRecord>::new() },
        r#"{"type":"RECORD_TASKS","batch":"b","defaults":{"task_type":"CPU_TASK","status":"SUCCESS","peer_info":"10.0.0.7:9000","requested_by":"local","role":"EXECUTOR","runtime":"python","peer_id":"abababab-abab-8bab-abab-abababababab"},"records":[]}"#,
    );
    golden(&TasksRecorded { status: "OK", recorded: 1 }, r#"{"type":"STATUS","status":"OK","recorded":1}"#);
}

#[test]
fn what_is_asked() {
    let old: TaskHistory<'_> = serde_json::from_str(r#"{"type":"TASK_HISTORY","limit":100,"task_type":null}"#).unwrap();
    assert_eq!(to_json(&old), r#"{"type":"TASK_HISTORY","limit":100}"#);
    golden(
        &TaskHistory {
            task_id: None,
            limit: Some(10),
            task_type: Some("CPU_TASK".into()),
            status: Some("FAILED".into()),
            peer: Some("10.0.0.7:9000".into()),
            requested_by: Some("local".into()),
            since: Some(PointInTime::UnixSeconds(1.5)),
            until: Some(PointInTime::Text("2026-01-02".to_owned())),
            text: Some("main".into()),
            before: Some(12),
        },
        r#"{"type":"TASK_HISTORY","limit":10,"task_type":"CPU_TASK","status":"FAILED","peer":"10.0.0.7:9000","requested_by":"local","since":1.5,"until":"2026-01-02","text":"main","before":12}"#,
    );
    golden(&HistoryClear {}, r#"{"type":"HISTORY_CLEAR"}"#);
}

#[test]
fn what_is_answered() {
    let statistics = HistoryStatistics {
        total_tasks: 4,
        successful: 2,
        failed: 1,
        cancelled: 1,
        success_rate: Some(0.5),
        average_execution_time: 0.25,
    };
    golden(
        &TaskHistoryPage { status: "OK".to_owned(), history: vec![record()], statistics, next: Some(12) },
        &format!(
            r#"{{"type":"STATUS","status":"OK","history":[{RECORD}],"statistics":{{"total_tasks":4,"successful":2,"failed":1,"cancelled":1,"success_rate":0.5,"average_execution_time":0.25}},"next":12}}"#
        ),
    );
    golden(
        &TaskHistoryPage {
            status: "OK".to_owned(),
            history: Vec::new(),
            statistics: HistoryStatistics::default(),
            next: None,
        },
        r#"{"type":"STATUS","status":"OK","history":[],"statistics":{"total_tasks":0,"successful":0,"failed":0,"cancelled":0,"average_execution_time":0.0},"next":null}"#,
    );
    golden(&TaskHistoryEntry { status: "OK".to_owned(), task: None }, r#"{"type":"STATUS","status":"OK","task":null}"#);
    golden(&HistoryCleared { status: "OK", removed: 3 }, r#"{"type":"STATUS","status":"OK","removed":3}"#);
}
