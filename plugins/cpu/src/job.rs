//! A task on its way to a result: placed, run, run again if need be, answered once.

use crate::batch::Batch;
use crate::calls::Family;
use crate::life::{Card, Exit, exit_code};
use crate::placement::Placed;
use crate::pool::{AttemptId, Failed, Files, Outcome, Turn};
use crate::reuse::{Lease, Reused};
use crate::task::Task;
use parking_lot::Mutex;
use potluck_sdk::message::RawValue;
use potluck_sdk::message::cpu::{CpuResult, ResultFile, outcome};
use potluck_sdk::message::process::Signal;
use potluck_sdk::message::to_json;
use potluck_sdk::{PeerId, PendingReply, ProviderError};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pause before the first retry; it doubles with each.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// The longest pause between retries.
const BACKOFF_LAST: Duration = Duration::from_secs(5);

/// Names a job.
pub(crate) type JobId = u64;

/// Who waits for the result.
pub(crate) enum Answer {
    /// The sender of a CPU_TASK.
    Reply(PendingReply),
    /// A batch, for the result with this index.
    Batch(Arc<Batch>, usize),
    /// The task that has begun it, whose child with this number it is.
    Parent(Arc<Family>, u64),
}

impl Answer {
    /// Whether nobody waits for it any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        match self {
            Answer::Reply(reply) => reply.is_cancelled(),
            Answer::Batch(batch, _) => batch.is_abandoned(),
            // What a task has begun goes on when that task has ended by itself.
            Answer::Parent(..) => false,
        }
    }

    /// `attachment` are the bytes of the files that the result names.
    pub(crate) fn give(self, json: String, attachment: Vec<u8>) {
        match self {
            Answer::Reply(reply) => reply.send_with_attachment(json.into_bytes(), attachment),
            Answer::Batch(batch, index) => batch.add(index, json, attachment),
            Answer::Parent(family, number) => family.ended(number, json),
        }
    }
}

/// A task and what has become of it so far.
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) task: Task,
    /// What others may know of it.
    pub(crate) card: Arc<Card>,
    pub(crate) arrived: Instant,
    pub(crate) deadline: Instant,
    /// A leaf lock.
    pub(crate) state: Mutex<JobState>,
}

pub(crate) struct JobState {
    /// Taken when the result is given.
    pub(crate) answer: Option<Answer>,
    /// Runs that were begun.
    pub(crate) attempts: u32,
    pub(crate) whereabouts: Whereabouts,
    /// How often it was placed. Whoever is late to say where it is must not say so of an earlier time.
    pub(crate) placements: u32,
    /// The turn that it had in the pool, which has given it back to be placed anew.
    pub(crate) turn: Option<Turn>,
    pub(crate) cancelled: bool,
    /// The signal that it was ended with, when it was one.
    pub(crate) signal: Option<Signal>,
    pub(crate) is_paused: bool,
    /// It could be placed, was it not paused; with the number of peers that could not be reached.
    pub(crate) held_back: Option<u32>,
    /// It has asked whoever has to be asked before it may run.
    pub(crate) is_admitted: bool,
    /// Others may wait for its result.
    pub(crate) lease: Option<Lease>,
    /// Addresses of peers that have not what the task needs.
    pub(crate) unable: Vec<String>,
    /// Addresses of peers that could have run it, and have not taken it this time.
    pub(crate) refused_by: Vec<String>,
    /// A peer has begun it, as the statistics know.
    pub(crate) was_forwarded: bool,
}

/// Where the current attempt is.
pub(crate) enum Whereabouts {
    /// Nowhere: it has not been placed, or waits for a retry.
    Nowhere,
    /// In this node's pool.
    Here(AttemptId),
    /// At a peer, under a name that this node gave it.
    There { placed: Placed, remote_id: String },
}

/// How an attempt ended, wherever it was.
pub(crate) struct Ended {
    pub(crate) verdict: Result<Box<RawValue>, Failed>,
    pub(crate) execution_seconds: f64,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// `host:port` of the peer that ran it.
    pub(crate) executed_by: String,
    /// That peer, when it is another one and known.
    pub(crate) peer: Option<PeerId>,
    /// What ran it there, when that is not what was asked for.
    pub(crate) runtime: Option<String>,
    pub(crate) deterministic: Option<bool>,
    pub(crate) files: Files,
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) peak_memory_bytes: Option<u64>,
    pub(crate) context_switches: u32,
    /// How long it waited for something else than a slot, or was paused.
    pub(crate) blocked_seconds: f64,
    /// It is the result of an earlier run.
    pub(crate) cached: bool,
}

impl Ended {
    pub(crate) fn here(outcome: Outcome, own_address: &str) -> Ended {
        Ended {
            verdict: outcome.verdict,
            execution_seconds: outcome.seconds,
            stdout: outcome.stdout,
            stderr: outcome.stderr,
            executed_by: own_address.to_owned(),
            peer: None,
            runtime: None,
            deterministic: outcome.deterministic,
            files: outcome.files,
            cpu_seconds: outcome.cpu_seconds,
            peak_memory_bytes: outcome.peak_memory_bytes,
            context_switches: outcome.context_switches,
            blocked_seconds: outcome.blocked_seconds,
            cached: false,
        }
    }

