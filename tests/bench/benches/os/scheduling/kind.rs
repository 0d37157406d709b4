//! Tasks of each runtime that need processor time: for ever, or so much of it.

use crate::client::frame;
use anyhow::{Context, Result};
use serde_json::{Value, json};

/// A way to run a task.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Python,
    Sandbox,
    /// A command of WASI preview 1.
    Guest,
}

const ENDLESS: &str = "def main():\n    while True:\n        pass\n";
/// Work, and when it began, in milliseconds since 1970.
const WORK: &str = "\
import time
def main(rounds):
    begun = time.time()
    total = 0
    for number in range(rounds):
        total += number & 3
    return begun * 1e3
";

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Python => "python",
            Kind::Sandbox => "sandbox",
            Kind::Guest => "guest",
        }
    }

    /// A request for a task that never ends.
    pub(super) fn endless(self, members: Value) -> Result<Vec<u8>> {
        match self {
            Kind::Guest => guest(0, members),
            Kind::Python | Kind::Sandbox => request(self, ENDLESS, json!([]), members),
        }
    }

    /// A request for one that goes round a loop so many times; its result is a number.
    pub(super) fn work(self, rounds: u64, members: Value) -> Result<Vec<u8>> {
        match self {
            Kind::Guest => guest(rounds, members),
            Kind::Python | Kind::Sandbox => request(self, WORK, json!([rounds]), members),
        }
    }
}

fn request(kind: Kind, program: &str, args: Value, members: Value) -> Result<Vec<u8>> {
    let message = json!({ "runtime": kind.name(), "program": program, "args": args });
    Ok(frame(&with(message, members)?.to_string()))
}

/// A guest that counts down from so many, for ever from 0, and then prints a number.
fn guest(rounds: u64, members: Value) -> Result<Vec<u8>> {
    let module = wat::parse_str(format!(
        r#"(module
          (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (data (i32.const 64) "0")
          (func (export "_start") (local $left i64)
            (local.set $left (i64.const {rounds}))
            (loop $more
              (local.set $left (i64.sub (local.get $left) (i64.const 1)))
              (br_if $more (i64.ne (local.get $left) (i64.const 0))))
            (i32.store (i32.const 0) (i32.const 64))
            (i32.store (i32.const 4) (i32.const 1))
            (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#
    ))?;
    let message = json!({ "runtime": "wasm", "args": [], "attachment": module.len() });
    let mut bytes = frame(&with(message, members)?.to_string());
    bytes.extend(module);
    Ok(bytes)
}

fn with(mut message: Value, members: Value) -> Result<Value> {
    let common = json!({ "type": "CPU_TASK", "cache": false, "timeout": 300 });
    for more in [common, members] {
        let Value::Object(more) = more else { continue };
        message.as_object_mut().context("a message is an object")?.extend(more);
    }
    Ok(message)
}
