//! `potluck.map` over more arguments than a task may have children at a time.

use super::{PYTHONS, peer, run};
use serde_json::{Value, json};

#[test]
fn a_map_over_many_arguments_returns_their_results_in_order() {
    let node = peer().cpu("workers = 2").start();
    for runtime in PYTHONS {
        let program = "def pair(x, y): return [x, y]
def main(count):
    return potluck.map(pair, range(count), (str(x) for x in range(count)))
";
        let expected: Vec<Value> = (0..1200).map(|number| json!([number, number.to_string()])).collect();
        assert_eq!(run(&node, runtime, program, json!([1200])), json!(expected));
    }
    node.wait_for_tasks(0, 0);
    node.check_serving();
}

#[test]
fn a_map_that_fails_leaves_no_children() {
    let node = peer().cpu("workers = 2").start();
    for runtime in PYTHONS {
        let program = "def fails_late(x):
    if x == 700: raise KeyError('no such thing')
def forever(x):
    while x: pass
def arguments():
    yield from range(5)
    raise IndexError('no more')
def main():
    found = []
    try:
        potluck.map(fails_late, range(1200))
    except potluck.TaskFailed as error:
        found += [error.code, error.error_type]
    try:
        potluck.map(forever, arguments(), timeout=600)
    except IndexError:
        found.append('arguments')
    return found
";
        assert_eq!(run(&node, runtime, program, json!([])), json!(["task_failed", "KeyError", "arguments"]));
        // None goes on for its ten minutes.
        node.wait_for_tasks(0, 0);
    }
}
