//! One queue: its messages, whom each is for, who waits to send and to receive. It knows no other queue.
//!
//! Messages are found without a look at those of others. A receiver's next is the oldest of three: the first that was
//! sent to it alone, the first that is for anybody, and the first to everybody behind the last of those that it got.

use super::{Message, Receiver};
use crate::shares::Place;
use crate::waiting::{Answer, Outbox, Ticket, Waiter};
use potluck_sdk::message::ipc::QueueInfo;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// The n-th message of a queue.
pub(super) type Number = u64;

/// A process that waits for a message.
pub(super) struct Receiving<R> {
    pub(super) process: Arc<str>,
    pub(super) waiter: R,
    pub(super) deadline: Option<Instant>,
}

/// A process that waits for room.
pub(super) struct Sending<R> {
    pub(super) message: Arc<Message>,
    pub(super) waiter: R,
    pub(super) deadline: Option<Instant>,
    /// What the message counts for.
    pub(super) place: Option<Place>,
}

/// Someone who gets what is sent to everybody.
struct Known {
    /// The last message to everybody that it got, or the last of all when it became known.
    seen: Number,
    /// When it last asked, counted in questions.
    asked: u64,
    /// Its waits for a message.
    waits: BTreeSet<Ticket>,
    _place: Option<Place>,
}

struct Stored {
    message: Arc<Message>,
    /// Receivers that have not got it yet; 1 unless it is for everybody.
    left: usize,
    /// Whether one has.
    was_given: bool,
    _place: Option<Place>,
}

/// What an operation has changed beyond the queue itself.
pub(super) struct Effects<R> {
    pub(super) outbox: Outbox<R>,
    /// Waits that have ended, with the time at which they would have.
    pub(super) ended: Vec<(Ticket, Option<Instant>)>,
    /// Processes that the queue has to do with now.
    pub(super) involved: Vec<Arc<str>>,
    /// Processes that it may have nothing to do with any more.
    pub(super) perhaps_done: Vec<Arc<str>>,
    /// Bytes of messages that are gone.
    pub(super) bytes_freed: usize,
}

impl<R> Default for Effects<R> {
    fn default() -> Effects<R> {
        Effects {
            outbox: Outbox::default(),
            ended: Vec::new(),
            involved: Vec::new(),
            perhaps_done: Vec::new(),
            bytes_freed: 0,
        }
    }
}

/// Nobody waits to receive while there is a message for it, and nobody waits to send while there is room.
pub(super) struct Queue<R> {
    id: Arc<str>,
    pub(super) messages_max: u64,
    bytes_max: usize,
    /// The number of the last message.
    sent: Number,
    bytes: usize,
    questions: u64,
    messages: BTreeMap<Number, Stored>,
    /// For the first who asks.
    anybody: BTreeSet<Number>,
    /// For everybody who was known; others have seen them.
    everybody: BTreeSet<Number>,
    /// For one alone.
    letters: HashMap<Arc<str>, VecDeque<Number>>,
    known: HashMap<Arc<str>, Known>,
    /// Those of `known` who wait for nothing, the one that has asked least recently first.
    idle: BTreeSet<(u64, Arc<str>)>,
    receiving: BTreeMap<Ticket, Receiving<R>>,
    sending: BTreeMap<Ticket, Sending<R>>,
    /// Waits to send of each process.
    sending_of: BTreeSet<(Arc<str>, Ticket)>,
    /// What it counts for at the node that has made it.
    _place: Option<Place>,
}

impl<R: Waiter> Queue<R> {
    pub(super) fn new(id: Arc<str>, messages_max: u64, bytes_max: usize, place: Option<Place>) -> Queue<R> {
        Queue {
            id,
            messages_max,
            bytes_max,
            sent: 0,
            bytes: 0,
            questions: 0,
            messages: BTreeMap::new(),
            anybody: BTreeSet::new(),
            everybody: BTreeSet::new(),
            letters: HashMap::new(),
            known: HashMap::new(),
            idle: BTreeSet::new(),
            receiving: BTreeMap::new(),
            sending: BTreeMap::new(),
            sending_of: BTreeSet::new(),
            _place: place,
        }
    }

    /// Whether a message can be taken now: who waits goes first.
    pub(super) fn has_room(&self, message: &Message) -> bool {
        self.sending.is_empty() && self.fits(message)
    }

    fn fits(&self, message: &Message) -> bool {
        (self.messages.len() as u64) < self.messages_max
            && (self.messages.is_empty() || self.bytes + message.bytes() <= self.bytes_max)
    }

