//! Why somebody does not get what it asks for.

use potluck_sdk::ProviderError;
use potluck_sdk::message::quota::{CPU_TASKS, MEMORY_KEYS, QUOTA_EXCEEDED, STORAGE_BYTES};

const MB: u64 = 1 << 20;

#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{}: {}", beginning(resource, *limit, *window_seconds), reason(self))]
    Exceeded {
        resource: String,
        limit: u64,
        window_seconds: Option<f64>,
        used: u64,
        /// Whether it is the limit for all callers together.
        is_total: bool,
        amount: u64,
        /// When there will be room, if that is a matter of time.
        retry_after_milliseconds: Option<u64>,
    },
    #[error("{0} callers are counted already, the limit; try again when some have been idle for a while")]
    Callers(usize),
    #[error("the use could not be written down, so it is not granted: {0}")]
    NotWritten(String),
}

/// The words of the original system, for its resources.
fn beginning(resource: &str, limit: u64, window_seconds: Option<f64>) -> String {
    match (resource, window_seconds) {
        // Python's way to write a number of seconds.
        (CPU_TASKS, Some(seconds)) => format!("CPU task quota exceeded ({limit} per {seconds:?}s)"),
        (MEMORY_KEYS, _) => format!("Memory quota exceeded (max {limit} keys)"),
        (STORAGE_BYTES, _) if limit.is_multiple_of(MB) => format!("Storage quota exceeded (max {} MB)", limit / MB),
        (STORAGE_BYTES, _) => format!("Storage quota exceeded (max {limit} bytes)"),
        (_, Some(seconds)) => format!("Quota of {resource} exceeded ({limit} per {seconds:?}s)"),
        (_, None) => format!("Quota of {resource} exceeded (max {limit})"),
    }
}

fn reason(refusal: &Refusal) -> String {
    let Refusal::Exceeded { limit, window_seconds, used, is_total, amount, retry_after_milliseconds, .. } = refusal
    else {
        return String::new();
    };
    let who = if *is_total { "all callers together have" } else { "you have" };
    let what_next = match (retry_after_milliseconds, window_seconds) {
        // Rounded up: who comes then is not refused again.
        (Some(milliseconds), _) => format!("retry in {} s", (*milliseconds).div_ceil(1000).max(1)),
        (None, _) if amount > limit => format!("{amount} at once are more than the limit"),
        (None, Some(_)) => "retry later".to_owned(),
        (None, None) => "delete some first".to_owned(),
    };
    format!("{who} used {used}, {what_next}")
}

impl From<Refusal> for ProviderError {
    fn from(refusal: Refusal) -> ProviderError {
        let code = match refusal {
            Refusal::Exceeded { .. } => QUOTA_EXCEEDED,
            Refusal::Callers(_) => ProviderError::LIMIT_REACHED,
            Refusal::NotWritten(_) => ProviderError::INTERNAL,
        };
        ProviderError::new(code, refusal.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_which_limit_how_much_is_used_and_when_to_retry() {
        let exceeded = |resource: &str, limit, window_seconds, is_total, retry_after_milliseconds| {
            let (used, amount) = (limit, 1);
            let resource = resource.to_owned();
            Refusal::Exceeded { resource, limit, window_seconds, used, is_total, amount, retry_after_milliseconds }
                .to_string()
        };
        assert_eq!(
            exceeded(CPU_TASKS, 100, Some(3600.0), true, Some(34_001)),
            "CPU task quota exceeded (100 per 3600.0s): all callers together have used 100, retry in 35 s"
        );
        assert_eq!(
            exceeded(MEMORY_KEYS, 1000, None, false, None),
            "Memory quota exceeded (max 1000 keys): you have used 1000, delete some first"
        );
        assert_eq!(
            exceeded(STORAGE_BYTES, 100 << 20, None, true, None),
            "Storage quota exceeded (max 100 MB): all callers together have used 104857600, delete some first"
        );
        assert_eq!(
            exceeded("renders", 0, Some(0.5), false, None),
            "Quota of renders exceeded (0 per 0.5s): you have used 0, 1 at once are more than the limit"
        );
    }
}
