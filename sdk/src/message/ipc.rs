//! Queues and semaphores: CREATE_QUEUE, SEND_MESSAGE, RECEIVE_MESSAGE, CREATE_SEMAPHORE, SEMAPHORE_WAIT and their companions.
//!
//! Time-outs are in seconds. Who waits keeps the request open: the answer comes when there is something to say, and a
//! caller that goes away has called its wait off. Names of processes are those of [`crate::Request::process_name`]: a
//! running task needs to give none, and what it gives is ignored.

use super::RawValue;
use serde::de::IntoDeserializer;
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;

/// As receiver of a message: every receiver that the queue knows when it is sent, each once.
pub const EVERYBODY: &str = "*";
/// As receiver of a message: whoever asks first.
pub const ANYBODY: &str = "?";
/// The `status` of a semaphore's answer when the time was over before there was a permit.
pub const STATUS_BLOCKED: &str = "BLOCKED";
/// The topic of an event when a queue was made.
pub const QUEUE_CREATED_TOPIC: &str = "ipc.queue_created";
/// The topic of an event when a queue was removed.
pub const QUEUE_DELETED_TOPIC: &str = "ipc.queue_deleted";
/// The topic of an event when a semaphore was made.
pub const SEMAPHORE_CREATED_TOPIC: &str = "ipc.semaphore_created";
/// The topic of an event when a semaphore was removed.
pub const SEMAPHORE_DELETED_TOPIC: &str = "ipc.semaphore_deleted";

/// CREATE_QUEUE.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "CREATE_QUEUE")]
pub struct CreateQueue<'a> {
    /// Its name: 1 to 128 bytes without control characters.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub queue_id: Option<Cow<'a, str>>,
    /// Messages that it holds; 100 when missing. 0 is as many as the node allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size: Option<u64>,
    /// A queue of that name that exists already is no error; it stays as it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exist_ok: bool,
}

/// Reply to CREATE_QUEUE.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct QueueCreated<'a> {
    /// `OK`.
    pub status: Cow<'a, str>,
    /// Its name.
    #[serde(borrow)]
    pub queue_id: Cow<'a, str>,
    /// Messages that it holds.
    pub max_size: u64,
    /// Whether it was made now; false with `exist_ok` when it was there.
    pub created: bool,
}

/// DELETE_QUEUE: its messages are gone, and who waits gets the error `queue_deleted`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "DELETE_QUEUE")]
pub struct DeleteQueue<'a> {
    /// Its name.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub queue_id: Option<Cow<'a, str>>,
}

/// Reply to DELETE_QUEUE, and the body of the events of queues.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct QueueDeleted<'a> {
    /// `OK`.
    pub status: Cow<'a, str>,
    /// Its name.
    #[serde(borrow)]
    pub queue_id: Cow<'a, str>,
    /// Messages that were dropped with it.
    pub messages: u64,
    /// Those who waited, to send or to receive.
    pub waiters: u64,
}

/// LIST_QUEUES, LIST_SEMAPHORES: in the order of their names, a page at a time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ListPage<'a> {
    /// Only names that begin with this.
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub prefix: Cow<'a, str>,
    /// Continue behind this name: the `next` of the page before.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Cow<'a, str>>,
    /// Most entries; 100 when missing, 1000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// LIST_QUEUES.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "LIST_QUEUES")]
pub struct ListQueues<'a> {
    /// Which part.
    #[serde(borrow, flatten)]
    pub page: ListPage<'a>,
}

/// Reply to LIST_QUEUES.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "QUEUE_LIST")]
pub struct QueueList {
    /// The page.
    pub queues: Vec<QueueInfo>,
    /// Pass as `after` for the next page; null on the last.
    pub next: Option<String>,
    /// How many there are in all.
    pub queue_count: u64,
}

/// One queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueInfo {
    /// Its name.
    pub queue_id: String,
    /// Messages that it holds now.
    pub messages: u64,
    /// Messages that it can hold.
    pub max_size: u64,
    /// Bytes of those that it holds.
    pub bytes: u64,
    /// Messages that it has ever taken.
    pub sent: u64,
    /// Receivers that it knows: they get what is sent to `*`.
    pub receivers: u64,
    /// Waits for a message.
    pub waiting_receivers: u64,
    /// Waits for room.
    pub waiting_senders: u64,
}

