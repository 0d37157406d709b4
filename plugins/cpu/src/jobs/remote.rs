//! Tasks that run on another peer.

use super::{Jobs, UNREACHABLE_MAX};
use crate::job::{Ended, Job, JobId, Whereabouts};
use crate::placement::Placed;
use crate::pool::{Failed, Files};
use crate::runtime::RuntimeKey;
use crate::task::next_number;
use crate::texts;
use potluck_sdk::message::cpu::{CachePolicy, CancelTask, CpuResult, CpuTask, outcome};
use potluck_sdk::message::process::{ProcessState, Signal};
use potluck_sdk::message::to_json;
use potluck_sdk::{ProviderError, Response};
use potluck_worker_protocol::{is_file_name, may_come_back};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Sends an attempt to a peer. A guest goes by its name first: the peer may have it from an earlier task.
pub(super) fn send(jobs: &Arc<Jobs>, job: &Arc<Job>, placed: Placed, unreachable: u32) {
    send_with(jobs, job, placed, unreachable, Vec::new());
}

fn send_with(jobs: &Arc<Jobs>, job: &Arc<Job>, placed: Placed, unreachable: u32, guest: Vec<u8>) {
    let task = &job.task;
    let address = placed.address.clone();
    // The submitter's name for the task may be somebody else's there.
    let remote_id = format!("{}-{}-{}", jobs.node.peer_id.short(), job.id, next_number());
    let message = CpuTask {
        task_id: Some(Cow::Borrowed(&remote_id)),
        runtime: Some(Cow::Borrowed(task.runtime.name())),
        image: match &task.runtime {
            RuntimeKey::Sandbox(image) => Some(Cow::Borrowed(image)),
            _ => None,
        },
        module_sha256: task.module.as_ref().map(|module| Cow::Borrowed(&*module.sha256)),
        program: task.module.is_none().then_some(&task.program),
        function: Some(Cow::Borrowed(&task.function)),
        args: Some(&task.args),
        priority: Some(job.card.priority.load(Ordering::Relaxed)),
        timeout: Some(job.deadline.saturating_duration_since(Instant::now()).as_secs_f64().max(0.001)),
        source_peer: Some(Cow::Owned(jobs.own_address())),
        // A node that has not run the function before would expect a second.
        estimated_time: task.estimated_time.or_else(|| jobs.estimates.known_seconds(task.function_key)),
        cpu_limit_seconds: task.limits.cpu_seconds,
        memory_limit_bytes: (task.limits.memory_bytes != jobs.config.memory_limit_bytes)
            .then_some(task.limits.memory_bytes),
        output_limit_bytes: (task.limits.output_bytes != jobs.config.output_limit_bytes)
            .then_some(task.limits.output_bytes),
        isolated: task.isolated.then_some(true),
        cache: (task.cache != CachePolicy::Auto).then_some(task.cache),
        ..CpuTask::default()
    };
    let json = addressed(&address, &to_json(&message), task.for_task);
    {
        let mut state = job.state.lock();
        if state.answer.is_none() || state.cancelled {
            drop(state);
            jobs.placement.settle(&placed, true);
            return;
        }
        state.whereabouts = Whereabouts::There { placed, remote_id: remote_id.clone() };
    }
    jobs.life.is_elsewhere(&job.card, ProcessState::Running, "", &address);
    jobs.watch_remote(job, &remote_id);
    let (jobs, job) = (Arc::clone(jobs), Arc::clone(job));
    let host = jobs.host;
    let sent_guest = !guest.is_empty();
    let (sent, sent_as) = (Arc::clone(&job), remote_id.clone());
    let later = Arc::clone(&jobs);
    host.call_with(&json, &guest, move |answer| answered(&jobs, &job, &remote_id, answer, unreachable, sent_guest));
    // Whoever has paused it meanwhile may have told the peer before the peer knew of it.
    if sent.state.lock().is_paused {
        later.signal_there(&address, &sent_as, Signal::Pause);
    }
}

