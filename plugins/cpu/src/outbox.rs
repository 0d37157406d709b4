//! Batches for another provider: one message on its way at a time; what comes meanwhile goes with the next.

use parking_lot::{Condvar, Mutex};
use potluck_sdk::{Host, Level, ProviderError};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When nobody provides the message, nothing is collected for this long; then it is tried again.
const ABSENT_FOR: Duration = Duration::from_secs(5);
/// A batch that was refused is sent again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// To write and to read a batch of so many entries takes some tenths of a millisecond, in which this thread may have others to
/// serve.
const LONG_BATCH: usize = 256;

/// Numbers of batches: no two of one process of the node are the same, whichever outbox they are of.
static NEXT_BATCH: AtomicU64 = AtomicU64::new(1);

/// Entries in the order in which they came.
pub(crate) trait Entries: Default + Send + Sync + 'static {
    fn len(&self) -> usize;

    /// Takes the first ones out, `count` at most.
    fn take(&mut self, count: usize) -> Self;

    /// Drops those that can be done without, when there are too many.
    fn drop_spare(&mut self);
}

/// Makes a message of entries, and the number of their batch.
type Compose<E> = Box<dyn Fn(&E, u64) -> String + Send + Sync>;

/// How entries of one kind are sent.
pub(crate) struct Rules<E> {
    /// What they are, for the log.
    pub what: &'static str,
    /// Most entries that wait.
    pub entries_max: usize,
    /// Most entries in a message.
    pub batch_max: usize,
    /// Least time between two messages.
    pub pause: Duration,
    /// Within that time, so many messages go at once, each with what there is; what comes then waits for others.
    pub at_once: usize,
    /// Whether a batch that was refused is sent again until it is taken.
    pub insist: bool,
    /// The message, and the number of its batch.
    pub compose: Compose<E>,
}

/// Entries on their way to another provider.
pub(crate) struct Outbox<E> {
    host: Host,
    rules: Rules<E>,
    /// A leaf lock.
    state: Mutex<State<E>>,
    /// Signalled when a message is answered.
    answered: Condvar,
}

struct State<E> {
    pending: E,
    /// A batch that has to be sent again, under its number.
    refused: Option<(u64, E)>,
    is_sending: bool,
    has_timer: bool,
    /// When the last ones were answered, [`Rules::at_once`] of them at most.
    last_sent: VecDeque<Instant>,
    absent_until: Option<Instant>,
    dropped: u64,
    /// The node stops: no timer runs any more.
    is_closing: bool,
}

/// What has to be done once the lock is released.
enum Step {
    Nothing,
    Send,
    Wait(Duration),
}

impl<E: Entries> Outbox<E> {
    pub(crate) fn new(host: Host, rules: Rules<E>) -> Outbox<E> {
        let state = State {
            pending: E::default(),
            refused: None,
            is_sending: false,
            has_timer: false,
            last_sent: VecDeque::new(),
            absent_until: None,
            dropped: 0,
            is_closing: false,
        };
        Outbox { host, rules, state: Mutex::new(state), answered: Condvar::new() }
    }

    /// Takes an entry, which `add` puts behind the others; it is not called when nobody takes entries.
    pub(crate) fn push(self: &Arc<Self>, add: impl FnOnce(&mut E)) {
        let now = Instant::now();
        let (step, lost) = {
            let mut state = self.state.lock();
            if state.absent_until.is_some_and(|until| now < until) {
                return;
            }
            let lost = self.make_room(&mut state);
            add(&mut state.pending);
            (self.next_step(&mut state, now), lost)
        };
        self.complain(lost);
        self.take(step);
    }

    /// Sends everything, and waits until it is taken, for some time.
    pub(crate) fn drain(self: &Arc<Self>, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut state = self.state.lock();
        state.is_closing = true;
        loop {
            while state.is_sending {
                if self.answered.wait_until(&mut state, deadline).timed_out() {
                    return;
                }
            }
            // What is refused now would be refused again.
            if state.refused.is_some() && state.absent_until.is_some() || !state.has_work() {
                return;
            }
            drop(state);
            self.send();
            state = self.state.lock();
        }
    }

