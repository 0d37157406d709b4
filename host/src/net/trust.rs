//! Whether the node at the other end of an open connection is still a member, from this end of it.

use crate::key::PublicKey;
use crate::pool::membership::Membership;
use crate::pool::{Pool, Standing, unix_seconds};
use potluck_sdk::message::pool::Hello;
use potluck_sdk::message::to_json;
use potluck_sdk::{PeerId, ProviderError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The other side is asked for its newer membership when the old one has less than this left, or a quarter of its time.
const ASK_BEFORE_SECONDS_MAX: u64 = 60;

/// How long after the end of its membership a node may still be talked to: its renewed one may be on its way.
const EXPIRY_GRACE: Duration = Duration::from_secs(5);

/// What a connection rests on.
pub struct Trust {
    pool: Arc<Pool>,
    changes: watch::Receiver<u64>,
    key: PublicKey,
    pool_id: PeerId,
    /// What this node has shown of itself.
    shown: String,
    expires: Instant,
    /// Words that the other side has not answered yet.
    unanswered: u32,
    /// When to ask for a newer membership; nothing once that was done.
    ask_at: Option<Instant>,
}

impl Trust {
    /// After the first words on a connection.
    /// `changes` tells of what has changed since before `standing` was looked at.
    pub fn new(
        key: PublicKey,
        membership: &Membership,
        standing: &Standing,
        pool: Arc<Pool>,
        changes: watch::Receiver<u64>,
    ) -> Trust {
        let now = Instant::now();
        let mut trust = Trust {
            pool,
            changes,
            key,
            pool_id: standing.pool_id,
            shown: standing.membership_text.clone(),
            expires: now,
            unanswered: 0,
            ask_at: None,
        };
        trust.note(membership);
        trust
    }

    fn note(&mut self, membership: &Membership) {
        let (now, unix_now) = (Instant::now(), unix_seconds());
        let left = membership.expires_unix_seconds.saturating_sub(unix_now);
        let lifetime = membership.expires_unix_seconds.saturating_sub(membership.issued_unix_seconds);
        let ask_left = left.saturating_sub((lifetime / 4).min(ASK_BEFORE_SECONDS_MAX));
        self.expires = now + Duration::from_secs(left.min(YEAR_SECONDS)) + EXPIRY_GRACE;
        self.ask_at = Some(now + Duration::from_secs(ask_left.min(YEAR_SECONDS)));
    }

    /// Waits until there is a reason to look.
    pub async fn doubt(trust: &mut Option<Trust>) {
        let Some(trust) = trust else { return std::future::pending().await };
        tokio::select! {
            changed = trust.changes.changed() => match changed {
                Ok(()) => trust.changes.mark_changed(),
                Err(_) => std::future::pending().await,
            },
            () = tokio::time::sleep_until(trust.ask_at.unwrap_or(trust.expires)) => {}
        }
    }

    /// Looks whether the other side may be talked to any longer; returns words to be said to it, or why the connection
    /// must end. To be called again and again, also while the other side talks without pause.
    pub fn look(&mut self) -> Result<Option<String>, String> {
        let now = Instant::now();
        if now >= self.expires {
            return Err("its membership of the pool has expired".to_owned());
        }
        if self.changes.has_changed().unwrap_or(false) {
            self.changes.mark_unchanged();
            let Some(standing) = self.pool.standing() else { return Err("this node has left its pool".to_owned()) };
            if standing.pool_id != self.pool_id {
                return Err("this node is in another pool now".to_owned());
            }
            if standing.is_revoked(&self.key.peer_id()) {
                return Err("the pool has revoked it".to_owned());
            }
            if standing.membership_text != self.shown {
                self.unanswered += 1;
                self.shown.clone_from(&standing.membership_text);
                return Ok(Some(to_json(&standing.hello())));
            }
        }
        if self.ask_at.is_some_and(|ask_at| now >= ask_at) {
            self.ask_at = None;
            self.unanswered += 1;
            return Ok(self.pool.standing().map(|standing| to_json(&standing.hello())));
        }
        Ok(None)
    }

    /// The other side has answered to HELLO.
    pub fn renewed(&mut self, json: &str) -> Result<(), String> {
        self.unanswered = self.unanswered.checked_sub(1).ok_or("it answers what was not asked")?;
        let Some(standing) = self.pool.standing() else { return Ok(()) };
        let Ok(hello) = serde_json::from_str::<Hello<'_>>(json) else {
            return Err(ProviderError::from_json(json).message);
        };
        match standing.admit(&hello, &self.key, unix_seconds()) {
            Ok(membership) => {
                let asked = self.ask_at.is_none();
                let before = self.expires;
                self.note(&membership);
                // One that has nothing newer is not asked without pause.
                if asked && self.expires <= before + Duration::from_secs(1) {
                    self.ask_at = None;
                }
                Ok(())
            }
            Err(refusal) => Err(refusal.to_string()),
        }
    }
}

/// Timers cannot be set to arbitrarily late points in time.
const YEAR_SECONDS: u64 = 365 * 86_400;
