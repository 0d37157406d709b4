//! How an attempt ended: its result or why there is none, and what it took.

use super::Turn;
use potluck_sdk::message::RawValue;
use std::borrow::Cow;

/// How an attempt ended.
pub(crate) struct Outcome {
    /// The result, or why there is none.
    pub verdict: Result<Box<RawValue>, Failed>,
    /// How long it ran, without the time in which it had no slot; 0 when it did not.
    pub seconds: f64,
    /// Processor time that it used. Nothing for tasks that were over before they were looked at, after some 15 ms: to
    /// look takes longer than they do.
    pub cpu_seconds: Option<f64>,
    /// The most memory that its process was seen to have while it ran, as far as that can be told; nothing as above.
    pub peak_memory_bytes: Option<u64>,
    /// How often it lost its slot before it had ended.
    pub context_switches: u32,
    /// How long it waited for something else than a slot, or was paused.
    pub blocked_seconds: f64,
    /// What it printed.
    pub stdout: String,
    /// What it printed.
    pub stderr: String,
    /// Whether it was begun.
    pub started: bool,
    /// Whether it was observed to depend on its program and arguments alone.
    pub deterministic: Option<bool>,
    /// Files that it hands back.
    pub files: Files,
    /// The turn that it had, when it was given back. Rare, and large.
    pub turn: Option<Box<Turn>>,
}

/// Files that a task hands back: their names and lengths, and their bytes one behind the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    pub list: Vec<(String, usize)>,
    pub bytes: Vec<u8>,
}

impl Files {
    pub(super) fn lack_bytes(&self) -> bool {
        self.bytes.is_empty() && self.list.iter().any(|(_, bytes)| *bytes > 0)
    }
}

/// Why an attempt has no result.
pub(crate) struct Failed {
    /// One of the codes of a CPU_RESULT.
    pub code: Cow<'static, str>,
    /// One line.
    pub error: String,
    /// The exception's class.
    pub error_type: Option<String>,
    /// The traceback.
    pub traceback: Option<String>,
}

impl Failed {
    pub(crate) fn new(code: &'static str, error: impl Into<String>) -> Failed {
        Failed { code: Cow::Borrowed(code), error: error.into(), error_type: None, traceback: None }
    }
}

impl Outcome {
    pub(super) fn not_run(failed: Failed) -> Outcome {
        Outcome { started: false, ..Outcome::stopped(failed, 0.0, (String::new(), String::new())) }
    }

    pub(super) fn stopped(failed: Failed, seconds: f64, (stdout, stderr): (String, String)) -> Outcome {
        Outcome { seconds, stdout, stderr, ..Outcome::begun(Err(failed)) }
    }

    /// With what it has used: processor seconds and bytes.
    pub(super) fn with_use(mut self, used: Option<(f64, u64)>) -> Outcome {
        (self.cpu_seconds, self.peak_memory_bytes) = used.unzip();
        self
    }

    /// With nothing but its verdict.
    pub(super) fn begun(verdict: Result<Box<RawValue>, Failed>) -> Outcome {
        Outcome {
            verdict,
            seconds: 0.0,
            cpu_seconds: None,
            peak_memory_bytes: None,
            context_switches: 0,
            blocked_seconds: 0.0,
            stdout: String::new(),
            stderr: String::new(),
            started: true,
            deterministic: None,
            files: Files::default(),
            turn: None,
        }
    }
}
