//! What each other node has of what is bounded for all, so that none can take it all.
//!
//! Whatever counts for a node carries a [`Place`], and the place is free again wherever that is dropped. What this node's
//! user and its tasks have carries none: it is bounded by the totals alone.

#[cfg(test)]
mod tests;

use crate::error::IpcError;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The other node that asks, by its id; nothing for this one.
pub(crate) type Owner<'a> = Option<&'a str>;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Queues,
    Bytes,
    Receivers,
    QueueWaits,
    Semaphores,
    /// Processes that hold a permit of a semaphore or wait for one.
    Permits,
}

const KINDS: usize = 6;

impl Kind {
    /// What a node has too much of, for people, and what frees some.
    pub(crate) fn words(self) -> (&'static str, &'static str) {
        match self {
            Kind::Queues => ("queues", "delete some"),
            Kind::Bytes => ("bytes of messages in queues", "receive some messages first"),
            Kind::Receivers => ("receivers at queues", "leave some queues (LEAVE_QUEUE)"),
            Kind::QueueWaits => ("waits at queues", "try again later"),
            Kind::Semaphores => ("semaphores", "delete some"),
            Kind::Permits => ("processes that wait for semaphores or hold them", "try again later"),
        }
    }
}

type Accounts = Arc<Mutex<BTreeMap<Arc<str>, [usize; KINDS]>>>;

/// The accounts of other nodes; a node that has nothing has none.
pub(crate) struct Shares {
    /// The part of each total that one may have.
    part: f64,
    accounts: Accounts,
}

/// What something counts for, as long as it is there.
#[derive(Debug)]
pub(crate) struct Place(Box<Counted>);

#[derive(Debug)]
struct Counted {
    accounts: Accounts,
    peer: Arc<str>,
    kind: Kind,
    amount: usize,
}

impl Shares {
    pub(crate) fn new(part: f64) -> Shares {
        Shares { part, accounts: Accounts::default() }
    }

    /// Counts something for its owner, unless that would have more than its part of `total`.
    pub(crate) fn take(
        &self,
        owner: Owner<'_>,
        kind: Kind,
        total: usize,
        amount: usize,
    ) -> Result<Option<Place>, IpcError> {
        let Some(peer) = owner else { return Ok(None) };
        // Rounded down, but never to nothing. A total is far below 2^53.
        let share = ((total as f64 * self.part) as usize).max(1);
        let mut accounts = self.accounts.lock();
        let has = accounts.get(peer).map_or(0, |account| account[kind as usize]);
        if has.saturating_add(amount) > share {
            return Err(IpcError::ShareFull { peer: peer.to_owned(), kind, share });
        }
        let peer = accounts.get_key_value(peer).map_or_else(|| Arc::from(peer), |(peer, _)| Arc::clone(peer));
        accounts.entry(Arc::clone(&peer)).or_default()[kind as usize] += amount;
        drop(accounts);
        Ok(Some(Place(Box::new(Counted { accounts: Arc::clone(&self.accounts), peer, kind, amount }))))
    }

    /// What a node has of a kind.
    #[cfg(test)]
    pub(crate) fn of(&self, peer: &str, kind: Kind) -> usize {
        self.accounts.lock().get(peer).map_or(0, |account| account[kind as usize])
    }

    /// Nodes that have something.
    #[cfg(test)]
    pub(crate) fn peers(&self) -> usize {
        self.accounts.lock().len()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Counted { accounts, peer, kind, amount } = &*self.0;
        let mut accounts = accounts.lock();
        let Some(account) = accounts.get_mut(peer) else { return };
        account[*kind as usize] -= *amount;
        if account.iter().all(|count| *count == 0) {
            accounts.remove(peer);
        }
    }
}
