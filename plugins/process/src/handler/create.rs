//! CREATE_PROCESS: an entry for the books, or one whose task cpu runs.

use super::{given, plain, shown};
use crate::error::{NOT_FOUND, ProcessError};
use crate::processes::Processes;
use crate::table::{Actor, NewEntry, Pid, name, pid_of};
use potluck_sdk::message::cpu::CpuResult;
use potluck_sdk::message::process::{CreateProcess, ProcessCreated};
use potluck_sdk::message::{RawValue, STATUS_OK};
use potluck_sdk::{PendingReply, ProviderError, Reply, Request, Response};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// Largest `task_data`, in bytes of JSON text: what belongs to an entry is a few facts.
const TASK_DATA_BYTES_MAX: usize = 64 << 10;
/// How long after its result the report of a task's end may come.
const REPORT_LIMIT: Duration = Duration::from_secs(1);
/// Members of a task's body that are not its own: those of every message, and what this provider says.
const FOREIGN: [&str; 9] =
    ["type", "id", "to", "attachment", "behalf", "pid", "parent_pid", "group_id", "requested_by"];

pub(super) fn create(processes: &Arc<Processes>, actor: &Actor, request: Request<'_>, reply: Reply<'_>) {
    let message: CreateProcess<'_> = match request.parse() {
        Ok(message) => message,
        Err(error) => return reply.error(&error),
    };
    let pid = match enter(processes, actor, &message) {
        Ok(pid) => pid,
        Err(error) => return reply.error(&error.into()),
    };
    match message.task {
        None => reply.send(&created(pid)),
        Some(task) => match task_message(processes, actor, pid, task, &message) {
            Ok(json) => run(processes, pid, &json, request.attachment, reply.later()),
            Err(error) => {
                take_back(processes, pid, &error.to_string());
                reply.error(&error.into());
            }
        },
    }
}

/// Puts the process into the table.
fn enter(processes: &Arc<Processes>, actor: &Actor, message: &CreateProcess<'_>) -> Result<Pid, ProcessError> {
    if message.task.is_some() && matches!(actor, Actor::Task(_)) {
        return Err(ProcessError::TaskForbidden);
    }
    if let Some(group) = given(&message.group_id) {
        plain("group_id", group)?;
    }
    if let Some(name) = given(&message.name) {
        plain("name", name)?;
    }
    let bytes = message.task_data.map_or(0, |data| data.get().len());
    if bytes > TASK_DATA_BYTES_MAX {
        return Err(ProcessError::TooLong { what: "task_data", bytes, max: TASK_DATA_BYTES_MAX });
    }
    processes.change(|state, now, _| {
        let own = actor.own_process(&state.table);
        let parent = match given(&message.parent_pid) {
            Some(parent) => {
                let unknown = || ProcessError::NoParent(shown(parent));
                let pid = pid_of(parent).ok_or_else(unknown)?;
                Some(pid).filter(|pid| actor.may_act(&state.table, *pid)).ok_or_else(unknown)?.into()
            }
            None => own,
        };
        let new = NewEntry {
            parent,
            group: given(&message.group_id),
            priority: message.priority.unwrap_or_default(),
            name: message.name.as_deref().unwrap_or_default(),
            requested_by: actor.word(),
            creator: if own.is_none() { actor.creator() } else { None },
            has_task: message.task.is_some(),
            task_data: message.task_data.map(ToOwned::to_owned),
        };
        state.table.create(new, now)
    })
}

/// The CPU_TASK for cpu.
fn task_message(
    processes: &Arc<Processes>,
    actor: &Actor,
    pid: Pid,
    task: &RawValue,
    message: &CreateProcess<'_>,
) -> Result<String, ProcessError> {
    let mut members: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(task.get()).map_err(|_| ProcessError::TaskNoObject)?;
    members.retain(|key, _| !FOREIGN.contains(&key.as_str()));
    let mut put = |key: &str, value: serde_json::Value| {
        if let Ok(value) = RawValue::from_string(value.to_string()) {
            members.insert(key.to_owned(), value);
        }
    };
    put("type", "CPU_TASK".into());
    put("pid", name(pid).into());
    // cpu would take what comes from here for the local user's.
    if let Actor::Peer(peer) = actor {
        put("requested_by", peer.as_str().into());
    }
    if let Some(parent) = processes.look(|table| table.get(pid).and_then(|entry| entry.parent)) {
        put("parent_pid", name(parent).into());
    }
    if let Some(group) = given(&message.group_id) {
        put("group_id", group.into());
    }
    if let Some(priority) = message.priority {
        put("priority", priority.into());
    }
    serde_json::to_string(&members).map_err(|_| ProcessError::TaskNoObject)
}

/// Nothing has been answered yet.
const OPEN: u8 = 0;
/// CREATE_PROCESS is answered with the name.
const ANSWERED: u8 = 1;
/// cpu has refused the task before that.
const REFUSED: u8 = 2;

/// Gives the task to cpu, and answers with the name as soon as cpu has it; its result is that of the process.
fn run(processes: &Arc<Processes>, pid: Pid, json: &str, attachment: &[u8], reply: PendingReply) {
    let progress = Arc::new(AtomicU8::new(OPEN));
    let refusal = Arc::new(parking_lot::Mutex::new(None));
    let (this, shared, place) = (Arc::clone(processes), Arc::clone(&progress), Arc::clone(&refusal));
    processes.host.call_with(json, attachment, move |answer| match answer {
        Ok(answer) => finished(&this, pid, &answer),
        Err(error) => {
            *place.lock() = Some(error.clone());
            if shared.compare_exchange(OPEN, REFUSED, Ordering::SeqCst, Ordering::SeqCst).is_err() {
                this.give_up(pid, &error.message);
            }
        }
    });
    if progress.compare_exchange(OPEN, ANSWERED, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
        return reply.send(&created(pid));
    }
    let error = refusal.lock().take().unwrap_or_else(|| ProviderError::new(NOT_FOUND, "the task was refused"));
    take_back(processes, pid, &error.message);
    reply.error(&error);
}

fn take_back(processes: &Arc<Processes>, pid: Pid, error: &str) {
    processes.change(|state, now, effects| state.table.take_back(pid, error, now, effects));
}

/// The result is there. How it ended is in cpu's report, which comes at about the same time; without one it is this.
fn finished(processes: &Arc<Processes>, pid: Pid, answer: &Response) {
    let error = match serde_json::from_str::<CpuResult<'_>>(&answer.json) {
        Ok(result) => result.error.map(|error| error.into_owned()),
        Err(_) => Some("cpu's answer cannot be read".to_owned()),
    };
    if processes.look(|table| table.get(pid).is_none_or(|entry| !entry.is_alive())) {
        return;
    }
    let this = Arc::clone(processes);
    processes.host.run_after(REPORT_LIMIT, move || match error {
        Some(error) => this.give_up(pid, &error),
        None => this.end_well(pid),
    });
}

fn created(pid: Pid) -> ProcessCreated<'static> {
    ProcessCreated { status: STATUS_OK, pid: name(pid).into() }
}
