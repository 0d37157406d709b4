//! One function a message: decode, call the service, make the reply.

use crate::banker::{Banker, Units, amount};
use crate::config::KINDS;
use crate::error::DeadlockError;
use crate::explain::report;
use crate::resolve::resolve;
use crate::service::{Asked, Service};
use potluck_sdk::message::STATUS_OK;
use potluck_sdk::message::deadlock::{
    DeadlockChecked, ListResources, PROCESS_ENDED, ProcessDone, ProcessLine, RegisterProcess, RegisterResource,
    ReleaseResource, RequestResource, ResolveDeadlock, ResourceDone, ResourceLine, ResourceList, UnregisterProcess,
    UnregisterResource, WaitingLine,
};
use potluck_sdk::message::process::{Naming, ProcessEnded};
use potluck_sdk::{PeerId, ProviderError, Reply, Request};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

/// Longest name of a resource, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// Longest time-out that can be asked for, in seconds.
const TIMEOUT_SECONDS_MAX: u64 = 7 * 86_400;
/// Page of LIST_RESOURCES when the message does not say.
const LIST_LIMIT_DEFAULT: usize = 100;
const LIST_LIMIT_MAX: usize = 1000;
/// Requests that wait which LIST_RESOURCES shows.
const WAITING_MAX: usize = 100;
/// Processes in the STATUS reply.
const STATUS_PROCESSES_MAX: usize = 100;

/// Answers one message.
pub(crate) fn answer(service: &Arc<Service>, own_id: &PeerId, request: Request<'_>, reply: Reply<'_>) {
    match request.message_type {
        "REGISTER_RESOURCE" => reply.result(register_resource(service, request)),
        "UNREGISTER_RESOURCE" => reply.result(unregister_resource(service, request)),
        "REGISTER_PROCESS" => reply.result(register_process(service, own_id, request)),
        "UNREGISTER_PROCESS" => reply.result(unregister_process(service, own_id, request)),
        "REQUEST_RESOURCE" => request_resource(service, own_id, request, reply),
        "RELEASE_RESOURCE" => reply.result(release_resource(service, own_id, request)),
        "LIST_RESOURCES" => reply.result(list_resources(service, request)),
        "DEADLOCK_CHECK" => deadlock_check(service, reply),
        "RESOLVE_DEADLOCK" => match request.parse() {
            Ok(ResolveDeadlock { pid, once }) => {
                resolve(service, ResolveDeadlock { pid: filled(pid), once }, reply.later());
            }
            Err(error) => reply.error(&error),
        },
        other => {
            let text = format!("deadlock does not answer {other}");
            reply.error(&ProviderError::new(ProviderError::NO_PROVIDER, text));
        }
    }
}

/// An empty text is none.
fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn register_resource(service: &Arc<Service>, request: Request<'_>) -> Result<ResourceDone, ProviderError> {
    let message: RegisterResource = request.parse()?;
    let (Some(name), Some(total)) = (filled(message.resource_id), message.total_units) else {
        return Err(DeadlockError::Missing("resource_id and total_units").into());
    };
    let is_sound = (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
    if !is_sound {
        return Err(DeadlockError::Name.into());
    }
    let known = |wanted: String| {
        let kind = KINDS.into_iter().find(|kind| kind.eq_ignore_ascii_case(&wanted));
        kind.ok_or(DeadlockError::Kind(wanted))
    };
    let kind = filled(message.resource_type).map(known).transpose()?;
    let total = above_zero("total_units", total)?;
    let kind = service.set_resource(&name, kind, total).map_err(DeadlockError::from)?;
    Ok(ResourceDone { status: STATUS_OK.to_owned(), resource_id: name, resource_type: kind, total_units: total })
}

fn unregister_resource(service: &Service, request: Request<'_>) -> Result<ResourceDone, ProviderError> {
    let message: UnregisterResource = request.parse()?;
    let name = filled(message.resource_id).ok_or(DeadlockError::Missing("resource_id"))?;
    let resource = service.remove_resource(&name).map_err(DeadlockError::from)?;
    Ok(ResourceDone {
        status: STATUS_OK.to_owned(),
        resource_id: name,
        resource_type: resource.kind,
        total_units: resource.total,
    })
}

fn above_zero(what: &str, number: i64) -> Result<u64, DeadlockError> {
    let found = u64::try_from(number).ok().filter(|number| *number > 0);
    found.ok_or(DeadlockError::Number { what: what.to_owned(), least: "above 0", found: number })
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
        return Err(DeadlockError::Missing(required).into());
    }
    request.process_name(own_id, pid)
}

