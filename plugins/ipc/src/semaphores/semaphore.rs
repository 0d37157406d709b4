//! One semaphore: its permits, who holds them, who waits. It knows no other and no limit.

use crate::shares::Place;
use crate::waiting::{Giver, Ticket, Waiter};
use potluck_sdk::message::ipc::SemaphoreKind;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// A process that waits for a permit.
pub(super) struct Waiting<R> {
    pub(super) process: Arc<str>,
    pub(super) waiter: R,
    pub(super) since_unix_milliseconds: u64,
    pub(super) deadline: Option<Instant>,
}

/// While somebody waits, no permit is free.
pub(super) struct Semaphore<R> {
    /// Tells it from others that have, or had, its name.
    pub(super) number: Giver,
    pub(super) created_at: SystemTime,
    /// Waits and signals that were answered, with `BLOCKED` too.
    pub(super) operations: u64,
    pub(super) kind: SemaphoreKind,
    pub(super) initial: u64,
    /// Free permits.
    pub(super) value: u64,
    /// Whether every signal so far came from who held a permit. Only then it is known who holds the others; when it is
    /// not, `holders` stays empty.
    pub(super) owned: bool,
    pub(super) holders: HashMap<Arc<str>, u64>,
    /// A holder has given a permit back by a signal.
    given_back: bool,
    /// Permits that came back because their holder had ended. Whoever else meant to give them back by a signal, as the
    /// consumer gives back what the producer took, finds that done as long as they are free. Once somebody else has taken
    /// them, a signal may be what that one waits for.
    pub(super) returned: u64,
    pub(super) waiting: BTreeMap<Ticket, Waiting<R>>,
    /// What it counts for at the node that has made it.
    _place: Option<Place>,
}

/// What became of a signal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Signalled {
    /// A permit of the signaller's came back: it holds no more when `last`.
    GivenBack { last: bool },
    /// A permit came from who held none.
    Given,
    /// Nothing was to be done.
    Absorbed,
    /// There are as many as there can be.
    Full,
}

impl<R: Waiter> Semaphore<R> {
    pub(super) fn new(number: Giver, kind: SemaphoreKind, initial: u64, place: Option<Place>) -> Semaphore<R> {
        Semaphore {
            number,
            created_at: SystemTime::now(),
            operations: 0,
            kind,
            initial,
            value: initial,
            owned: initial > 0,
            holders: HashMap::new(),
            given_back: false,
            returned: 0,
            waiting: BTreeMap::new(),
            _place: place,
        }
    }

    /// Whether it is known to be used as a lock, whose holders alone give permits back; otherwise nobody can be said to wait
    /// for it in vain. The free places of a bounded buffer, which producers take and consumers give, look like locks that
    /// are held until the first consumer comes: so several permits count only once a holder has given one back, and a
    /// single one not when its holder waits for it again.
    pub(super) fn is_lock(&self) -> bool {
        let waits_for_itself = || self.waiting.values().any(|waiting| self.holders.contains_key(&waiting.process));
        self.owned
            && (self.kind == SemaphoreKind::Binary || self.given_back || (self.initial == 1 && !waits_for_itself()))
    }

    /// Takes a free permit; true when the process has become a holder by that.
    pub(super) fn take(&mut self, process: &Arc<str>) -> bool {
        self.value -= 1;
        self.returned = self.returned.min(self.value);
        if !self.owned {
            return false;
        }
        let units = self.holders.entry(Arc::clone(process)).or_default();
        *units += 1;
        *units == 1
    }

    /// A signal. With [`Signalled::Given`] the semaphore is not owned any more, and the caller forgets its holders, which
    /// are still in the table.
    pub(super) fn signal(&mut self, process: &str, value_max: u64) -> Signalled {
        if let Some(units) = self.holders.get_mut(process) {
            *units -= 1;
            let last = *units == 0;
            if last {
                self.holders.remove(process);
            }
            self.value += 1;
            self.given_back = true;
            return Signalled::GivenBack { last };
        }
        if self.kind == SemaphoreKind::Binary && self.value >= 1 {
            return Signalled::Absorbed;
        }
        if self.returned > 0 {
            self.returned -= 1;
            return Signalled::Absorbed;
        }
        if self.value >= value_max {
            return Signalled::Full;
        }
        self.owned = false;
        self.value += 1;
        Signalled::Given
    }

    /// A process that was given a permit a moment ago has gone away without knowing; true when it holds no more.
    pub(super) fn take_back(&mut self, process: &str) -> bool {
        if let Signalled::GivenBack { last } = self.signal_if_held(process) {
            return last;
        }
        // Nobody is known to hold permits of this one; the one that was given is free again.
        let is_full = self.kind == SemaphoreKind::Binary && self.value >= 1;
        if !self.owned && !is_full {
            self.value = self.value.saturating_add(1);
        }
        false
    }

    fn signal_if_held(&mut self, process: &str) -> Signalled {
        if self.holders.contains_key(process) { self.signal(process, u64::MAX) } else { Signalled::Absorbed }
    }

    /// A process has ended: what it held is free. Returns how much that was.
    pub(super) fn release(&mut self, process: &str) -> u64 {
        let units = self.holders.remove(process).unwrap_or(0);
        self.value += units;
        self.returned += units;
        units
    }

    /// Takes out the first who waits, when there is a permit for it.
    pub(super) fn next_waiting(&mut self) -> Option<(Ticket, Waiting<R>)> {
        if self.value == 0 { None } else { self.waiting.pop_first() }
    }
}
