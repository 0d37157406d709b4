//! All queues of the node, and who has to do with them by the name of the process. One lock; nothing here calls anybody.

mod idle;
mod lanes;
mod queue;
#[cfg(test)]
mod tests;

use crate::config::Limits;
use crate::error::IpcError;
use crate::shares::{Kind, Owner, Place, Shares};
use crate::waiting::{Answer, Deadlines, Outbox, Ticket, Waiter, meant_by};
use potluck_sdk::ProviderError;
use potluck_sdk::message::RawValue;
use potluck_sdk::message::ipc::QueueInfo;
use potluck_sdk::shares::share;
use queue::{Crowded, Effects, GivenUp, Queue, Receiving, Sending};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Bytes that a message counts for beside its texts: about what its place in the tables takes.
const MESSAGE_BYTES: usize = 256;
/// Receivers that all queues know together, for each wait that is allowed: one may know several queues.
const RECEIVERS_PER_WAIT: usize = 4;

/// Who is to get a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Receiver {
    /// Everybody who is known when it is sent.
    Everybody,
    /// Whoever asks first.
    Anybody,
    /// One alone.
    Name(Arc<str>),
}

/// What a queue carries.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) sender: Arc<str>,
    pub(crate) receiver: Receiver,
    pub(crate) message_type: Box<str>,
    pub(crate) data: Box<RawValue>,
}

impl Message {
    /// What it counts for.
    pub(crate) fn bytes(&self) -> usize {
        let receiver = match &self.receiver {
            Receiver::Name(name) => name.len(),
            Receiver::Everybody | Receiver::Anybody => 0,
        };
        MESSAGE_BYTES + self.sender.len() + receiver + self.message_type.len() + self.data.get().len()
    }
}

/// A message with its number, if there is one.
pub(crate) type Next = Option<(u64, Arc<Message>)>;

/// Someone who is ready to wait.
pub(crate) struct Wish<R> {
    pub(crate) waiter: R,
    pub(crate) ticket: Ticket,
    pub(crate) deadline: Option<Instant>,
}

/// See the top of this file.
pub(crate) struct Queues<R> {
    limits: Limits,
    by_id: BTreeMap<Arc<str>, Box<Queue<R>>>,
    /// Process and queue, for every queue that has to do with the process.
    involved: BTreeSet<(Arc<str>, Arc<str>)>,
    deadlines: Deadlines<Arc<str>>,
    wait_count: usize,
    /// What waits count for at other nodes.
    wait_places: BTreeMap<Ticket, Place>,
    shares: Shares,
    /// Of all messages, those of waiting senders included.
    bytes: usize,
    message_count: usize,
}

impl<R: Waiter> Queues<R> {
    pub(crate) fn new(limits: Limits) -> Queues<R> {
        Queues {
            shares: Shares::new(limits.peer_share),
            limits,
            by_id: BTreeMap::new(),
            involved: BTreeSet::new(),
            deadlines: Deadlines::default(),
            wait_count: 0,
            wait_places: BTreeMap::new(),
            bytes: 0,
            message_count: 0,
        }
    }

    /// Makes a queue; returns how many messages it holds, and whether it is new.
    pub(crate) fn create(
        &mut self,
        id: &str,
        messages_max: u64,
        exist_ok: bool,
        owner: Owner<'_>,
    ) -> Result<(u64, bool), IpcError> {
        if let Some(queue) = self.by_id.get(id) {
            return if exist_ok { Ok((queue.messages_max, false)) } else { Err(IpcError::QueueExists) };
        }
        if self.by_id.len() >= self.limits.queues_max {
            return Err(IpcError::QueuesFull(self.limits.queues_max));
        }
        let place = self.shares.take(owner, Kind::Queues, self.limits.queues_max, 1)?;
        let most = self.limits.queue_messages_max;
        let messages_max = if messages_max == 0 { most } else { messages_max.min(most) };
        let id: Arc<str> = Arc::from(id);
        let queue = Queue::new(
            Arc::clone(&id),
            messages_max,
            self.limits.queue_bytes_max,
            self.limits.peer_share,
            owner,
            place,
        );
        self.by_id.insert(id, Box::new(queue));
        Ok((messages_max, true))
    }

    /// Removes a queue; returns how many messages and waits it had.
    pub(crate) fn delete(&mut self, id: &str, outbox: &mut Outbox<R>) -> Result<(u64, u64), IpcError> {
        let counts = self.operate(id, outbox, |queue, effects| {
            let messages = queue.len() as u64;
            let waiters = queue.clear(effects);
            let count = waiters.len() as u64;
            for waiter in waiters {
                effects.outbox.push(waiter, Answer::Error(IpcError::QueueDeleted(id.to_owned()).into()));
            }
            (messages, count)
        })?;
        self.by_id.remove(id);
        Ok(counts)
    }

