//! The runtime `wasm`: guests of any language, as commands of WASI and as components of the guests' world.

mod bombs;
mod crowds;
mod examples;
mod forms;
mod refusals;
mod store;

mod pool;
mod stopping;

use potluck_tests::{TestNode, children, command_line, with};
use serde_json::{Value, json};

/// Prints what it reads: a task's result is its arguments.
const ECHO: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (func (export "_start") (local $count i32)
    (loop $more
      (i32.store (i32.const 0) (i32.const 4096))
      (i32.store (i32.const 4) (i32.const 32768))
      (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (local.set $count (i32.load (i32.const 8)))
      (if (local.get $count) (then
        (i32.store (i32.const 4) (local.get $count))
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (br $more))))))"#;

/// A component of the guests' world. The first letter of `function` chooses what it does: `e`cho the arguments, `f`ail
/// with them as the reason, `l`oop, `t`rap, `r`ecurse, `n`o JSON, and `g`row its memory until that is refused.
const WORLD: &str = r#"(component
  (core module $program
    (memory (export "memory") 2)
    (global $free (mut i32) (i32.const 4096))
    (data (i32.const 1024) "{nonsense")
    (data (i32.const 1040) "\"refused\"")
    (func (export "realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
      (local $place i32)
      (local.set $place (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
      (global.set $free (i32.add (local.get $place) (local.get $size)))
      (loop $grow
        (if (i32.gt_u (global.get $free) (i32.mul (memory.size) (i32.const 65536))) (then
          (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))
          (br $grow))))
      (local.get $place))
    (func $answer (param $is_error i32) (param $text i32) (param $length i32) (result i32)
      (i32.store8 (i32.const 16) (local.get $is_error))
      (i32.store (i32.const 20) (local.get $text))
      (i32.store (i32.const 24) (local.get $length))
      (i32.const 16))
    (func $recurse (param $depth i32) (result i32)
      (i32.add (call $recurse (i32.add (local.get $depth) (i32.const 1))) (i32.const 1)))
    (func (export "run") (param $function i32) (param $function_length i32) (param $args i32) (param $args_length i32)
      (result i32) (local $letter i32)
      (local.set $letter (i32.load8_u (local.get $function)))
      (if (i32.eq (local.get $letter) (i32.const 102)) (then
        (return (call $answer (i32.const 1) (local.get $args) (local.get $args_length)))))
      (if (i32.eq (local.get $letter) (i32.const 108)) (then (loop $for_ever (br $for_ever))))
      (if (i32.eq (local.get $letter) (i32.const 116)) (then unreachable))
      (if (i32.eq (local.get $letter) (i32.const 114)) (then (drop (call $recurse (i32.const 0)))))
      (if (i32.eq (local.get $letter) (i32.const 110)) (then
        (return (call $answer (i32.const 0) (i32.const 1024) (i32.const 9)))))
      (if (i32.eq (local.get $letter) (i32.const 103)) (then
        (loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
        (return (call $answer (i32.const 0) (i32.const 1040) (i32.const 9)))))
      (call $answer (i32.const 0) (local.get $args) (local.get $args_length))))
  (core instance $program (instantiate $program))
  (func $run (param "function" string) (param "args-json" string) (result (result string (error string)))
    (canon lift (core func $program "run") (memory (core memory $program "memory"))
      (realloc (core func $program "realloc"))))
  (export "run" (func $run)))"#;

/// The binary form of WebAssembly text.
fn wasm(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

/// A command that does this and has `memory` of so many pages.
fn command(body: &str, pages: u32) -> Vec<u8> {
    wasm(&format!(
        r#"(module
          (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
          (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_prestat_get" (func $fd_prestat_get (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "path_open" (func $path_open
            (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
          (memory (export "memory") {pages})
          (func $print (param $place i32) (param $length i32)
            (i32.store (i32.const 0) (local.get $place))
            (i32.store (i32.const 4) (local.get $length))
            (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
          (func $print_number (param $number i32)
            (local $place i32)
            (local.set $place (i32.const 64))
            (loop $digits
              (local.set $place (i32.sub (local.get $place) (i32.const 1)))
              (i32.store8 (local.get $place)
                (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10))))
              (local.set $number (i32.div_u (local.get $number) (i32.const 10)))
              (br_if $digits (local.get $number)))
            (call $print (local.get $place) (i32.sub (i32.const 64) (local.get $place))))
          {body})"#
    ))
}

fn guest_task(args: Value) -> Value {
    json!({ "type": "CPU_TASK", "runtime": "wasm", "args": args })
}

/// Runs a guest that is sent along.
fn call(node: &TestNode, guest: &[u8], args: Value, members: Value) -> Value {
    node.call_with(with(guest_task(args), members), guest).value()
}

#[track_caller]
fn assert_ran(reply: &Value, result: &Value) {
    assert_eq!((&reply["error"], &reply["result"]), (&Value::Null, result), "{}", shown(reply));
    assert_eq!(reply["runtime"], "wasm", "{}", shown(reply));
}

#[track_caller]
fn assert_failed(reply: &Value, code: &str, words: &str) {
    assert_eq!((&reply["type"], &reply["code"]), (&json!("CPU_RESULT"), &json!(code)), "{}", shown(reply));
    assert!(reply["error"].as_str().unwrap().contains(words), "{words:?} is missing in {}", shown(reply));
    assert_eq!(reply["result"], Value::Null, "{}", shown(reply));
}

/// A reply without the megabytes that it may have.
fn shown(reply: &Value) -> String {
    reply.to_string().chars().take(3000).collect()
}

/// The worker processes of this runtime.
fn workers(node: &TestNode) -> Vec<u32> {
    children(node.pid()).into_iter().filter(|pid| command_line(*pid).contains(" serve wasm ")).collect()
}

#[track_caller]
fn check_serving(node: &TestNode) {
    assert_ran(&call(node, &wasm(ECHO), json!([144]), json!({})), &json!([144]));
    node.check_serving();
}
