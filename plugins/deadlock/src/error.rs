//! What can go wrong, and the codes that programs see.

use crate::banker::{Denial, Refusal};
use potluck_sdk::ProviderError;
use potluck_sdk::message::deadlock::{EXCEEDS_NEED, INSUFFICIENT_RESOURCES, NOT_REGISTERED, UNSAFE_STATE};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DeadlockError {
    #[error("{0} required")]
    Missing(&'static str),
    #[error("{what} must be {least}, not {found}")]
    Number { what: String, least: &'static str, found: i64 },
    #[error("a resource needs a name of 1 to 128 bytes, such as PRINTER")]
    Name,
    #[error("Unknown resource type: {0}. Available: CPU, MEMORY, DISK, NETWORK, OTHER")]
    Kind(String),
    #[error("timeout must be a number of seconds from 0 to {0}; use `wait` to wait as long as it takes")]
    Timeout(u64),
    #[error("{0}")]
    Denied(#[from] Denial),
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("{why}: the request has waited {seconds} s in vain; others must release something first")]
    TimedOut { why: Denial, seconds: String },
    #[error("{reason}")]
    Ended { code: String, reason: String },
    #[error("{pid} is not deadlocked; the deadlocked processes are {deadlocked}")]
    NotDeadlocked { pid: String, deadlocked: String },
    #[error("another RESOLVE_DEADLOCK is at work; wait for its answer")]
    Resolving,
    #[error("{0} requests for a search wait already; try again in a moment")]
    Searches(usize),
}

impl From<DeadlockError> for ProviderError {
    fn from(error: DeadlockError) -> ProviderError {
        use DeadlockError::*;
        let denied = |denial: &Denial| match denial {
            Denial::NoProcess(_) | Denial::NoResource(_) => NOT_REGISTERED,
            Denial::ExceedsNeed => EXCEEDS_NEED,
            Denial::Insufficient | Denial::Behind(_) => INSUFFICIENT_RESOURCES,
            Denial::Unsafe => UNSAFE_STATE,
        };
        let code = match &error {
            Missing(_) | Number { .. } | Name | Kind(_) | Timeout(_) => ProviderError::INVALID_MESSAGE,
            Denied(denial) | TimedOut { why: denial, .. } => denied(denial),
            Refused(refusal) => match refusal {
                Refusal::ResourceExists { .. } => "already_exists",
                Refusal::NoResource(_) | Refusal::NoProcess(_) => NOT_REGISTERED,
                Refusal::ResourceInUse { .. }
                | Refusal::FewerThanAllocated { .. }
                | Refusal::FewerThanNeeded { .. } => "in_use",
                Refusal::MoreThanTotal { .. } | Refusal::LessThanAllocated { .. } => ProviderError::INVALID_MESSAGE,
                Refusal::Unsafe | Refusal::TotalUnsafe { .. } => UNSAFE_STATE,
                Refusal::Release => "not_allocated",
                Refusal::Limit { .. } => ProviderError::LIMIT_REACHED,
            },
            Ended { code, reason } => return ProviderError { code: code.clone().into(), message: reason.clone() },
            NotDeadlocked { .. } => "not_deadlocked",
            Resolving => "busy",
            Searches(_) => ProviderError::LIMIT_REACHED,
        };
        ProviderError::new(code, error.to_string())
    }
}
