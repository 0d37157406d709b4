//! Messages about semaphores, and those of the detection of deadlocks.

use super::{page_limit, state};
use crate::error::IpcError;
use crate::names;
use crate::room::Room;
use crate::waiting::Outbox;
use potluck_sdk::message::STATUS_OK;
use potluck_sdk::message::ipc::{
    CancelWaits, CreateSemaphore, DeleteSemaphore, ListSemaphores, SEMAPHORE_CREATED_TOPIC, SEMAPHORE_DELETED_TOPIC,
    STATUS_BLOCKED, SemaphoreCreated, SemaphoreDeleted, SemaphoreList, SemaphoreSignal, SemaphoreWait, WaitsCancelled,
};
use potluck_sdk::message::process::Naming;
use potluck_sdk::message::resources::{Holder, ResourceState, Resources, Waiter};
use potluck_sdk::{ProviderError, Reply, Request};
use std::borrow::Cow;
use std::sync::Arc;

const REQUIRED: &str = "sem_id and process_id";

pub(super) fn create<'a>(room: &Room, request: Request<'a>) -> Result<SemaphoreCreated<'a>, ProviderError> {
    let message: CreateSemaphore<'a> = request.parse()?;
    let id = names::id(message.sem_id.as_deref(), "sem_id")?;
    let asked = message.kind.unwrap_or_default();
    let owner = room.owner(&request);
    let (value, kind, created) =
        room.semaphores.lock().create(id, message.initial_value, asked, message.exist_ok, owner)?;
    let sem_id = Cow::Owned(id.to_owned());
    let reply = SemaphoreCreated { status: STATUS_OK.into(), sem_id, value, kind, created };
    if created {
        room.host.publish(SEMAPHORE_CREATED_TOPIC, &reply);
    }
    Ok(reply)
}

pub(super) fn delete<'a>(room: &Room, request: Request<'a>) -> Result<SemaphoreDeleted<'a>, ProviderError> {
    let message: DeleteSemaphore<'a> = request.parse()?;
    let id = names::id(message.sem_id.as_deref(), "sem_id")?;
    let mut outbox = Outbox::default();
    let waiters = room.semaphores.lock().delete(id, &mut outbox)?;
    room.send(outbox);
    let sem_id = Cow::Owned(id.to_owned());
    let reply = SemaphoreDeleted { status: STATUS_OK.into(), sem_id, waiters };
    room.host.publish(SEMAPHORE_DELETED_TOPIC, &reply);
    Ok(reply)
}

pub(super) fn wait(room: &Arc<Room>, request: Request<'_>, reply: Reply<'_>) {
    let naming = Naming::begins(&request);
    let read = || -> Result<_, ProviderError> {
        let message: SemaphoreWait<'_> = request.parse()?;
        let id = names::id(message.sem_id.as_deref(), REQUIRED)?.to_owned();
        let process = names::process(&request, &room.own_id, message.process_id.as_deref(), REQUIRED)?;
        Ok((id, process, names::timeout(message.timeout)?))
    };
    let (id, process, timeout) = match read() {
        Ok(read) => read,
        Err(error) => return reply.error(&error),
    };
    let owner = room.owner(&request);
    let tried = room.semaphores.lock().try_wait(&id, &process, owner);
    match tried {
        Ok(Ok(value)) => {
            naming.is_kept(room.host, &process);
            reply.send_json(state(STATUS_OK, &id, value));
        }
        Ok(Err(value)) if timeout.is_some_and(|timeout| timeout.is_zero()) => {
            room.semaphores.lock().is_told_blocked(&id);
            reply.send_json(state(STATUS_BLOCKED, &id, value));
        }
        Ok(Err(_)) => {
            room.wait_for_permit(&id, Arc::clone(&process), owner, timeout, reply);
            naming.is_kept(room.host, &process);
        }
        Err(error) => reply.error(&error.into()),
    }
}

pub(super) fn signal(room: &Room, request: Request<'_>, reply: Reply<'_>) {
    let mut outbox = Outbox::default();
    let mut give = || -> Result<Vec<u8>, ProviderError> {
        let message: SemaphoreSignal<'_> = request.parse()?;
        let id = names::id(message.sem_id.as_deref(), REQUIRED)?;
        let process = names::process(&request, &room.own_id, message.process_id.as_deref(), REQUIRED)?;
        let value = room.semaphores.lock().signal(id, &process, &mut outbox)?;
        Ok(state(STATUS_OK, id, value))
    };
    let given = give();
    room.send(outbox);
    match given {
        Ok(json) => reply.send_json(json),
        Err(error) => reply.error(&error),
    }
}

pub(super) fn list(room: &Room, request: Request<'_>) -> Result<SemaphoreList, ProviderError> {
    let ListSemaphores { page } = request.parse()?;
    let locked = room.semaphores.lock();
    let (semaphores, has_more) = locked.list(&page.prefix, page.after.as_deref(), page_limit(page.limit));
    let semaphore_count = locked.count() as u64;
    drop(locked);
    let next = if has_more { semaphores.last().map(|semaphore| semaphore.sem_id.clone()) } else { None };
    Ok(SemaphoreList { semaphores, next, semaphore_count })
}

/// Who holds semaphores and who waits.
pub(super) fn resources(room: &Room) -> Resources {
    let shown = room.semaphores.lock().resources();
    let resources = shown.into_iter().map(|shown| {
        let holders = shown.holders.iter().map(|(pid, units)| Holder { pid: pid.to_string(), units: *units }).collect();
        let waiters = shown.waiters.iter().map(|(pid, since, bounded)| Waiter {
            pid: pid.to_string(),
            units: 1,
            since_unix_milliseconds: *since,
            bounded: *bounded,
        });
        ResourceState {
            resource_id: format!("semaphore:{}", shown.id),
            kind: "semaphore".to_owned(),
            total_units: shown.value + shown.holders.iter().map(|(_, units)| *units).sum::<u64>(),
            available_units: shown.value,
            owned: shown.owned,
            holders,
            waiters: waiters.collect(),
        }
    });
    Resources { resources: resources.collect() }
}

pub(super) fn cancel_waits<'a>(room: &Room, request: Request<'a>) -> Result<WaitsCancelled<'a>, ProviderError> {
    let message: CancelWaits<'a> = request.parse()?;
    if message.process_id.is_empty() || message.code.is_empty() {
        return Err(IpcError::Required("process_id and code").into());
    }
    let error = ProviderError { code: Cow::Owned(message.code.into_owned()), message: message.reason.into_owned() };
    let (waits, permits) = room.cancel_waits(&message.process_id, &error);
    Ok(WaitsCancelled { status: STATUS_OK.into(), waits, permits })
}
