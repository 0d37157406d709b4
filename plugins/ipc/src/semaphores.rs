//! All semaphores of the node, and who holds and waits by the name of the process. One lock; nothing here calls anybody.

mod semaphore;
#[cfg(test)]
mod tests;

use crate::config::Limits;
use crate::error::IpcError;
use crate::shares::{Kind, Owner, Place, Shares};
use crate::waiting::{Answer, Deadlines, Giver, Outbox, Ticket, Waiter, meant_by};
use potluck_sdk::ProviderError;
use potluck_sdk::message::ipc::{SemaphoreInfo, SemaphoreKind};
use semaphore::{Semaphore, Signalled, Waiting};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Most permits of one semaphore: far more than anybody needs, and far from where adding overflows.
pub(crate) const VALUE_MAX: u64 = 1 << 40;
/// Holders that a list names for each semaphore.
const HOLDERS_SHOWN: usize = 8;
/// Waits for a semaphore that is not owned which are told for the detection of deadlocks: they never count as stuck.
const SIGNAL_WAITERS_SHOWN: usize = 16;

/// A process that asks for a permit and is ready to wait.
pub(crate) struct Wish<R> {
    pub(crate) process: Arc<str>,
    pub(crate) waiter: R,
    pub(crate) ticket: Ticket,
    pub(crate) since_unix_milliseconds: u64,
    pub(crate) deadline: Option<Instant>,
}

/// What IPC_RESOURCES tells of one semaphore; its texts are made after the lock is released.
pub(crate) struct Shown {
    pub(crate) id: Arc<str>,
    pub(crate) value: u64,
    pub(crate) owned: bool,
    pub(crate) holders: Vec<(Arc<str>, u64)>,
    /// Process, since when, whether it has a time-out.
    pub(crate) waiters: Vec<(Arc<str>, u64, bool)>,
}

/// What STATUS tells of one semaphore beyond what lists do.
pub(crate) struct Detail {
    pub(crate) info: SemaphoreInfo,
    pub(crate) operations: u64,
    pub(crate) created_at: SystemTime,
}

/// The semaphore of a wait, and what the wait counts for.
type Awaited = (Arc<str>, Option<Place>);

/// See the top of this file.
pub(crate) struct Semaphores<R> {
    limits: Limits,
    by_id: BTreeMap<Arc<str>, Box<Semaphore<R>>>,
    /// Process and semaphore, for all that is held.
    held: BTreeMap<(Arc<str>, Arc<str>), Option<Place>>,
    /// Process and ticket, and the semaphore, for all waits.
    waits: BTreeMap<(Arc<str>, Ticket), Awaited>,
    deadlines: Deadlines<Arc<str>>,
    shares: Shares,
    /// The number of the last one that was made.
    made: Giver,
}

impl<R: Waiter> Semaphores<R> {
    pub(crate) fn new(limits: Limits) -> Semaphores<R> {
        Semaphores {
            shares: Shares::new(limits.peer_share),
            limits,
            by_id: BTreeMap::new(),
            held: BTreeMap::new(),
            waits: BTreeMap::new(),
            deadlines: Deadlines::default(),
            made: 0,
        }
    }

    /// Makes one; returns its free permits, and whether it is new.
    pub(crate) fn create(
        &mut self,
        id: &str,
        initial: Option<u64>,
        kind: SemaphoreKind,
        exist_ok: bool,
        owner: Owner<'_>,
    ) -> Result<(u64, SemaphoreKind, bool), IpcError> {
        if let Some(semaphore) = self.by_id.get(id) {
            return if exist_ok {
                Ok((semaphore.value, semaphore.kind, false))
            } else {
                Err(IpcError::SemaphoreExists)
            };
        }
        let initial = initial.unwrap_or(1);
        if kind == SemaphoreKind::Binary && initial > 1 {
            return Err(IpcError::BinaryValue(initial));
        }
        if initial > VALUE_MAX {
            return Err(IpcError::ValueMax(VALUE_MAX));
        }
        if self.by_id.len() >= self.limits.semaphores_max {
            return Err(IpcError::SemaphoresFull(self.limits.semaphores_max));
        }
        let place = self.shares.take(owner, Kind::Semaphores, self.limits.semaphores_max, 1)?;
        self.made += 1;
        self.by_id.insert(Arc::from(id), Box::new(Semaphore::new(self.made, kind, initial, place)));
        Ok((initial, kind, true))
    }

