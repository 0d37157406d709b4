//! What each other node has of what is bounded for all.

use crate::error::IpcError;
use potluck_sdk::shares;

pub(crate) use potluck_sdk::shares::Owner;

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

/// What something counts for, as long as it is there.
pub(crate) type Place = shares::Place<KINDS>;

/// The accounts of other nodes.
pub(crate) struct Shares(shares::Shares<KINDS>);

impl Shares {
    pub(crate) fn new(part: f64) -> Shares {
        Shares(shares::Shares::new(part))
    }

    /// Counts something for its owner, unless that would have more than its part of `total`.
    pub(crate) fn take(
        &self,
        owner: Owner<'_>,
        kind: Kind,
        total: usize,
        amount: usize,
    ) -> Result<Option<Place>, IpcError> {
        let taken = self.0.take(owner, kind as usize, total, amount);
        taken.map_err(|full| IpcError::ShareFull { peer: full.peer, kind, share: full.share })
    }

    /// What a node has of a kind.
    #[cfg(test)]
    pub(crate) fn of(&self, peer: &str, kind: Kind) -> usize {
        self.0.of(peer, kind as usize)
    }

    /// Nodes that have something.
    #[cfg(test)]
    pub(crate) fn peers(&self) -> usize {
        self.0.peers()
    }
}
