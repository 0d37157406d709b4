//! Values, and runs under way that others wait for: who computes, who waits, and what each is told.
//!
//! Nothing here answers anybody: every function returns the [`Answer`]s to be given, so that the lock around the store
//! is free again before the first of them is sent.

#[cfg(test)]
mod tests;

use crate::config::Limits;
use crate::entries::{Dropped, Entries};
use potluck_sdk::message::RawValue;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a lookup is told.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Found(Arc<RawValue>),
    /// Nothing is there; with a number, the asker is to compute it and put it.
    Missed(Option<u64>),
}

/// What became of a lookup.
pub(crate) enum Lookup {
    Answer(Answer),
    /// Somebody computes it; [`Store::join`] waits under this number.
    UnderWay(u64),
}

/// Answers for those who have waited. `W` is whatever answers them.
pub(crate) type Answers<W> = Vec<(W, Answer)>;

/// A run under way.
struct Flight {
    lease: u64,
    ends: Instant,
    /// Numbers rise, so the first is the one that came first.
    waiting: BTreeSet<u64>,
    /// Whether the cache was cleared since the run began: its value goes to those who wait, but is not kept.
    is_void: bool,
}

struct Waiter<W> {
    key: Arc<str>,
    reply: W,
    gives_up: Option<Instant>,
}

/// What a moment of the timer is about.
enum Due {
    Lease(Arc<str>),
    Waiter,
}

/// Numbers for the statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) size: usize,
    pub(crate) bytes: usize,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) dropped: Dropped,
    pub(crate) waiting: usize,
    pub(crate) leases: usize,
}

pub(crate) struct Store<W> {
    limits: Limits,
    entries: Entries,
    flights: HashMap<Arc<str>, Flight>,
    waiters: HashMap<u64, Waiter<W>>,
    /// Those who have been told that they may wait and have not come yet, and whether they have gone meanwhile.
    arriving: HashMap<u64, bool>,
    /// Leases and waits by the moment at which they end; the number keeps equal moments apart.
    due: BTreeMap<(Instant, u64), Due>,
    /// Leases and waiters are numbered together.
    last_number: u64,
    hits: u64,
    misses: u64,
}

impl<W> Store<W> {
    pub(crate) fn new(limits: Limits) -> Store<W> {
        Store {
            limits,
            entries: Entries::new(limits),
            flights: HashMap::new(),
            waiters: HashMap::new(),
            arriving: HashMap::new(),
            due: BTreeMap::new(),
            last_number: 0,
            hits: 0,
            misses: 0,
        }
    }

    /// Looks a value up. With `wait`, a first asker gets a lease.
    pub(crate) fn get(&mut self, now: Instant, key: &str, wait: bool) -> Lookup {
        if let Some(value) = self.entries.get(now, key) {
            self.hits += 1;
            return Lookup::Answer(Answer::Found(value));
        }
        if wait && self.flights.contains_key(key) {
            if self.waiters.len() + self.arriving.len() < self.limits.waiting_max {
                let number = self.number();
                self.arriving.insert(number, false);
                return Lookup::UnderWay(number);
            }
            self.misses += 1;
            return Lookup::Answer(Answer::Missed(None));
        }
        self.misses += 1;
        let lease = wait.then(|| self.lease(now, &Arc::from(key), BTreeSet::new())).flatten();
        Lookup::Answer(Answer::Missed(lease))
    }

    /// Waits under the number that [`Store::get`] gave. When the run has ended meanwhile, the answer is there at once;
    /// when the asker has gone, it is dropped.
    pub(crate) fn join(
        &mut self,
        now: Instant,
        number: u64,
        key: &str,
        reply: W,
        timeout: Option<Duration>,
    ) -> Option<(W, Answer)> {
        if self.arriving.remove(&number).unwrap_or(true) {
            return None;
        }
        if let Some(value) = self.entries.get(now, key) {
            self.hits += 1;
            return Some((reply, Answer::Found(value)));
        }
        let Some(flight) = self.flights.get_mut(key) else {
            self.misses += 1;
            let lease = self.lease(now, &Arc::from(key), BTreeSet::new());
            return Some((reply, Answer::Missed(lease)));
        };
        flight.waiting.insert(number);
        let gives_up = timeout.map(|timeout| now + timeout);
        if let Some(moment) = gives_up {
            self.due.insert((moment, number), Due::Waiter);
        }
        self.waiters.insert(number, Waiter { key: Arc::from(key), reply, gives_up });
        None
    }

    /// The asker under this number has gone.
    pub(crate) fn call_off(&mut self, number: u64) -> Option<W> {
        if let Some(gone) = self.arriving.get_mut(&number) {
            *gone = true;
            return None;
        }
        self.take_waiter(number).map(|waiter| waiter.reply)
    }