fn answered(
    jobs: &Arc<Jobs>,
    job: &Arc<Job>,
    remote_id: &str,
    answer: Result<Response, ProviderError>,
    unreachable: u32,
    sent_guest: bool,
) {
    let Some(placed) = job.leave(remote_id) else { return };
    let reached = !matches!(&answer, Err(error) if error.code == ProviderError::PEER_UNREACHABLE);
    jobs.placement.settle(&placed, reached);
    let error = match answer {
        Ok(response) => match serde_json::from_str::<CpuResult>(&response.json) {
            Ok(result) if result.code.as_deref() == Some(outcome::MODULE_UNKNOWN) && !sent_guest => {
                return send_guest(jobs, job, placed, unreachable);
            }
            Ok(result) => return finished(jobs, job, &placed, &result, response.attachment, unreachable),
            Err(error) => ProviderError::new(ProviderError::INTERNAL, format!("{}: {error}", placed.address)),
        },
        Err(error) => error,
    };
    if is_refusal(&error.code) {
        // It was not begun there, so this is no attempt.
        refused(jobs, job, &placed, &error.code, unreachable);
        return;
    }
    let mut ended = Ended::failed("", "", &placed.address);
    ended.peer = placed.peer;
    ended.verdict = Err(Failed { code: error.code, error: error.message, error_type: None, traceback: None });
    jobs.ended(job, ended, true);
}

/// The peer does not have the guest: it gets the same task again, with it.
fn send_guest(jobs: &Arc<Jobs>, job: &Arc<Job>, placed: Placed, unreachable: u32) {
    let (host, jobs, job) = (jobs.host, Arc::clone(jobs), Arc::clone(job));
    jobs.placement.take(&placed);
    // Reading it may block.
    host.spawn_blocking(move || match job.task.module.as_ref().map(|module| module.read()) {
        Some(Ok(guest)) => send_with(&jobs, &job, placed, unreachable, guest),
        _ => {
            jobs.placement.settle(&placed, true);
            jobs.launch(&job, UNREACHABLE_MAX);
        }
    });
}

fn finished(
    jobs: &Arc<Jobs>,
    job: &Arc<Job>,
    placed: &Placed,
    result: &CpuResult<'_>,
    attachment: Vec<u8>,
    unreachable: u32,
) {
    // It cannot have run for longer than it was known here.
    let execution_seconds = result.execution_time.clamp(0.0, job.arrived.elapsed().as_secs_f64());
    let verdict = match (&result.error, result.result) {
        (Some(error), _) => {
            let code = result.code.clone().unwrap_or(Cow::Borrowed(outcome::TASK_FAILED));
            Err(texts::failed(code, error.clone(), result.error_type.clone(), result.traceback.clone()))
        }
        (None, Some(value)) => Ok(value.to_owned()),
        // JSON null arrives as nothing.
        (None, None) => Ok(potluck_sdk::message::RawValue::NULL.to_owned()),
    };
    if let Err(failed) = &verdict
        && result.attempts == 0
        && is_refusal(&failed.code)
    {
        refused(jobs, job, placed, &failed.code, unreachable);
        return;
    }
    if result.attempts > 0 {
        jobs.placement.served(placed);
    }
    if verdict.is_ok() {
        jobs.estimates.learn(job.task.function_key, execution_seconds);
    }
    let ended = Ended {
        verdict,
        execution_seconds,
        stdout: texts::printed(result.stdout.clone()),
        stderr: texts::printed(result.stderr.clone()),
        executed_by: placed.address.clone(),
        peer: placed.peer,
        runtime: Some(result.runtime.chars().take(16).collect()),
        deterministic: result.deterministic,
        files: files(result, attachment),
        cpu_seconds: None,
        peak_memory_bytes: None,
        context_switches: 0,
        blocked_seconds: blocked_seconds(result),
        // What the peer has not run is no run of this node's either.
        cached: result.cached,
    };
    jobs.ended(job, ended, result.attempts > 0);
}

