//! The forms that a guest can have, and what each gets and gives.

use super::{ECHO, WORLD, assert_failed, assert_ran, call, check_serving, command, shown, wasm};
use potluck_tests::TestNode;
use serde_json::{Value, json};

#[test]
fn a_command_reads_its_arguments_and_prints_its_result() {
    let node = TestNode::peer().start();
    let args = json!([1, "two", [3.5, null], { "é🙂": true }]);
    let reply = call(&node, &wasm(ECHO), args.clone(), json!({ "task_id": "echo", "id": "e" }));
    assert_ran(&reply, &args);
    let expected = json!({
        "type": "CPU_RESULT", "id": "e", "task_id": "echo", "executed_by": node.address(), "attempts": 1, "stdout": "",
        "stderr": "", "deterministic": true, "cached": false,
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&reply[name], value, "{name} in {reply:#}");
    }
    assert_eq!(reply["module_sha256"].as_str().unwrap().len(), 64, "{reply:#}");
    // Longer than one read.
    let long = json!(["x".repeat(200_000)]);
    assert_ran(&call(&node, &wasm(ECHO), long.clone(), json!({})), &long);
}

#[test]
fn a_command_is_told_the_function() {
    let node = TestNode::peer().start();
    // Its arguments are "guest" and the function; prints the second between quotation marks.
    let guest = command(
        r#"(data (i32.const 100) "\"")
        (func (export "_start") (local $end i32)
          (drop (call $args_get (i32.const 200) (i32.const 1024)))
          (local.set $end (i32.load (i32.const 204)))
          (loop $search
            (local.set $end (i32.add (local.get $end) (i32.const 1)))
            (br_if $search (i32.load8_u (local.get $end))))
          (call $print (i32.const 100) (i32.const 1))
          (call $print (i32.load (i32.const 204)) (i32.sub (local.get $end) (i32.load (i32.const 204))))
          (call $print (i32.const 100) (i32.const 1)))"#,
        1,
    );
    assert_ran(&call(&node, &guest, json!([]), json!({})), &json!("main"));
    assert_ran(&call(&node, &guest, json!([]), json!({ "function": "prime sum" })), &json!("prime sum"));
}

#[test]
fn a_component_of_the_guests_world_is_called() {
    let node = TestNode::peer().start();
    let guest = wasm(WORLD);
    let run = |function: &str, args: Value| call(&node, &guest, args, json!({ "function": function }));
    assert_ran(&run("echo", json!([1, "é"])), &json!([1, "é"]));
    assert_ran(&run("main", json!([])), &json!([]));
    assert_eq!(run("echo", json!([]))["deterministic"], true);
    assert_failed(&run("fail", json!(["the reason"])), "task_failed", "the reason");
    assert_failed(&run("no JSON", json!([])), "result_unusable", "not JSON");
    assert_failed(&run("trap", json!([])), "task_failed", "");
    assert_failed(&run("recurse", json!([])), "task_failed", "stack");
    // A megabyte of arguments, and of result.
    let long = json!(["x".repeat(1 << 20)]);
    assert_ran(&run("echo", long.clone()), &long);
    check_serving(&node);
}

#[test]
fn every_call_has_an_instance_of_its_own() {
    let node = TestNode::peer().cpu("workers = 1").start();
    let guest = command(
        r#"(global $count (mut i32) (i32.const 0))
        (func (export "_start")
          (global.set $count (i32.add (global.get $count) (i32.const 1)))
          (i32.store (i32.const 2048) (i32.add (i32.load (i32.const 2048)) (i32.const 1)))
          (call $print_number (i32.add (global.get $count) (i32.load (i32.const 2048)))))"#,
        1,
    );
    for _ in 0..20 {
        assert_ran(&call(&node, &guest, json!([]), json!({})), &json!(2));
    }
}

