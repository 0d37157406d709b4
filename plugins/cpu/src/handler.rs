//! One function a message: decode, act, reply.

use crate::batch::{Batch, TASKS_MAX};
use crate::calls;
use crate::install::Installer;
use crate::job::{Answer, JobId, refusal_json};
use crate::jobs::{Jobs, Meant};
use crate::pool::Usage;
use crate::runtime::RuntimeKey;
use crate::scheduler::{AVAILABLE, Options};
use crate::task::Task;
use parking_lot::Mutex;
use potluck_sdk::message::STATUS_OK;
use potluck_sdk::message::cpu::{
    BatchTask, CancelTask, CpuTask, SandboxImageList, SandboxInstall, SandboxInstalled, SandboxRemove, SandboxRemoved,
    SetTaskPriority, SignalTask, TaskCancelled, TaskDone, TaskProgress, TaskUsage, TaskUsed, TasksUsed, USAGE_PIDS_MAX,
    outcome,
};
use potluck_sdk::message::process::ProcessUsage;
use potluck_sdk::message::scheduler::{CHANGED_TOPIC, SchedulerSet, SchedulerState, SchedulerStatistics, SetScheduler};
use potluck_sdk::{Caller, ProviderError, Reply, Request};
use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

/// CPU_TASK.
pub(crate) fn cpu_task(jobs: &Arc<Jobs>, request: Request<'_>, reply: Reply<'_>) {
    let message = match request.parse::<CpuTask>() {
        Ok(message) => message,
        Err(error) => return reply.error(&error),
    };
    match Task::read(message, request.caller, &jobs.own_id, &jobs.config, &jobs.estimates) {
        Ok(task) => {
            let id = jobs.next_id();
            let reply = reply.later();
            let abandoned = Arc::clone(jobs);
            // Nobody waits for the result any more, so nobody needs the work.
            reply.on_cancel(move || {
                abandoned.cancel(id);
            });
            begin(jobs, id, task, Answer::Reply(reply), request.attachment);
        }
        Err(refusal) => {
            let json =
                refusal_json(&refusal.task_id, &refusal.runtime, refusal.code, &refusal.text, &jobs.own_address());
            reply.send_json(json.into_bytes());
        }
    }
}

/// Begins a task, once its guest is here if it has one.
pub(crate) fn begin(jobs: &Arc<Jobs>, id: JobId, mut task: Task, answer: Answer, attachment: &[u8]) {
    if task.runtime != RuntimeKey::Wasm {
        if attachment.is_empty() {
            return jobs.begin(id, task, answer);
        }
        let text = format!("the runtime \"{}\" takes no attachment; a guest goes with \"wasm\"", task.runtime.name());
        return jobs.turn_away(&task, answer, outcome::INVALID_TASK, &text);
    }
    let named = task.module_named.take();
    if !attachment.is_empty() {
        jobs.await_guest(id, task, answer);
        return begin_sent_guests(jobs, vec![(id, named)], attachment);
    }
    let named = named.ok_or_else(|| {
        let text = "a task for the runtime \"wasm\" needs its guest as the attachment, or `module_sha256`";
        (outcome::INVALID_TASK, text.to_owned())
    });
    match named.and_then(|sha256| jobs.modules.find(&sha256)) {
        Ok(module) => {
            jobs.give_guest(&mut task, module);
            jobs.begin(id, task, answer);
        }
        Err((code, text)) => jobs.turn_away(&task, answer, code, &text),
    }
}

/// Begins tasks whose guest has come as the attachment, and what they call it. It is kept once for all of them.
fn begin_sent_guests(jobs: &Arc<Jobs>, tasks: Vec<(JobId, Option<String>)>, attachment: &[u8]) {
    let (jobs, attachment) = (Arc::clone(jobs), attachment.to_vec());
    // To keep it may block.
    jobs.host.clone().spawn_blocking(move || {
        let kept = jobs.modules.keep(&attachment);
        drop(attachment);
        for (id, named) in tasks {
            let module = match (&kept, named) {
                (Ok(module), Some(named)) if *named != *module.sha256 => {
                    Err((outcome::INVALID_TASK, "`module_sha256` is not the SHA-256 of the attachment".to_owned()))
                }
                (Ok(module), _) => jobs.modules.find(&module.sha256),
                (Err((code, text)), _) => Err((*code, text.clone())),
            };
            jobs.guest_came(id, module);
        }
    });
}

