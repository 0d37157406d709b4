//! A task on its way to a result: placed, run, run again if need be, answered once.

use crate::batch::Batch;
use crate::placement::Placed;
use crate::pool::{AttemptId, Failed, Files, Outcome};
use crate::task::Task;
use parking_lot::Mutex;
use potluck_sdk::message::RawValue;
use potluck_sdk::message::cpu::{CpuResult, ResultFile, outcome};
use potluck_sdk::message::to_json;
use potluck_sdk::{PendingReply, ProviderError};
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
}

impl Answer {
    /// Whether nobody waits for it any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        match self {
            Answer::Reply(reply) => reply.is_cancelled(),
            Answer::Batch(batch, _) => batch.is_abandoned(),
        }
    }

    /// `attachment` are the bytes of the files that the result names.
    pub(crate) fn give(self, json: String, attachment: Vec<u8>) {
        match self {
            Answer::Reply(reply) => reply.send_with_attachment(json.into_bytes(), attachment),
            Answer::Batch(batch, index) => batch.add(index, json, attachment),
        }
    }
}

/// A task and what has become of it so far.
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) task: Task,
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
    pub(crate) cancelled: bool,
    /// Addresses of peers that have not what the task needs.
    pub(crate) unable: Vec<String>,
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
    /// What ran it there, when that is not what was asked for.
    pub(crate) runtime: Option<String>,
    pub(crate) deterministic: Option<bool>,
    pub(crate) files: Files,
}

impl Ended {
    pub(crate) fn here(outcome: Outcome, own_address: &str) -> Ended {
        Ended {
            verdict: outcome.verdict,
            execution_seconds: outcome.seconds,
            stdout: outcome.stdout,
            stderr: outcome.stderr,
            executed_by: own_address.to_owned(),
            runtime: None,
            deterministic: outcome.deterministic,
            files: outcome.files,
        }
    }

    pub(crate) fn failed(code: &'static str, error: impl Into<String>, own_address: &str) -> Ended {
        Ended {
            verdict: Err(Failed::new(code, error)),
            execution_seconds: 0.0,
            stdout: String::new(),
            stderr: String::new(),
            executed_by: own_address.to_owned(),
            runtime: None,
            deterministic: None,
            files: Files::default(),
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
            waiting_time: turnaround_time - execution_time,
            turnaround_time,
            attempts,
            cached: false,
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