    /// Sends a message if there is room. `Ok(None)` says that the sender has to wait.
    pub(crate) fn try_send(
        &mut self,
        id: &str,
        message: &Arc<Message>,
        owner: Owner<'_>,
        outbox: &mut Outbox<R>,
    ) -> Result<Option<u64>, IpcError> {
        let (_, queue) = find(&mut self.by_id, id)?;
        if self.bytes + message.bytes() > self.limits.bytes_max {
            return Err(IpcError::BytesFull);
        }
        let place = self.shares.take(owner, Kind::Bytes, self.limits.bytes_max, message.bytes())?;
        let peer = queue.peer(owner);
        if !queue.has_room(message, peer) {
            return Ok(None);
        }
        self.bytes += message.bytes();
        let peer = peer.map(Arc::from);
        self.operate(id, outbox, |queue, effects| Some(queue.take_in(message, peer.as_ref(), place, effects)))
    }

    /// Why a message for which there is no room was not taken, for a sender that does not wait.
    pub(crate) fn why_full(&self, id: &str, message: &Message, owner: Owner<'_>) -> IpcError {
        match self.by_id.get(id) {
            Some(queue) => match queue.peer(owner).filter(|peer| queue.is_held(message, peer)) {
                Some(peer) => share_full(peer, id, queue.share()),
                None => IpcError::QueueFull,
            },
            None => IpcError::NoQueue(id.to_owned()),
        }
    }

    /// Sends a message if there is room by now; else the wish is kept, and answered later. An answer that is due at once
    /// is in the outbox.
    pub(crate) fn send(
        &mut self,
        id: &str,
        message: &Arc<Message>,
        owner: Owner<'_>,
        wish: Wish<R>,
        outbox: &mut Outbox<R>,
    ) {
        if wish.waiter.is_gone() {
            return outbox.push(wish.waiter, Answer::Gone);
        }
        match self.try_send(id, message, owner, outbox) {
            Ok(Some(number)) => outbox.push(wish.waiter, Answer::Sent { queue: Arc::from(id), number }),
            Err(error) => outbox.push(wish.waiter, Answer::Error(error.into())),
            Ok(None) => match self.begin_to_send(id, &wish, owner, message) {
                Err(error) => outbox.push(wish.waiter, Answer::Error(error.into())),
                Ok(place) => {
                    let Wish { waiter, ticket, deadline } = wish;
                    let keep = |queue: &mut Queue<R>, effects: &mut Effects<R>| {
                        let peer = queue.peer(owner).map(Arc::from);
                        let sending = Sending::new(Arc::clone(message), waiter, deadline, place, peer);
                        queue.wait_to_send(ticket, sending, effects);
                    };
                    // The queue is there: `try_send` has found it.
                    let _ = self.operate(id, outbox, keep);
                }
            },
        }
    }

    /// Takes a receiver's next message, which makes it known to the queue.
    pub(crate) fn try_receive(
        &mut self,
        id: &str,
        process: &Arc<str>,
        owner: Owner<'_>,
        outbox: &mut Outbox<R>,
    ) -> Result<Next, IpcError> {
        self.join(id, process, owner, outbox)?;
        self.operate(id, outbox, |queue, effects| queue.take(process, effects))
    }

    /// Takes a receiver's next message if there is one by now; else the wish is kept, and answered later. An answer that
    /// is due at once is in the outbox.
    pub(crate) fn receive(
        &mut self,
        id: &str,
        process: &Arc<str>,
        owner: Owner<'_>,
        wish: Wish<R>,
        outbox: &mut Outbox<R>,
    ) {
        if wish.waiter.is_gone() {
            return outbox.push(wish.waiter, Answer::Gone);
        }
        match self.try_receive(id, process, owner, outbox) {
            Ok(Some((number, message))) => {
                outbox.push(wish.waiter, Answer::Message { queue: Arc::from(id), number, message });
            }
            Err(error) => outbox.push(wish.waiter, Answer::Error(error.into())),
            Ok(None) => match self.begin_wait(id, &wish, owner) {
                Err(error) => outbox.push(wish.waiter, Answer::Error(error.into())),
                Ok(()) => {
                    let Wish { waiter, ticket, deadline } = wish;
                    let receiving = Receiving { process: Arc::clone(process), waiter, deadline };
                    let _ = self.operate(id, outbox, |queue, _| queue.wait_to_receive(ticket, receiving));
                }
            },
        }
    }

