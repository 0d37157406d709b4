//! The text of the messages about scheduling, frozen: a change here is a change of the protocol.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

#[path = "support/golden.rs"]
mod golden;

use golden::golden;
use potluck_sdk::message::scheduler::{
    AlgorithmComparison, CompareSchedulers, GetScheduler, ProcessTimes, Schedule, SchedulerChoice, SchedulerComparison,
    SchedulerState, SchedulerStatistics, Segment, Workload, WorkloadProcess,
};
use serde_json::json;

fn round_robin() -> SchedulerChoice {
    SchedulerChoice { algorithm: "RR".to_owned(), quantum_ms: Some(50.0), ..SchedulerChoice::default() }
}

#[test]
fn get_scheduler() {
    golden(&GetScheduler {}, r#"{"type":"GET_SCHEDULER"}"#);
    let measured = SchedulerStatistics {
        algorithm: "RR".to_owned(),
        in_force_seconds: 10.5,
        tasks: 21,
        average_waiting_seconds: 0.25,
        average_turnaround_seconds: 0.5,
        average_response_seconds: 0.125,
        throughput_per_second: 2.0,
        context_switches: 40,
        preemptions: 30,
        average_queue: 1.5,
        longest_queue: 7,
    };
    golden(
        &SchedulerState {
            scheduler: round_robin(),
            available: vec!["FCFS".to_owned(), "RR".to_owned()],
            slots: 2,
            running: 2,
            queued: 3,
            suspended: 1,
            statistics: vec![measured],
        },
        concat!(
            r#"{"type":"SCHEDULER","algorithm":"RR","quantum_ms":50.0,"available":["FCFS","RR"],"slots":2,"running":2,"#,
            r#""queued":3,"suspended":1,"statistics":[{"algorithm":"RR","in_force_seconds":10.5,"tasks":21,"#,
            r#""average_waiting_seconds":0.25,"average_turnaround_seconds":0.5,"average_response_seconds":0.125,"#,
            r#""throughput_per_second":2.0,"context_switches":40,"preemptions":30,"average_queue":1.5,"#,
            r#""longest_queue":7}]}"#
        ),
    );
}

#[test]
fn compare_schedulers() {
    let program = WorkloadProcess {
        name: Some("P2".to_owned()),
        arrival_ms: 1.5,
        burst_ms: 60.0,
        priority: -1,
        estimate_ms: Some(20.0),
        program: Some("def f(x): return x".to_owned()),
        function: Some("f".to_owned()),
        args: Some(vec![json!(1)]),
    };
    golden(
        &CompareSchedulers {
            workload: Workload {
                title: Some("two".to_owned()),
                slots: Some(1),
                quantum_ms: Some(50.0),
                ageing_seconds: Some(2.0),
                smallest_is_highest: Some(true),
                processes: vec![WorkloadProcess { burst_ms: 240.0, ..WorkloadProcess::default() }, program],
            },
            algorithms: Some(vec!["FCFS".to_owned()]),
            real: Some(false),
            quantum_ms: Some(20.0),
        },
        concat!(
            r#"{"type":"COMPARE_SCHEDULERS","workload":{"title":"two","slots":1,"quantum_ms":50.0,"ageing_seconds":2.0,"#,
            r#""smallest_is_highest":true,"processes":[{"arrival_ms":0.0,"burst_ms":240.0,"priority":0},"#,
            r#"{"name":"P2","arrival_ms":1.5,"burst_ms":60.0,"priority":-1,"estimate_ms":20.0,"#,
            r#""program":"def f(x): return x","function":"f","args":[1]}]},"algorithms":["FCFS"],"real":false,"#,
            r#""quantum_ms":20.0}"#
        ),
    );
    let least: CompareSchedulers =
        serde_json::from_str(r#"{"type":"COMPARE_SCHEDULERS","workload":{"processes":[{"burst_ms":1}]}}"#).unwrap();
    assert_eq!((least.real, least.algorithms, least.workload.processes.len()), (None, None, 1));
}

#[test]
fn scheduler_comparison() {
    let schedule = Schedule {
        processes: vec![ProcessTimes { name: "P1".to_owned(), burst_ms: 24.0, ..ProcessTimes::default() }],
        segments: vec![Segment { slot: 0, name: "P1".to_owned(), from_ms: 0.0, to_ms: 24.0 }],
        end_ms: 24.0,
        ..Schedule::default()
    };
    golden(
        &SchedulerComparison {
            title: None,
            slots: 1,
            algorithms: vec![AlgorithmComparison {
                name: "RR".to_owned(),
                scheduler: round_robin(),
                simulated: schedule,
                real: None,
                differences: vec!["none".to_owned()],
            }],
            shortest_waiting: vec!["RR".to_owned()],
            notes: vec![],
        },
        concat!(
            r#"{"type":"SCHEDULER_COMPARISON","slots":1,"algorithms":[{"name":"RR","algorithm":"RR","quantum_ms":50.0,"#,
            r#""simulated":{"processes":[{"name":"P1","arrival_ms":0.0,"burst_ms":24.0,"priority":0,"start_ms":0.0,"#,
            r#""completion_ms":0.0,"waiting_ms":0.0,"turnaround_ms":0.0,"response_ms":0.0,"preemptions":0}],"#,
            r#""segments":[{"slot":0,"name":"P1","from_ms":0.0,"to_ms":24.0}],"segments_left_out":0,"#,
            r#""average_waiting_ms":0.0,"average_turnaround_ms":0.0,"average_response_ms":0.0,"#,
            r#""throughput_per_second":0.0,"context_switches":0,"utilization":0.0,"end_ms":24.0},"#,
            r#""differences":["none"]}],"shortest_waiting":["RR"],"notes":[]}"#
        ),
    );
}