    /// Removes one; returns how many waited.
    pub(crate) fn delete(&mut self, id: &str, outbox: &mut Outbox<R>) -> Result<u64, IpcError> {
        let (id, semaphore) = self.by_id.remove_entry(id).ok_or_else(|| IpcError::NoSemaphore(id.to_owned()))?;
        for process in semaphore.holders.keys() {
            self.held.remove(&(Arc::clone(process), Arc::clone(&id)));
        }
        let waiters = semaphore.waiting.len() as u64;
        for (ticket, waiting) in semaphore.waiting {
            self.deadlines.remove(waiting.deadline, ticket);
            self.waits.remove(&(waiting.process, ticket));
            outbox.push(waiting.waiter, Answer::Error(IpcError::SemaphoreDeleted(id.to_string()).into()));
        }
        Ok(waiters)
    }

    /// Takes a permit if one is free. `Ok(Err(value))` says that the process has to wait.
    pub(crate) fn try_wait(
        &mut self,
        id: &str,
        process: &Arc<str>,
        owner: Owner<'_>,
    ) -> Result<Result<u64, u64>, IpcError> {
        let has_room = self.has_room();
        let (key, semaphore) = find(&mut self.by_id, id)?;
        if semaphore.value == 0 {
            return Ok(Err(0));
        }
        let place = if semaphore.owned && !semaphore.holders.contains_key(process) {
            if !has_room {
                return Err(IpcError::WaitsFull(self.limits.waits_max));
            }
            self.shares.take(owner, Kind::Permits, self.limits.waits_max, 1)?
        } else {
            None
        };
        semaphore.operations += 1;
        if semaphore.take(process) {
            self.held.insert((Arc::clone(process), key), place);
        }
        Ok(Ok(semaphore.value))
    }

    /// A process is told that it would have to wait, and does not.
    pub(crate) fn is_told_blocked(&mut self, id: &str) {
        if let Some(semaphore) = self.by_id.get_mut(id) {
            semaphore.operations += 1;
        }
    }

    /// Takes a permit if one is free by now; else the wish is kept, and answered later. An answer that is due at once is
    /// in the outbox. Returns whether it is the first of all waits without a time-out.
    pub(crate) fn wait(&mut self, id: &str, wish: Wish<R>, owner: Owner<'_>, outbox: &mut Outbox<R>) -> bool {
        let endless_before = self.endless_count();
        self.wait_or_answer(id, wish, owner, outbox);
        endless_before == 0 && self.endless_count() > 0
    }

    /// Waits without a time-out.
    pub(crate) fn endless_count(&self) -> usize {
        self.waits.len() - self.deadlines.len()
    }

    fn wait_or_answer(&mut self, id: &str, wish: Wish<R>, owner: Owner<'_>, outbox: &mut Outbox<R>) {
        match self.try_wait(id, &wish.process, owner) {
            Ok(Ok(value)) => {
                let giver = self.by_id.get(id).map_or(self.made, |semaphore| semaphore.number);
                if wish.waiter.claim(giver) {
                    outbox.push(wish.waiter, Answer::Permit { semaphore: Arc::from(id), value });
                } else {
                    self.take_back(id, &wish.process, giver, outbox);
                    outbox.push(wish.waiter, Answer::Gone);
                }
            }
            Err(error) => outbox.push(wish.waiter, Answer::Error(error.into())),
            Ok(Err(_)) if wish.waiter.is_gone() => outbox.push(wish.waiter, Answer::Gone),
            Ok(Err(_)) if !self.has_room() => {
                outbox.push(wish.waiter, Answer::Error(IpcError::WaitsFull(self.limits.waits_max).into()));
            }
            Ok(Err(_)) => match self.shares.take(owner, Kind::Permits, self.limits.waits_max, 1) {
                Ok(place) => self.keep(id, wish, place),
                Err(error) => outbox.push(wish.waiter, Answer::Error(error.into())),
            },
        }
    }

    fn keep(&mut self, id: &str, wish: Wish<R>, place: Option<Place>) {
        let Ok((key, semaphore)) = find(&mut self.by_id, id) else { return };
        let Wish { process, waiter, ticket, since_unix_milliseconds, deadline } = wish;
        self.waits.insert((Arc::clone(&process), ticket), (Arc::clone(&key), place));
        self.deadlines.add(deadline, ticket, key);
        semaphore.waiting.insert(ticket, Waiting { process, waiter, since_unix_milliseconds, deadline });
    }