fn register_process(
    service: &Arc<Service>,
    own_id: &PeerId,
    request: Request<'_>,
) -> Result<ProcessDone, ProviderError> {
    let naming = Naming::begins(&request);
    let message: RegisterProcess = request.parse()?;
    let pid = name(&request, own_id, message.pid.as_deref(), true, "pid")?;
    let mut max_need = Units::new();
    for (name, units) in message.max_need {
        let what = format!("max_need of {name}");
        let units =
            u64::try_from(units).map_err(|_| DeadlockError::Number { what, least: "at least 0", found: units })?;
        if units > 0 {
            max_need.insert(name, units);
        }
    }
    Ok(service.set_process(&pid, max_need, naming).map_err(DeadlockError::from)?)
}

fn unregister_process(
    service: &Arc<Service>,
    own_id: &PeerId,
    request: Request<'_>,
) -> Result<ProcessDone, ProviderError> {
    let message: UnregisterProcess = request.parse()?;
    let pid = name(&request, own_id, message.pid.as_deref(), true, "pid")?;
    let ended = ProcessEnded { pid: pid.as_str().into(), reason: "".into() };
    // A name with a star at its beginning would mean all processes of a peer.
    let done =
        if pid.starts_with('*') { None } else { service.end(&ended, PROCESS_ENDED, "the process was unregistered") };
    done.ok_or_else(|| DeadlockError::Refused(crate::banker::Refusal::NoProcess(pid)).into())
}

fn asked(
    request: &Request<'_>,
    own_id: &PeerId,
    pid: Option<&str>,
    resource_id: Option<String>,
    units: Option<i64>,
    requests: BTreeMap<String, i64>,
) -> Result<Asked, ProviderError> {
    let resource_id = filled(resource_id);
    let is_whole = resource_id.is_some() || !requests.is_empty();
    let pid = name(request, own_id, pid, is_whole, "pid and resource_id")?;
    let mut all = Units::new();
    if requests.is_empty() {
        let units = above_zero("units", units.unwrap_or(1))?;
        all.extend(resource_id.clone().map(|name| (name, units)));
        return Ok(Asked { pid, resource_id, units: all });
    }
    for (name, units) in requests {
        let units = above_zero(&format!("units of {name}"), units)?;
        all.insert(name, units);
    }
    Ok(Asked { pid, resource_id: None, units: all })
}

fn request_resource(service: &Arc<Service>, own_id: &PeerId, request: Request<'_>, reply: Reply<'_>) {
    let naming = Naming::begins(&request);
    let wanted = || -> Result<(Asked, Option<Option<Duration>>), ProviderError> {
        let message: RequestResource = request.parse()?;
        let pid = message.pid.as_deref();
        let asked = asked(&request, own_id, pid, message.resource_id, message.units, message.requests)?;
        let timeout = match message.timeout.map(Duration::try_from_secs_f64) {
            None => None,
            Some(Ok(timeout)) if timeout.as_secs() <= TIMEOUT_SECONDS_MAX => Some(timeout),
            Some(_) => return Err(DeadlockError::Timeout(TIMEOUT_SECONDS_MAX).into()),
        };
        let wait = match timeout {
            Some(Duration::ZERO) => None,
            Some(timeout) => Some(Some(timeout)),
            None => message.wait.then_some(None),
        };
        Ok((asked, wait))
    };
    let (asked, wait) = match wanted() {
        Ok(wanted) => wanted,
        Err(error) => return reply.error(&error),
    };
    match (service.request(asked, naming), wait) {
        (Ok(done), _) => reply.send(&done),
        (Err((denial, asked)), Some(timeout)) if denial.may_pass() => service.wait(asked, timeout, naming, reply),
        (Err((denial, _)), _) => reply.error(&DeadlockError::Denied(denial).into()),
    }
}

fn release_resource(
    service: &Arc<Service>,
    own_id: &PeerId,
    request: Request<'_>,
) -> Result<impl Serialize + use<>, ProviderError> {
    let message: ReleaseResource = request.parse()?;
    let pid = message.pid.as_deref();
    let asked = asked(&request, own_id, pid, message.resource_id, message.units, message.requests)?;
    Ok(service.release(asked).map_err(DeadlockError::from)?)
}

