//! `potluck scheduler` and `potluck schedule compare`: textbooks, real processes, and where the two differ.

mod mistakes;

use potluck_tests::{Output, TestNode, dist, potluck_command, wait_for};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

/// A workload that the installation brings along.
fn example(name: &str) -> String {
    let path = dist().join("share").join("guest-examples").join("workloads").join(name);
    path.to_str().unwrap().to_owned()
}

/// A workload in a file of its own.
fn workload(node: &TestNode, json: &Value) -> PathBuf {
    let path = node.folder().join("workload.json");
    fs::write(&path, json.to_string()).unwrap();
    path
}

fn compare(node: &TestNode, file: &str, options: &[&str]) -> Output {
    node.cli(["schedule", "compare", file].iter().chain(options))
}

fn comparison(node: &TestNode, file: &str, options: &[&str]) -> Value {
    let output = compare(node, file, &[options, &["--json"]].concat());
    assert_eq!(output.status, 0, "{output:?}");
    serde_json::from_str(&output.stdout).unwrap()
}

fn averages(comparison: &Value, of: &str) -> Vec<(String, f64)> {
    let one = |one: &Value| (one["name"].as_str().unwrap().to_owned(), one[of]["average_waiting_ms"].as_f64().unwrap());
    comparison["algorithms"].as_array().unwrap().iter().map(one).collect()
}

/// The names of the processes in the order in which they ended.
fn order_of_ends(schedule: &Value) -> Vec<&str> {
    let mut ends: Vec<(f64, &str)> = schedule["processes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|process| (process["completion_ms"].as_f64().unwrap(), process["name"].as_str().unwrap()))
        .collect();
    ends.sort_by(|one, other| one.0.total_cmp(&other.0));
    ends.into_iter().map(|(_, name)| name).collect()
}

#[test]
fn the_classic_table_is_printed_with_its_chart() {
    let node = TestNode::peer().start();
    let processes = json!([{ "burst_ms": 24 }, { "burst_ms": 3 }, { "burst_ms": 3 }]);
    let file = workload(&node, &json!({ "quantum_ms": 4, "processes": processes }));
    let output = compare(&node, file.to_str().unwrap(), &["--simulate-only", "--algorithms", "FCFS,rr"]);
    assert_eq!((output.status, output.stderr.as_str()), (0, ""), "{output:?}");
    let text = &output.stdout;
    let averages: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.trim_start().starts_with("average "))
        .map(|line| line.split_whitespace().skip(1).collect())
        .collect();
    assert_eq!(averages, [["17", "27", "17"], ["5.667", "15.667", "3.667"]], "{text}");
    for expected in ["RR, quantum 4 ms\n", "|P1===", "Shortest average waiting, simulated: RR\n"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains("REAL"), "{text}");
}

#[test]
fn the_workloads_that_come_along_have_their_known_averages() {
    let node = TestNode::peer().start();
    // In tenths of the textbook's unit.
    for (name, options, expected) in [
        (
            "textbook.json",
            "FCFS,SJF,PRIORITY,RR",
            vec![("FCFS", 62.0), ("SJF", 46.0), ("PRIORITY", 110.0), ("RR", 72.0)],
        ),
        ("arrivals.json", "SRTF,SJF", vec![("SRTF", 65.0), ("SJF", 77.5)]),
        ("convoy.json", "FCFS,SJF", vec![("FCFS", 170.0), ("SJF", 30.0)]),
    ] {
        let comparison = comparison(&node, &example(name), &["--simulate-only", "--algorithms", options]);
        let expected: Vec<(String, f64)> = expected.into_iter().map(|(name, wait)| (name.to_owned(), wait)).collect();
        assert_eq!(averages(&comparison, "simulated"), expected, "{name}");
    }
    let starving =
        comparison(&node, &example("starvation.json"), &["--simulate-only", "--algorithms", "PRIORITY,FCFS"]);
    assert_ne!(order_of_ends(&starving["algorithms"][0]["simulated"]).last(), Some(&"low"));
}

