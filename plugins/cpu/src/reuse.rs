//! Results of earlier runs: which tasks may do with one, and what is kept of a run for later ones.
//!
//! A sandboxed run whose program and arguments are all that it was seen to depend on may serve everybody: nothing that one
//! submitter leaves behind can be in it. What somebody only says to be so, such as of a run in an interpreter that its
//! submitter has used before, or of one that has asked the node for something, serves this submitter alone.

use crate::estimates::FunctionKey;
use crate::job::Ended;
use crate::runtime::RuntimeKey;
use crate::task::Task;
use parking_lot::Mutex;
use potluck_sdk::message::cache::{
    CacheAbandon, CacheEntry, CacheGet, CachePut, CacheRules, CacheRulesChanged, CacheRulesReply,
};
use potluck_sdk::message::cpu::{CachePolicy, outcome};
use potluck_sdk::message::{RawValue, to_json};
use potluck_sdk::{Host, ProviderError, Response};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Without a cache, it is looked for again after this.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Larger results are not kept: they would push out many small ones.
const VALUE_BYTES_MAX: usize = 1 << 20;
/// Functions that are known not to depend on their arguments alone; when there are more, all are forgotten.
const IMPURE_MAX: usize = 4096;

/// What is known of the cache.
pub(crate) struct Reuse {
    host: Host,
    /// Counts changes of images: a name need not mean afterwards what it meant before.
    images_version: AtomicU64,
    /// A leaf lock.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    absent_until: Option<Instant>,
    /// Nothing when it has not said.
    assume_pure: Option<bool>,
    is_asking: bool,
    /// To wait for each other's results, which serve nobody, would make their runs one after another.
    impure: HashSet<FunctionKey>,
}

/// A task's place in the cache.
#[derive(Debug)]
pub(crate) struct Place {
    key: String,
    /// It need not be seen to depend on its arguments alone.
    is_declared_pure: bool,
    /// Only this node's own observations count.
    must_run_here: bool,
}

/// The right to put a result into the cache.
#[derive(Debug)]
pub(crate) struct Lease {
    place: Place,
    number: u64,
}

impl Lease {
    /// Whether the result need not be seen to depend on the arguments alone.
    pub(crate) fn is_declared_pure(&self) -> bool {
        self.place.is_declared_pure
    }
}

/// What the cache says.
pub(crate) enum Found {
    Result(Box<Reused>),
    Nothing(Option<Lease>),
}

/// The result of an earlier run.
#[derive(Debug, Deserialize)]
pub(crate) struct Reused {
    pub result: Box<RawValue>,
    #[serde(default)]
    pub stdout: String,
    #[serde(default)]
    pub stderr: String,
    #[serde(default)]
    pub runtime: Option<String>,
    #[serde(default)]
    pub deterministic: Option<bool>,
}

/// As [`Reused`], on its way into the cache.
#[derive(Serialize)]
struct Kept<'a> {
    result: &'a RawValue,
    #[serde(skip_serializing_if = "str::is_empty")]
    stdout: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    stderr: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deterministic: Option<bool>,
}

impl Reuse {
    pub(crate) fn new(host: Host) -> Reuse {
        Reuse { host, images_version: AtomicU64::new(0), state: Mutex::default() }
    }

    /// Another image has got a name.
    pub(crate) fn images_changed(&self) {
        self.images_version.fetch_add(1, Ordering::Relaxed);
    }

    /// The cache is there, perhaps with other rules.
    pub(crate) fn rules_changed(&self, rules: &CacheRulesChanged) {
        let mut state = self.state.lock();
        state.absent_until = None;
        state.assume_pure = Some(rules.assume_pure);
    }