    /// Takes a message, for which there is room; returns its number. Who waits for it gets it at once.
    pub(super) fn accept(&mut self, message: &Arc<Message>, place: Option<Place>, effects: &mut Effects<R>) -> Number {
        self.sent += 1;
        let number = self.sent;
        let mut was_given = false;
        let left = match &message.receiver {
            Receiver::Name(name) => {
                let left = usize::from(!self.give_to(name, number, message, effects));
                if left > 0 {
                    self.letters.entry(Arc::clone(name)).or_default().push_back(number);
                    effects.involved.push(Arc::clone(name));
                }
                left
            }
            Receiver::Everybody if !self.known.is_empty() => {
                // Those who wait get it now. The others are found by what they have seen.
                let waiting = self.known.iter().filter(|(_, known)| !known.waits.is_empty());
                let waiting: Vec<Arc<str>> = waiting.map(|(name, _)| Arc::clone(name)).collect();
                let mut left = self.known.len();
                for name in waiting {
                    if self.give_to(&name, number, message, effects) {
                        left -= 1;
                        was_given = true;
                        if let Some(known) = self.known.get_mut(&name) {
                            known.seen = number;
                        }
                    }
                }
                if left > 0 {
                    self.everybody.insert(number);
                }
                left
            }
            Receiver::Anybody | Receiver::Everybody => {
                let left = usize::from(!self.give_to_first(number, message, effects));
                if left > 0 {
                    self.anybody.insert(number);
                }
                left
            }
        };
        if left > 0 {
            self.bytes += message.bytes();
            self.messages.insert(number, Stored { message: Arc::clone(message), left, was_given, _place: place });
        } else {
            effects.bytes_freed += message.bytes();
        }
        number
    }

    fn give_to_first(&mut self, number: Number, message: &Arc<Message>, effects: &mut Effects<R>) -> bool {
        while let Some((ticket, receiving)) = self.receiving.pop_first() {
            if self.give(ticket, receiving, number, message, effects) {
                return true;
            }
        }
        false
    }

    /// Gives a message to the first wait of a process; false when it has none.
    fn give_to(&mut self, process: &str, number: Number, message: &Arc<Message>, effects: &mut Effects<R>) -> bool {
        while let Some(ticket) = self.known.get(process).and_then(|known| known.waits.first().copied()) {
            let Some(receiving) = self.receiving.remove(&ticket) else { return false };
            if self.give(ticket, receiving, number, message, effects) {
                return true;
            }
        }
        false
    }

    /// Ends a wait with a message; false when the one who waited has gone away.
    fn give(
        &mut self,
        ticket: Ticket,
        receiving: Receiving<R>,
        number: Number,
        message: &Arc<Message>,
        effects: &mut Effects<R>,
    ) -> bool {
        let Receiving { process, waiter, deadline } = receiving;
        self.waits_no_more(&process, ticket);
        effects.ended.push((ticket, deadline));
        let given = waiter.claim();
        let message = Arc::clone(message);
        let answer =
            if given { Answer::Message { queue: Arc::clone(&self.id), number, message } } else { Answer::Gone };
        effects.outbox.push(waiter, answer);
        given
    }

    fn waits_no_more(&mut self, process: &Arc<str>, ticket: Ticket) {
        if let Some(known) = self.known.get_mut(process)
            && known.waits.remove(&ticket)
            && known.waits.is_empty()
        {
            self.idle.insert((known.asked, Arc::clone(process)));
        }
    }

    /// Makes a receiver known, or notes that it has asked; true when it is new. Where `known_max` are known, the one that
    /// has not asked for the longest time is forgotten.
    pub(super) fn join(
        &mut self,
        process: &Arc<str>,
        place: Option<Place>,
        known_max: usize,
        effects: &mut Effects<R>,
    ) -> bool {
        self.questions += 1;
        if let Some(known) = self.known.get_mut(process) {
            if known.waits.is_empty() {
                self.idle.remove(&(known.asked, Arc::clone(process)));
                self.idle.insert((self.questions, Arc::clone(process)));
            }
            known.asked = self.questions;
            return false;
        }
        while self.known.len() >= known_max {
            let Some((_, longest_idle)) = self.idle.first().cloned() else { break };
            self.leave(&longest_idle, effects);
            effects.perhaps_done.push(longest_idle);
        }
        self.idle.insert((self.questions, Arc::clone(process)));
        let known = Known { seen: self.sent, asked: self.questions, waits: BTreeSet::new(), _place: place };
        self.known.insert(Arc::clone(process), known);
        effects.involved.push(Arc::clone(process));
        true
    }

