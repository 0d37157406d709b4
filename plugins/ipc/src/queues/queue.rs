//! One queue: its messages, whom each is for, who waits to send and to receive. It knows no other queue.
//!
//! Messages are found without a look at those of others. A receiver's next is the oldest of three: the first that was
//! sent to it alone, the first that is for anybody, and the first to everybody behind the last of those that it got.

use super::idle::Idle;
use super::lanes::{Lanes, Most, Seat};
use super::{Message, Receiver};
use crate::shares::{Owner, Place};
use crate::waiting::{Answer, Outbox, QUEUE, Ticket, Waiter};
use potluck_sdk::message::ipc::QueueInfo;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

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
    /// The other node that it counts for in this queue.
    pub(super) peer: Option<Arc<str>>,
    stands: Stands,
}

/// Where a sender waits.
enum Stands {
    InLine(Seat),
    /// Until there is less of its node in the queue.
    BesideIt,
}

impl<R> Sending<R> {
    pub(super) fn new(
        message: Arc<Message>,
        waiter: R,
        deadline: Option<Instant>,
        place: Option<Place>,
        peer: Option<Arc<str>>,
    ) -> Sending<R> {
        Sending { message, waiter, deadline, place, peer, stands: Stands::BesideIt }
    }
}

/// A wait that has ended with nothing.
pub(super) enum GivenUp<R> {
    ToReceive(R),
    /// With the other node whose share of the queue was full, if it was that.
    ToSend(R, Option<Arc<str>>),
}

impl<R> GivenUp<R> {
    pub(super) fn waiter(self) -> R {
        match self {
            GivenUp::ToReceive(waiter) | GivenUp::ToSend(waiter, _) => waiter,
        }
    }
}

/// Someone who gets what is sent to everybody.
struct Known {
    /// The last message to everybody that it got, or the last of all when it became known.
    seen: Number,
    /// When it last asked, counted in questions.
    asked: u64,
    /// Its waits for a message.
    waits: BTreeSet<Ticket>,
    /// The other node that it counts for in this queue.
    peer: Option<Arc<str>>,
    _place: Option<Place>,
}

struct Stored {
    message: Arc<Message>,
    /// Receivers that have not got it yet; 1 unless it is for everybody.
    left: usize,
    /// Whether one has.
    was_given: bool,
    seat: Seat,
    _place: Option<Place>,
}

/// Why nobody gives way to a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crowded {
    /// Its node has its share of the receivers, and all of them wait.
    OfPeer,
    /// There are as many as may be, and none that does not wait is of its node.
    OfAll,
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

/// Nobody waits to receive while there is a message for it, and nobody waits to send while there is room for it.
pub(super) struct Queue<R> {
    id: Arc<str>,
    created_at: SystemTime,
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
    /// How many of `known` count for each other node.
    known_of: HashMap<Arc<str>, usize>,
    /// Those of `known` who wait for nothing.
    idle: Idle,
    receiving: BTreeMap<Ticket, Receiving<R>>,
    sending: BTreeMap<Ticket, Sending<R>>,
    /// Waits to send of each process.
    sending_of: BTreeSet<(Arc<str>, Ticket)>,
    /// Whose turn it is of those.
    lanes: Lanes,
    /// The other node that has made it, which may fill it.
    maker: Option<Arc<str>>,
    /// What it counts for at the node that has made it.
    _place: Option<Place>,
}

impl<R: Waiter> Queue<R> {
    pub(super) fn new(
        id: Arc<str>,
        messages_max: u64,
        bytes_max: usize,
        part: f64,
        maker: Owner<'_>,
        place: Option<Place>,
    ) -> Queue<R> {
        Queue {
            id,
            created_at: SystemTime::now(),
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
            known_of: HashMap::new(),
            idle: Idle::default(),
            receiving: BTreeMap::new(),
            sending: BTreeMap::new(),
            sending_of: BTreeSet::new(),
            lanes: Lanes::new(Most::new(part, messages_max, bytes_max)),
            maker: maker.map(Arc::from),
            _place: place,
        }
    }