#[test]
fn real_processes_end_in_the_order_of_the_simulation() {
    let node = TestNode::peer().start();
    let before = node.status()["executor"]["execution_count"].clone();
    let comparison = comparison(&node, &example("arrivals.json"), &["--algorithms", "FCFS,SJF,SRTF,PRIORITY,RR"]);
    for one in comparison["algorithms"].as_array().unwrap() {
        let (name, real) = (one["name"].as_str().unwrap(), &one["real"]);
        for process in real["processes"].as_array().unwrap() {
            assert_eq!(process["error"], Value::Null, "{name}: {process}");
        }
        // Turns of 40 ms end when the node looks at its clock, so the last ones of Round Robin may come out differently.
        if name != "RR" {
            assert_eq!(order_of_ends(real), order_of_ends(&one["simulated"]), "{one:#}");
        }
        let differences = one["differences"].as_array().unwrap();
        assert!(differences[0].as_str().unwrap().starts_with("average waiting "), "{differences:?}");
    }
    let switches = |index: usize| comparison["algorithms"][index]["real"]["context_switches"].as_u64().unwrap();
    assert_eq!(switches(0), 3);
    assert!(switches(4) > 3, "{comparison:#}");
    // P1 needs 80 ms of processor time and is stopped after 10 for P2, which needs 40.
    let stopped = &comparison["algorithms"][2]["real"]["processes"][0];
    assert_eq!(stopped["preemptions"], 1, "{comparison:#}");
    assert!(stopped["burst_ms"].as_f64().unwrap() >= 80.0, "{stopped}");
    // The node's own pool had nothing to do with it, and nothing of the other one is left.
    assert_eq!(node.status()["executor"]["execution_count"], before);
    wait_for("the pool of the comparison to be gone", || !node.provider_dir("cpu").join("scratch-schedule").exists());
}

#[test]
fn those_that_arrive_together_are_chosen_from_together() {
    let node = TestNode::peer().start();
    let processes = json!([
        { "name": "long", "burst_ms": 60, "priority": 1 }, { "name": "short", "burst_ms": 20, "priority": 2 },
        { "name": "middle", "burst_ms": 40, "priority": 3 },
    ]);
    let file = workload(&node, &json!({ "processes": processes }));
    let comparison = comparison(&node, file.to_str().unwrap(), &["--algorithms", "SJF,PRIORITY"]);
    let order = |index: usize| order_of_ends(&comparison["algorithms"][index]["real"]);
    assert_eq!(order(0), ["short", "middle", "long"]);
    assert_eq!(order(1), ["middle", "short", "long"]);
}

#[test]
fn programs_run_in_place_of_bursts_and_a_failure_is_told() {
    let node = TestNode::peer().start();
    let output = compare(&node, &example("two-slots.json"), &["--algorithms", "FCFS,RR"]);
    assert_eq!(output.status, 0, "{output:?}");
    assert!(output.stdout.contains("Where they differ:") && output.stdout.contains("REAL: WAITING"), "{output:?}");
    let processes = json!([{ "burst_ms": 5 }, { "burst_ms": 5, "program": "def main(x): return 1 / x", "args": [0] }]);
    let file = workload(&node, &json!({ "processes": processes }));
    let output = compare(&node, file.to_str().unwrap(), &["--algorithms", "FCFS"]);
    assert_eq!(output.status, 1, "{output:?}");
    assert!(output.stdout.contains("- P2 failed: ") && output.stdout.contains("division by zero"), "{output:?}");
}

