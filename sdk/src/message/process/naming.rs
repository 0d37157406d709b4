//! What is kept in the name of a process by somebody else than its task.

use crate::{Caller, Host, Request};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

/// Topic of [`ProcessNamed`].
pub const NAMED_TOPIC: &str = "process.named";

/// Event on [`NAMED_TOPIC`]: a provider keeps something in the name of a process of this node, and has to hear on
/// [`super::ENDED_TOPIC`] when that ends. cpu tells it of tasks that have asked for something themselves; of all others it
/// would be told in vain, many thousand times a second. When the process has ended since the request came, the answer is
/// there before the publishing is over. A name that no process has, or that one had which had ended before, is just a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessNamed<'a> {
    /// The process, such as `P7`.
    #[serde(borrow)]
    pub pid: Cow<'a, str>,
    /// When the request came, in milliseconds since 1970.
    pub unix_milliseconds: u64,
}

/// A request that may keep something in the name of a process. Begun before anything is kept, so that an end in between is
/// not missed.
#[derive(Clone, Copy, Debug)]
pub struct Naming {
    /// Nothing when the process asks itself, or is another node's, which tells of it.
    since_unix_milliseconds: Option<u64>,
}

impl Naming {
    /// Never blocks.
    pub fn begins(request: &Request<'_>) -> Naming {
        let speaks_for_others = matches!(request.caller, Caller::Local | Caller::Web(_) | Caller::Plugin(_));
        let since = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Naming { since_unix_milliseconds: speaks_for_others.then(|| u64::try_from(since()).unwrap_or(u64::MAX)) }
    }

    /// Something is kept in the name of `pid` now. Publishes [`ProcessNamed`] if that may be a process: do not hold a lock
    /// that your own event handler takes.
    pub fn is_kept(self, host: Host, pid: &str) {
        let Some(unix_milliseconds) = self.since_unix_milliseconds else { return };
        let number = pid.strip_prefix('P').unwrap_or_default();
        if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
            host.publish(NAMED_TOPIC, &ProcessNamed { pid: pid.into(), unix_milliseconds });
        }
    }
}