/// BATCH_TASK.
pub(crate) fn batch_task(jobs: &Arc<Jobs>, request: Request<'_>, reply: Reply<'_>) {
    let message = match request.parse::<BatchTask>() {
        Ok(message) => message,
        Err(error) => return reply.error(&error),
    };
    if message.tasks.is_empty() {
        return reply.error(&ProviderError::invalid("No tasks provided"));
    }
    if message.tasks.len() > TASKS_MAX {
        return reply
            .error(&ProviderError::invalid(format!("a batch may have at most {TASKS_MAX} tasks; send several")));
    }
    let tasks: Vec<_> = message.tasks.iter().map(|task| read_one(jobs, task.get(), request.caller)).collect();
    let is_guest = |task: &Result<Task, String>| task.as_ref().is_ok_and(|task| task.runtime == RuntimeKey::Wasm);
    // When none can be read, each says why.
    if !request.attachment.is_empty() && tasks.iter().any(Result::is_ok) && !tasks.iter().any(is_guest) {
        let text = "no task of the batch takes the attachment; a guest goes with the runtime \"wasm\"";
        return reply.error(&ProviderError::invalid(text));
    }
    let reply = reply.later();
    let begun: Arc<Mutex<Vec<JobId>>> = Arc::default();
    let (abandoned, ids) = (Arc::clone(jobs), Arc::clone(&begun));
    let cancel_all = Arc::new(move || {
        // Not locked while they are cancelled: that may come back here.
        let begun = std::mem::take(&mut *ids.lock());
        for id in begun {
            abandoned.cancel(id);
        }
    });
    let (gone, given_up) = (Arc::clone(&cancel_all), cancel_all);
    reply.on_cancel(move || gone());
    let batch = Arc::new(Batch::new(message.tasks.len(), reply, Box::new(move || given_up())));
    let mut with_sent_guest = Vec::new();
    for (index, task) in tasks.into_iter().enumerate() {
        let answer = Answer::Batch(Arc::clone(&batch), index);
        match task {
            Ok(task) => {
                let id = jobs.next_id();
                begun.lock().push(id);
                // The attachment is the guest of those that name none.
                if task.runtime == RuntimeKey::Wasm && task.module_named.is_none() && !request.attachment.is_empty() {
                    jobs.await_guest(id, task, answer);
                    with_sent_guest.push((id, None));
                } else {
                    begin(jobs, id, task, answer, &[]);
                }
            }
            Err(json) => answer.give(json, Vec::new()),
        }
    }
    if !with_sent_guest.is_empty() {
        begin_sent_guests(jobs, with_sent_guest, request.attachment);
    }
}

fn read_one(jobs: &Arc<Jobs>, json: &str, caller: Caller<'_>) -> Result<Task, String> {
    let refuse = |task_id: &str, runtime: &str, code: &str, text: &str| {
        refusal_json(task_id, runtime, code, text, &jobs.own_address())
    };
    let message: CpuTask = serde_json::from_str(json).map_err(|error| {
        refuse("unknown", "", ProviderError::INVALID_MESSAGE, &format!("the task cannot be read: {error}"))
    })?;
    Task::read(message, caller, &jobs.own_id, &jobs.config, &jobs.estimates)
        .map_err(|refusal| refuse(&refusal.task_id, &refusal.runtime, refusal.code, &refusal.text))
}

/// CANCEL_TASK.
pub(crate) fn cancel_task(jobs: &Arc<Jobs>, request: Request<'_>, reply: Reply<'_>) {
    let message = match request.parse::<CancelTask>() {
        Ok(message) => message,
        Err(error) => return reply.error(&error),
    };
    let task_id = message.task_id.unwrap_or_default();
    if task_id.is_empty() {
        return reply.error(&ProviderError::invalid("task_id required"));
    }
    // Others may stop what they have sent, and are told no more of the rest than that it is not theirs to stop.
    if jobs.cancel_named(&task_id, other_node(request.caller)) == 0 {
        let shown: String = task_id.chars().take(256).collect();
        let text = format!("Task {shown} not found; it has ended or was never sent to this node");
        return reply.error(&ProviderError::new("task_not_found", text));
    }
    reply.send(&TaskCancelled { status: "CANCELLED", task_id: &task_id });
}

/// SIGNAL_TASK.
pub(crate) fn signal_task(jobs: &Arc<Jobs>, request: Request<'_>, reply: Reply<'_>) {
    let done = request.parse::<SignalTask>().and_then(|message| {
        let meant = meant(&request, message.pid.as_deref(), message.task_id.as_deref())?;
        found(jobs.signal(&meant, message.signal))
    });
    reply.result(done);
}