    /// Gives a permit; returns the number of free ones.
    pub(crate) fn signal(&mut self, id: &str, process: &str, outbox: &mut Outbox<R>) -> Result<u64, IpcError> {
        let (key, semaphore) = find(&mut self.by_id, id)?;
        match semaphore.signal(process, VALUE_MAX) {
            Signalled::GivenBack { last: true } => {
                self.held.remove(&(Arc::from(process), Arc::clone(&key)));
            }
            Signalled::Given => {
                for (holder, _) in semaphore.holders.drain() {
                    self.held.remove(&(holder, Arc::clone(&key)));
                }
            }
            Signalled::GivenBack { last: false } | Signalled::Absorbed => {}
            Signalled::Full => return Err(IpcError::ValueMax(VALUE_MAX)),
        }
        semaphore.operations += 1;
        Ok(self.hand_on(&key, outbox))
    }

    /// The caller of a wait has gone away. `given_by`: it had got its permit, which now comes back.
    pub(crate) fn leave(
        &mut self,
        id: &str,
        process: &Arc<str>,
        ticket: Ticket,
        given_by: Option<Giver>,
        outbox: &mut Outbox<R>,
    ) {
        if let Some(giver) = given_by {
            return self.take_back(id, process, giver, outbox);
        }
        if let Some(waiting) = self.remove_wait(id, ticket) {
            outbox.push(waiting.waiter, Answer::Gone);
        }
    }

    fn take_back(&mut self, id: &str, process: &Arc<str>, giver: Giver, outbox: &mut Outbox<R>) {
        let Ok((key, semaphore)) = find(&mut self.by_id, id) else { return };
        // The permit went with the semaphore that gave it, if another has its name now.
        if semaphore.number != giver {
            return;
        }
        if semaphore.take_back(process) {
            self.held.remove(&(Arc::clone(process), Arc::clone(&key)));
        }
        self.hand_on(&key, outbox);
    }

    /// Answers up to `count_max` waits whose time is over; returns when the next is.
    pub(crate) fn expire(&mut self, now: Instant, count_max: usize, outbox: &mut Outbox<R>) -> Option<Instant> {
        for _ in 0..count_max {
            let Some((ticket, id)) = self.deadlines.take_due(now) else { break };
            if let Some(waiting) = self.remove_wait(&id, ticket) {
                self.is_told_blocked(&id);
                outbox.push(waiting.waiter, Answer::Blocked { semaphore: id, value: 0 });
            }
        }
        self.deadlines.first()
    }

    /// A process, or all of a peer, has ended or is to be freed: its waits get the error that `why` makes of its name, and what it
    /// holds is free. Returns the numbers of waits and permits.
    pub(crate) fn end(
        &mut self,
        ended: &str,
        why: impl Fn(&str) -> ProviderError,
        outbox: &mut Outbox<R>,
    ) -> (u64, u64) {
        let (mut wait_count, mut permits) = (0, 0);
        for process in meant_by(ended, self.waits.keys().map(|(process, _)| process)) {
            let of_process = (Arc::clone(&process), 0)..=(Arc::clone(&process), Ticket::MAX);
            let waits: Vec<(Ticket, Arc<str>)> =
                self.waits.range(of_process).map(|((_, ticket), (id, _))| (*ticket, Arc::clone(id))).collect();
            for (ticket, id) in waits {
                if let Some(waiting) = self.remove_wait(&id, ticket) {
                    wait_count += 1;
                    outbox.push(waiting.waiter, Answer::Error(why(&process)));
                }
            }
        }
        for process in meant_by(ended, self.held.keys().map(|(process, _)| process)) {
            let first = (Arc::clone(&process), Arc::from(""));
            let held: Vec<Arc<str>> = self
                .held
                .range((Bound::Included(first), Bound::Unbounded))
                .map(|(key, _)| key)
                .take_while(|(holder, _)| *holder == process)
                .map(|(_, id)| Arc::clone(id))
                .collect();
            for id in held {
                self.held.remove(&(Arc::clone(&process), Arc::clone(&id)));
                if let Some(semaphore) = self.by_id.get_mut(&id) {
                    permits += semaphore.release(&process);
                }
                self.hand_on(&id, outbox);
            }
        }
        (wait_count, permits)
    }

    /// The node stops: every wait is answered.
    pub(crate) fn close(&mut self, outbox: &mut Outbox<R>) {
        self.limits.waits_max = 0;
        self.waits.clear();
        self.deadlines.clear();
        for semaphore in self.by_id.values_mut() {
            for (_, waiting) in std::mem::take(&mut semaphore.waiting) {
                outbox.push(waiting.waiter, Answer::Error(IpcError::Stopping.into()));
            }
        }
    }