    /// Forgets a receiver, and what was sent to everybody does not wait for it any more. Returns its waits, which are over.
    pub(super) fn leave(&mut self, process: &Arc<str>, effects: &mut Effects<R>) -> Option<Vec<Receiving<R>>> {
        let known = self.known.remove(process)?;
        self.idle.remove(&(known.asked, Arc::clone(process)));
        let missed: Vec<Number> = self.everybody.range(known.seen + 1..).copied().collect();
        let mut waits = Vec::new();
        for ticket in known.waits {
            if let Some(receiving) = self.receiving.remove(&ticket) {
                effects.ended.push((ticket, receiving.deadline));
                waits.push(receiving);
            }
        }
        for number in missed {
            self.missed(number, effects);
        }
        self.admit(effects);
        Some(waits)
    }

    /// A receiver will never get a message to everybody. When it was the last, and nobody has got it, it is for anybody:
    /// no message is lost because those who were there when it was sent have gone.
    fn missed(&mut self, number: Number, effects: &mut Effects<R>) {
        let Some(stored) = self.messages.get(&number) else { return };
        if stored.left > 1 || stored.was_given {
            return self.got(number, effects);
        }
        let message = Arc::clone(&stored.message);
        if self.give_to_first(number, &message, effects) {
            return self.got(number, effects);
        }
        self.everybody.remove(&number);
        self.anybody.insert(number);
    }

    /// One receiver fewer has to get a message; the last one takes it out.
    fn got(&mut self, number: Number, effects: &mut Effects<R>) {
        let Some(stored) = self.messages.get_mut(&number) else { return };
        stored.left -= 1;
        if stored.left == 0
            && let Some(stored) = self.messages.remove(&number)
        {
            self.everybody.remove(&number);
            self.bytes -= stored.message.bytes();
            effects.bytes_freed += stored.message.bytes();
        }
    }

    /// The number of a receiver's next message.
    fn next_of(&self, process: &str) -> Option<Number> {
        let letter = self.letters.get(process).and_then(|letters| letters.front());
        let known = self.known.get(process);
        let to_everybody = known.and_then(|known| self.everybody.range(known.seen + 1..).next());
        [letter, self.anybody.first(), to_everybody].into_iter().flatten().min().copied()
    }

    /// A receiver's next message, or with no receiver the oldest of all; it stays.
    pub(super) fn peek(&self, process: Option<&str>) -> Option<(Number, Arc<Message>)> {
        let number = match process {
            Some(process) => self.next_of(process)?,
            None => *self.messages.keys().next()?,
        };
        self.messages.get(&number).map(|stored| (number, Arc::clone(&stored.message)))
    }

    /// Takes a receiver's next message.
    pub(super) fn take(&mut self, process: &Arc<str>, effects: &mut Effects<R>) -> Option<(Number, Arc<Message>)> {
        let (number, message) = self.peek(Some(process))?;
        if self.anybody.first() == Some(&number) {
            self.anybody.remove(&number);
        } else if self.everybody.contains(&number) {
            if let Some(known) = self.known.get_mut(process) {
                known.seen = number;
            }
        } else if let Some(letters) = self.letters.get_mut(process) {
            letters.pop_front();
            if letters.is_empty() {
                self.letters.remove(process);
                effects.perhaps_done.push(Arc::clone(process));
            }
        }
        if let Some(stored) = self.messages.get_mut(&number) {
            stored.was_given = true;
        }
        self.got(number, effects);
        self.admit(effects);
        Some((number, message))
    }

    /// Keeps a receiver that has joined and for whom there is nothing.
    pub(super) fn wait_to_receive(&mut self, ticket: Ticket, receiving: Receiving<R>) {
        if let Some(known) = self.known.get_mut(&receiving.process) {
            self.idle.remove(&(known.asked, Arc::clone(&receiving.process)));
            known.waits.insert(ticket);
            self.receiving.insert(ticket, receiving);
        }
    }

    /// Keeps a sender for whose message there is no room.
    pub(super) fn wait_to_send(&mut self, ticket: Ticket, sending: Sending<R>, effects: &mut Effects<R>) {
        effects.involved.push(Arc::clone(&sending.message.sender));
        self.sending_of.insert((Arc::clone(&sending.message.sender), ticket));
        self.sending.insert(ticket, sending);
    }

    /// Takes messages of those who wait to send, the first first, as far as there is room.
    fn admit(&mut self, effects: &mut Effects<R>) {
        while let Some(first) = self.sending.first_entry() {
            let (ticket, message) = (*first.key(), Arc::clone(&first.get().message));
            if !self.fits(&message) {
                return;
            }
            let Some(sending) = self.remove_sender(ticket, effects) else { return };
            if sending.waiter.claim() {
                let number = self.accept(&message, sending.place, effects);
                effects.outbox.push(sending.waiter, Answer::Sent { queue: Arc::clone(&self.id), number });
            } else {
                effects.bytes_freed += message.bytes();
                effects.outbox.push(sending.waiter, Answer::Gone);
            }
        }
    }

