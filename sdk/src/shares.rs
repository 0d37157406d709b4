//! What each other node has of what is bounded for all, so that none can take it all.
//!
//! Whatever counts for a node carries a [`Place`], and the place is free again wherever that is dropped. What this node's
//! user and its tasks have carries none: it is bounded by the totals alone.

#[cfg(test)]
mod tests;

use crate::ProviderError;
use crate::message::quota::works_for;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The part that one other node may have when plugins.toml does not say (`peer_share`).
pub const PEER_SHARE_DEFAULT: f64 = 0.25;

/// The other node that asks, by its id; nothing for this one.
pub type Owner<'a> = Option<&'a str>;

/// The other node that `caller` counts for.
pub fn owner<'a>(caller: &crate::Caller<'a>, own_id: &str) -> Owner<'a> {
    Some(works_for(caller, own_id)).filter(|peer| !peer.is_empty())
}

/// What one other node may have of `total`: `part` of it, rounded down, but never nothing.
pub fn share(part: f64, total: usize) -> usize {
    // A total is far below 2^53.
    ((total as f64 * part) as usize).max(1)
}

/// Checks the key `peer_share` of a table in plugins.toml.
///
/// # Errors
/// [`ProviderError::INVALID_CONFIG`] when it is no part of something.
pub fn check_peer_share(part: f64) -> Result<(), ProviderError> {
    if part > 0.0 && part <= 1.0 {
        return Ok(());
    }
    Err(ProviderError::new(ProviderError::INVALID_CONFIG, "key `peer_share`: it must be more than 0 and at most 1"))
}

/// A node has all that it may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareFull {
    /// Its id.
    pub peer: String,
    /// What it may have.
    pub share: usize,
}

type Accounts<const KINDS: usize> = Arc<Mutex<BTreeMap<Arc<str>, [usize; KINDS]>>>;

/// The accounts of other nodes, for so many kinds of things; a node that has nothing has none.
pub struct Shares<const KINDS: usize> {
    /// The part of each total that one may have.
    part: f64,
    accounts: Accounts<KINDS>,
}

/// What something counts for, as long as it is there.
#[derive(Debug)]
pub struct Place<const KINDS: usize>(Box<Counted<KINDS>>);

#[derive(Debug)]
struct Counted<const KINDS: usize> {
    accounts: Accounts<KINDS>,
    peer: Arc<str>,
    kind: usize,
    amount: usize,
}

impl<const KINDS: usize> Shares<KINDS> {
    /// Nobody has anything; each other node may have `part` of each total.
    pub fn new(part: f64) -> Shares<KINDS> {
        Shares { part, accounts: Arc::new(Mutex::new(BTreeMap::new())) }
    }

    /// Counts something for its owner; `kind` is below `KINDS`.
    ///
    /// # Errors
    /// When the owner would have more than its part of `total`.
    pub fn take(
        &self,
        owner: Owner<'_>,
        kind: usize,
        total: usize,
        amount: usize,
    ) -> Result<Option<Place<KINDS>>, ShareFull> {
        let Some(peer) = owner else { return Ok(None) };
        let share = share(self.part, total);
        let mut accounts = self.accounts.lock();
        let has = accounts.get(peer).map_or(0, |account| account[kind]);
        if has.saturating_add(amount) > share {
            return Err(ShareFull { peer: peer.to_owned(), share });
        }
        let peer = accounts.get_key_value(peer).map_or_else(|| Arc::from(peer), |(peer, _)| Arc::clone(peer));
        accounts.entry(Arc::clone(&peer)).or_insert([0; KINDS])[kind] += amount;
        drop(accounts);
        Ok(Some(Place(Box::new(Counted { accounts: Arc::clone(&self.accounts), peer, kind, amount }))))
    }

    /// What a node has of a kind.
    pub fn of(&self, peer: &str, kind: usize) -> usize {
        self.accounts.lock().get(peer).map_or(0, |account| account[kind])
    }

    /// Nodes that have something.
    pub fn peers(&self) -> usize {
        self.accounts.lock().len()
    }
}

impl<const KINDS: usize> Drop for Place<KINDS> {
    fn drop(&mut self) {
        let Counted { accounts, peer, kind, amount } = &*self.0;
        let mut accounts = accounts.lock();
        let Some(account) = accounts.get_mut(peer) else { return };
        account[*kind] -= *amount;
        if account.iter().all(|count| *count == 0) {
            accounts.remove(peer);
        }
    }
}