    /// A page of them, in order, and whether there are more.
    pub(crate) fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> (Vec<SemaphoreInfo>, bool) {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut rest =
            self.by_id.range::<str, _>((start, Bound::Unbounded)).take_while(|(id, _)| id.starts_with(prefix));
        let page = rest.by_ref().take(limit).map(|(id, semaphore)| info(id, semaphore)).collect();
        (page, rest.next().is_some())
    }

    /// The first by name.
    pub(crate) fn first(&self, count: usize) -> Vec<Detail> {
        let first = self.by_id.iter().take(count);
        let details = first.map(|(id, semaphore)| Detail {
            info: info(id, semaphore),
            operations: semaphore.operations,
            created_at: semaphore.created_at,
        });
        details.collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn wait_count(&self) -> usize {
        self.waits.len()
    }

    /// Processes that hold something, counted once for each semaphore.
    pub(crate) fn held_count(&self) -> usize {
        self.held.len()
    }

    /// Those that somebody holds or waits for.
    pub(crate) fn resources(&self) -> Vec<Shown> {
        let ids: BTreeSet<&Arc<str>> =
            self.held.keys().map(|(_, id)| id).chain(self.waits.values().map(|(id, _)| id)).collect();
        ids.into_iter()
            .filter_map(|id| {
                let semaphore = self.by_id.get(id)?;
                let owned = semaphore.is_lock();
                let shown_max = if owned { usize::MAX } else { SIGNAL_WAITERS_SHOWN };
                Some(Shown {
                    id: Arc::clone(id),
                    value: semaphore.value,
                    owned,
                    holders: semaphore.holders.iter().map(|(process, units)| (Arc::clone(process), *units)).collect(),
                    waiters: semaphore
                        .waiting
                        .values()
                        .take(shown_max)
                        .map(|waiting| {
                            let since = waiting.since_unix_milliseconds;
                            (Arc::clone(&waiting.process), since, waiting.deadline.is_some())
                        })
                        .collect(),
                })
            })
            .collect()
    }

    /// Gives free permits to those who wait, the first first; returns how many are left.
    fn hand_on(&mut self, id: &Arc<str>, outbox: &mut Outbox<R>) -> u64 {
        let Some(semaphore) = self.by_id.get_mut(id) else { return 0 };
        while let Some((ticket, waiting)) = semaphore.next_waiting() {
            self.deadlines.remove(waiting.deadline, ticket);
            let place = self.waits.remove(&(Arc::clone(&waiting.process), ticket)).and_then(|(_, place)| place);
            if !waiting.waiter.claim(semaphore.number) {
                outbox.push(waiting.waiter, Answer::Gone);
                continue;
            }
            semaphore.operations += 1;
            if semaphore.take(&waiting.process) {
                // Its place goes on as that of a holder.
                self.held.insert((waiting.process, Arc::clone(id)), place);
            }
            outbox.push(waiting.waiter, Answer::Permit { semaphore: Arc::clone(id), value: semaphore.value });
        }
        semaphore.value
    }

    fn remove_wait(&mut self, id: &str, ticket: Ticket) -> Option<Waiting<R>> {
        let waiting = self.by_id.get_mut(id)?.waiting.remove(&ticket)?;
        self.deadlines.remove(waiting.deadline, ticket);
        self.waits.remove(&(Arc::clone(&waiting.process), ticket));
        Some(waiting)
    }

    /// A wait becomes a holding, so both count together: who was let in to wait is never refused later.
    fn has_room(&self) -> bool {
        self.held.len() + self.waits.len() < self.limits.waits_max
    }
}

type Found<'a, R> = (Arc<str>, &'a mut Semaphore<R>);

fn find<'a, R>(by_id: &'a mut BTreeMap<Arc<str>, Box<Semaphore<R>>>, id: &str) -> Result<Found<'a, R>, IpcError> {
    let mut found = by_id.range_mut::<str, _>((Bound::Included(id), Bound::Included(id)));
    match found.next() {
        Some((key, semaphore)) => Ok((Arc::clone(key), semaphore)),
        None => Err(IpcError::NoSemaphore(id.to_owned())),
    }
}

fn info<R>(id: &Arc<str>, semaphore: &Semaphore<R>) -> SemaphoreInfo {
    let mut holders: Vec<String> = semaphore.holders.keys().take(HOLDERS_SHOWN).map(ToString::to_string).collect();
    holders.sort_unstable();
    SemaphoreInfo {
        sem_id: id.to_string(),
        kind: semaphore.kind,
        value: semaphore.value,
        initial_value: semaphore.initial,
        owned: semaphore.owned,
        holders,
        holder_count: semaphore.holders.len() as u64,
        waiting: semaphore.waiting.len() as u64,
    }
}