    /// Shows a receiver's next message, or the oldest of all.
    pub(crate) fn peek(&self, id: &str, process: Option<&str>) -> Result<Next, IpcError> {
        let queue = self.by_id.get(id).ok_or_else(|| IpcError::NoQueue(id.to_owned()))?;
        Ok(queue.peek(process))
    }

    /// Makes a receiver known; returns whether it is new.
    pub(crate) fn join(
        &mut self,
        id: &str,
        process: &Arc<str>,
        owner: Owner<'_>,
        outbox: &mut Outbox<R>,
    ) -> Result<bool, IpcError> {
        let total_max = self.limits.waits_max.saturating_mul(RECEIVERS_PER_WAIT);
        let is_full = self.involved.len() >= total_max;
        let known_max = self.limits.receivers_max;
        let (_, queue) = find(&mut self.by_id, id)?;
        if queue.asks(process) {
            return Ok(false);
        }
        let share = share(self.limits.peer_share, known_max);
        let gives_way = queue.gives_way(owner, known_max, share).map_err(|crowded| match (crowded, owner) {
            (Crowded::OfPeer, Some(peer)) => {
                IpcError::QueueReceiverShareFull { peer: peer.to_owned(), queue: id.to_owned(), share }
            }
            _ => IpcError::QueueReceiversFull { queue: id.to_owned(), max: known_max },
        })?;
        if is_full {
            return Err(IpcError::ReceiversFull(total_max));
        }
        let place = self.shares.take(owner, Kind::Receivers, total_max, 1)?;
        let peer = queue.peer(owner).map(Arc::from);
        self.operate(id, outbox, |queue, effects| queue.join(process, peer, place, gives_way, effects))?;
        Ok(true)
    }

    /// Forgets a receiver; its waits are over. Returns whether it was known.
    pub(crate) fn leave(&mut self, id: &str, process: &Arc<str>, outbox: &mut Outbox<R>) -> Result<bool, IpcError> {
        self.operate(id, outbox, |queue, effects| {
            let waits = queue.leave(process, effects);
            effects.perhaps_done.push(Arc::clone(process));
            let was_known = waits.is_some();
            for receiving in waits.into_iter().flatten() {
                effects.outbox.push(receiving.waiter, Answer::Error(IpcError::NoMessage.into()));
            }
            was_known
        })
    }

    /// The caller of a wait has gone away.
    pub(crate) fn call_off(&mut self, id: &str, ticket: Ticket, outbox: &mut Outbox<R>) {
        let _ = self.operate(id, outbox, |queue, effects| {
            if let Some(given_up) = queue.give_up(ticket, effects) {
                effects.outbox.push(given_up.waiter(), Answer::Gone);
            }
        });
    }

    /// Answers up to `count_max` waits whose time is over; returns when the next is.
    pub(crate) fn expire(&mut self, now: Instant, count_max: usize, outbox: &mut Outbox<R>) -> Option<Instant> {
        for _ in 0..count_max {
            let Some((ticket, id)) = self.deadlines.take_due(now) else { break };
            let _ = self.operate(&id, outbox, |queue, effects| match queue.give_up(ticket, effects) {
                Some(GivenUp::ToReceive(waiter)) => {
                    effects.outbox.push(waiter, Answer::Error(IpcError::NoMessage.into()));
                }
                Some(GivenUp::ToSend(waiter, held)) => {
                    let error = held.map_or(IpcError::QueueFull, |peer| share_full(&peer, &id, queue.share()));
                    effects.outbox.push(waiter, Answer::Error(error.into()));
                }
                None => {}
            });
        }
        self.deadlines.first()
    }

    /// A process, or all of a peer, has ended: no queue knows it any more. With `goes_on` only its waits are taken back. They get
    /// the error that `why` makes of its name; returns their number.
    pub(crate) fn end(
        &mut self,
        ended: &str,
        goes_on: bool,
        why: impl Fn(&str) -> ProviderError,
        outbox: &mut Outbox<R>,
    ) -> u64 {
        let mut count = 0;
        for process in meant_by(ended, self.involved.iter().map(|(process, _)| process)) {
            let first = (Arc::clone(&process), Arc::from(""));
            let queues: Vec<Arc<str>> = self
                .involved
                .range((Bound::Included(first), Bound::Unbounded))
                .take_while(|(involved, _)| *involved == process)
                .map(|(_, id)| Arc::clone(id))
                .collect();
            for id in queues {
                let _ = self.operate(&id, outbox, |queue, effects| {
                    let waiters =
                        if goes_on { queue.end_waits(&process, effects) } else { queue.end(&process, effects) };
                    effects.perhaps_done.push(Arc::clone(&process));
                    for waiter in waiters {
                        count += 1;
                        effects.outbox.push(waiter, Answer::Error(why(&process)));
                    }
                });
            }
        }
        count
    }