fn list_resources(service: &Service, request: Request<'_>) -> Result<ResourceList, ProviderError> {
    let message: ListResources = request.parse()?;
    let limit = message.limit.unwrap_or(LIST_LIMIT_DEFAULT).clamp(1, LIST_LIMIT_MAX);
    let (bank, waiting) = service.with_bank(|bank| {
        let tickets: Vec<u64> = bank.waits.iter().take(WAITING_MAX).map(|wait| wait.ticket).collect();
        let whys: Vec<String> = tickets.into_iter().map(|ticket| bank.why(ticket).to_string()).collect();
        let waiting = bank.waits.iter().zip(whys).map(|(wait, why)| WaitingLine {
            pid: wait.pid.clone(),
            requests: wait.units.clone(),
            since_unix_ms: wait.since_unix_milliseconds,
            why,
        });
        let waiting: Vec<WaitingLine> = waiting.collect();
        (bank.clone(), waiting)
    });
    let Banker { resources, processes } = &bank.banker;
    let after = message.after.map_or(Bound::Unbounded, Bound::Excluded);
    let mut page = processes.range((after, Bound::Unbounded));
    let lines: Vec<ProcessLine> = page
        .by_ref()
        .take(limit)
        .map(|(pid, process)| ProcessLine {
            pid: pid.clone(),
            allocation: process.allocation.clone(),
            need: process.need(),
            max_need: process.max_need.clone(),
        })
        .collect();
    let next = page.next().and(lines.last().map(|line| line.pid.clone()));
    let sequence = bank.banker.safe_sequence();
    Ok(ResourceList {
        resources: resources
            .iter()
            .map(|(name, resource)| ResourceLine {
                resource_id: name.clone(),
                resource_type: resource.kind.clone(),
                total: resource.total,
                available: resource.available,
                allocated: resource.total - resource.available,
            })
            .collect(),
        processes: lines,
        waiting,
        waiting_count: bank.waits.len(),
        safe_state: sequence.is_some(),
        safe_sequence: sequence.unwrap_or_default().into_iter().take(LIST_LIMIT_MAX).collect(),
        next,
    })
}

fn deadlock_check(service: &Arc<Service>, reply: Reply<'_>) {
    let pending = Arc::new(parking_lot::Mutex::new(Some(reply.later())));
    let answer = Arc::clone(&pending);
    let queued = service.search(Box::new(move |found| {
        let found = report(&found.detection, &found.facts, &found.not_looked_at);
        let reply = answer.lock().take();
        if let Some(reply) = reply {
            reply.send(&DeadlockChecked { status: STATUS_OK.to_owned(), found });
        }
    }));
    let reply = queued.err().and_then(|error| Some((pending.lock().take()?, error)));
    if let Some((reply, error)) = reply {
        reply.error(&error.into());
    }
}

/// The member `deadlock_detector` of the node's STATUS reply.
pub(crate) fn status(service: &Service) -> impl Serialize + use<> {
    #[derive(Serialize)]
    struct StatusResource {
        total: u64,
        available: u64,
        allocated: u64,
        allocations: Units,
    }
    #[derive(Serialize)]
    struct StatusProcess {
        allocation: Units,
        need: Units,
        max_need: Units,
    }
    #[derive(Serialize)]
    struct DetectorStatus {
        resources: BTreeMap<String, StatusResource>,
        processes: BTreeMap<String, StatusProcess>,
        safe_state: bool,
        total_processes: usize,
        waiting: usize,
    }
    service.with_bank(|bank| {
        let Banker { resources, processes } = &bank.banker;
        let shown = || processes.iter().take(STATUS_PROCESSES_MAX);
        let allocations = |name: &String| {
            let has = shown().map(|(pid, process)| (pid.clone(), amount(&process.allocation, name)));
            has.filter(|(_, units)| *units > 0).collect()
        };
        DetectorStatus {
            resources: resources
                .iter()
                .map(|(name, resource)| {
                    let line = StatusResource {
                        total: resource.total,
                        available: resource.available,
                        allocated: resource.total - resource.available,
                        allocations: allocations(name),
                    };
                    (name.clone(), line)
                })
                .collect(),
            processes: shown()
                .map(|(pid, process)| {
                    let (allocation, max_need) = (process.allocation.clone(), process.max_need.clone());
                    (pid.clone(), StatusProcess { allocation, need: process.need(), max_need })
                })
                .collect(),
            safe_state: bank.banker.safe_sequence().is_some(),
            total_processes: processes.len(),
            waiting: bank.waits.len(),
        }
    })
}
