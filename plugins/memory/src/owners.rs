//! How many entries each other node has made, for the provider `quota`.
//!
//! An entry carries a share of its maker's account, and the account is counted down wherever the entry is dropped. Those
//! of this machine's user carry none: they are what is left of the number of all.

use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Accounts that may be kept before those without an entry are looked for.
const SWEEP_AT: usize = 1024;

/// The accounts of other nodes.
#[derive(Default)]
pub(crate) struct Owners {
    accounts: Mutex<Accounts>,
    all: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Accounts {
    by_peer: HashMap<Box<str>, Arc<AtomicUsize>>,
    /// How many there were after the last sweep.
    swept: usize,
}

/// One entry on an account, or one that is about to be made.
pub(crate) struct Share {
    keys: Arc<AtomicUsize>,
    all: Arc<AtomicUsize>,
}

impl Owners {
    /// Counts one more entry of a peer's, for as long as the share lives.
    pub(crate) fn share(&self, peer: &str) -> Share {
        let mut accounts = self.accounts.lock();
        let keys = match accounts.by_peer.get(peer) {
            Some(keys) => Arc::clone(keys),
            None => {
                if accounts.by_peer.len() >= SWEEP_AT.max(2 * accounts.swept) {
                    accounts.by_peer.retain(|_, keys| keys.load(Ordering::Relaxed) > 0);
                    accounts.swept = accounts.by_peer.len();
                }
                let keys = Arc::<AtomicUsize>::default();
                accounts.by_peer.insert(Box::from(peer), Arc::clone(&keys));
                keys
            }
        };
        // Counted under the lock, so that no sweep takes the account away meanwhile.
        keys.fetch_add(1, Ordering::Relaxed);
        drop(accounts);
        self.all.fetch_add(1, Ordering::Relaxed);
        Share { keys, all: Arc::clone(&self.all) }
    }

    /// How many each has that has any.
    pub(crate) fn by_peer(&self) -> BTreeMap<String, u64> {
        let accounts = self.accounts.lock();
        let counts =
            accounts.by_peer.iter().map(|(peer, keys)| (peer.to_string(), keys.load(Ordering::Relaxed) as u64));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// Entries of all other nodes.
    pub(crate) fn all(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }
}

impl Share {
    /// What the account holds beside this.
    pub(crate) fn others(&self) -> usize {
        self.keys.load(Ordering::Relaxed).saturating_sub(1)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.keys.fetch_sub(1, Ordering::Relaxed);
        self.all.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_counts_as_long_as_it_lives() {
        let owners = Owners::default();
        let (first, second, other) = (owners.share("a"), owners.share("a"), owners.share("b"));
        assert_eq!((first.others(), other.others(), owners.all()), (1, 0, 3));
        drop(second);
        assert_eq!(owners.by_peer(), BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 1)]));
        assert_eq!((first.others(), owners.all()), (0, 2));
        for number in 0..3 * SWEEP_AT {
            drop(owners.share(&format!("peer-{number}")));
        }
        assert!(owners.accounts.lock().by_peer.len() <= SWEEP_AT);
        assert_eq!(
            (owners.share("a").others(), owners.share("b").others()),
            (1, 1),
            "who has entries is not forgotten"
        );
    }
}
