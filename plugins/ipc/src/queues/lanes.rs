//! Who may put a message into a queue next: those who wait for room stand in line, the first first. A node that has its
//! share of the queue stands beside the line until one of its messages is gone, so that it keeps nobody from sending.

use super::Message;
use crate::waiting::Ticket;
use potluck_sdk::shares::share;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a node may have in a queue.
#[derive(Clone, Copy)]
pub(super) struct Most {
    messages: u64,
    bytes: usize,
}

impl Most {
    pub(super) fn new(part: f64, messages_max: u64, bytes_max: usize) -> Most {
        let messages = usize::try_from(messages_max).unwrap_or(usize::MAX);
        Most { messages: share(part, messages) as u64, bytes: share(part, bytes_max) }
    }

    pub(super) fn messages(self) -> u64 {
        self.messages
    }
}

/// What a node has in the queue and in the line, and who of it stands beside the line.
#[derive(Default)]
struct Lane {
    messages: u64,
    bytes: usize,
    held: BTreeSet<Ticket>,
}

/// A place in the queue or in the line, which has to be given back; nothing for who may have all.
pub(super) type Seat = Option<Arc<str>>;

pub(super) struct Lanes {
    most: Most,
    line: BTreeSet<Ticket>,
    by_peer: BTreeMap<Arc<str>, Lane>,
    /// Nodes that have less than before, or whose first that is held has changed.
    changed: BTreeSet<Arc<str>>,
}

impl Lanes {
    pub(super) fn new(most: Most) -> Lanes {
        Lanes { most, line: BTreeSet::new(), by_peer: BTreeMap::new(), changed: BTreeSet::new() }
    }

    pub(super) fn most(&self) -> Most {
        self.most
    }

    /// Whether nobody is to go before a message of this node. One that is larger than the share goes alone.
    pub(super) fn is_free(&self, peer: Option<&str>, message: &Message) -> bool {
        self.line.is_empty() && self.may_join(peer, message)
    }

    /// Whether it may stand in line, or does not have to.
    pub(super) fn may_join(&self, peer: Option<&str>, message: &Message) -> bool {
        let Some(lane) = peer.and_then(|peer| self.by_peer.get(peer)) else { return true };
        lane.held.is_empty() && self.has_room(lane, message)
    }

    fn has_room(&self, lane: &Lane, message: &Message) -> bool {
        lane.messages < self.most.messages
            && (lane.messages == 0 || lane.bytes.saturating_add(message.bytes()) <= self.most.bytes)
    }

    /// Counts a message that goes into the queue, or into the line.
    pub(super) fn take(&mut self, peer: Option<&Arc<str>>, message: &Message) -> Seat {
        let peer = peer?;
        let lane = self.by_peer.entry(Arc::clone(peer)).or_default();
        lane.messages += 1;
        lane.bytes += message.bytes();
        Some(Arc::clone(peer))
    }

    /// The message has left.
    pub(super) fn give_back(&mut self, seat: Seat, message: &Message) {
        let Some(peer) = seat else { return };
        let Some(lane) = self.by_peer.get_mut(&peer) else { return };
        lane.messages -= 1;
        lane.bytes -= message.bytes();
        self.tidy(peer);
    }

    fn tidy(&mut self, peer: Arc<str>) {
        let Some(lane) = self.by_peer.get(&peer) else { return };
        if !lane.held.is_empty() {
            self.changed.insert(peer);
        } else if lane.messages == 0 {
            self.by_peer.remove(&peer);
        }
    }

    /// A sender begins to wait: in line, or, with `Err`, beside it.
    pub(super) fn wait(&mut self, ticket: Ticket, peer: Option<&Arc<str>>, message: &Message) -> Result<Seat, ()> {
        if let Some(peer) = peer
            && !self.may_join(Some(peer), message)
        {
            self.by_peer.entry(Arc::clone(peer)).or_default().held.insert(ticket);
            return Err(());
        }
        self.line.insert(ticket);
        Ok(self.take(peer, message))
    }

    /// A sender that stood in line does not wait any more; its seat is given back, or goes on with its message.
    pub(super) fn leave_line(&mut self, ticket: Ticket) {
        self.line.remove(&ticket);
    }

    /// A sender that stood beside the line does not wait any more.
    pub(super) fn leave_held(&mut self, ticket: Ticket, peer: &Arc<str>) {
        if let Some(lane) = self.by_peer.get_mut(peer) {
            lane.held.remove(&ticket);
            self.tidy(Arc::clone(peer));
        }
    }

    /// Who is next in line.
    pub(super) fn first(&self) -> Option<Ticket> {
        self.line.first().copied()
    }

    /// Lets one that stands beside the line into it, if its node has room by now; `message_of` knows what it sends. It
    /// stands where it would have stood at once. Returns its ticket and its seat.
    pub(super) fn let_in<'a>(&mut self, message_of: impl Fn(Ticket) -> Option<&'a Message>) -> Option<(Ticket, Seat)> {
        while let Some(peer) = self.changed.first().cloned() {
            let lane = self.by_peer.get(&peer);
            let first = lane.and_then(|lane| {
                let ticket = *lane.held.first()?;
                message_of(ticket).filter(|message| self.has_room(lane, message)).map(|message| (ticket, message))
            });
            let Some((ticket, message)) = first else {
                self.changed.remove(&peer);
                continue;
            };
            if let Some(lane) = self.by_peer.get_mut(&peer) {
                lane.held.remove(&ticket);
            }
            self.line.insert(ticket);
            return Some((ticket, self.take(Some(&peer), message)));
        }
        None
    }

    pub(super) fn clear(&mut self) {
        self.line.clear();
        self.by_peer.clear();
        self.changed.clear();
    }

    #[cfg(test)]
    pub(super) fn peers(&self) -> usize {
        self.by_peer.len()
    }
}