    /// The node stops: every wait is answered.
    pub(crate) fn close(&mut self, outbox: &mut Outbox<R>) {
        self.limits.waits_max = 0;
        self.deadlines.clear();
        self.wait_places.clear();
        for queue in self.by_id.values_mut() {
            for waiter in queue.clear(&mut Effects::default()) {
                outbox.push(waiter, Answer::Error(IpcError::Stopping.into()));
            }
        }
    }

    /// A page of them, in order, and whether there are more.
    pub(crate) fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> (Vec<QueueInfo>, bool) {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut rest =
            self.by_id.range::<str, _>((start, Bound::Unbounded)).take_while(|(id, _)| id.starts_with(prefix));
        let page = rest.by_ref().take(limit).map(|(_, queue)| queue.info()).collect();
        (page, rest.next().is_some())
    }

    /// The first by name, each with the time at which it was made.
    pub(crate) fn first(&self, count: usize) -> Vec<(QueueInfo, SystemTime)> {
        self.by_id.values().take(count).map(|queue| (queue.info(), queue.created_at())).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn message_count(&self) -> usize {
        self.message_count
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn wait_count(&self) -> usize {
        self.wait_count
    }

    /// Enters a wait in the tables that span the queues.
    fn begin_wait(&mut self, id: &str, wish: &Wish<R>, owner: Owner<'_>) -> Result<(), IpcError> {
        if self.wait_count >= self.limits.waits_max {
            return Err(IpcError::WaitsFull(self.limits.waits_max));
        }
        let (key, _) = find(&mut self.by_id, id)?;
        if let Some(place) = self.shares.take(owner, Kind::QueueWaits, self.limits.waits_max, 1)? {
            self.wait_places.insert(wish.ticket, place);
        }
        self.deadlines.add(wish.deadline, wish.ticket, key);
        self.wait_count += 1;
        Ok(())
    }

    /// Enters the wait of a sender, and its message.
    fn begin_to_send(
        &mut self,
        id: &str,
        wish: &Wish<R>,
        owner: Owner<'_>,
        message: &Message,
    ) -> Result<Option<Place>, IpcError> {
        let place = self.shares.take(owner, Kind::Bytes, self.limits.bytes_max, message.bytes())?;
        self.begin_wait(id, wish, owner)?;
        self.bytes += message.bytes();
        Ok(place)
    }

    /// Does something with one queue, and enters what that has changed in the tables that span the queues.
    fn operate<T>(
        &mut self,
        id: &str,
        outbox: &mut Outbox<R>,
        work: impl FnOnce(&mut Queue<R>, &mut Effects<R>) -> T,
    ) -> Result<T, IpcError> {
        let (id, queue) = find(&mut self.by_id, id)?;
        let mut effects = Effects::default();
        let messages_before = queue.len();
        let result = work(queue, &mut effects);
        self.message_count = self.message_count - messages_before + queue.len();
        self.bytes -= effects.bytes_freed;
        for process in effects.involved {
            self.involved.insert((process, Arc::clone(&id)));
        }
        for process in effects.perhaps_done {
            if !queue.has_to_do_with(&process) {
                self.involved.remove(&(process, Arc::clone(&id)));
            }
        }
        for (ticket, deadline) in effects.ended {
            self.deadlines.remove(deadline, ticket);
            self.wait_places.remove(&ticket);
            self.wait_count -= 1;
        }
        outbox.answers.append(&mut effects.outbox.answers);
        Ok(result)
    }
}

fn share_full(peer: &str, queue: &str, share: u64) -> IpcError {
    IpcError::QueueShareFull { peer: peer.to_owned(), queue: queue.to_owned(), share }
}

type Found<'a, R> = (Arc<str>, &'a mut Queue<R>);

fn find<'a, R>(by_id: &'a mut BTreeMap<Arc<str>, Box<Queue<R>>>, id: &str) -> Result<Found<'a, R>, IpcError> {
    let mut found = by_id.range_mut::<str, _>((Bound::Included(id), Bound::Included(id)));
    match found.next() {
        Some((key, queue)) => Ok((Arc::clone(key), queue)),
        None => Err(IpcError::NoQueue(id.to_owned())),
    }
}