    /// Where the result of a task would be; nothing when the task has to run.
    pub(crate) fn place(self: &Arc<Reuse>, task: &Task) -> Option<Place> {
        if task.confidential || task.cache == CachePolicy::Never {
            return None;
        }
        let is_python = matches!(task.runtime, RuntimeKey::Python { .. });
        let mut assume_pure = {
            let state = self.state.lock();
            if state.absent_until.is_some_and(|until| Instant::now() < until) {
                return None;
            }
            if !is_python && task.cache == CachePolicy::Auto && state.impure.contains(&task.function_key) {
                return None;
            }
            state.assume_pure
        };
        if assume_pure.is_none() {
            self.ask_rules();
            let state = self.state.lock();
            if state.absent_until.is_some_and(|until| Instant::now() < until) {
                return None;
            }
            assume_pure = state.assume_pure;
        }
        let is_declared_pure = task.cache == CachePolicy::Always || assume_pure == Some(true);
        if is_python && !is_declared_pure {
            return None;
        }
        let key = self.key(task, if is_declared_pure { &task.owner } else { "" });
        Some(Place { key, is_declared_pure, must_run_here: !is_python })
    }

    /// Looks for a result. `then` is called once, possibly before this returns, or when somebody else's run of the same has
    /// ended.
    pub(crate) fn look_up(
        self: &Arc<Reuse>,
        place: Place,
        patience: Duration,
        then: impl FnOnce(Found) + Send + 'static,
    ) {
        let timeout_seconds = Some(patience.as_secs_f64());
        let json = to_json(&CacheGet { key: Cow::Borrowed(&place.key), wait: true, timeout_seconds });
        let reuse = Arc::clone(self);
        self.host.call_with(&json, b"", move |answer| then(reuse.found(place, answer)));
    }

    fn found(&self, place: Place, answer: Result<Response, ProviderError>) -> Found {
        let response = match answer {
            Ok(response) => response,
            Err(error) => {
                if error.code == ProviderError::NO_PROVIDER {
                    self.state.lock().absent_until = Some(Instant::now() + ASK_AGAIN_AFTER);
                }
                return Found::Nothing(None);
            }
        };
        let Ok(entry) = serde_json::from_str::<CacheEntry<'_>>(&response.json) else { return Found::Nothing(None) };
        let value = entry.value.filter(|_| entry.found);
        match value.and_then(|value| serde_json::from_str::<Reused>(value.get()).ok()) {
            Some(reused) => Found::Result(Box::new(reused)),
            None => Found::Nothing(entry.lease.map(|number| Lease { place, number })),
        }
    }

    /// Whether runs of a function were seen to differ.
    pub(crate) fn is_impure(&self, function: FunctionKey) -> bool {
        self.state.lock().impure.contains(&function)
    }

    /// A run has ended: its result is kept for others, or all who wait for it run too, beside each other.
    pub(crate) fn settle(&self, lease: Lease, task: &Task, ended: &Ended, ran_here: bool) {
        match lease.place.may_keep(ended, ran_here) {
            Some(result) => self.put(&lease, result, ended),
            None => {
                if ended.deterministic == Some(false) && !lease.place.is_declared_pure {
                    let mut state = self.state.lock();
                    if state.impure.len() >= IMPURE_MAX {
                        state.impure.clear();
                    }
                    state.impure.insert(task.function_key);
                }
                let code = ended.verdict.as_ref().err().map(|failed| &*failed.code);
                self.give_up(&lease, has_run(code));
            }
        }
    }

    /// Gives a lease back to the next who waits.
    pub(crate) fn abandon(&self, lease: &Lease) {
        self.give_up(lease, false);
    }

    /// With `for_good`, nobody waits for another run of the same: it would come to the same.
    fn give_up(&self, lease: &Lease, for_good: bool) {
        let json = to_json(&CacheAbandon { key: Cow::Borrowed(&lease.place.key), lease: lease.number, for_good });
        self.host.call_with(&json, b"", drop);
    }