/// How long a task waited at a peer for something else than a slot: what is left of its time there.
fn blocked_seconds(result: &CpuResult<'_>) -> f64 {
    let rest = result.turnaround_time - result.execution_time - result.waiting_time;
    // What a peer says is no number to calculate with as it is.
    if rest.is_finite() { rest.max(0.0) } else { 0.0 }
}

/// The files of a peer's result; none when the peer miscounts, or calls them what no worker would.
fn files(result: &CpuResult<'_>, bytes: Vec<u8>) -> Files {
    let announced = result.files.iter().try_fold(0_usize, |sum, file| sum.checked_add(file.bytes));
    let is_sound = announced == Some(bytes.len())
        && may_come_back(result.files.iter().map(|file| file.bytes))
        && result.files.iter().all(|file| is_file_name(&file.name));
    if !is_sound {
        return Files::default();
    }
    Files { list: result.files.iter().map(|file| (file.name.to_string(), file.bytes)).collect(), bytes }
}

/// Whether a peer did not begin a task, so that it can go elsewhere at no loss.
fn is_refusal(code: &str) -> bool {
    [
        ProviderError::PEER_UNREACHABLE,
        ProviderError::NO_PROVIDER,
        ProviderError::NODE_STOPPING,
        ProviderError::LIMIT_REACHED,
        ProviderError::FORBIDDEN,
        outcome::QUEUE_FULL,
        outcome::RUNTIME_UNAVAILABLE,
        outcome::MODULE_UNKNOWN,
        outcome::QUOTA_EXCEEDED,
        // What is too much for that node need not be too much for this one, which has accepted it.
        outcome::INVALID_TASK,
    ]
    .contains(&code)
}

/// A peer has not begun an attempt, so it goes elsewhere at no loss.
fn refused(jobs: &Arc<Jobs>, job: &Arc<Job>, placed: &Placed, code: &str, unreachable: u32) {
    let is_lost = code == ProviderError::PEER_UNREACHABLE;
    let is_unable = [
        outcome::RUNTIME_UNAVAILABLE,
        outcome::MODULE_UNKNOWN,
        outcome::INVALID_TASK,
        ProviderError::FORBIDDEN,
        ProviderError::NO_PROVIDER,
    ]
    .contains(&code);
    let is_for_all = match code {
        // It may take tasks of this node's user and none of its tasks'.
        ProviderError::FORBIDDEN => !job.task.for_task,
        ProviderError::NO_PROVIDER => true,
        _ => !is_lost && !is_unable,
    };
    if is_for_all {
        jobs.placement.refused(placed);
    }
    if !is_lost {
        let mut state = job.state.lock();
        // Each candidate says no at most once: for good, or until the task is placed the next time.
        let list = if is_unable { &mut state.unable } else { &mut state.refused_by };
        list.push(placed.address.clone());
    }
    jobs.launch(job, unreachable + u32::from(is_lost));
}

/// Tells a peer that nobody waits for an attempt any more.
pub(super) fn cancel(jobs: &Arc<Jobs>, placed: &Placed, remote_id: &str) {
    jobs.placement.settle(placed, true);
    let message = to_json(&CancelTask { task_id: Some(Cow::Borrowed(remote_id)) });
    // It may just have ended, so an error means nothing.
    jobs.host.call_with(&addressed(&placed.address, &message, false), b"", drop);
}

/// The job that is behind a name which [`send`] has made.
pub(super) fn job_id(remote_id: &str) -> Option<JobId> {
    remote_id.rsplit('-').nth(1)?.parse().ok()
}

/// A message for another node; it says so when a task stands behind it.
pub(super) fn addressed(address: &str, json: &str, for_task: bool) -> String {
    let to = serde_json::to_string(address).unwrap_or_default();
    let behalf = if for_task { "\"behalf\":\"task\"," } else { "" };
    format!("{{\"to\":{to},{behalf}{}", json.get(1..).unwrap_or_default())
}