    /// The other node for which something counts in this queue: not its maker, nor this node.
    pub(super) fn peer<'a>(&self, owner: Owner<'a>) -> Owner<'a> {
        owner.filter(|owner| self.maker.as_deref() != Some(*owner))
    }

    /// What a node may have of its messages.
    pub(super) fn share(&self) -> u64 {
        self.lanes.most().messages()
    }

    /// Whether a message can be taken now: who waits goes first.
    pub(super) fn has_room(&self, message: &Message, peer: Option<&str>) -> bool {
        self.lanes.is_free(peer, message) && self.fits(message)
    }

    /// Whether a message has to wait because its node has its share, or others of it wait for that.
    pub(super) fn is_held(&self, message: &Message, peer: &str) -> bool {
        !self.lanes.may_join(Some(peer), message)
    }

    /// Takes a message of a node for which there is room.
    pub(super) fn take_in(
        &mut self,
        message: &Arc<Message>,
        peer: Option<&Arc<str>>,
        place: Option<Place>,
        effects: &mut Effects<R>,
    ) -> Number {
        let seat = self.lanes.take(peer, message);
        self.accept(message, seat, place, effects)
    }

    fn fits(&self, message: &Message) -> bool {
        (self.messages.len() as u64) < self.messages_max
            && (self.messages.is_empty() || self.bytes + message.bytes() <= self.bytes_max)
    }

    /// Takes a message, for which there is room; returns its number. Who waits for it gets it at once.
    fn accept(&mut self, message: &Arc<Message>, seat: Seat, place: Option<Place>, effects: &mut Effects<R>) -> Number {
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
            let stored = Stored { message: Arc::clone(message), left, was_given, seat, _place: place };
            self.messages.insert(number, stored);
        } else {
            self.lanes.give_back(seat, message);
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
        let given = waiter.claim(QUEUE);
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
            self.idle.insert(known.peer.as_ref(), known.asked, process);
        }
    }

    /// Notes that a receiver has asked, if it is known.
    pub(super) fn asks(&mut self, process: &Arc<str>) -> bool {
        let Some(known) = self.known.get_mut(process) else { return false };
        self.questions += 1;
        if known.waits.is_empty() {
            self.idle.remove(known.peer.as_ref(), known.asked, process);
            self.idle.insert(known.peer.as_ref(), self.questions, process);
        }
        known.asked = self.questions;
        true
    }

    /// Who is to be forgotten so that a newcomer can be known, where `known_max` are at most and `share` of another node:
    /// the one that has not asked for the longest time. A node's newcomer takes the place of one of its own alone.
    pub(super) fn gives_way(
        &self,
        owner: Owner<'_>,
        known_max: usize,
        share: usize,
    ) -> Result<Option<Arc<str>>, Crowded> {
        let is_full = self.known.len() >= known_max;
        let Some(peer) = self.peer(owner) else { return Ok(if is_full { self.idle.first() } else { None }) };
        let has_share = self.known_of.get(peer).is_some_and(|count| *count >= share);
        if !is_full && !has_share {
            return Ok(None);
        }
        let own = self.known_of.get_key_value(peer).and_then(|(peer, _)| self.idle.first_of(peer));
        own.map(Some).ok_or(if has_share { Crowded::OfPeer } else { Crowded::OfAll })
    }

    /// Makes a receiver known that is not yet, and forgets the one that gives way.
    pub(super) fn join(
        &mut self,
        process: &Arc<str>,
        peer: Option<Arc<str>>,
        place: Option<Place>,
        gives_way: Option<Arc<str>>,
        effects: &mut Effects<R>,
    ) {
        if let Some(gives_way) = gives_way {
            self.leave(&gives_way, effects);
            effects.perhaps_done.push(gives_way);
        }
        self.questions += 1;
        self.idle.insert(peer.as_ref(), self.questions, process);
        if let Some(peer) = &peer {
            *self.known_of.entry(Arc::clone(peer)).or_default() += 1;
        }
        let known = Known { seen: self.sent, asked: self.questions, waits: BTreeSet::new(), peer, _place: place };
        self.known.insert(Arc::clone(process), known);
        effects.involved.push(Arc::clone(process));
    }

    /// Forgets a receiver, and what was sent to everybody does not wait for it any more. Returns its waits, which are over.
    pub(super) fn leave(&mut self, process: &Arc<str>, effects: &mut Effects<R>) -> Option<Vec<Receiving<R>>> {
        let known = self.known.remove(process)?;
        self.idle.remove(known.peer.as_ref(), known.asked, process);
        if let Some(peer) = &known.peer
            && let Some(count) = self.known_of.get_mut(peer)
        {
            *count -= 1;
            if *count == 0 {
                self.known_of.remove(peer);
            }
        }
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
            self.lanes.give_back(stored.seat, &stored.message);
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
            self.idle.remove(known.peer.as_ref(), known.asked, &receiving.process);
            known.waits.insert(ticket);
            self.receiving.insert(ticket, receiving);
        }
    }

    /// Keeps a sender for whose message there is no room.
    pub(super) fn wait_to_send(&mut self, ticket: Ticket, mut sending: Sending<R>, effects: &mut Effects<R>) {
        effects.involved.push(Arc::clone(&sending.message.sender));
        self.sending_of.insert((Arc::clone(&sending.message.sender), ticket));
        if let Ok(seat) = self.lanes.wait(ticket, sending.peer.as_ref(), &sending.message) {
            sending.stands = Stands::InLine(seat);
        }
        self.sending.insert(ticket, sending);
    }

    /// Takes messages of those who wait to send, the first first, as far as there is room.
    fn admit(&mut self, effects: &mut Effects<R>) {
        loop {
            while let Some((ticket, seat)) =
                self.lanes.let_in(|ticket| self.sending.get(&ticket).map(|sending| &*sending.message))
            {
                if let Some(sending) = self.sending.get_mut(&ticket) {
                    sending.stands = Stands::InLine(seat);
                }
            }
            let first = self.lanes.first().and_then(|ticket| Some((ticket, &self.sending.get(&ticket)?.message)));
            let Some((ticket, message)) = first.filter(|(_, message)| self.fits(message)) else { return };
            let message = Arc::clone(message);
            let Some(sending) = self.remove_sender(ticket, effects) else { return };
            let Stands::InLine(seat) = sending.stands else { return };
            if sending.waiter.claim(QUEUE) {
                let number = self.accept(&message, seat, sending.place, effects);
                effects.outbox.push(sending.waiter, Answer::Sent { queue: Arc::clone(&self.id), number });
            } else {
                self.lanes.give_back(seat, &message);
                effects.bytes_freed += message.bytes();
                effects.outbox.push(sending.waiter, Answer::Gone);
            }
        }
    }

    /// Its seat, if it has one, is still to be given back.
    fn remove_sender(&mut self, ticket: Ticket, effects: &mut Effects<R>) -> Option<Sending<R>> {
        let sending = self.sending.remove(&ticket)?;
        match (&sending.stands, &sending.peer) {
            (Stands::InLine(_), _) => self.lanes.leave_line(ticket),
            (Stands::BesideIt, Some(peer)) => self.lanes.leave_held(ticket, peer),
            (Stands::BesideIt, None) => {}
        }
        let process = Arc::clone(&sending.message.sender);
        self.sending_of.remove(&(Arc::clone(&process), ticket));
        effects.perhaps_done.push(process);
        effects.ended.push((ticket, sending.deadline));
        Some(sending)
    }

    /// Ends a wait. Who waits behind it may go on.
    pub(super) fn give_up(&mut self, ticket: Ticket, effects: &mut Effects<R>) -> Option<GivenUp<R>> {
        if let Some(receiving) = self.receiving.remove(&ticket) {
            self.waits_no_more(&receiving.process, ticket);
            effects.ended.push((ticket, receiving.deadline));
            return Some(GivenUp::ToReceive(receiving.waiter));
        }
        let sending = self.remove_sender(ticket, effects)?;
        effects.bytes_freed += sending.message.bytes();
        let held = match sending.stands {
            Stands::InLine(seat) => {
                self.lanes.give_back(seat, &sending.message);
                None
            }
            Stands::BesideIt => sending.peer,
        };
        // The next one's message may be smaller.
        self.admit(effects);
        Some(GivenUp::ToSend(sending.waiter, held))
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
        tickets.into_iter().filter_map(|ticket| self.give_up(ticket, effects)).map(GivenUp::waiter).collect()
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
        self.lanes.clear();
        effects.perhaps_done.extend(self.known.drain().map(|(process, _)| process));
        effects.perhaps_done.extend(self.letters.drain().map(|(process, _)| process));
        effects.perhaps_done.extend(std::mem::take(&mut self.sending_of).into_iter().map(|(process, _)| process));
        waiters
    }

    /// Other nodes of which it remembers something.
    #[cfg(test)]
    pub(super) fn peers(&self) -> usize {
        self.lanes.peers() + self.known_of.len()
    }

    /// Messages that it holds.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn created_at(&self) -> SystemTime {
        self.created_at
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