#[test]
fn mistakes_are_told_with_the_name_of_their_entry() {
    let node = TestNode::peer().start();
    let tell = |json: Value, options: &[&str]| {
        let file = workload(&node, &json);
        let output = compare(&node, file.to_str().unwrap(), options);
        assert_eq!(output.stdout, "");
        (output.status, output.stderr)
    };
    let (status, text) = tell(json!({ "processes": [{ "burst_ms": 5 }, { "name": "late", "burst_ms": -1 }] }), &[]);
    assert!(status == 1 && text.contains("processes[1] (late): `burst_ms` must be from"), "{text}");
    let (status, text) = tell(json!({ "processes": [{ "burst": 5 }] }), &[]);
    assert!(status == 2 && text.contains("unknown field `burst`"), "{text}");
    let fine = json!({ "processes": [{ "burst_ms": 5 }] });
    let (status, text) = tell(fine.clone(), &["--algorithms", "FCFS,MULTILEVEL"]);
    assert!(status == 1 && text.contains("Unknown algorithm: MULTILEVEL. Available: FCFS, SJF"), "{text}");
    let (status, text) = tell(fine, &["--quantum", "1ms"]);
    assert!(status == 1 && text.contains("a quantum of 1 ms is not possible with processes"), "{text}");
    let (status, text) = tell(json!({ "processes": [{ "burst_ms": 100_000 }] }), &[]);
    assert!(status == 1 && text.contains("let it only be simulated"), "{text}");
    let output = compare(&node, "/nonexistent/workload.json", &[]);
    assert!(output.status == 1 && output.stderr.contains("cannot read the workload"), "{output:?}");
}

#[test]
fn one_comparison_runs_at_a_time_and_ends_when_nobody_waits_for_it() {
    let node = TestNode::peer().start();
    let long = json!({ "processes": [{ "burst_ms": 20_000 }] });
    let file = workload(&node, &long);
    let port = node.port().to_string();
    let compare = || {
        let mut command = potluck_command();
        command.args(["--port", &port, "schedule", "compare", file.to_str().unwrap()]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let short = json!({ "processes": [{ "burst_ms": 1 }] });
    let ask = || node.call(json!({ "type": "COMPARE_SCHEDULERS", "workload": short, "real": false }));
    // It is refused itself when it comes while we ask.
    let begin = || {
        let mut command = compare();
        wait_for("the comparison to run", || {
            if command.try_wait().unwrap().is_some() {
                command = compare();
            }
            ask()["code"] == "busy"
        });
        command
    };
    let mut first = begin();
    first.kill().unwrap();
    first.wait().unwrap();
    wait_for("the first comparison to be over", || ask()["type"] == "SCHEDULER_COMPARISON");
    // Nor does it keep the node from stopping.
    let mut second = begin();
    let mut node = node;
    assert!(node.stop().success());
    assert!(!second.wait().unwrap().success());
}

#[test]
fn the_scheduler_is_shown_and_set() {
    let node = TestNode::peer().start();
    let output = node.cli(["scheduler", "set", "rr", "--quantum", "20ms"]);
    assert_eq!((output.status, output.stdout.as_str()), (0, "Scheduler set: RR, quantum 20 ms\n"), "{output:?}");
    let output = node.cli(["scheduler", "set", "PRIORITY", "--preemptive", "--ageing", "2.5"]);
    let expected = "Scheduler set: PRIORITY, preemptive, ageing by a step every 2.5 s\n";
    assert_eq!((output.status, output.stdout.as_str()), (0, expected), "{output:?}");
    node.run("def main(): return 1", json!([]));
    let output = node.cli(["scheduler"]);
    assert_eq!(output.status, 0, "{output:?}");
    assert!(output.stdout.contains("PRIORITY, preemptive, ageing by"), "{output:?}");
    let state: Value = serde_json::from_str(&node.cli(["scheduler", "show", "--json"]).stdout).unwrap();
    let entry = |label: &str| {
        let all = state["statistics"].as_array().unwrap().iter();
        all.filter(|one| one["algorithm"] == label).map(|one| one["tasks"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!((state["algorithm"].as_str(), entry("PRIORITY_PREEMPTIVE")), (Some("PRIORITY"), 1), "{state:#}");
    for (options, expected) in [
        (&["FCFS", "--quantum", "20ms"][..], "FCFS has no `quantum_ms`"),
        (&["MULTILEVEL"], "Unknown algorithm: MULTILEVEL. Available: "),
    ] {
        let output = node.cli(["scheduler", "set"].iter().chain(options));
        assert!(output.status == 1 && output.stderr.contains(expected), "{output:?}");
    }
}