    /// Makes room for one more: what is spare goes first, else the oldest. Returns how many were lost in all, when it is
    /// time to say so.
    fn make_room(&self, state: &mut State<E>) -> Option<u64> {
        if state.pending.len() < self.rules.entries_max {
            return None;
        }
        let before = state.pending.len();
        state.pending.drop_spare();
        if state.pending.len() >= self.rules.entries_max {
            // Many at once: to move the rest costs as much for one as for all.
            drop(state.pending.take(self.rules.entries_max.div_ceil(16)));
        }
        let former = state.dropped;
        state.dropped += (before - state.pending.len()) as u64;
        // With every doubling: a few lines, however many are lost.
        (former.checked_ilog2() != state.dropped.checked_ilog2()).then_some(state.dropped)
    }

    fn complain(&self, lost: Option<u64>) {
        if let Some(lost) = lost {
            let text =
                format!("{lost} {} were dropped so far: they are not taken as fast as they come", self.rules.what);
            self.host.log(Level::Warn, &text);
        }
    }

    fn next_step(&self, state: &mut State<E>, now: Instant) -> Step {
        if state.is_sending || state.is_closing {
            return Step::Nothing;
        }
        if state.pending.len() >= self.rules.batch_max && state.refused.is_none() {
            return Step::Send;
        }
        if state.has_timer {
            return Step::Nothing;
        }
        if state.refused.is_none() && self.is_quiet(state, now) {
            return Step::Send;
        }
        state.has_timer = true;
        Step::Wait(self.rules.pause)
    }

    /// Whether one more message may go at once.
    fn is_quiet(&self, state: &State<E>, now: Instant) -> bool {
        let has_gone = state.last_sent.len();
        let is_past = |sent: &Instant| now.saturating_duration_since(*sent) >= self.rules.pause;
        self.rules.at_once > 0 && (has_gone < self.rules.at_once || state.last_sent.front().is_none_or(is_past))
    }

    fn take(self: &Arc<Self>, step: Step) {
        match step {
            Step::Nothing => {}
            Step::Send => self.send(),
            Step::Wait(delay) => {
                let outbox = Arc::clone(self);
                self.host.run_after(delay, move || {
                    outbox.state.lock().has_timer = false;
                    outbox.send();
                });
            }
        }
    }

    fn send(self: &Arc<Self>) {
        let (number, batch, is_closing) = {
            let mut state = self.state.lock();
            if state.is_sending || !state.has_work() {
                return;
            }
            state.is_sending = true;
            let (number, batch) = match state.refused.take() {
                Some(again) => again,
                None => {
                    let number = NEXT_BATCH.fetch_add(1, Ordering::Relaxed);
                    (number, state.pending.take(self.rules.batch_max))
                }
            };
            (number, batch, state.is_closing)
        };
        let is_long = batch.len() >= LONG_BATCH;
        let outbox = Arc::clone(self);
        let work = move || {
            let json = (outbox.rules.compose)(&batch, number);
            let host = outbox.host;
            host.call_with(&json, b"", move |answer| outbox.answered(number, batch, answer.err()));
        };
        // When the node stops somebody waits for it here.
        if is_long && !is_closing { self.host.spawn_blocking(work) } else { work() }
    }

    fn answered(self: &Arc<Self>, number: u64, batch: E, refusal: Option<ProviderError>) {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.is_sending = false;
        if state.last_sent.len() >= self.rules.at_once {
            state.last_sent.pop_front();
        }
        state.last_sent.push_back(now);
        let mut delay = self.rules.pause;
        let mut complaint = None;
        if let Some(error) = refusal {
            if error.code == ProviderError::NO_PROVIDER {
                state.absent_until = Some(now + ABSENT_FOR);
                state.pending = E::default();
            } else if self.rules.insist {
                state.refused = Some((number, batch));
                delay = AGAIN_AFTER;
                if state.is_closing {
                    state.absent_until = Some(now + ABSENT_FOR);
                }
                complaint = Some(format!("{} are kept and sent again: {}", self.rules.what, error.message));
            } else {
                complaint = Some(format!("{} were not taken: {}", self.rules.what, error.message));
            }
        }
        let is_full = state.pending.len() >= self.rules.batch_max;
        let step = if !state.has_work() || state.is_closing {
            Step::Nothing
        } else if state.refused.is_none() && (is_full || !state.has_timer && self.is_quiet(&state, now)) {
            Step::Send
        } else if state.has_timer {
            Step::Nothing
        } else {
            state.has_timer = true;
            Step::Wait(delay)
        };
        self.answered.notify_all();
        drop(state);
        if let Some(complaint) = complaint {
            self.host.log(Level::Warn, &complaint);
        }
        self.take(step);
    }
}

impl<E: Entries> State<E> {
    fn has_work(&self) -> bool {
        self.refused.is_some() || self.pending.len() > 0
    }
}
