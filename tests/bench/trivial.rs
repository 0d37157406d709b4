//! The trivial task, `x * x`, in any of the runtimes: how it is sent, and how its result is checked.

use crate::client::{Client, frame};
use crate::load::{Conversation, frame_length};
use crate::samples::{microseconds, milliseconds};
use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PROGRAM: &str = "def square(x):\n    return x * x\n";
/// Tasks in flight over all connections, where throughput is measured.
pub(crate) const WINDOW: usize = 256;

/// The task in one runtime.
#[derive(Clone)]
pub(crate) struct Trivial {
    /// Its message, without arguments.
    message: Value,
}

impl Trivial {
    pub(crate) fn python() -> Trivial {
        Trivial { message: json!({ "type": "CPU_TASK", "program": PROGRAM, "function": "square", "cache": false }) }
    }

    pub(crate) fn sandbox() -> Trivial {
        let mut message = Trivial::python().message;
        message["runtime"] = "sandbox".into();
        // Each is to be run.
        message["cache"] = false.into();
        Trivial { message }
    }

    /// Of a guest that the node has.
    pub(crate) fn guest(sha256: &str) -> Trivial {
        Trivial {
            message: json!({ "type": "CPU_TASK", "runtime": "wasm", "module_sha256": sha256, "function": "square" }),
        }
    }

    /// As this one, to be run by another node.
    pub(crate) fn sent_to(mut self, peer_id: &str) -> Trivial {
        self.message["to"] = peer_id.into();
        self
    }

    fn frame(&self, id: Option<usize>, argument: usize) -> Vec<u8> {
        let mut message = self.message.clone();
        message["args"] = json!([argument]);
        if let Some(id) = id {
            message["id"] = id.into();
        }
        frame(&message.to_string())
    }

    /// Microseconds from sending a task to its result, one after the other: each `pause` after the result before it.
    pub(crate) fn latencies(&self, client: &mut Client, duration: Duration, pause: Duration) -> Result<Vec<f64>> {
        let request = self.frame(None, 7);
        let mut samples = Vec::new();
        let end = Instant::now() + duration;
        loop {
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
            let begun = Instant::now();
            if begun >= end {
                return Ok(samples);
            }
            client.send(&request)?;
            let reply = client.receive()?;
            samples.push(microseconds(begun.elapsed()));
            ensure!(reply.contains(r#""result":49,"#), "the node answers {reply}");
        }
    }

    /// Sends so many at once, and tells for each the milliseconds from then to its result.
    pub(crate) fn burst(&self, client: &mut Client, count: usize) -> Result<Vec<f64>> {
        let requests: Vec<u8> = (0..count).flat_map(|id| self.frame(Some(id), id)).collect();
        let begun = Instant::now();
        client.send(&requests)?;
        let mut samples = Vec::new();
        for _ in 0..count {
            let reply = client.receive()?;
            samples.push(milliseconds(begun.elapsed()));
            answered(&reply)?;
        }
        Ok(samples)
    }

    /// So many tasks, dealt out to some connections.
    pub(crate) fn windows(&self, connections: usize, in_flight: usize) -> impl Iterator<Item = Window> {
        let frames = move || (0..in_flight / connections).map(|id| self.frame(Some(id), id)).collect();
        (0..connections).map(move |_| Window { frames: frames() })
    }
}

/// The `id` of a reply, whose result must be its square.
fn answered(reply: &str) -> Result<usize> {
    let id = reply.strip_prefix("{\"id\":").and_then(|rest| rest.split(',').next()?.parse::<usize>().ok());
    let Some(id) = id else { bail!("the node answers {reply}") };
    ensure!(reply.contains(&format!("\"result\":{},", id * id)), "task {id} is answered with {reply}");
    Ok(id)
}

/// Keeps the same number of tasks in flight: each result is followed by the task of the same id.
pub(crate) struct Window {
    frames: Vec<Vec<u8>>,
}

impl Conversation for Window {
    fn begin(&mut self, out: &mut Vec<u8>) {
        out.extend(self.frames.iter().flatten());
    }

    fn reply_length(&self, bytes: &[u8]) -> Result<Option<usize>> {
        Ok(frame_length(bytes))
    }

    fn go_on(&mut self, reply: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let text = std::str::from_utf8(&reply[4..])?;
        let Some(frame) = self.frames.get(answered(text)?) else { bail!("the node answers {text}") };
        out.extend_from_slice(frame);
        Ok(())
    }

    fn missing(&self) -> usize {
        self.frames.len()
    }
}
