//! The corpus of hostile programs, `tests/hostile`: each ends as its file says, and the node is as it was before.
//!
//! Each test prints its table, and keeps it in the folder `hostile` beside the built tree; `cargo xtask test` shows it.
//! Programs that only use up their own time and memory run side by side; those that go for their process, for others or
//! for the kernel have a node to themselves, one at a time.

/// What a node is like when it has nothing to do.
mod rest;
/// Runs programs on a node, and looks after each whether the node and its other users are well.
mod run;

use potluck_tests::TestNode;
use potluck_tests::corpus::{Program, programs};
use run::Run;

/// Kinds of programs that use up what is theirs, and what each is about.
const GREEDY: [&str; 14] = [
    "arguments",
    "bomb",
    "compile",
    "deep",
    "exception",
    "files",
    "memory",
    "network",
    "output",
    "program",
    "result",
    "text",
    "time",
    "escape",
];
/// Settings of `[plugins.cpu]`: small enough that what fills them does not take long.
const LIMITS: &str = "\
memory_limit_bytes = 536870912
scratch_limit_bytes = 67108864
worker_processes_max = 8
# Where the kernel lacks a protection, the programs that need it are not run.
remote_unprotected = true";
/// Programs that run side by side. More than a small machine has cores: many of them wait.
const AT_ONCE: usize = 4;

fn is_greedy(program: &Program) -> bool {
    GREEDY.contains(&program.kind())
}

fn run(title: &str, runtime: &str, at_once: usize, programs: Vec<Program>) {
    let builder = TestNode::peer().cpu(LIMITS).cpu(format!("workers = {at_once}\nspare_workers = {at_once}"));
    Run::start(runtime, at_once, builder).finish(title, programs);
}

#[test]
fn greedy_python_programs_end_as_their_files_say() {
    let programs = programs("python").into_iter().filter(is_greedy).collect();
    run("python side by side", "python", AT_ONCE, programs);
}

#[test]
fn python_programs_that_go_for_others_end_as_their_files_say() {
    let programs = programs("python").into_iter().filter(|program| !is_greedy(program)).collect();
    run("python one by one", "python", 1, programs);
}

#[test]
fn sandboxed_python_programs_end_as_their_files_say() {
    run("sandbox", "sandbox", AT_ONCE, programs("python"));
}

#[test]
fn guests_end_as_their_files_say() {
    run("wasm", "wasm", AT_ONCE, programs("wasm"));
}

#[test]
fn the_corpus_is_as_large_as_it_was_promised_to_be() {
    let (python, wasm) = (programs("python"), programs("wasm"));
    assert!(python.len() + wasm.len() >= 80, "{} and {} programs", python.len(), wasm.len());
    for (programs, runtimes) in [(&python, &["python", "sandbox"][..]), (&wasm, &["wasm"])] {
        for program in programs {
            assert!(!program.tries.is_empty(), "{} does not say what it tries", program.name);
            let is_expected = |runtime: &&str| !program.expected(runtime).is_empty();
            assert!(runtimes.iter().any(is_expected), "{} says nowhere how it must end", program.name);
        }
    }
}
