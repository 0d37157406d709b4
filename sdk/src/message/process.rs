//! Messages of the provider `process`.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The topic on which a process is said to have ended. Who holds something in its name releases it, and takes its waits back.
pub const ENDED_TOPIC: &str = "process.ended";

/// An event of [`ENDED_TOPIC`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ProcessEnded<'a> {
    /// Its name, as [`crate::Request::process_name`] gives it; `*@<peer id>` is every process of that peer.
    #[serde(borrow, default)]
    pub pid: Cow<'a, str>,
    /// Why, in a few words.
    #[serde(borrow, default)]
    pub reason: Cow<'a, str>,
}

impl ProcessEnded<'_> {
    /// Whether a process of this name has ended by this event.
    pub fn is_meant(&self, pid: &str) -> bool {
        match self.pid.strip_prefix('*') {
            Some(peer) if peer.starts_with('@') => pid.ends_with(peer),
            _ => pid == self.pid,
        }
    }
}
