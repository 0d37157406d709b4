//! One function a message: decode, call the service, make the reply.

use crate::error::MemoryManagerError;
use crate::heap::Algorithm;
use crate::service::{Service, allocated};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use potluck_sdk::message::STATUS_OK;
use potluck_sdk::message::memory_manager::{
    AllocateMemory, AllocatorSet, Block, BlockWritten, DeallocateMemory, MemoryDeallocated, MemoryMap, MemoryMapped,
    ReadBlock, SetAllocator, WriteBlock,
};
use potluck_sdk::message::process::Naming;
use potluck_sdk::{PeerId, ProviderError, Reply, Request};
use std::sync::Arc;
use std::time::Duration;

/// Most bytes of one READ_BLOCK or WRITE_BLOCK: as Base64 they fit into a frame, and into a call of a task.
const BLOCK_BYTES_MAX: u64 = 8 << 20;
/// Longest time-out that can be asked for, in seconds.
const TIMEOUT_SECONDS_MAX: u64 = 7 * 86_400;
/// Page of MEMORY_MAP when the message does not say.
const MAP_LIMIT_DEFAULT: usize = 1000;
const MAP_LIMIT_MAX: usize = 10_000;

/// Answers one message.
pub(crate) fn answer(service: &Arc<Service>, own_id: &PeerId, request: Request<'_>, reply: Reply<'_>) {
    match request.message_type {
        "ALLOCATE_MEMORY" => allocate(service, own_id, request, reply),
        "DEALLOCATE_MEMORY" => deallocate(service, own_id, request, reply),
        "READ_BLOCK" => read(service, own_id, request, reply),
        "WRITE_BLOCK" => write(service, own_id, request, reply),
        "SET_ALLOCATOR" => reply.result(set_allocator(service, request)),
        "MEMORY_MAP" => reply.result(map(service, request)),
        "MEMORY_RESOURCES" => reply.send(&service.resources()),
        other => {
            let text = format!("memory-manager does not answer {other}");
            reply.error(&ProviderError::new(ProviderError::NO_PROVIDER, text));
        }
    }
}

/// The process in whose name the message is, when all that must be there is there; an empty name is none.
fn name(
    request: &Request<'_>,
    own_id: &PeerId,
    pid: Option<&str>,
    others_are_there: bool,
    required: &'static str,
) -> Result<String, ProviderError> {
    let pid = pid.filter(|pid| !pid.is_empty());
    if !others_are_there || (pid.is_none() && request.process.is_empty()) {
        return Err(MemoryManagerError::Missing(required).into());
    }
    request.process_name(own_id, pid)
}

struct Wanted {
    pid: String,
    size: u64,
    /// Whether to wait, and how long at most.
    wait: Option<Option<Duration>>,
}

fn wanted(own_id: &PeerId, request: Request<'_>) -> Result<Wanted, ProviderError> {
    let message: AllocateMemory = request.parse()?;
    let pid = name(&request, own_id, message.pid.as_deref(), message.size.is_some(), "pid and size")?;
    let size = message.size.unwrap_or_default();
    let bytes = u64::try_from(size).ok().filter(|size| *size > 0).ok_or(MemoryManagerError::Size(size))?;
    let timeout = match message.timeout {
        None => None,
        Some(seconds) => match Duration::try_from_secs_f64(seconds) {
            Ok(timeout) if timeout.as_secs() <= TIMEOUT_SECONDS_MAX => Some(timeout),
            _ => return Err(MemoryManagerError::Timeout(TIMEOUT_SECONDS_MAX).into()),
        },
    };
    let wait = match timeout {
        Some(Duration::ZERO) => None,
        Some(timeout) => Some(Some(timeout)),
        None if message.wait => Some(None),
        None => None,
    };
    Ok(Wanted { pid, size: bytes, wait })
}

fn allocate(service: &Arc<Service>, own_id: &PeerId, request: Request<'_>, reply: Reply<'_>) {
    let naming = Naming::begins(&request);
    let wanted = match wanted(own_id, request) {
        Ok(wanted) => wanted,
        Err(error) => return reply.error(&error),
    };
    match wanted.wait {
        None => match service.allocate(&wanted.pid, wanted.size, naming) {
            Ok(granted) => reply.send(&allocated(&granted)),
            Err(error) => reply.error(&error.into()),
        },
        Some(timeout) => service.allocate_or_wait(&wanted.pid, wanted.size, timeout, naming, reply),
    }
}

