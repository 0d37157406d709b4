//! Runs programs on a node, and looks after each whether the node and its other users are well.

use super::rest::{Rest, left_over};
use potluck_tests::corpus::{Guarded, Outcome, Places, Program, Row, Table};
use potluck_tests::{NodeBuilder, TestNode, children, is_alive, wait_for};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

/// Tasks of so many submitters make sure that a node has all processes that it may have.
const SUBMITTERS: usize = 24;
/// How much later than its time a program may be answered for, in seconds: others run beside it.
const LATE_MAX_SECONDS: f64 = 2.0;
/// What honest tasks carry with them. One of the programs looks for it.
const ARGUMENT: &str = "honest-argument";
/// An honest task: it finds that builtins and modules are what they always were.
const HONEST: &str = "
import json
def main(word, number):
    print('honest')
    return json.loads(json.dumps([word, len(sorted([number, 3, 2])), number * number]))
";
/// An honest guest: it hands back what it was given.
const HONEST_GUEST: &str = r#"
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i64.store (i32.const 0) (i64.const 0x40000000100))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
"#;

/// A node that programs run on, and what it was like before the first.
pub(super) struct Run {
    runtime: String,
    at_once: usize,
    node: TestNode,
    pid: u32,
    guarded: Guarded,
    places: Places,
    honest_guest: Vec<u8>,
    rest: Rest,
    /// State of each protection of the runtime's workers.
    protections: BTreeMap<String, String>,
}

/// What of a reply counts. The result stays text: not everything that JSON allows can be read.
#[derive(Deserialize)]
struct Reply {
    code: Option<String>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    result: Option<Box<RawValue>>,
}

impl Run {
    /// Starts a node and keeps it busy until it has all that it will have.
    pub(super) fn start(runtime: &str, at_once: usize, builder: NodeBuilder) -> Run {
        let mut guarded = Guarded::new();
        let node = builder.env("POTLUCK_TEST_SECRET", guarded.secret()).start();
        let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
        let places = Places {
            canary: text(guarded.path()),
            data: text(node.data_dir()),
            home: std::env::var("HOME").unwrap_or_else(|_| "/root".to_owned()),
            node: node.pid(),
            port: node.port(),
            secret: guarded.secret().to_owned(),
        };
        let honest_guest = wat::parse_str(HONEST_GUEST).unwrap();
        let mut run = Run {
            runtime: runtime.to_owned(),
            at_once,
            pid: node.pid(),
            places,
            honest_guest,
            rest: Rest::of(&node),
            protections: BTreeMap::new(),
            node,
            guarded: Guarded::new(),
        };
        run.be_busy();
        // What goes through a node at most leaves its mark on the allocator.
        let long = format!("def main(): return '{}'", "x".repeat(7 << 20));
        assert_eq!(run.node.run(&long, json!([])).as_str().map(str::len), Some(7 << 20));
        run.be_busy();
        run.protections = run.protections();
        guarded.watch(&run.node);
        run.guarded = guarded;
        run.rest = Rest::of(&run.node);
        run
    }

    /// Runs the programs, and fails with a list of those that did not end as they must.
    pub(super) fn finish(mut self, title: &str, programs: Vec<Program>) {
        let waiting: Mutex<VecDeque<Program>> =
            Mutex::new(programs.into_iter().filter(|program| !program.expected(&self.runtime).is_empty()).collect());
        let rows: Mutex<Vec<Row>> = Mutex::default();
        thread::scope(|scope| {
            for _ in 0..self.at_once {
                scope.spawn(|| {
                    loop {
                        let Some(program) = waiting.lock().unwrap().pop_front() else { return };
                        let row = self.row(&program);
                        rows.lock().unwrap().push(row);
                    }
                });
            }
        });
        let mut rows = rows.into_inner().unwrap();
        rows.sort_by(|left, right| left.program.cmp(&right.program));
        let table = Table { title: title.to_owned(), runtime: self.runtime.clone(), rows };
        table.publish();
        let wrong: Vec<String> = table.rows.iter().filter(|row| row.is_wrong()).map(Row::explained).collect();
        let complaints =
            catch_unwind(AssertUnwindSafe(|| self.complaints_at_the_end())).unwrap_or_else(|panic| vec![said(&*panic)]);
        assert!(
            wrong.is_empty() && complaints.is_empty(),
            "{} programs did not end as they must:\n{}\nat the end:\n{}",
            wrong.len(),
            wrong.join("\n"),
            complaints.join("\n")
        );
    }

    fn row(&self, program: &Program) -> Row {
        let mut complaints = Vec::new();
        let missing = program
            .needs
            .iter()
            .find(|name| self.runtime == "python" && self.protections.get(*name).is_none_or(|state| state != "on"));
        let outcome = if let Some(missing) = missing {
            Err(format!("this kernel has no {missing}"))
        } else if is_alive(self.pid) {
            let reply = catch_unwind(AssertUnwindSafe(|| self.answer(program)));
            Ok(reply.unwrap_or_else(|panic| (Outcome::new("no_reply", said(&*panic)), 0.0)))
        } else {
            complaints.push("the node has ended".to_owned());
            Err("the node has ended".to_owned())
        };
        let seconds = outcome.as_ref().map_or(0.0, |(_, seconds)| *seconds);
        let outcome = outcome.map(|(outcome, _)| outcome);
        if let Ok(outcome) = &outcome {
            if outcome.code == "timeout"
                && program.timeout_seconds().is_some_and(|most| seconds > most + LATE_MAX_SECONDS)
            {
                complaints.push(format!("it was answered for after {seconds:.1} s"));
            }
            if outcome.detail.contains(self.guarded.word()) {
                complaints.push("it has read the canary's files".to_owned());
            }
            let after = catch_unwind(AssertUnwindSafe(|| self.complaints_after(program)));
            complaints.extend(after.unwrap_or_else(|panic| vec![said(&*panic)]));
        }
        Row {
            program: program.name.clone(),
            tries: program.tries.clone(),
            expected: program.expected(&self.runtime),
            outcome,
            seconds,
            complaints,
        }
    }