/// SET_TASK_PRIORITY.
pub(crate) fn set_task_priority(jobs: &Arc<Jobs>, request: Request<'_>, reply: Reply<'_>) {
    let done = request.parse::<SetTaskPriority>().and_then(|message| {
        let meant = meant(&request, message.pid.as_deref(), message.task_id.as_deref())?;
        found(jobs.set_priority(&meant, message.priority))
    });
    reply.result(done);
}

/// TASK_USAGE.
pub(crate) fn task_usage(jobs: &Arc<Jobs>, request: Request<'_>, reply: Reply<'_>) {
    let found = request.parse::<TaskUsage>().and_then(|message| {
        if message.pids.len() > USAGE_PIDS_MAX {
            let text = format!("`pids` may name at most {USAGE_PIDS_MAX} processes; ask several times");
            return Err(ProviderError::invalid(text));
        }
        Ok(jobs.attempts_here(message.pids.iter().map(AsRef::as_ref)))
    });
    let attempts = match found {
        Ok(attempts) if attempts.is_empty() => return reply.send(&TasksUsed::default()),
        Ok(attempts) => attempts,
        Err(error) => return reply.error(&error),
    };
    let (jobs, reply) = (Arc::clone(jobs), reply.later());
    // Files of /proc are read for each.
    jobs.host.clone().spawn_blocking(move || {
        let used = attempts.iter().filter_map(|(pid, attempt)| {
            let Usage { cpu_seconds, memory_bytes, context_switches } = jobs.pool.usage(*attempt)?;
            let usage = ProcessUsage { cpu_seconds, memory_bytes, context_switches: u64::from(context_switches) };
            Some(TaskUsed { pid: Cow::Borrowed(pid), usage })
        });
        reply.send(&TasksUsed { tasks: used.collect() });
    });
}

/// TASK_PROGRESS, from the peer that runs a task of this node's.
pub(crate) fn task_progress(jobs: &Arc<Jobs>, request: Request<'_>, reply: Reply<'_>) {
    let done = request.parse::<TaskProgress>().and_then(calls::checked).and_then(|progress| {
        let remote_id = progress.task_id.as_deref().unwrap_or_default();
        let is_there = other_node(request.caller).is_some_and(|peer| jobs.progressed_there(peer, remote_id, &progress));
        found(usize::from(is_there))
    });
    reply.result(done);
}

/// The tasks that a message is about. Another node names its own by the names that it has given them.
fn meant<'a>(
    request: &Request<'a>,
    pid: Option<&'a str>,
    task_id: Option<&'a str>,
) -> Result<Meant<'a>, ProviderError> {
    let peer = other_node(request.caller);
    let filled = |name: Option<&'a str>| name.filter(|name| !name.is_empty());
    match (filled(pid), filled(task_id)) {
        (Some(pid), None) if peer.is_none() => Ok(Meant::Process(pid)),
        (None, Some(task_id)) => Ok(Meant::Named(task_id, peer)),
        _ if peer.is_some() => Err(ProviderError::invalid("task_id required, as you have called the task")),
        _ => Err(ProviderError::invalid("either pid or task_id required")),
    }
}

fn found(count: usize) -> Result<TaskDone<'static>, ProviderError> {
    if count == 0 {
        let text = "there is no such task; it has ended or was never sent to this node";
        return Err(ProviderError::new("not_found", text));
    }
    Ok(TaskDone { status: STATUS_OK })
}

/// The other node that a message comes from, or that the task behind it works for.
fn other_node(caller: Caller<'_>) -> Option<&str> {
    match caller {
        Caller::Member(peer_id) | Caller::Task(peer_id) => Some(peer_id),
        Caller::Local | Caller::Plugin(_) | Caller::Web(_) => None,
    }
}

/// SET_SCHEDULER.
pub(crate) fn set_scheduler(jobs: &Arc<Jobs>, request: Request<'_>, reply: Reply<'_>) {
    let chosen = request.parse::<SetScheduler>().and_then(|message| {
        let name = message.algorithm.filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| ProviderError::invalid("algorithm required"))?;
        let options = Options::read(message.quantum_ms, message.preemptive, message.ageing_seconds);
        options.and_then(|options| jobs.config.choose(&name, options)).map_err(ProviderError::invalid)
    });
    match chosen {
        Ok(algorithm) => {
            jobs.pool.set_algorithm(algorithm);
            let scheduler = algorithm.choice();
            jobs.host.publish(CHANGED_TOPIC, &scheduler);
            reply.send(&SchedulerSet { status: STATUS_OK.into(), scheduler });
        }
        Err(error) => reply.error(&error),
    }
}

