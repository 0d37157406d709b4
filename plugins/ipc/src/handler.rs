//! One function a message: decode, ask the tables, make the reply.

mod queues;
mod semaphores;

use crate::queues::{Message, Receiver};
use crate::room::Room;
use crate::semaphores::Detail;
use crate::waiting::Answer;
use potluck_sdk::message::STATUS_OK;
use potluck_sdk::message::ipc::{
    ANYBODY, EVERYBODY, MessageReceived, MessageSent, QueueInfo, STATUS_BLOCKED, SemaphoreInfo, SemaphoreState,
};
use potluck_sdk::{ProviderError, Reply, Request};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

/// Entries of a page when the message does not say.
const PAGE_DEFAULT: usize = 100;
/// Most entries of a page.
const PAGE_MAX: usize = 1000;
/// Queues, and semaphores, that STATUS shows; the totals are always those of all.
const STATUS_SHOWN: usize = 100;

/// Answers one message, at once or later.
pub(crate) fn answer(room: &Arc<Room>, request: Request<'_>, reply: Reply<'_>) {
    match request.message_type {
        "SEND_MESSAGE" => queues::send(room, request, reply),
        "RECEIVE_MESSAGE" => queues::receive(room, request, reply),
        "PEEK_MESSAGE" => queues::peek(room, request, reply),
        "CREATE_QUEUE" => reply.result(queues::create(room, request)),
        "DELETE_QUEUE" => reply.result(queues::delete(room, request)),
        "JOIN_QUEUE" => reply.result(queues::join(room, request)),
        "LEAVE_QUEUE" => reply.result(queues::leave(room, request)),
        "LIST_QUEUES" => reply.result(queues::list(room, request)),
        "SEMAPHORE_WAIT" => semaphores::wait(room, request, reply),
        "SEMAPHORE_SIGNAL" => semaphores::signal(room, request, reply),
        "CREATE_SEMAPHORE" => reply.result(semaphores::create(room, request)),
        "DELETE_SEMAPHORE" => reply.result(semaphores::delete(room, request)),
        "LIST_SEMAPHORES" => reply.result(semaphores::list(room, request)),
        "IPC_RESOURCES" => reply.send(&semaphores::resources(room)),
        "CANCEL_WAITS" => reply.result(semaphores::cancel_waits(room, request)),
        other => {
            let text = format!("ipc does not answer {other}");
            reply.error(&ProviderError::new(ProviderError::NO_PROVIDER, text));
        }
    }
}

/// What goes over the wire; nothing for who has gone away.
pub(crate) fn text(answer: &Answer) -> Option<Result<Vec<u8>, &ProviderError>> {
    Some(match answer {
        Answer::Permit { semaphore, value } => Ok(state(STATUS_OK, semaphore, *value)),
        Answer::Blocked { semaphore, value } => Ok(state(STATUS_BLOCKED, semaphore, *value)),
        Answer::Message { queue, number, message } => Ok(received(queue, *number, message)),
        Answer::Sent { queue, number } => Ok(sent(queue, *number)),
        Answer::Error(error) => Err(error),
        Answer::Gone => return None,
    })
}

fn state(status: &str, semaphore: &str, value: u64) -> Vec<u8> {
    json(&SemaphoreState { status: status.into(), sem_id: semaphore.into(), value })
}

fn sent(queue: &str, number: u64) -> Vec<u8> {
    json(&MessageSent { status: STATUS_OK.into(), queue_id: queue.into(), message_id: message_id(number).into() })
}

fn received(queue: &str, number: u64, message: &Message) -> Vec<u8> {
    json(&MessageReceived {
        status: STATUS_OK.into(),
        queue_id: queue.into(),
        message_id: message_id(number).into(),
        sender: (&*message.sender).into(),
        receiver: match &message.receiver {
            Receiver::Everybody => EVERYBODY.into(),
            Receiver::Anybody => ANYBODY.into(),
            Receiver::Name(name) => (&**name).into(),
        },
        message_type: (&*message.message_type).into(),
        data: &message.data,
    })
}

fn message_id(number: u64) -> String {
    format!("MSG{number}")
}

fn json(body: &impl Serialize) -> Vec<u8> {
    potluck_sdk::message::to_json(body).into_bytes()
}

/// The page that a list is asked for.
fn page_limit(limit: Option<usize>) -> usize {
    limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX)
}

/// ISO 8601 with microseconds and no zone, as the original system writes it.
fn local_time(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map(|time| time.to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S.%6f").to_string())
        .unwrap_or_default()
}

/// The member `ipc` of the node's STATUS reply: what the original system says, by its names, and what it does not know of.
pub(crate) fn status(room: &Room) -> impl Serialize {
    #[derive(Serialize)]
    struct QueueStatus {
        queue_id: String,
        max_size: u64,
        /// Messages that it holds.
        size: u64,
        /// Messages that it has ever taken.
        message_count: u64,
        created_at: String,
    }
    #[derive(Serialize)]
    struct SemaphoreStatus {
        waiting_processes: u64,
        /// Waits and signals that were answered.
        operation_count: u64,
        created_at: String,
        #[serde(flatten)]
        info: SemaphoreInfo,
    }
    #[derive(Serialize)]
    struct IpcStatus {
        total_queues: usize,
        total_semaphores: usize,
        queue_count: usize,
        message_count: usize,
        message_bytes: usize,
        queue_waits: usize,
        semaphore_count: usize,
        semaphore_waits: usize,
        semaphore_holders: usize,
        bytes_max: usize,
        waits_max: usize,
        /// The first by name.
        queues: Vec<QueueInfo>,
        message_queues: BTreeMap<String, QueueStatus>,
        semaphores: BTreeMap<String, SemaphoreStatus>,
    }
    let semaphores = room.semaphores.lock();
    let shown_semaphores = semaphores.first(STATUS_SHOWN);
    let counts = (semaphores.count(), semaphores.wait_count(), semaphores.held_count());
    drop(semaphores);
    let queues = room.queues.lock();
    let shown_queues = queues.first(STATUS_SHOWN);
    let queue_counts = (queues.count(), queues.message_count(), queues.bytes(), queues.wait_count());
    drop(queues);
    let message_queues = shown_queues.iter().map(|(info, created_at)| {
        let (queue_id, max_size, size, message_count) =
            (info.queue_id.clone(), info.max_size, info.messages, info.sent);
        let created_at = local_time(*created_at);
        (info.queue_id.clone(), QueueStatus { queue_id, max_size, size, message_count, created_at })
    });
    let semaphores = shown_semaphores.into_iter().map(|Detail { info, operations, created_at }| {
        let (waiting_processes, created_at) = (info.waiting, local_time(created_at));
        (info.sem_id.clone(), SemaphoreStatus { waiting_processes, operation_count: operations, created_at, info })
    });
    IpcStatus {
        total_queues: queue_counts.0,
        total_semaphores: counts.0,
        queue_count: queue_counts.0,
        message_count: queue_counts.1,
        message_bytes: queue_counts.2,
        queue_waits: queue_counts.3,
        semaphore_count: counts.0,
        semaphore_waits: counts.1,
        semaphore_holders: counts.2,
        bytes_max: room.limits.bytes_max,
        waits_max: room.limits.waits_max,
        message_queues: message_queues.collect(),
        queues: shown_queues.into_iter().map(|(info, _)| info).collect(),
        semaphores: semaphores.collect(),
    }
}
