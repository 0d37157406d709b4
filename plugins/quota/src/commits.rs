//! Writes uses to the disk, as many at a time as have come meanwhile, and answers for each when it is there.

use crate::ledger::Use;
use crate::store::Store;
use parking_lot::{Condvar, Mutex};
use potluck_sdk::{Health, Host, Level};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Most uses that wait to be written: far more than a disk lets wait; what comes then is refused.
const WAITING_MAX: usize = 100_000;
/// How often old uses are removed, in milliseconds.
const FORGET_EVERY: u64 = 60_000;
/// How long a stopping provider waits for its last write.
const STOP_LIMIT: Duration = Duration::from_secs(5);

type Written = Box<dyn FnOnce(Result<(), String>) + Send>;

pub(crate) struct Commits {
    host: Host,
    /// The resources with a window, and how long that is, in milliseconds.
    windows: Vec<(String, u64)>,
    /// Only the one that writes takes it.
    store: Mutex<Box<dyn Store>>,
    queue: Mutex<Queue>,
    idle: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<(Use, Written)>,
    now: u64,
    is_writing: bool,
    forgot_at: u64,
    failure: Option<String>,
}

impl Commits {
    pub(crate) fn new(host: Host, store: Box<dyn Store>, windows: Vec<(String, u64)>) -> Commits {
        Commits { host, windows, store: Mutex::new(store), queue: Mutex::default(), idle: Condvar::new() }
    }

    /// Writes a use; `written` is called when that is done, on another thread.
    pub(crate) fn add(self: &Arc<Self>, record: Use, now: u64, written: Written) {
        let begins = {
            let mut queue = self.queue.lock();
            if queue.waiting.len() >= WAITING_MAX {
                drop(queue);
                return written(Err("too many wait to be written".to_owned()));
            }
            queue.waiting.push((record, written));
            queue.now = now;
            !std::mem::replace(&mut queue.is_writing, true)
        };
        if begins {
            let this = Arc::clone(self);
            self.host.spawn_blocking(move || this.write_all());
        }
    }

    /// Writes until nothing is left.
    fn write_all(&self) {
        loop {
            let (batch, forget_before) = {
                let mut queue = self.queue.lock();
                if queue.waiting.is_empty() {
                    queue.is_writing = false;
                    self.idle.notify_all();
                    return;
                }
                let forget = queue.now.saturating_sub(queue.forgot_at) >= FORGET_EVERY;
                if forget {
                    queue.forgot_at = queue.now;
                }
                let windows = if forget { &*self.windows } else { &[] };
                let before = windows.iter().map(|(name, window)| (name.clone(), queue.now.saturating_sub(*window)));
                let before: Vec<(String, u64)> = before.collect();
                (std::mem::take(&mut queue.waiting), before)
            };
            let (uses, answers): (Vec<Use>, Vec<Written>) = batch.into_iter().unzip();
            let outcome = self.store.lock().add(&summed(uses), &forget_before).map_err(|error| error.to_string());
            let failure = outcome.as_ref().err().cloned();
            let is_news = failure.is_some() && self.queue.lock().failure.is_none();
            if is_news && let Some(error) = &failure {
                self.host.log(Level::Error, &format!("quotas cannot be written, so nothing is granted: {error}"));
            }
            self.queue.lock().failure = failure;
            for answer in answers {
                answer(outcome.clone());
            }
        }
    }

    pub(crate) fn health(&self) -> Health {
        match &self.queue.lock().failure {
            None => Health::Ok,
            Some(error) => Health::Degraded(format!("quotas cannot be written: {error}")),
        }
    }

    /// Waits until what was granted is written.
    pub(crate) fn finish(&self) {
        let mut queue = self.queue.lock();
        while queue.is_writing {
            if self.idle.wait_for(&mut queue, STOP_LIMIT).timed_out() {
                return;
            }
        }
    }
}

/// One line for each caller, resource and time.
fn summed(uses: Vec<Use>) -> Vec<Use> {
    let mut sums: BTreeMap<(String, u64, String), u64> = BTreeMap::new();
    for one in uses {
        *sums.entry((one.resource, one.stamp, one.caller)).or_default() += one.amount;
    }
    sums.into_iter().map(|((resource, stamp, caller), amount)| Use { resource, caller, stamp, amount }).collect()
}
