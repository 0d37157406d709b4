//! Those who wait: whose turn it is, when they give up, and what they are told.

use crate::queues::Message;
use potluck_sdk::ProviderError;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Tells waits apart; who came first has the lower one.
pub(crate) type Ticket = u64;

/// Who has given what was waited for: the number of a semaphore, which tells it from another that had its name before.
pub(crate) type Giver = u64;

/// Queues take nothing back, so they need no number.
pub(crate) const QUEUE: Giver = 0;

/// Who waits for an answer. A request of the host; in tests of the tables something simpler.
pub(crate) trait Waiter {
    /// What is waited for is given to it, by the semaphore of that number or by a queue; false when it has gone away, and
    /// gets nothing.
    fn claim(&self, giver: Giver) -> bool;
    /// Whether it has gone away.
    fn is_gone(&self) -> bool;
}

/// Who decides about a wait: who gives what is waited for, or the caller that goes away. One of them comes first.
#[derive(Clone, Default)]
pub(crate) struct Turn(Arc<AtomicU64>);

const WAITING: u64 = 0;
const GONE: u64 = 1;
/// By the queues; what is larger is by the semaphore whose number is so much larger.
const GIVEN: u64 = 2;

impl Turn {
    pub(crate) fn claim(&self, giver: Giver) -> bool {
        self.0.compare_exchange(WAITING, GIVEN + giver, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.0.load(Ordering::Acquire) == GONE
    }

    /// The caller goes away. When it had been given what it waited for, by whom, so that they take it back.
    pub(crate) fn leave(&self) -> Option<Giver> {
        self.0.swap(GONE, Ordering::AcqRel).checked_sub(GIVEN)
    }
}

/// What somebody is told who has waited.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It has a permit.
    Permit { semaphore: Arc<str>, value: u64 },
    /// Its time is over.
    Blocked { semaphore: Arc<str>, value: u64 },
    /// A message for it.
    Message { queue: Arc<str>, number: u64, message: Arc<Message> },
    /// Its message was taken.
    Sent { queue: Arc<str>, number: u64 },
    /// It waits in vain.
    Error(ProviderError),
    /// Nothing: it has gone away.
    Gone,
}

/// Answers to be sent once no lock is held.
pub(crate) struct Outbox<R> {
    pub(crate) answers: Vec<(R, Answer)>,
}

impl<R> Default for Outbox<R> {
    fn default() -> Outbox<R> {
        Outbox { answers: Vec::new() }
    }
}

impl<R> Outbox<R> {
    pub(crate) fn push(&mut self, waiter: R, answer: Answer) {
        self.answers.push((waiter, answer));
    }
}

/// When waits are over, what ends next first.
pub(crate) struct Deadlines<P> {
    places: BTreeMap<(Instant, Ticket), P>,
}

impl<P> Default for Deadlines<P> {
    fn default() -> Deadlines<P> {
        Deadlines { places: BTreeMap::new() }
    }
}

impl<P> Deadlines<P> {
    pub(crate) fn add(&mut self, deadline: Option<Instant>, ticket: Ticket, place: P) {
        if let Some(deadline) = deadline {
            self.places.insert((deadline, ticket), place);
        }
    }

    pub(crate) fn remove(&mut self, deadline: Option<Instant>, ticket: Ticket) {
        if let Some(deadline) = deadline {
            self.places.remove(&(deadline, ticket));
        }
    }

    pub(crate) fn first(&self) -> Option<Instant> {
        self.places.keys().next().map(|(deadline, _)| *deadline)
    }

    /// Takes out the first wait that is over.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<(Ticket, P)> {
        let first = self.places.first_entry().filter(|first| first.key().0 <= now)?;
        let ((_, ticket), place) = first.remove_entry();
        Some((ticket, place))
    }

    pub(crate) fn clear(&mut self) {
        self.places.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }
}

/// The names of a sorted table that are meant by the name of an ended process: one, or all of a peer (`*@<peer id>`).
pub(crate) fn meant_by<'a>(ended: &'a str, names: impl Iterator<Item = &'a Arc<str>>) -> Vec<Arc<str>> {
    match ended.strip_prefix('*') {
        Some(peer) if peer.starts_with('@') => {
            let mut meant: Vec<Arc<str>> = names.filter(|name| name.ends_with(peer)).map(Arc::clone).collect();
            meant.dedup();
            meant
        }
        _ => vec![Arc::from(ended)],
    }
}
