//! What can go wrong, and the codes that programs see.

use crate::shares::Kind;
use potluck_sdk::ProviderError;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IpcError {
    #[error("{0} required")]
    Required(&'static str),
    #[error("{0} must have 1 to 128 bytes and no control characters")]
    Name(&'static str),
    #[error("timeout must be 0 or more seconds, and at most ten years; leave it out for the usual one")]
    Timeout,
    #[error("Queue already exists")]
    QueueExists,
    #[error("Semaphore already exists")]
    SemaphoreExists,
    #[error("Queue {0} not found")]
    NoQueue(String),
    #[error("Semaphore {0} not found")]
    NoSemaphore(String),
    #[error("Failed to send message")]
    QueueFull,
    #[error("No message received")]
    NoMessage,
    #[error("Queue {0} not found: it was deleted meanwhile")]
    QueueDeleted(String),
    #[error("Semaphore {0} not found: it was deleted meanwhile")]
    SemaphoreDeleted(String),
    #[error("a binary semaphore begins with 0 or 1, not {0}")]
    BinaryValue(u64),
    #[error("a semaphore has at most {0} permits")]
    ValueMax(u64),
    #[error(
        "the message has {bytes} bytes, at most {max} are allowed; send a file or a key of memory instead, or raise message_bytes_max in [plugins.ipc]"
    )]
    MessageTooLarge { bytes: usize, max: usize },
    #[error("the queues hold too many bytes; receive some messages first, or raise bytes_max in [plugins.ipc]")]
    BytesFull,
    #[error("there are {0} queues, the limit; delete some, or raise queues_max in [plugins.ipc]")]
    QueuesFull(usize),
    #[error("there are {0} semaphores, the limit; delete some, or raise semaphores_max in [plugins.ipc]")]
    SemaphoresFull(usize),
    #[error("{0} processes wait or hold something, the limit; try again later, or raise waits_max in [plugins.ipc]")]
    WaitsFull(usize),
    #[error("the queues know {0} receivers, the limit; some must leave (LEAVE_QUEUE) first")]
    ReceiversFull(usize),
    #[error(
        "the share of the node {peer} is full, at most {share} {}; {}, or ask for a larger peer_share in [plugins.ipc]",
        kind.words().0,
        kind.words().1
    )]
    ShareFull { peer: String, kind: Kind, share: usize },
    #[error(
        "the share of the node {peer} in the queue {queue} is full, at most {share} of its messages; receive some first, make a queue of its own, or ask for a larger peer_share in [plugins.ipc]"
    )]
    QueueShareFull { peer: String, queue: String, share: u64 },
    #[error(
        "the share of the node {peer} in the queue {queue} is full, at most {share} of its receivers, and all of them wait; leave with one (LEAVE_QUEUE), or ask for a larger peer_share in [plugins.ipc]"
    )]
    QueueReceiverShareFull { peer: String, queue: String, share: usize },
    #[error(
        "the queue {queue} knows {max} receivers, the limit; some must leave (LEAVE_QUEUE) first, or raise receivers_max in [plugins.ipc]"
    )]
    QueueReceiversFull { queue: String, max: usize },
    #[error("process {process} has ended: {reason}")]
    ProcessEnded { process: String, reason: String },
    #[error("the node is stopping")]
    Stopping,
}

impl From<IpcError> for ProviderError {
    fn from(error: IpcError) -> ProviderError {
        use IpcError::*;
        let code = match error {
            Required(_) | Name(_) | Timeout | BinaryValue(_) | ValueMax(_) => ProviderError::INVALID_MESSAGE,
            QueueExists | SemaphoreExists => "already_exists",
            NoQueue(_) | NoSemaphore(_) => "not_found",
            QueueFull => "queue_full",
            NoMessage => "no_message",
            QueueDeleted(_) => "queue_deleted",
            SemaphoreDeleted(_) => "semaphore_deleted",
            MessageTooLarge { .. }
            | BytesFull
            | QueuesFull(_)
            | SemaphoresFull(_)
            | WaitsFull(_)
            | ReceiversFull(_)
            | ShareFull { .. }
            | QueueShareFull { .. }
            | QueueReceiverShareFull { .. }
            | QueueReceiversFull { .. } => ProviderError::LIMIT_REACHED,
            ProcessEnded { .. } => "process_ended",
            Stopping => ProviderError::NODE_STOPPING,
        };
        ProviderError::new(code, error.to_string())
    }
}