/// GET_SCHEDULER.
pub(crate) fn get_scheduler(jobs: &Arc<Jobs>, reply: Reply<'_>) {
    let (load, scheduling) = (jobs.pool.load(), jobs.pool.scheduling());
    let statistics = scheduling.statistics.iter().map(|measured| SchedulerStatistics {
        algorithm: measured.algorithm.to_owned(),
        in_force_seconds: measured.seconds,
        tasks: measured.completed,
        average_waiting_seconds: measured.average_waiting_seconds,
        average_turnaround_seconds: measured.average_turnaround_seconds,
        average_response_seconds: measured.average_response_seconds,
        throughput_per_second: measured.throughput_per_second,
        context_switches: measured.context_switches,
        preemptions: measured.preemptions,
        average_queue: measured.average_queue,
        longest_queue: measured.queue_max,
    });
    reply.send(&SchedulerState {
        scheduler: jobs.pool.algorithm().choice(),
        available: AVAILABLE.split(", ").map(str::to_owned).collect(),
        slots: load.slots,
        running: load.begun,
        queued: load.not_running(),
        suspended: scheduling.suspended,
        statistics: statistics.collect(),
    });
}

/// SANDBOX_IMAGES.
pub(crate) fn sandbox_images(jobs: &Arc<Jobs>, reply: Reply<'_>) {
    let (jobs, reply) = (Arc::clone(jobs), reply.later());
    // Looking through folders may block.
    jobs.host.clone().spawn_blocking(move || reply.send(&SandboxImageList { images: jobs.images.list() }));
}

/// SANDBOX_INSTALL.
pub(crate) fn sandbox_install(jobs: &Arc<Jobs>, request: Request<'_>, reply: Reply<'_>) {
    let read = request.parse::<SandboxInstall>().and_then(|message| {
        let name = message.image.filter(|name| !name.is_empty());
        let wheel = message.wheel.filter(|wheel| !wheel.is_empty()).map(|wheel| PathBuf::from(wheel.into_owned()));
        if wheel.as_ref().is_some_and(|wheel| !wheel.is_absolute()) {
            return Err(ProviderError::invalid("`wheel` must be an absolute path on the node's machine"));
        }
        let name = name.ok_or_else(|| ProviderError::invalid("image required"))?;
        Ok((name.into_owned(), wheel))
    });
    let (name, wheel) = match read {
        Ok(read) => read,
        Err(error) => return reply.error(&error),
    };
    let (jobs, reply, run) = (Arc::clone(jobs), reply.later(), jobs.tools.begin());
    let called_off = Arc::clone(&run);
    reply.on_cancel(move || called_off.cancel());
    jobs.host.clone().spawn_blocking(move || {
        let installer = Installer { host: jobs.host, images: &jobs.images, run: &run, python: &jobs.config.python };
        match installer.install(&name, wheel.as_deref()) {
            Ok(image) => {
                // Whoever was told that it is missing may try again at once.
                jobs.reuse.images_changed();
                jobs.pool.retire(&RuntimeKey::Sandbox(name.as_str().into()));
                reply.send(&SandboxInstalled { image });
            }
            Err(error) => reply.error(&error),
        }
    });
}

/// SANDBOX_REMOVE.
pub(crate) fn sandbox_remove(jobs: &Arc<Jobs>, request: Request<'_>, reply: Reply<'_>) {
    let named = request.parse::<SandboxRemove>().and_then(|message| {
        let name = message.image.filter(|name| !name.is_empty());
        name.map(|name| name.into_owned()).ok_or_else(|| ProviderError::invalid("image required"))
    });
    let name = match named {
        Ok(name) => name,
        Err(error) => return reply.error(&error),
    };
    let (jobs, reply, run) = (Arc::clone(jobs), reply.later(), jobs.tools.begin());
    let called_off = Arc::clone(&run);
    reply.on_cancel(move || called_off.cancel());
    jobs.host.clone().spawn_blocking(move || match jobs.images.remove(&name, &run) {
        Ok(()) => {
            jobs.reuse.images_changed();
            jobs.pool.retire(&RuntimeKey::Sandbox(name.as_str().into()));
            reply.send(&SandboxRemoved { status: "REMOVED", image: &name });
        }
        Err(error) => reply.error(&error),
    });
}