    /// How a program ends, and after how many seconds.
    fn answer(&self, program: &Program) -> (Outcome, f64) {
        let (message, attachment) = program.message(&self.runtime, &program.name, &self.places);
        let mut wire = self.node.wire();
        let begun = Instant::now();
        wire.send_with(message, &attachment);
        let json = wire.read_frame().expect("the node closed the connection instead of answering").json;
        let seconds = begun.elapsed().as_secs_f64();
        if json.contains(self.guarded.word()) {
            return (Outcome::new("leak", self.guarded.word()), seconds);
        }
        let reply: Reply = serde_json::from_str(&json).unwrap();
        let outcome = match (reply.code, reply.error) {
            (None, None) => {
                Outcome::new(Outcome::OK, reply.result.map_or("null".to_owned(), |json| json.get().to_owned()))
            }
            (code, error) => Outcome::new(code.unwrap_or_else(|| "error".to_owned()), error.unwrap_or_default()),
        };
        (outcome, seconds)
    }

    /// Whether the node is the same, and works for others.
    fn complaints_after(&self, program: &Program) -> Vec<String> {
        let mut complaints = Vec::new();
        if !is_alive(self.pid) {
            complaints.push("afterwards the node has ended".to_owned());
            return complaints;
        }
        // The program's own submitter gets an answer, whatever the program did to the interpreter that is theirs.
        let own = self.honest(&program.name);
        if own["type"] != "CPU_RESULT" {
            complaints.push(format!("afterwards its submitter is answered {own}"));
        }
        // Everybody else gets what they asked for.
        let others = self.honest("somebody-else");
        if !is_honest(&others, &self.runtime) {
            complaints.push(format!("afterwards somebody else's task is answered {others}"));
        }
        complaints
    }

    fn honest(&self, submitter: &str) -> Value {
        let (message, attachment) = self.honest_message(submitter);
        let mut wire = self.node.wire();
        wire.send_with(message, attachment);
        wire.read()
    }

    fn honest_message(&self, submitter: &str) -> (Value, &[u8]) {
        let mut message = json!({
            "type": "CPU_TASK", "runtime": self.runtime, "source_peer": submitter, "args": [ARGUMENT, 12],
        });
        if self.runtime == "wasm" {
            message["attachment"] = json!(self.honest_guest.len());
            return (message, &self.honest_guest);
        }
        message["program"] = json!(HONEST);
        (message, &[])
    }

    /// Tasks of many submitters at once, until all processes that there may be are there.
    fn be_busy(&self) {
        let mut wire = self.node.wire();
        for submitter in 0..SUBMITTERS {
            let (message, attachment) = self.honest_message(&format!("submitter-{submitter}"));
            wire.send_with(message, attachment);
        }
        for _ in 0..SUBMITTERS {
            let reply = wire.read();
            assert!(is_honest(&reply, &self.runtime), "{reply:#}");
        }
    }

    fn protections(&self) -> BTreeMap<String, String> {
        let status = self.node.status();
        let protections = status["executor"]["runtimes"][&self.runtime]["protections"].as_array().cloned();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        protections.unwrap_or_default().iter().map(|one| (text(&one["name"]), text(&one["state"]))).collect()
    }

    fn complaints_at_the_end(&mut self) -> Vec<String> {
        if !is_alive(self.pid) {
            return vec![format!("the node has ended; its log ends with:\n{}", self.node.log_tail())];
        }
        let mut complaints = Vec::new();
        if self.node.log_text().contains("panicked at") {
            complaints.push(format!("the node has panicked; its log ends with:\n{}", self.node.log_tail()));
        }
        self.be_busy();
        self.node.check_serving();
        complaints.extend(self.rest.complaints(&Rest::of(&self.node)));
        let folder = self.node.data_dir().to_owned();
        let left = left_over(&folder, &children(self.pid));
        if !left.is_empty() {
            complaints.push(format!("processes were left over: {left:?}"));
        }
        complaints.extend(self.guarded.complaints());
        let workers = children(self.pid);
        let status = self.node.stop();
        if !status.success() {
            complaints.push(format!("the node stopped with {status}; its log ends with:\n{}", self.node.log_tail()));
        }
        wait_for("the workers to be gone with their node", || !workers.iter().any(|worker| is_alive(*worker)));
        let left = left_over(&folder, &[]);
        if !left.is_empty() {
            complaints.push(format!("processes have outlived the node: {left:?}"));
        }
        let scratch = folder.join("providers/cpu/scratch");
        if scratch.exists() {
            complaints.push(format!("{} has outlived the node", scratch.display()));
        }
        complaints
    }
}

fn is_honest(reply: &Value, runtime: &str) -> bool {
    let expected = if runtime == "wasm" { json!([ARGUMENT, 12]) } else { json!([ARGUMENT, 3, 144]) };
    let printed = if runtime == "wasm" { "" } else { "honest\n" };
    reply["result"] == expected && reply["stdout"] == printed
}

/// What a panic said.
fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}
