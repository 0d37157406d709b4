//! Whether a caller may make one more entry, when the provider `quota` limits anybody.

use crate::owners::{Owners, Share};
use potluck_sdk::allowance::{Allowance, Held};
use potluck_sdk::message::{self, quota::MEMORY_KEYS, quota::works_for};
use potluck_sdk::{Caller, Host, ProviderError};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// See the top of this file.
pub(crate) struct Quota {
    allowance: Arc<Allowance>,
    own_id: String,
    owners: Owners,
    /// Entries about which quota is being asked.
    pending: Arc<AtomicUsize>,
}

/// An entry about which quota is being asked: others that ask count it.
struct Pending(Arc<AtomicUsize>);

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Quota {
    pub(crate) fn new(host: Host) -> Quota {
        Quota {
            allowance: Allowance::new(host, MEMORY_KEYS),
            own_id: host.node().peer_id.to_string(),
            owners: Owners::default(),
            pending: Arc::default(),
        }
    }

    /// Hears what quota tells.
    pub(crate) fn event(&self, topic: &str, json: &str) {
        self.allowance.event(topic, json);
    }

    /// Whether a caller may make as many entries as it likes. Where nobody is limited it costs next to nothing.
    pub(crate) fn is_unlimited(&self, caller: &Caller<'_>) -> bool {
        self.allowance.is_unlimited(caller)
    }

    /// The share of one more entry; nothing for this machine's user.
    pub(crate) fn share(&self, caller: &Caller<'_>) -> Option<Arc<Share>> {
        match works_for(caller, &self.own_id) {
            "" => None,
            peer => Some(Arc::new(self.owners.share(peer))),
        }
    }

    /// Whose the `entry_count` entries are that there are.
    pub(crate) fn held(&self, entry_count: usize) -> message::quota::Held {
        let mut callers = self.owners.by_peer();
        let own = entry_count.saturating_sub(self.owners.all());
        if own > 0 {
            callers.insert(String::new(), own as u64);
        }
        message::quota::Held { used_total: entry_count as u64, callers }
    }

    /// Asks whether a caller may make one more entry, beside the `entry_count` that there are. `share` is that of the
    /// new entry, so that two that ask at once count each other.
    pub(crate) fn ask(
        &self,
        caller: &Caller<'_>,
        share: Option<&Share>,
        entry_count: usize,
        done: impl FnOnce(Result<(), ProviderError>) + Send + 'static,
    ) {
        let others = self.pending.fetch_add(1, Ordering::Relaxed);
        let pending = Pending(Arc::clone(&self.pending));
        let used_total = entry_count + others;
        let used = match share {
            Some(share) => share.others(),
            None => used_total.saturating_sub(self.owners.all()),
        };
        let held = Held { used: used as u64, used_total: used_total as u64 };
        self.allowance.take(caller, 1, Some(held), move |allowed| {
            done(allowed);
            drop(pending);
        });
    }
}
