//! The table `[plugins.ipc]` of plugins.toml.

use potluck_sdk::message::FRAME_BYTES_MAX;
use potluck_sdk::shares::{PEER_SHARE_DEFAULT, check_peer_share};
use potluck_sdk::{Config, ProviderError};
use serde::Deserialize;

/// Largest value that can be configured: a message travels in one frame, with its other members.
const MESSAGE_BYTES_LIMIT: usize = FRAME_BYTES_MAX - (64 << 10);

/// What may exist at a time.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    /// Queues.
    pub(crate) queues_max: usize,
    /// Messages in one queue.
    pub(crate) queue_messages_max: u64,
    /// Bytes in one queue.
    pub(crate) queue_bytes_max: usize,
    /// Bytes in all queues, with those of senders that wait.
    pub(crate) bytes_max: usize,
    /// One message.
    pub(crate) message_bytes_max: usize,
    /// Receivers that one queue knows.
    pub(crate) receivers_max: usize,
    /// Semaphores.
    pub(crate) semaphores_max: usize,
    /// Processes that hold a permit of a semaphore or wait for one, together; and waits at queues.
    pub(crate) waits_max: usize,
    /// The part of all queues, their bytes, receivers and waits, and of all semaphores and their waits, that one other
    /// node may have with its tasks; and of the messages, bytes and receivers of one queue that it has not made.
    pub(crate) peer_share: f64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            queues_max: 100_000,
            queue_messages_max: 100_000,
            queue_bytes_max: 64 << 20,
            bytes_max: 256 << 20,
            message_bytes_max: 8 << 20,
            receivers_max: 1000,
            semaphores_max: 100_000,
            // About 100 MB, were there as many.
            waits_max: 200_000,
            peer_share: PEER_SHARE_DEFAULT,
        }
    }
}

impl Limits {
    pub(crate) fn read(config: Config<'_>) -> Result<Limits, ProviderError> {
        let limits: Limits = config.parse()?;
        let at_least_one = [
            ("queues_max", limits.queues_max as u64),
            ("queue_messages_max", limits.queue_messages_max),
            ("queue_bytes_max", limits.queue_bytes_max as u64),
            ("bytes_max", limits.bytes_max as u64),
            ("message_bytes_max", limits.message_bytes_max as u64),
            ("receivers_max", limits.receivers_max as u64),
            ("semaphores_max", limits.semaphores_max as u64),
            ("waits_max", limits.waits_max as u64),
        ];
        if let Some((key, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
            return Err(refusal(format!("key `{key}`: it must be at least 1")));
        }
        check_peer_share(limits.peer_share)?;
        if limits.message_bytes_max > MESSAGE_BYTES_LIMIT {
            let text = format!("key `message_bytes_max`: it may be at most {MESSAGE_BYTES_LIMIT}");
            return Err(refusal(text));
        }
        if limits.message_bytes_max > limits.queue_bytes_max || limits.queue_bytes_max > limits.bytes_max {
            let text = "message_bytes_max may be at most queue_bytes_max, and that at most bytes_max";
            return Err(refusal(text.to_owned()));
        }
        Ok(limits)
    }
}

fn refusal(text: String) -> ProviderError {
    ProviderError::new(ProviderError::INVALID_CONFIG, text)
}