fn deallocate(service: &Arc<Service>, own_id: &PeerId, request: Request<'_>, reply: Reply<'_>) {
    let message: DeallocateMemory = match request.parse() {
        Ok(message) => message,
        Err(error) => return reply.error(&error),
    };
    let pid = match name(&request, own_id, message.pid.as_deref(), true, "pid") {
        Ok(pid) => pid,
        Err(error) => return reply.error(&error),
    };
    let pending = reply.later();
    let owner = pid.clone();
    service.free(&pid, message.address, move |result| match result {
        Ok(freed) => pending.send(&MemoryDeallocated {
            status: STATUS_OK.to_owned(),
            pid: owner,
            blocks: freed.blocks,
            bytes: freed.bytes,
        }),
        Err(error) => pending.error(&error.into()),
    });
}

fn read(service: &Arc<Service>, own_id: &PeerId, request: Request<'_>, reply: Reply<'_>) {
    let part = || {
        let message: ReadBlock = request.parse()?;
        let pid = name(&request, own_id, message.pid.as_deref(), message.address.is_some(), "pid and address")?;
        let address = message.address.unwrap_or_default();
        let pinned = service.pin(&pid, address, message.offset, message.length, false)?;
        if pinned.length > BLOCK_BYTES_MAX {
            service.unpin(&pinned);
            return Err(MemoryManagerError::TooMuchAtOnce(pinned.length, BLOCK_BYTES_MAX).into());
        }
        Ok((pid, address, message.offset, pinned))
    };
    let (pid, address, offset, pinned) = match part() {
        Ok(part) => part,
        Err(error) => return reply.error(&error),
    };
    let block = move |bytes: Vec<u8>| Block { pid, address, offset, size: pinned.size, data: STANDARD.encode(bytes) };
    let work = {
        let service = Arc::clone(service);
        move || {
            let bytes = service.read(&pinned);
            service.unpin(&pinned);
            bytes.map(block).map_err(ProviderError::from)
        }
    };
    run(service, pinned.length, work, reply);
}

fn write(service: &Arc<Service>, own_id: &PeerId, request: Request<'_>, reply: Reply<'_>) {
    let part = || {
        let message: WriteBlock = request.parse()?;
        let is_whole = message.address.is_some() && message.data.is_some();
        let pid = name(&request, own_id, message.pid.as_deref(), is_whole, "pid, address and data")?;
        Ok((pid, message.address.unwrap_or_default(), message.offset, message.data.unwrap_or_default()))
    };
    let (pid, address, offset, data) = match part() {
        Ok(part) => part,
        Err(error) => return reply.error(&error),
    };
    let length = data.len() as u64;
    let work = {
        let service = Arc::clone(service);
        move || {
            let bytes = STANDARD.decode(data).map_err(|error| MemoryManagerError::Data(error.to_string()))?;
            let length = bytes.len() as u64;
            if length > BLOCK_BYTES_MAX {
                return Err(MemoryManagerError::TooMuchAtOnce(length, BLOCK_BYTES_MAX).into());
            }
            let pinned = service.pin(&pid, address, offset, Some(length), true)?;
            let result = service.write(&pinned, &bytes);
            service.unpin(&pinned);
            result?;
            Ok(BlockWritten { status: STATUS_OK.to_owned(), pid, address, written: length })
        }
    };
    run(service, length, work, reply);
}

/// Answers at once when there is little to copy, else from another thread.
fn run<T: serde::Serialize>(
    service: &Service,
    bytes: u64,
    work: impl FnOnce() -> Result<T, ProviderError> + Send + 'static,
    reply: Reply<'_>,
) {
    if bytes <= crate::service::AT_ONCE_BYTES_MAX {
        return reply.result(work());
    }
    let pending = reply.later();
    service.spawn_blocking(move || match work() {
        Ok(body) => pending.send(&body),
        Err(error) => pending.error(&error),
    });
}

fn set_allocator(service: &Service, request: Request<'_>) -> Result<AllocatorSet, ProviderError> {
    let message: SetAllocator = request.parse()?;
    let name = message.algorithm.filter(|name| !name.is_empty()).ok_or(MemoryManagerError::Missing("algorithm"))?;
    let algorithm: Algorithm = name.parse().map_err(|()| MemoryManagerError::Algorithm(name))?;
    let previous = service.set_algorithm(algorithm);
    Ok(AllocatorSet {
        status: STATUS_OK.to_owned(),
        algorithm: algorithm.name().to_owned(),
        previous: previous.name().to_owned(),
    })
}

fn map(service: &Service, request: Request<'_>) -> Result<MemoryMapped, ProviderError> {
    let message: MemoryMap = request.parse()?;
    let limit = message.limit.unwrap_or(MAP_LIMIT_DEFAULT).clamp(1, MAP_LIMIT_MAX);
    Ok(service.map(message.from.unwrap_or(0), limit))
}