/// SEND_MESSAGE: waits while the queue is full.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "SEND_MESSAGE")]
pub struct SendMessage<'a> {
    /// The queue.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub queue_id: Option<Cow<'a, str>>,
    /// The process that sends.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<Cow<'a, str>>,
    /// The process that is to get it; `*` (also when missing or empty) for every receiver that the queue knows, and for the
    /// first that asks when it knows none; `?` for whoever asks first. A name is that of a process of the queue's node,
    /// `P7@<peer id>` one of another, and `P7@` one of the sender's own node.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub receiver: Option<Cow<'a, str>>,
    /// What kind of message it is, for the receiver; `DATA` when missing or empty.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub message_type: Option<Cow<'a, str>>,
    /// Any value; null when missing.
    #[serde(borrow, default)]
    pub data: Option<&'a RawValue>,
    /// How long to wait for room; 5 seconds when missing, 0 for not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
}

/// Reply to SEND_MESSAGE.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct MessageSent<'a> {
    /// `OK`.
    pub status: Cow<'a, str>,
    /// The queue.
    #[serde(borrow)]
    pub queue_id: Cow<'a, str>,
    /// `MSG<n>`: the n-th message of that queue.
    #[serde(borrow)]
    pub message_id: Cow<'a, str>,
}

/// RECEIVE_MESSAGE: takes the oldest message for the receiver, and waits for one. Who asks is known to the queue from
/// then on, and gets what is sent to `*`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "RECEIVE_MESSAGE")]
pub struct ReceiveMessage<'a> {
    /// The queue.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub queue_id: Option<Cow<'a, str>>,
    /// The process that receives.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub receiver: Option<Cow<'a, str>>,
    /// How long to wait; for as long as the caller is there when missing, 0 for not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
}

/// PEEK_MESSAGE: the message that RECEIVE_MESSAGE would take, which stays where it is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "PEEK_MESSAGE")]
pub struct PeekMessage<'a> {
    /// The queue.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub queue_id: Option<Cow<'a, str>>,
    /// Whose next message to show; this machine's user may leave it out to see the oldest of all.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub receiver: Option<Cow<'a, str>>,
}

/// Reply to RECEIVE_MESSAGE and PEEK_MESSAGE.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct MessageReceived<'a> {
    /// `OK`.
    pub status: Cow<'a, str>,
    /// The queue.
    #[serde(borrow)]
    pub queue_id: Cow<'a, str>,
    /// `MSG<n>`.
    #[serde(borrow)]
    pub message_id: Cow<'a, str>,
    /// The process that has sent it, as this node calls it; pass it as `receiver` to answer.
    #[serde(borrow)]
    pub sender: Cow<'a, str>,
    /// To whom it was sent: a name, `*` or `?`.
    #[serde(borrow)]
    pub receiver: Cow<'a, str>,
    /// What kind of message it is.
    #[serde(borrow)]
    pub message_type: Cow<'a, str>,
    /// The value, as it was sent.
    #[serde(borrow)]
    pub data: &'a RawValue,
}

/// JOIN_QUEUE: makes a receiver known to the queue, so that it gets what is sent to `*` from now on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "JOIN_QUEUE")]
pub struct JoinQueue<'a> {
    /// The queue.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub queue_id: Option<Cow<'a, str>>,
    /// The process.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub receiver: Option<Cow<'a, str>>,
}

/// LEAVE_QUEUE: the queue forgets a receiver; what was sent to `*` does not wait for it any more.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "LEAVE_QUEUE")]
pub struct LeaveQueue<'a> {
    /// The queue.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub queue_id: Option<Cow<'a, str>>,
    /// The process.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub receiver: Option<Cow<'a, str>>,
}

/// Reply to JOIN_QUEUE and LEAVE_QUEUE.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct QueueMembership<'a> {
    /// `OK`.
    pub status: Cow<'a, str>,
    /// The queue.
    #[serde(borrow)]
    pub queue_id: Cow<'a, str>,
    /// The process, as this node calls it.
    #[serde(borrow)]
    pub receiver: Cow<'a, str>,
    /// Whether that has changed anything.
    pub changed: bool,
}

/// What a semaphore is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SemaphoreKind {
    /// Any number of permits.
    #[default]
    Counting,
    /// One permit or none; signalling one that is free changes nothing.
    Binary,
}

/// An empty text is none.
fn kind_if_given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SemaphoreKind>, D::Error> {
    match Option::<Cow<'de, str>>::deserialize(deserializer)? {
        Some(word) if !word.is_empty() => SemaphoreKind::deserialize(word.into_deserializer()).map(Some),
        _ => Ok(None),
    }
}

/// CREATE_SEMAPHORE.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "CREATE_SEMAPHORE")]
pub struct CreateSemaphore<'a> {
    /// Its name: 1 to 128 bytes without control characters.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub sem_id: Option<Cow<'a, str>>,
    /// Permits at the beginning; 1 when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_value: Option<u64>,
    /// `counting` when missing or empty, or `binary`.
    #[serde(default, deserialize_with = "kind_if_given", skip_serializing_if = "Option::is_none")]
    pub kind: Option<SemaphoreKind>,
    /// A semaphore of that name that exists already is no error; it stays as it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exist_ok: bool,
}