    fn remove_sender(&mut self, ticket: Ticket, effects: &mut Effects<R>) -> Option<Sending<R>> {
        let sending = self.sending.remove(&ticket)?;
        let process = Arc::clone(&sending.message.sender);
        self.sending_of.remove(&(Arc::clone(&process), ticket));
        effects.perhaps_done.push(process);
        effects.ended.push((ticket, sending.deadline));
        Some(sending)
    }

    /// Ends a wait; with `Ok` one to receive, with `Err` one to send. Who waits behind it may go on.
    pub(super) fn give_up(&mut self, ticket: Ticket, effects: &mut Effects<R>) -> Option<Result<R, R>> {
        if let Some(receiving) = self.receiving.remove(&ticket) {
            self.waits_no_more(&receiving.process, ticket);
            effects.ended.push((ticket, receiving.deadline));
            return Some(Ok(receiving.waiter));
        }
        let sending = self.remove_sender(ticket, effects)?;
        effects.bytes_freed += sending.message.bytes();
        // The next one's message may be smaller.
        self.admit(effects);
        Some(Err(sending.waiter))
    }

    /// A process has ended: its waits are over, and what was sent to it alone can never be received. Returns the waiters.
    pub(super) fn end(&mut self, process: &Arc<str>, effects: &mut Effects<R>) -> Vec<R> {
        let mut waiters = self.end_waits(process, effects);
        if let Some(waits) = self.leave(process, effects) {
            waiters.extend(waits.into_iter().map(|receiving| receiving.waiter));
        }
        for number in self.letters.remove(process).into_iter().flatten() {
            self.got(number, effects);
        }
        self.admit(effects);
        waiters
    }

    /// Takes back all waits of a process, which goes on. Returns the waiters.
    pub(super) fn end_waits(&mut self, process: &Arc<str>, effects: &mut Effects<R>) -> Vec<R> {
        let sends = self.sending_of.range((Arc::clone(process), 0)..=(Arc::clone(process), Ticket::MAX));
        let mut tickets: Vec<Ticket> = sends.map(|(_, ticket)| *ticket).collect();
        tickets.extend(self.known.get(process).into_iter().flat_map(|known| &known.waits));
        tickets
            .into_iter()
            .filter_map(|ticket| self.give_up(ticket, effects))
            .map(|ended| match ended {
                Ok(waiter) | Err(waiter) => waiter,
            })
            .collect()
    }

    pub(super) fn knows(&self, process: &Arc<str>) -> bool {
        self.known.contains_key(process)
    }

    /// Whether there is still a reason to look here when the process ends.
    pub(super) fn has_to_do_with(&self, process: &Arc<str>) -> bool {
        self.known.contains_key(process)
            || self.letters.contains_key(process)
            || self.sending_of.range((Arc::clone(process), 0)..=(Arc::clone(process), Ticket::MAX)).next().is_some()
    }

    /// Takes out everybody who waits, and forgets all messages.
    pub(super) fn clear(&mut self, effects: &mut Effects<R>) -> Vec<R> {
        let mut waiters = Vec::new();
        for (ticket, receiving) in std::mem::take(&mut self.receiving) {
            effects.ended.push((ticket, receiving.deadline));
            waiters.push(receiving.waiter);
        }
        for (ticket, sending) in std::mem::take(&mut self.sending) {
            effects.bytes_freed += sending.message.bytes();
            effects.ended.push((ticket, sending.deadline));
            waiters.push(sending.waiter);
        }
        effects.bytes_freed += std::mem::take(&mut self.bytes);
        self.messages.clear();
        effects.perhaps_done.extend(self.known.drain().map(|(process, _)| process));
        effects.perhaps_done.extend(self.letters.drain().map(|(process, _)| process));
        effects.perhaps_done.extend(std::mem::take(&mut self.sending_of).into_iter().map(|(process, _)| process));
        waiters
    }

    /// Messages that it holds.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn info(&self) -> QueueInfo {
        QueueInfo {
            queue_id: self.id.to_string(),
            messages: self.messages.len() as u64,
            max_size: self.messages_max,
            bytes: self.bytes as u64,
            sent: self.sent,
            receivers: self.known.len() as u64,
            waiting_receivers: self.receiving.len() as u64,
            waiting_senders: self.sending.len() as u64,
        }
    }
}