#[test]
fn a_command_that_exits_gives_its_code() {
    let node = TestNode::peer().start();
    let exits = |code: i32| {
        let body = format!(
            r#"(func (export "_start") (call $print_number (i32.const 7)) (call $proc_exit (i32.const {code})))"#
        );
        call(&node, &command(&body, 1), json!([]), json!({}))
    };
    assert_ran(&exits(0), &json!(7));
    assert_failed(&exits(3), "task_failed", "exit code 3");
    let complains = command(
        r#"(data (i32.const 100) "first\nit is broken\n")
        (func (export "_start")
          (i32.store (i32.const 0) (i32.const 100))
          (i32.store (i32.const 4) (i32.const 19))
          (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
          (call $proc_exit (i32.const 1)))"#,
        1,
    );
    let reply = call(&node, &complains, json!([]), json!({}));
    assert_failed(&reply, "task_failed", "it is broken");
    assert_eq!(reply["stderr"], "first\nit is broken\n", "{reply:#}");
    let silent = command(r#"(func (export "_start"))"#, 1);
    assert_failed(&call(&node, &silent, json!([]), json!({})), "result_unusable", "");
}

#[test]
fn a_guest_has_no_environment_no_files_and_no_more_arguments() {
    let node = TestNode::peer().env("POTLUCK_SECRET", "secret").start();
    // The number of variables, of arguments, and what asking for the first open folder and for a file comes to.
    let guest = command(
        r#"(data (i32.const 100) ",[]")
        (data (i32.const 120) "etc/passwd")
        (func $comma (call $print (i32.const 100) (i32.const 1)))
        (func (export "_start")
          (call $print (i32.const 101) (i32.const 1))
          (drop (call $environ_sizes_get (i32.const 200) (i32.const 204)))
          (call $print_number (i32.load (i32.const 200)))
          (call $comma)
          (drop (call $args_sizes_get (i32.const 200) (i32.const 204)))
          (call $print_number (i32.load (i32.const 200)))
          (call $comma)
          (call $print_number (call $fd_prestat_get (i32.const 3) (i32.const 200)))
          (call $comma)
          (call $print_number (call $path_open (i32.const 3) (i32.const 0) (i32.const 120) (i32.const 10)
            (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 200)))
          (call $print (i32.const 102) (i32.const 1)))"#,
        1,
    );
    // 8 is `badf`: there is nothing open beyond the three streams.
    assert_ran(&call(&node, &guest, json!([]), json!({})), &json!([0, 2, 8, 8]));
}

#[test]
fn a_guest_that_asks_for_time_or_randomness_is_not_deterministic() {
    let node = TestNode::peer().start();
    let asks = |body: &str| {
        let body = format!(r#"(func (export "_start") {body} (call $print_number (i32.load (i32.const 2048))))"#);
        let reply = call(&node, &command(&body, 1), json!([]), json!({}));
        assert_eq!(reply["error"], Value::Null, "{}", shown(&reply));
        reply
    };
    assert_eq!(asks("")["deterministic"], true);
    let random = "(drop (call $random_get (i32.const 2048) (i32.const 4)))";
    let (one, other) = (asks(random), asks(random));
    assert_eq!((&one["deterministic"], &other["deterministic"]), (&json!(false), &json!(false)));
    assert_ne!(one["result"], other["result"]);
    for clock in [0, 1] {
        let time = format!("(drop (call $clock_time_get (i32.const {clock}) (i64.const 1) (i32.const 2048)))");
        assert_eq!(asks(&time)["deterministic"], false, "clock {clock}");
    }
}

#[test]
fn what_a_command_prints_is_its_result_and_must_be_json() {
    let node = TestNode::peer().start();
    let prints = |text: &str| {
        let length = text.len();
        let data: String = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
        let body = format!(
            r#"(data (i32.const 100) "{data}") (func (export "_start") (call $print (i32.const 100) (i32.const {length})))"#
        );
        call(&node, &command(&body, 1), json!([]), json!({}))
    };
    assert_ran(&prints(" {\"a\": [1, 2.50]}\n"), &json!({ "a": [1, 2.5] }));
    assert_ran(&prints("null"), &Value::Null);
    for nonsense in ["hello", "1 2", "{\"a\":}", "NaN", "\"half", "[1],"] {
        assert_failed(&prints(nonsense), "result_unusable", "not JSON");
    }
    check_serving(&node);
}
