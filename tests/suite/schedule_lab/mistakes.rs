//! `potluck schedule compare --json` with what cannot be compared: which entry is wrong, and nothing that a program would
//! take for a comparison.

use potluck_tests::{Output, TestNode};
use serde_json::{Value, json};
use std::fs;

const FAILURE: i32 = 1;
const WRONG_USAGE: i32 = 2;

fn compare(node: &TestNode, text: &str, options: &[&str]) -> Output {
    let path = node.folder().join("workload.json");
    fs::write(&path, text).unwrap();
    let words = ["--json", "schedule", "compare", path.to_str().unwrap()];
    node.cli(words.iter().chain(options))
}

/// The node has refused it: standard output has the ERROR reply for programs, and nothing else.
#[track_caller]
fn refused(node: &TestNode, workload: &Value, options: &[&str], expected: &str) {
    let output = compare(node, &workload.to_string(), options);
    assert_eq!(output.status, FAILURE, "{expected}: {output:?}");
    let lines = output.json_lines();
    let [error] = &lines[..] else { panic!("{expected}: {output:?}") };
    assert_eq!((&error["type"], &error["code"]), (&json!("ERROR"), &json!("invalid_message")), "{output:?}");
    let told = error["error"].as_str().unwrap();
    assert!(told.contains(expected), "{expected}: {told}");
    assert_eq!(output.stderr, format!("Error: {told}\n"));
}

/// It is no workload at all, which is found out before anybody is asked: standard output has nothing.
#[track_caller]
fn unreadable(node: &TestNode, text: &str, expected: &[&str]) {
    let output = compare(node, text, &[]);
    assert_eq!((output.status, output.stdout.as_str()), (WRONG_USAGE, ""), "{text}: {output:?}");
    for expected in [&["workload.json is no workload: "], expected].concat() {
        assert!(output.stderr.contains(expected), "{expected}: {output:?}");
    }
}

#[test]
fn values_that_cannot_be_are_refused_with_the_name_of_their_field() {
    let node = TestNode::peer().start();
    let process = |process: Value| json!({ "processes": [{ "burst_ms": 1 }, process] });
    for (entry, expected) in [
        (json!({ "name": "late", "burst_ms": -1 }), "processes[1] (late): `burst_ms` must be from 0.001 to"),
        (json!({ "burst_ms": 0 }), "processes[1] (P2): `burst_ms` must be"),
        (json!({ "burst_ms": 1e300 }), "processes[1] (P2): `burst_ms` must be"),
        (json!({ "burst_ms": 1, "arrival_ms": -0.5 }), "processes[1] (P2): `arrival_ms` must be from 0 to"),
        (json!({ "burst_ms": 1, "estimate_ms": -3 }), "processes[1] (P2): `estimate_ms` must be"),
        (json!({ "burst_ms": 1, "name": "" }), "processes[1]: `name` must have"),
        (json!({ "burst_ms": 1, "name": "P1" }), "two processes are called \"P1\""),
        (json!({ "burst_ms": 1, "args": [1] }), "`function` and `args` belong to a `program`"),
    ] {
        refused(&node, &process(entry), &[], expected);
    }
    let fine = json!([{ "burst_ms": 1 }]);
    for (workload, expected) in [
        (json!({ "slots": 0, "processes": fine }), "`slots` must be from 1 to 64"),
        (json!({ "slots": 65, "processes": fine }), "`slots` must be from 1 to 64"),
        (json!({ "quantum_ms": 0, "processes": fine }), "`quantum_ms` must be above 0"),
        (json!({ "quantum_ms": -50, "processes": fine }), "`quantum_ms` must be above 0"),
        (json!({ "ageing_seconds": -1, "processes": fine }), "`ageing_seconds` must be"),
        (json!({ "processes": [] }), "`processes` has 0 entries"),
        (json!({ "processes": vec![json!({ "burst_ms": 1 }); 65] }), "`processes` has 65 entries"),
    ] {
        refused(&node, &workload, &[], expected);
    }
    // None of that is a reason to refuse the next one.
    let output = compare(&node, &json!({ "processes": fine }).to_string(), &["--simulate-only"]);
    assert_eq!((output.status, output.json()["algorithms"].as_array().unwrap().len()), (0, 6), "{output:?}");
}

#[test]
fn options_that_cannot_be_are_refused_with_what_is_possible() {
    let node = TestNode::peer().start();
    let fine = json!({ "processes": [{ "burst_ms": 1 }] });
    for (options, expected) in [
        (&["--algorithms", "FCFS,LIFO"][..], "Unknown algorithm: LIFO. Available: FCFS, SJF, SRTF, PRIORITY"),
        (&["--algorithms", "FCFS,,RR"], "Unknown algorithm: . Available: FCFS"),
        (&["--quantum", "1ms"], "a quantum of 1 ms is not possible with processes"),
    ] {
        refused(&node, &fine, options, expected);
    }
    // What is no time at all is found out before the node is asked.
    for quantum in ["0", "-1ms", "soon", "99999999s"] {
        let output = compare(&node, &fine.to_string(), &[&format!("--quantum={quantum}")]);
        assert_eq!((output.status, output.stdout.as_str()), (WRONG_USAGE, ""), "{output:?}");
        assert!(output.stderr.contains(&format!("'{quantum}' for '--quantum")), "{output:?}");
    }
}

#[test]
fn a_file_that_is_no_workload_is_wrong_usage_and_says_where_it_is_wrong() {
    let node = TestNode::peer().start();
    for (text, expected) in [
        ("", &["line 1 column 0"][..]),
        ("FCFS", &["line 1 column"]),
        ("{\"processes\": [{\"burst_ms\": 1}]", &["line 1 column"]),
        ("{\"processes\": [{\"burst_ms\": NaN}]}", &["line 1 column"]),
        ("{\"processes\": [{\"burst_ms\": 1}]} and more", &["trailing characters"]),
        ("[]", &["it must be a JSON object with a list of processes, such as {\"processes\": "]),
        ("5", &["it must be a JSON object with a list of processes"]),
        ("{\"processes\": [[]]}", &["processes[0]: it must be an object with `burst_ms`"]),
        ("{}", &["missing field `processes`"]),
        ("{\"processes\": [{\"name\": \"P1\"}]}", &["missing field `burst_ms`", "processes[0]"]),
        ("{\"processes\": [{\"burst_ms\": 1, \"prio\": 2}]}", &["unknown field `prio`", "processes[0]"]),
        ("{\"processes\": [{\"burst_ms\": 1}, {\"burst_ms\": \"long\"}]}", &["processes[1].burst_ms", "\"long\""]),
        ("{\"processes\": [{\"burst_ms\": 1, \"priority\": 1.5}]}", &["processes[0].priority", "1.5"]),
        ("{\"processes\": 5}", &["processes: invalid type: integer `5`"]),
        ("{\"slots\": -1, \"processes\": []}", &["slots", "`-1`"]),
    ] {
        unreadable(&node, text, expected);
    }
    // Neither is what is not there, or not text.
    let output = node.cli(["--json", "schedule", "compare", "/nonexistent/workload.json"]);
    assert_eq!((output.status, output.stdout.as_str()), (FAILURE, ""), "{output:?}");
    assert!(output.stderr.contains("cannot read the workload from /nonexistent/workload.json"), "{output:?}");
    let output = node.cli_with_input(["--json", "schedule", "compare", "-"], "[1]");
    assert_eq!((output.status, output.stdout.as_str()), (WRONG_USAGE, ""), "{output:?}");
}
