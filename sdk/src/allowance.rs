//! What a provider has to know of quotas: whether a caller has a limit at all, so that those without one cost nothing.
//!
//! ```
//! # use potluck_sdk::{Caller, Host, allowance::{Allowance, Held}, message::quota::MEMORY_KEYS};
//! # use std::sync::Arc;
//! # fn store(allowance: &Arc<Allowance>, caller: Caller<'_>, held: Held) {
//! if allowance.is_unlimited(&caller) {
//!     // Go on.
//! } else {
//!     // Count the entry first, so that two that ask at once count each other; take it back when it is refused.
//!     allowance.take(&caller, 1, Some(held), |allowed| match allowed {
//!         Ok(()) => { /* Go on. */ }
//!         Err(_error) => { /* Take it back, and answer with the error. */ }
//!     });
//! }
//! # }
//! ```

use crate::message::quota::{QuotaRuleList, QuotaTake, RULES_TOPIC, works_for};
use crate::message::to_json;
use crate::{Caller, Host, ProviderError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// The rules are known.
const KNOWN: u8 = 1;
/// This node's own user has no limit.
const OWN_FREE: u8 = 2;
/// Other members of the pool have none.
const MEMBERS_FREE: u8 = 4;

/// Stands for all other members: no id of a node.
const ANY_OTHER: &str = "other";

/// The quota of one resource, as the provider sees it that hands the resource out.
pub struct Allowance {
    host: Host,
    own_id: String,
    resource: &'static str,
    known: AtomicU8,
}

/// What there is already, of a resource that the asker counts itself; without what it asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// What the caller has.
    pub used: u64,
    /// What all callers have.
    pub used_total: u64,
}

impl Allowance {
    /// For one of the resources of [`crate::message::quota`]. Subscribes to [`RULES_TOPIC`], whose events go to
    /// [`Allowance::event`].
    pub fn new(host: Host, resource: &'static str) -> Arc<Allowance> {
        host.subscribe(RULES_TOPIC);
        let own_id = host.node().peer_id.to_string();
        Arc::new(Allowance { host, own_id, resource, known: AtomicU8::new(0) })
    }

    /// Takes the rules from an event; others are passed over.
    pub fn event(&self, topic: &str, json: &str) {
        if topic == RULES_TOPIC
            && let Ok(rules) = serde_json::from_str::<QuotaRuleList>(json)
        {
            self.learn(&rules);
        }
    }

    /// Whether the caller may have as much as it likes. The first time the rules are asked for; while they are not there,
    /// nobody is.
    pub fn is_unlimited(self: &Arc<Self>, caller: &Caller<'_>) -> bool {
        if self.known.load(Ordering::Relaxed) & KNOWN == 0 {
            let this = Arc::clone(self);
            self.host.call_with(r#"{"type":"QUOTA_RULES"}"#, b"", move |answer| match answer {
                Ok(answer) => {
                    if let Ok(rules) = serde_json::from_str(&answer.json) {
                        this.learn(&rules);
                    }
                }
                Err(error) if error.code == ProviderError::NO_PROVIDER => this.learn(&QuotaRuleList::default()),
                Err(_) => {}
            });
        }
        let free = if works_for(caller, &self.own_id).is_empty() { OWN_FREE } else { MEMBERS_FREE };
        self.known.load(Ordering::Relaxed) & free != 0
    }

    /// Asks whether the caller may have so much more; `done` gets the answer, possibly before this returns. `held` is for
    /// resources that the asker counts. Never blocks.
    pub fn take(
        self: &Arc<Self>,
        caller: &Caller<'_>,
        amount: u64,
        held: Option<Held>,
        done: impl FnOnce(Result<(), ProviderError>) + Send + 'static,
    ) {
        let message = to_json(&QuotaTake {
            resource: self.resource.into(),
            caller: caller.word().into(),
            caller_id: caller.id().into(),
            amount,
            used: held.map(|held| held.used),
            used_total: held.map(|held| held.used_total),
        });
        let this = Arc::clone(self);
        self.host.call_with(&message, b"", move |answer| match answer {
            Ok(_) => done(Ok(())),
            // Without a provider there are no limits.
            Err(error) if error.code == ProviderError::NO_PROVIDER => {
                this.learn(&QuotaRuleList::default());
                done(Ok(()));
            }
            Err(error) => done(Err(error)),
        });
    }

    fn learn(&self, rules: &QuotaRuleList) {
        let mut known = KNOWN;
        if rules.is_unlimited(self.resource, &Caller::Local, &self.own_id) {
            known |= OWN_FREE;
        }
        if rules.is_unlimited(self.resource, &Caller::Member(ANY_OTHER), &self.own_id) {
            known |= MEMBERS_FREE;
        }
        self.known.store(known, Ordering::Relaxed);
    }
}
