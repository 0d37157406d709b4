//! Messages about queues.

use super::{page_limit, received, sent};
use crate::error::IpcError;
use crate::names;
use crate::queues::{Message, Receiver};
use crate::room::Room;
use crate::waiting::{Answer, Outbox};
use potluck_sdk::message::ipc::{
    CreateQueue, DeleteQueue, JoinQueue, LeaveQueue, ListQueues, PeekMessage, QUEUE_CREATED_TOPIC, QUEUE_DELETED_TOPIC,
    QueueCreated, QueueDeleted, QueueList, QueueMembership, ReceiveMessage, SendMessage,
};
use potluck_sdk::message::process::Naming;
use potluck_sdk::message::{RawValue, STATUS_OK};
use potluck_sdk::{Caller, ProviderError, Reply, Request};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// Messages that a queue holds when its maker does not say.
const MAX_SIZE_DEFAULT: u64 = 100;
/// How long a sender waits for room when it does not say.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// What kind of message it is when the sender does not say.
const MESSAGE_TYPE_DEFAULT: &str = "DATA";

pub(super) fn create<'a>(room: &Room, request: Request<'a>) -> Result<QueueCreated<'a>, ProviderError> {
    let message: CreateQueue<'a> = request.parse()?;
    let id = names::id(message.queue_id.as_deref(), "queue_id")?;
    let asked = message.max_size.unwrap_or(MAX_SIZE_DEFAULT);
    let (max_size, created) = room.queues.lock().create(id, asked, message.exist_ok, room.owner(&request))?;
    let queue_id = Cow::Owned(id.to_owned());
    let reply = QueueCreated { status: STATUS_OK.into(), queue_id, max_size, created };
    if created {
        room.host.publish(QUEUE_CREATED_TOPIC, &reply);
    }
    Ok(reply)
}

pub(super) fn delete<'a>(room: &Room, request: Request<'a>) -> Result<QueueDeleted<'a>, ProviderError> {
    let message: DeleteQueue<'a> = request.parse()?;
    let id = names::id(message.queue_id.as_deref(), "queue_id")?;
    let mut outbox = Outbox::default();
    let (messages, waiters) = room.queues.lock().delete(id, &mut outbox)?;
    room.send(outbox);
    let queue_id = Cow::Owned(id.to_owned());
    let reply = QueueDeleted { status: STATUS_OK.into(), queue_id, messages, waiters };
    room.host.publish(QUEUE_DELETED_TOPIC, &reply);
    Ok(reply)
}

pub(super) fn send(room: &Arc<Room>, request: Request<'_>, reply: Reply<'_>) {
    let (owner, naming) = (room.owner(&request), Naming::begins(&request));
    let letter = match Letter::read(room, request) {
        Ok(letter) => letter,
        Err(error) => return reply.error(&error),
    };
    let mut outbox = Outbox::default();
    let tried = room.queues.lock().try_send(&letter.queue, &letter.message, owner, &mut outbox);
    let was_taken = outbox.answers.iter().any(|(_, answer)| matches!(answer, Answer::Message { .. }));
    room.send(outbox);
    match tried {
        Ok(Some(number)) => {
            if !was_taken {
                letter.is_kept(room, naming);
            }
            reply.send_json(sent(&letter.queue, number));
        }
        Ok(None) if letter.timeout.is_zero() => {
            let why = room.queues.lock().why_full(&letter.queue, &letter.message, owner);
            reply.error(&why.into());
        }
        Ok(None) => {
            room.wait_for_room(&letter.queue, &letter.message, owner, letter.timeout, reply);
            naming.is_kept(room.host, &letter.message.sender);
            letter.is_kept(room, naming);
        }
        Err(error) => reply.error(&error.into()),
    }
}

/// A message that is to be sent.
struct Letter {
    queue: String,
    message: Arc<Message>,
    timeout: Duration,
}

impl Letter {
    fn read(room: &Room, request: Request<'_>) -> Result<Letter, ProviderError> {
        const REQUIRED: &str = "queue_id and sender";
        let message: SendMessage<'_> = request.parse()?;
        let queue = names::id(message.queue_id.as_deref(), REQUIRED)?.to_owned();
        let sender = names::process(&request, &room.own_id, message.sender.as_deref(), REQUIRED)?;
        let receiver = names::receiver(&request, &room.own_id, message.receiver.as_deref())?;
        let message_type = names::given(&message.message_type).unwrap_or(MESSAGE_TYPE_DEFAULT);
        let data = message.data.unwrap_or(RawValue::NULL);
        let (bytes, max) = (data.get().len() + message_type.len(), room.limits.message_bytes_max);
        if bytes > max {
            return Err(IpcError::MessageTooLarge { bytes, max }.into());
        }
        let timeout = names::timeout(message.timeout)?.unwrap_or(SEND_TIMEOUT);
        let message = Message { sender, receiver, message_type: message_type.into(), data: data.to_owned() };
        Ok(Letter { queue, message: Arc::new(message), timeout })
    }