    /// Keeps a value, and gives it to those who wait for it; says whether it was kept.
    pub(crate) fn put(
        &mut self,
        now: Instant,
        key: &str,
        value: Arc<RawValue>,
        lease: Option<u64>,
        time_to_live: Option<Duration>,
    ) -> (bool, Answers<W>) {
        let current = self.flights.get(key).map(|flight| flight.lease);
        if lease.is_some() && lease != current {
            return (false, Vec::new());
        }
        let flight = self.flights.remove(key);
        let is_void = lease.is_some() && flight.as_ref().is_some_and(|flight| flight.is_void);
        let stored = !is_void && self.entries.put(now, &Arc::from(key), Arc::clone(&value), time_to_live);
        let mut answers = Vec::new();
        if let Some(flight) = flight {
            self.due.remove(&(flight.ends, flight.lease));
            for waiter in flight.waiting.into_iter().filter_map(|number| self.take_waiter(number)) {
                answers.push((waiter.reply, Answer::Found(Arc::clone(&value))));
            }
        }
        self.hits += answers.len() as u64;
        (stored, answers)
    }

    /// Ends a lease without a value: the next who waits gets one, or, when it is given up for good, nobody does. To wait
    /// for each other would help none of them then, and make their runs one after another.
    pub(crate) fn abandon(&mut self, now: Instant, key: &str, lease: u64, for_good: bool) -> Answers<W> {
        if self.flights.get(key).is_none_or(|flight| flight.lease != lease) {
            return Vec::new();
        }
        if for_good { self.let_go(key) } else { self.pass_on(now, key).into_iter().collect() }
    }

    /// What is to be done now: leases and waits that have ended.
    pub(crate) fn expire(&mut self, now: Instant) -> Answers<W> {
        let mut answers = Vec::new();
        while let Some(first) = self.due.first_entry().filter(|first| first.key().0 <= now) {
            let ((_, number), due) = first.remove_entry();
            match due {
                Due::Lease(key) => answers.extend(self.pass_on(now, &key)),
                Due::Waiter => {
                    if let Some(waiter) = self.take_waiter(number) {
                        self.misses += 1;
                        answers.push((waiter.reply, Answer::Missed(None)));
                    }
                }
            }
        }
        answers
    }

    /// When [`Store::expire`] has something to do next.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.first_key_value().map(|((moment, _), _)| *moment)
    }

    /// Forgets all values, those of runs under way too; returns how many were there.
    pub(crate) fn clear(&mut self, now: Instant) -> usize {
        for flight in self.flights.values_mut() {
            flight.is_void = true;
        }
        self.entries.clear(now)
    }

    /// Lets everybody go who waits, for the end of the node.
    pub(crate) fn close(&mut self) -> Answers<W> {
        self.flights.clear();
        self.due.clear();
        self.misses += self.waiters.len() as u64;
        self.waiters.drain().map(|(_, waiter)| (waiter.reply, Answer::Missed(None))).collect()
    }

    pub(crate) fn usage(&mut self, now: Instant) -> Usage {
        self.entries.drop_expired(now);
        Usage {
            size: self.entries.len(),
            bytes: self.entries.bytes(),
            hits: self.hits,
            misses: self.misses,
            dropped: self.entries.dropped(),
            waiting: self.waiters.len(),
            leases: self.flights.len(),
        }
    }

    fn let_go(&mut self, key: &str) -> Answers<W> {
        let Some(flight) = self.flights.remove(key) else { return Vec::new() };
        self.due.remove(&(flight.ends, flight.lease));
        let waiters = flight.waiting.into_iter().filter_map(|number| self.take_waiter(number));
        let answers: Answers<W> = waiters.map(|waiter| (waiter.reply, Answer::Missed(None))).collect();
        self.misses += answers.len() as u64;
        answers
    }

    fn pass_on(&mut self, now: Instant, key: &str) -> Option<(W, Answer)> {
        let (name, mut flight) = self.flights.remove_entry(key)?;
        self.due.remove(&(flight.ends, flight.lease));
        // Those who have gone are not in the queue any more, so the first is there.
        let waiter = flight.waiting.pop_first().and_then(|number| self.take_waiter(number))?;
        self.misses += 1;
        let lease = self.lease(now, &name, flight.waiting);
        Some((waiter.reply, Answer::Missed(lease)))
    }

    /// Begins a run under way; nothing when there are too many.
    fn lease(&mut self, now: Instant, key: &Arc<str>, waiting: BTreeSet<u64>) -> Option<u64> {
        if self.flights.len() >= self.limits.waiting_max {
            return None;
        }
        let lease = self.number();
        let ends = now + self.limits.lease_time;
        self.due.insert((ends, lease), Due::Lease(Arc::clone(key)));
        self.flights.insert(Arc::clone(key), Flight { lease, ends, waiting, is_void: false });
        Some(lease)
    }

    /// Takes a waiter out of everything but the queue of a flight that is gone already.
    fn take_waiter(&mut self, number: u64) -> Option<Waiter<W>> {
        let waiter = self.waiters.remove(&number)?;
        if let Some(moment) = waiter.gives_up {
            self.due.remove(&(moment, number));
        }
        if let Some(flight) = self.flights.get_mut(&waiter.key) {
            flight.waiting.remove(&number);
        }
        Some(waiter)
    }

    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}