    fn put(&self, lease: &Lease, result: &RawValue, ended: &Ended) {
        let value = to_json(&Kept {
            result,
            stdout: &ended.stdout,
            stderr: &ended.stderr,
            runtime: ended.runtime.as_deref(),
            deterministic: ended.deterministic,
        });
        let Ok(value) = RawValue::from_string(value) else { return self.give_up(lease, true) };
        let (key, lease) = (Cow::Borrowed(&*lease.place.key), Some(lease.number));
        self.host.call_with(&to_json(&CachePut { key, value: &value, lease, ttl_seconds: None }), b"", drop);
    }

    fn ask_rules(self: &Arc<Reuse>) {
        if std::mem::replace(&mut self.state.lock().is_asking, true) {
            return;
        }
        let reuse = Arc::clone(self);
        self.host.call_with(&to_json(&CacheRules {}), b"", move |answer| {
            let mut state = reuse.state.lock();
            state.is_asking = false;
            match answer.map(|response| serde_json::from_str::<CacheRulesReply>(&response.json)) {
                Ok(Ok(rules)) => state.assume_pure = Some(rules.assume_pure),
                _ => state.absent_until = Some(Instant::now() + ASK_AGAIN_AFTER),
            }
        });
    }

    /// SHA-256 of all that a result may depend on. Every part has its length in front, so no two tasks have one text.
    fn key(&self, task: &Task, owner: &str) -> String {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        part(b"potluck result 2");
        part(task.runtime.name().as_bytes());
        match &task.runtime {
            RuntimeKey::Sandbox(image) => {
                part(image.as_bytes());
                part(&self.images_version.load(Ordering::Relaxed).to_le_bytes());
            }
            RuntimeKey::Python { trusted } => part(&[u8::from(*trusted)]),
            RuntimeKey::Wasm => part(task.module.as_ref().map_or(b"", |module| module.sha256.as_bytes())),
        }
        part(owner.as_bytes());
        part(task.program.get().as_bytes());
        part(task.function.as_bytes());
        part(task.args.get().as_bytes());
        // A program can notice that there is too little.
        part(&task.limits.memory_bytes.to_le_bytes());
        hash.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
            text.push(char::from(b"0123456789abcdef"[usize::from(byte >> 4)]));
            text.push(char::from(b"0123456789abcdef"[usize::from(byte & 15)]));
            text
        })
    }
}

/// Whether a run with this code, or without one, came to its own end. One that did not begin, or that was cut short, says
/// nothing about the next one.
fn has_run(code: Option<&str>) -> bool {
    !matches!(
        code,
        Some(
            outcome::CANCELLED
                | outcome::TIMEOUT
                | outcome::QUOTA_EXCEEDED
                | outcome::QUEUE_FULL
                | outcome::MODULE_UNKNOWN
                | outcome::RUNTIME_UNAVAILABLE
                | ProviderError::LIMIT_REACHED
        )
    )
}

impl Place {
    /// The result, if it may serve others.
    fn may_keep<'a>(&self, ended: &'a Ended, ran_here: bool) -> Option<&'a RawValue> {
        let result = ended.verdict.as_ref().ok()?;
        let is_pure = self.is_declared_pure || ended.deterministic == Some(true);
        let is_sound = is_pure && (ran_here || !self.must_run_here) && ended.files.list.is_empty();
        let bytes = result.get().len() + ended.stdout.len() + ended.stderr.len();
        (is_sound && result.get() != "null" && bytes <= VALUE_BYTES_MAX).then_some(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_cut_short_is_tried_by_the_next_one_alone() {
        for code in [None, Some(outcome::TASK_FAILED), Some(outcome::MEMORY_LIMIT), Some(outcome::WORKER_DIED)] {
            assert!(has_run(code), "{code:?}: nobody waits for the next one");
        }
        for code in [outcome::CANCELLED, outcome::TIMEOUT, outcome::QUOTA_EXCEEDED, outcome::RUNTIME_UNAVAILABLE] {
            assert!(!has_run(Some(code)), "{code}");
        }
    }
}