    /// It stays in the queue until its receiver asks, or has ended.
    fn is_kept(&self, room: &Room, naming: Naming) {
        if let Receiver::Name(name) = &self.message.receiver {
            naming.is_kept(room.host, name);
        }
    }
}

pub(super) fn receive(room: &Arc<Room>, request: Request<'_>, reply: Reply<'_>) {
    const REQUIRED: &str = "queue_id and receiver";
    let naming = Naming::begins(&request);
    let read = || -> Result<_, ProviderError> {
        let message: ReceiveMessage<'_> = request.parse()?;
        let queue = names::id(message.queue_id.as_deref(), REQUIRED)?.to_owned();
        let process = names::process(&request, &room.own_id, message.receiver.as_deref(), REQUIRED)?;
        Ok((queue, process, names::timeout(message.timeout)?))
    };
    let (queue, process, timeout) = match read() {
        Ok(read) => read,
        Err(error) => return reply.error(&error),
    };
    let owner = room.owner(&request);
    let mut outbox = Outbox::default();
    let tried = room.queues.lock().try_receive(&queue, &process, owner, &mut outbox);
    room.send(outbox);
    // The queue knows it from now on, also when there is nothing for it.
    let answer = match tried {
        Ok(Some((number, message))) => Ok(received(&queue, number, &message)),
        Ok(None) if timeout.is_some_and(|timeout| timeout.is_zero()) => Err(IpcError::NoMessage.into()),
        Ok(None) => {
            room.wait_for_message(&queue, &process, owner, timeout, reply);
            return naming.is_kept(room.host, &process);
        }
        Err(error) => return reply.error(&error.into()),
    };
    naming.is_kept(room.host, &process);
    match answer {
        Ok(json) => reply.send_json(json),
        Err(error) => reply.error(&error),
    }
}

pub(super) fn peek(room: &Room, request: Request<'_>, reply: Reply<'_>) {
    const REQUIRED: &str = "queue_id and receiver";
    let look = || -> Result<Vec<u8>, ProviderError> {
        let message: PeekMessage<'_> = request.parse()?;
        let queue = names::id(message.queue_id.as_deref(), "queue_id")?;
        let sees_all = matches!(request.caller, Caller::Local | Caller::Web(_) | Caller::Plugin(_));
        let process = match names::given(&message.receiver) {
            None if sees_all => None,
            claimed => Some(names::process(&request, &room.own_id, claimed, REQUIRED)?),
        };
        let next = room.queues.lock().peek(queue, process.as_deref())?;
        let (number, message) = next.ok_or(IpcError::NoMessage)?;
        Ok(received(queue, number, &message))
    };
    match look() {
        Ok(json) => reply.send_json(json),
        Err(error) => reply.error(&error),
    }
}

pub(super) fn join<'a>(room: &Room, request: Request<'a>) -> Result<QueueMembership<'a>, ProviderError> {
    let message: JoinQueue<'a> = request.parse()?;
    member(room, &request, message.queue_id.as_deref(), message.receiver.as_deref(), true)
}

pub(super) fn leave<'a>(room: &Room, request: Request<'a>) -> Result<QueueMembership<'a>, ProviderError> {
    let message: LeaveQueue<'a> = request.parse()?;
    member(room, &request, message.queue_id.as_deref(), message.receiver.as_deref(), false)
}

fn member<'a>(
    room: &Room,
    request: &Request<'a>,
    queue: Option<&str>,
    receiver: Option<&str>,
    joins: bool,
) -> Result<QueueMembership<'a>, ProviderError> {
    const REQUIRED: &str = "queue_id and receiver";
    let queue = names::id(queue, REQUIRED)?;
    let process = names::process(request, &room.own_id, receiver, REQUIRED)?;
    let naming = Naming::begins(request);
    let mut outbox = Outbox::default();
    let changed = {
        let mut queues = room.queues.lock();
        if joins {
            queues.join(queue, &process, room.owner(request), &mut outbox)
        } else {
            queues.leave(queue, &process, &mut outbox)
        }
    };
    room.send(outbox);
    let changed = changed?;
    if joins {
        naming.is_kept(room.host, &process);
    }
    let (queue_id, receiver) = (Cow::Owned(queue.to_owned()), Cow::Owned(process.to_string()));
    Ok(QueueMembership { status: STATUS_OK.into(), queue_id, receiver, changed })
}

pub(super) fn list(room: &Room, request: Request<'_>) -> Result<QueueList, ProviderError> {
    let ListQueues { page } = request.parse()?;
    let locked = room.queues.lock();
    let (queues, has_more) = locked.list(&page.prefix, page.after.as_deref(), page_limit(page.limit));
    let queue_count = locked.count() as u64;
    drop(locked);
    let next = if has_more { queues.last().map(|queue| queue.queue_id.clone()) } else { None };
    Ok(QueueList { queues, next, queue_count })
}
