//! Names that messages give: of queues and semaphores, of processes, of those who are to get a message.

use crate::error::IpcError;
use crate::queues::Receiver;
use potluck_sdk::message::ipc::{ANYBODY, EVERYBODY};
use potluck_sdk::{Caller, PeerId, ProviderError, Request};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// Longest name of a queue or semaphore.
const ID_BYTES_MAX: usize = 128;
/// Longest name of a process, with the node that it runs on.
const PROCESS_BYTES_MAX: usize = 128 + 1 + 36;
/// Ten years: longer is for ever, and far from where adding to a point in time overflows.
const TIMEOUT_SECONDS_MAX: f64 = 10.0 * 365.0 * 86_400.0;

/// The name of a queue or semaphore; `required` is what the message lacks without it.
pub(crate) fn id<'a>(given: Option<&'a str>, required: &'static str) -> Result<&'a str, IpcError> {
    let id = given.ok_or(IpcError::Required(required))?;
    if id.is_empty() {
        return Err(IpcError::Required(required));
    }
    if id.len() > ID_BYTES_MAX || id.chars().any(char::is_control) {
        return Err(IpcError::Name("a name of a queue or semaphore"));
    }
    Ok(id)
}

/// The process in whose name a message is; `required` is what it lacks without one.
pub(crate) fn process(
    request: &Request<'_>,
    own_id: &PeerId,
    claimed: Option<&str>,
    required: &'static str,
) -> Result<Arc<str>, ProviderError> {
    if !matches!(request.caller, Caller::Task(_)) && claimed.is_none_or(str::is_empty) {
        return Err(IpcError::Required(required).into());
    }
    request.process_name(own_id, claimed).map(Arc::from)
}

/// Who is to get a message, as this node calls them.
pub(crate) fn receiver(request: &Request<'_>, own_id: &PeerId, given: Option<&str>) -> Result<Receiver, IpcError> {
    let name = match given {
        None | Some("" | EVERYBODY) => return Ok(Receiver::Everybody),
        Some(ANYBODY) => return Ok(Receiver::Anybody),
        Some(name) => name,
    };
    if name.starts_with('@') || name.len() > PROCESS_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(IpcError::Name("receiver"));
    }
    let own_id = own_id.to_string();
    let sender_node = match request.caller {
        // It runs here, whoever it works for.
        Caller::Task(_) if !request.process.is_empty() && !request.process.contains('@') => &own_id,
        Caller::Task(peer) | Caller::Member(peer) => peer,
        Caller::Local | Caller::Plugin(_) | Caller::Web(_) => &own_id,
    };
    Ok(Receiver::Name(match name.rsplit_once('@') {
        Some((process, "")) if sender_node == own_id => Arc::from(process),
        Some((process, "")) => Arc::from(format!("{process}@{sender_node}")),
        Some((process, node)) if node == own_id => Arc::from(process),
        _ => Arc::from(name),
    }))
}

/// How long somebody is ready to wait.
pub(crate) fn timeout(seconds: Option<f64>) -> Result<Option<Duration>, IpcError> {
    match seconds {
        None => Ok(None),
        Some(seconds) if (0.0..=TIMEOUT_SECONDS_MAX).contains(&seconds) => Ok(Some(Duration::from_secs_f64(seconds))),
        Some(_) => Err(IpcError::Timeout),
    }
}

/// An optional text; an empty one is none.
pub(crate) fn given<'a>(text: &'a Option<Cow<'_, str>>) -> Option<&'a str> {
    text.as_deref().filter(|text| !text.is_empty())
}