    /// The result of an earlier run.
    pub(crate) fn earlier(reused: Reused, own_address: &str) -> Ended {
        Ended {
            verdict: Ok(reused.result),
            execution_seconds: 0.0,
            stdout: reused.stdout,
            stderr: reused.stderr,
            executed_by: own_address.to_owned(),
            peer: None,
            runtime: reused.runtime,
            deterministic: reused.deterministic,
            files: Files::default(),
            cpu_seconds: None,
            peak_memory_bytes: None,
            context_switches: 0,
            blocked_seconds: 0.0,
            cached: true,
        }
    }

    pub(crate) fn failed(code: &'static str, error: impl Into<String>, own_address: &str) -> Ended {
        Ended {
            verdict: Err(Failed::new(code, error)),
            execution_seconds: 0.0,
            stdout: String::new(),
            stderr: String::new(),
            executed_by: own_address.to_owned(),
            peer: None,
            runtime: None,
            deterministic: None,
            files: Files::default(),
            cpu_seconds: None,
            peak_memory_bytes: None,
            context_switches: 0,
            blocked_seconds: 0.0,
            cached: false,
        }
    }

    /// How long it waited for a slot: the rest of its turnaround.
    pub(crate) fn waiting_seconds(&self, turnaround_seconds: f64) -> f64 {
        (turnaround_seconds - self.execution_seconds - self.blocked_seconds).max(0.0)
    }

    /// What its process ended with.
    pub(crate) fn exit(&self, signal: Option<Signal>) -> Exit {
        let failed = self.verdict.as_ref().err();
        Exit {
            code: exit_code(failed.map(|failed| &*failed.code), signal),
            outcome: failed.map_or(Cow::Borrowed(""), |failed| failed.code.clone()),
            error: failed.map_or(String::new(), |failed| failed.error.clone()),
            cpu_seconds: self.cpu_seconds,
            peak_memory_bytes: self.peak_memory_bytes,
            context_switches: self.context_switches,
        }
    }

    /// Whether another attempt might end better: not after a limit, a cancellation or a refusal, nor when it is this node
    /// that stops.
    pub(crate) fn may_be_retried(&self, own_address: &str) -> bool {
        let Err(failed) = &self.verdict else { return false };
        match &*failed.code {
            outcome::TASK_FAILED | outcome::WORKER_DIED | ProviderError::PEER_LOST => true,
            ProviderError::NODE_STOPPING => self.executed_by != own_address,
            _ => false,
        }
    }
}

/// How long to wait before attempt number `attempts + 1`.
pub(crate) fn backoff(attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    (BACKOFF_FIRST * 2_u32.pow(doublings)).min(BACKOFF_LAST)
}

impl Job {
    /// The CPU_RESULT of a job that ended so.
    pub(crate) fn result_json(&self, ended: &Ended, attempts: u32, now: Instant) -> String {
        let turnaround_time = (now - self.arrived).as_secs_f64();
        let execution_time = ended.execution_seconds.min(turnaround_time);
        let failed = ended.verdict.as_ref().err();
        to_json(&CpuResult {
            task_id: Cow::Borrowed(&self.task.task_id),
            result: ended.verdict.as_ref().ok().map(|result| &**result),
            error: failed.map(|failed| Cow::Borrowed(&*failed.error)),
            code: failed.map(|failed| Cow::Borrowed(&*failed.code)),
            error_type: failed.and_then(|failed| failed.error_type.as_deref()).map(Cow::Borrowed),
            traceback: failed.and_then(|failed| failed.traceback.as_deref()).map(Cow::Borrowed),
            executed_by: Cow::Borrowed(&ended.executed_by),
            runtime: Cow::Borrowed(ended.runtime.as_deref().unwrap_or(self.task.runtime.name())),
            execution_time,
            waiting_time: ended.waiting_seconds(turnaround_time),
            turnaround_time,
            attempts,
            cached: ended.cached,
            stdout: Cow::Borrowed(&ended.stdout),
            stderr: Cow::Borrowed(&ended.stderr),
            deterministic: ended.deterministic,
            files: ended
                .files
                .list
                .iter()
                .map(|(name, bytes)| ResultFile { name: name.into(), bytes: *bytes })
                .collect(),
            module_sha256: self.task.module.as_ref().map(|module| Cow::Borrowed(&*module.sha256)),
            pid: self.card.pid_on_wire(),
        })
    }
}

/// The CPU_RESULT of a message that never became a job.
pub(crate) fn refusal_json(task_id: &str, runtime: &str, code: &str, error: &str, own_address: &str) -> String {
    to_json(&CpuResult {
        task_id: Cow::Borrowed(task_id),
        result: None,
        error: Some(Cow::Borrowed(error)),
        code: Some(Cow::Borrowed(code)),
        error_type: None,
        traceback: None,
        executed_by: Cow::Borrowed(own_address),
        runtime: Cow::Borrowed(runtime),
        execution_time: 0.0,
        waiting_time: 0.0,
        turnaround_time: 0.0,
        attempts: 0,
        cached: false,
        stdout: Cow::Borrowed(""),
        stderr: Cow::Borrowed(""),
        deterministic: None,
        files: Vec::new(),
        module_sha256: None,
        pid: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_back_off() {
        assert_eq!(backoff(1), BACKOFF_FIRST);
        assert_eq!(backoff(3), BACKOFF_FIRST * 4);
        assert_eq!(backoff(u32::MAX), BACKOFF_LAST);
    }
}