/// Reply to CREATE_SEMAPHORE.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct SemaphoreCreated<'a> {
    /// `OK`.
    pub status: Cow<'a, str>,
    /// Its name.
    #[serde(borrow)]
    pub sem_id: Cow<'a, str>,
    /// Free permits.
    pub value: u64,
    /// What it is for.
    pub kind: SemaphoreKind,
    /// Whether it was made now; false with `exist_ok` when it was there.
    pub created: bool,
}

/// DELETE_SEMAPHORE: who waits gets the error `semaphore_deleted`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "DELETE_SEMAPHORE")]
pub struct DeleteSemaphore<'a> {
    /// Its name.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub sem_id: Option<Cow<'a, str>>,
}

/// Reply to DELETE_SEMAPHORE.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct SemaphoreDeleted<'a> {
    /// `OK`.
    pub status: Cow<'a, str>,
    /// Its name.
    #[serde(borrow)]
    pub sem_id: Cow<'a, str>,
    /// Those who waited.
    pub waiters: u64,
}

/// LIST_SEMAPHORES.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "LIST_SEMAPHORES")]
pub struct ListSemaphores<'a> {
    /// Which part.
    #[serde(borrow, flatten)]
    pub page: ListPage<'a>,
}

/// Reply to LIST_SEMAPHORES.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "SEMAPHORE_LIST")]
pub struct SemaphoreList {
    /// The page.
    pub semaphores: Vec<SemaphoreInfo>,
    /// Pass as `after` for the next page; null on the last.
    pub next: Option<String>,
    /// How many there are in all.
    pub semaphore_count: u64,
}

/// One semaphore.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SemaphoreInfo {
    /// Its name.
    pub sem_id: String,
    /// What it is for.
    pub kind: SemaphoreKind,
    /// Free permits.
    pub value: u64,
    /// Permits at the beginning.
    pub initial_value: u64,
    /// Whether every signal so far came from who held a permit: then it is known who holds them, they come back when
    /// their holder ends, and who waits for each other is found. Else it serves for signalling.
    pub owned: bool,
    /// Who holds permits, the first few by name.
    pub holders: Vec<String>,
    /// Processes that hold permits.
    pub holder_count: u64,
    /// Waits for a permit.
    pub waiting: u64,
}

/// SEMAPHORE_WAIT: takes a permit; waits for one, first come first served.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "SEMAPHORE_WAIT")]
pub struct SemaphoreWait<'a> {
    /// The semaphore.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub sem_id: Option<Cow<'a, str>>,
    /// The process that takes it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub process_id: Option<Cow<'a, str>>,
    /// How long to wait; for as long as the caller is there when missing, 0 for not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
}

/// SEMAPHORE_SIGNAL: gives a permit, to the first who waits if there is one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "SEMAPHORE_SIGNAL")]
pub struct SemaphoreSignal<'a> {
    /// The semaphore.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub sem_id: Option<Cow<'a, str>>,
    /// The process that gives it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub process_id: Option<Cow<'a, str>>,
}

/// Reply to SEMAPHORE_WAIT and SEMAPHORE_SIGNAL.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct SemaphoreState<'a> {
    /// `OK`; `BLOCKED` when the time was over before there was a permit: then the process does not wait any more.
    pub status: Cow<'a, str>,
    /// The semaphore.
    #[serde(borrow)]
    pub sem_id: Cow<'a, str>,
    /// Free permits afterwards.
    pub value: u64,
}

/// IPC_RESOURCES, between plugins: who holds semaphores and who waits. The answer is [`super::resources::Resources`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "IPC_RESOURCES")]
pub struct IpcResources {}

/// CANCEL_WAITS, between plugins: the open waits of a process are answered with an error, and the permits that it holds
/// are given back.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "CANCEL_WAITS")]
pub struct CancelWaits<'a> {
    /// The process; `*@<peer id>` for all of a peer.
    #[serde(borrow)]
    pub process_id: Cow<'a, str>,
    /// The code of the error.
    #[serde(borrow)]
    pub code: Cow<'a, str>,
    /// Its sentence.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
}

/// Reply to CANCEL_WAITS.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct WaitsCancelled<'a> {
    /// `OK`.
    #[serde(borrow)]
    pub status: Cow<'a, str>,
    /// Waits that were answered.
    pub waits: u64,
    /// Permits that were given back.
    pub permits: u64,
}
