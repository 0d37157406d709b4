//! One function a message: decode, look up who may, act, answer.

mod create;
mod report;
mod usage;

pub(crate) use report::{changes, process_ended, reserve_pids};

use crate::error::ProcessError;
use crate::processes::Processes;
use crate::table::{Actor, Filter, Pid, Table, name, pid_of};
use potluck_sdk::message::STATUS_OK;
use potluck_sdk::message::cpu::{SetTaskPriority, USAGE_PIDS_MAX};
use potluck_sdk::message::process::{
    CreateGroup, GroupCreated, GroupKilled, GroupSignalled, KillGroup, ListProcesses, PrioritySet, ProcessExit,
    ProcessInfo, ProcessInfoReply, ProcessList, ProcessSignalled, ProcessState, ProcessStateSet, ProcessTerminated,
    ProcessTree, ProcessTreeReply, SetPriority, SetProcessState, Signal, SignalGroup, SignalProcess, TerminateProcess,
    Tree, WaitProcess,
};
use potluck_sdk::message::to_json;
use potluck_sdk::{PendingReply, ProviderError, Reply, Request};
use serde::Serialize;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// Longest name of a process or a group, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// Longest wait, in seconds: a week. Who waits longer asks again.
const TIMEOUT_SECONDS_MAX: u64 = 7 * 86_400;
/// Page of LIST_PROCESSES when the message does not say.
const LIST_LIMIT_DEFAULT: usize = 100;
/// Longest page of LIST_PROCESSES: cpu can be asked for all of it.
const LIST_LIMIT_MAX: usize = USAGE_PIDS_MAX;
/// Most processes that CREATE_GROUP names.
const PIDS_MAX: usize = 10_000;

/// Answers one message.
pub(crate) fn answer(processes: &Arc<Processes>, request: Request<'_>, reply: Reply<'_>) {
    let actor = match Actor::of(&request, &processes.own_id) {
        Ok(actor) => actor,
        Err(error) => return reply.error(&error),
    };
    match request.message_type {
        "CREATE_PROCESS" => create::create(processes, &actor, request, reply),
        "TERMINATE_PROCESS" => terminate(processes, actor, request, reply),
        "SIGNAL_PROCESS" => signal(processes, actor, request, reply),
        "PROCESS_TREE" => tree(processes, &actor, request, reply),
        "PROCESS_INFO" => info(processes, &actor, request, reply),
        "LIST_PROCESSES" => list(processes, &actor, request, reply),
        "WAIT_PROCESS" => wait(processes, &actor, request, reply),
        "SET_PROCESS_STATE" => reply.result(set_state(processes, &actor, request)),
        "SET_PRIORITY" => set_priority(processes, &actor, request, reply),
        "CREATE_GROUP" => reply.result(create_group(processes, &actor, request)),
        "KILL_GROUP" => kill_group(processes, actor, request, reply),
        "SIGNAL_GROUP" => signal_group(processes, actor, request, reply),
        "LIST_GROUPS" => reply.send(&processes.look(|table| table.groups(&actor))),
        other => {
            let text = format!("process does not answer {other}");
            reply.error(&ProviderError::new(ProviderError::NO_PROVIDER, text));
        }
    }
}

fn terminate(processes: &Arc<Processes>, actor: Actor, request: Request<'_>, reply: Reply<'_>) {
    let pid =
        match request.parse::<TerminateProcess<'_>>().and_then(|message| Ok(required_pid(message.pid.as_deref())?)) {
            Ok(pid) => pid,
            Err(error) => return reply.error(&error),
        };
    end(processes, actor, pid, Signal::Terminate, reply.later(), move |terminated| ProcessTerminated {
        status: STATUS_OK,
        pid: name(pid).into(),
        terminated,
    });
}

/// Ends one process and what descends from it.
fn end<T: Serialize>(
    processes: &Arc<Processes>,
    actor: Actor,
    pid: Pid,
    signal: Signal,
    reply: PendingReply,
    body: impl FnOnce(usize) -> T + Send + 'static,
) {
    processes.stop(
        signal,
        move |table| Ok(vec![living(table, &actor, pid)?]),
        move |ended| match ended {
            Ok(ended) => reply.send(&body(ended)),
            Err(error) => reply.error(&error.into()),
        },
    );
}

fn signal(processes: &Arc<Processes>, actor: Actor, request: Request<'_>, reply: Reply<'_>) {
    let parsed = request.parse::<SignalProcess<'_>>().and_then(|message| {
        let pid = required_pid(message.pid.as_deref())?;
        Ok((pid, message.signal.ok_or(ProcessError::SignalRequired)?, message.tree))
    });
    let (pid, signal, tree) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return reply.error(&error),
    };
    let reply = reply.later();
    let body = move |signalled| ProcessSignalled { status: STATUS_OK, pid: name(pid).into(), signal, signalled };
    if let Signal::Terminate | Signal::Kill = signal {
        return end(processes, actor, pid, signal, reply, body);
    }
    processes.pause(
        signal,
        move |table| {
            let root = living(table, &actor, pid)?;
            Ok(if tree { table.with_descendants(&[root]) } else { vec![root] })
        },
        move |signalled| match signalled {
            Ok(signalled) => reply.send(&body(signalled)),
            Err(error) => reply.error(&error),
        },
    );
}

fn tree(processes: &Arc<Processes>, actor: &Actor, request: Request<'_>, reply: Reply<'_>) {
    let message: ProcessTree<'_> = match request.parse() {
        Ok(message) => message,
        Err(error) => return reply.error(&error),
    };
    let (tree, have_task) = processes.look(|table| {
        let mut tree = match given(&message.root_pid) {
            None => Some(Tree::Whole(table.forest(actor))),
            Some(root) => pid_of(root).filter(|root| actor.may_act(table, *root)).and_then(|root| table.tree(root)),
        };
        let have_task = match &mut tree {
            Some(tree) if message.usage => table.enter_exits(tree, USAGE_PIDS_MAX),
            _ => Vec::new(),
        };
        (tree, have_task)
    });
    let body = ProcessTreeReply { status: STATUS_OK.to_owned(), tree };
    usage::send_with(
        processes,
        body,
        have_task,
        |body, used| body.tree.iter_mut().for_each(|it| used.enter(it)),
        reply,
    );
}

fn info(processes: &Arc<Processes>, actor: &Actor, request: Request<'_>, reply: Reply<'_>) {
    let found = request.parse::<ProcessInfo<'_>>().and_then(|message| {
        let pid = required_pid(message.pid.as_deref())?;
        let process = processes.look(|table| {
            let mut facts =
                table.facts(visible(table, actor, pid)?).ok_or_else(|| ProcessError::NotFound(name(pid)))?;
            facts.task_data = table.get(pid).and_then(|entry| Some(entry.task_data.as_ref()?.json.clone()));
            Ok::<_, ProcessError>(facts)
        })?;
        Ok(ProcessInfoReply { status: STATUS_OK.to_owned(), process })
    });
    match found {
        Ok(body) => usage::send(processes, body, |body| std::slice::from_mut(&mut body.process), reply),
        Err(error) => reply.error(&error),
    }
}

fn list(processes: &Arc<Processes>, actor: &Actor, request: Request<'_>, reply: Reply<'_>) {
    let found =
        request.parse::<ListProcesses<'_>>().and_then(|message| Ok((page(processes, actor, &message)?, message.usage)));
    match found {
        Ok((list, true)) => usage::send(processes, list, |list| &mut list.processes, reply),
        Ok((list, false)) => reply.send(&list),
        Err(error) => reply.error(&error),
    }
}

fn page(processes: &Processes, actor: &Actor, message: &ListProcesses<'_>) -> Result<ProcessList, ProcessError> {
    let after = match given(&message.after) {
        Some(after) => Some(pid_of(after).ok_or_else(|| ProcessError::NotFound(shown(after)))?),
        None => None,
    };
    let limit = message.limit.unwrap_or(LIST_LIMIT_DEFAULT).clamp(1, LIST_LIMIT_MAX);
    let filter = Filter { state: message.state, group: given(&message.group_id), after, limit };
    let (page, next, total_processes) = processes.look(|table| {
        let (page, next) = table.list(actor, &filter);
        (page, next, table.total())
    });
    Ok(ProcessList { processes: page, next: next.map(name), total_processes })
}

fn wait(processes: &Arc<Processes>, actor: &Actor, request: Request<'_>, reply: Reply<'_>) {
    let parsed = request.parse::<WaitProcess<'_>>().and_then(|message| {
        let pid = required_pid(message.pid.as_deref())?;
        let timeout = message.timeout.map(|seconds| {
            let timeout = Duration::try_from_secs_f64(seconds).ok();
            timeout.filter(|timeout| timeout.as_secs() < TIMEOUT_SECONDS_MAX)
        });
        match timeout {
            Some(None) => Err(ProcessError::Timeout(TIMEOUT_SECONDS_MAX).into()),
            timeout => Ok((pid, timeout.flatten())),
        }
    });
    match parsed {
        Ok((pid, timeout)) => processes.wait(actor, pid, timeout, reply.later()),
        Err(error) => reply.error(&error),
    }
}

fn set_state(
    processes: &Arc<Processes>,
    actor: &Actor,
    request: Request<'_>,
) -> Result<ProcessStateSet<'static>, ProviderError> {
    let message: SetProcessState<'_> = request.parse()?;
    let pid = required_pid(message.pid.as_deref())?;
    let to = message.state.filter(|state| *state != ProcessState::Zombie).ok_or(ProcessError::StateRequired)?;
    let state = processes.change(|state, now, effects| {
        let table = &mut state.table;
        visible(table, actor, pid)?;
        if to == ProcessState::Terminated {
            living(table, actor, pid)?;
            if table.get(pid).is_some_and(|entry| entry.task.is_some()) {
                return Err(ProcessError::HasTask(name(pid)));
            }
            // What ends by itself has not been ended by a signal, whatever it says.
            let exit_code = message.exit_code.unwrap_or_default().clamp(0, 127);
            table.end(pid, ProcessExit { exit_code, unix_milliseconds: now, ..ProcessExit::default() }, effects);
        } else {
            table.step(pid, to, now)?;
        }
        Ok(table.get(pid).map_or(to, |entry| entry.state))
    })?;
    Ok(ProcessStateSet { status: STATUS_OK, pid: name(pid).into(), state })
}

fn set_priority(processes: &Arc<Processes>, actor: &Actor, request: Request<'_>, reply: Reply<'_>) {
    let parsed = request.parse::<SetPriority<'_>>().and_then(|message| {
        let pid = required_pid(message.pid.as_deref())?;
        Ok((pid, message.priority.ok_or(ProcessError::PriorityRequired)?))
    });
    let found = parsed.and_then(|(pid, priority)| {
        let has_task = processes.look(|table| {
            let pid = living(table, actor, pid)?;
            Ok::<_, ProcessError>(table.get(pid).is_some_and(|entry| entry.task.is_some()))
        })?;
        Ok((pid, priority, has_task))
    });
    let (pid, priority, has_task) = match found {
        Ok(found) => found,
        Err(error) => return reply.error(&error),
    };
    let this = Arc::clone(processes);
    let set = move || {
        this.change(|state, _, _| state.table.set_priority(pid, priority))?;
        Ok(PrioritySet { status: STATUS_OK, pid: name(pid).into(), priority })
    };
    if !has_task {
        return reply.result(set().map_err(|error: ProcessError| error.into()));
    }
    let reply = reply.later();
    let message = to_json(&SetTaskPriority { pid: Some(name(pid).into()), task_id: None, priority });
    processes.host.call_with(&message, b"", move |answer| match answer.and_then(|_| Ok(set()?)) {
        Ok(body) => reply.send(&body),
        Err(error) => reply.error(&error),
    });
}

fn create_group(
    processes: &Arc<Processes>,
    actor: &Actor,
    request: Request<'_>,
) -> Result<GroupCreated<'static>, ProviderError> {
    let message: CreateGroup<'_> = request.parse()?;
    let group_id = required_group(message.group_id.as_deref())?;
    if message.pids.len() > PIDS_MAX {
        return Err(ProcessError::Pids(PIDS_MAX).into());
    }
    let pids: Vec<Pid> = message.pids.iter().filter_map(|pid| pid_of(pid)).collect();
    let members = processes.change(|state, _, _| state.table.make_group(actor, &group_id, &pids))?;
    Ok(GroupCreated { status: STATUS_OK, group_id: group_id.into(), members })
}

fn kill_group(processes: &Arc<Processes>, actor: Actor, request: Request<'_>, reply: Reply<'_>) {
    let group_id =
        match request.parse::<KillGroup<'_>>().and_then(|message| Ok(required_group(message.group_id.as_deref())?)) {
            Ok(group_id) => group_id,
            Err(error) => return reply.error(&error),
        };
    end_group(processes, actor, group_id, Signal::Kill, reply.later(), |group_id, terminated| GroupKilled {
        status: STATUS_OK,
        group_id: group_id.into(),
        terminated,
    });
}

/// Ends the processes of a group.
fn end_group<T: Serialize>(
    processes: &Arc<Processes>,
    actor: Actor,
    group_id: String,
    signal: Signal,
    reply: PendingReply,
    body: impl FnOnce(String, usize) -> T + Send + 'static,
) {
    let named = group_id.clone();
    let now = processes.now();
    processes.stop(
        signal,
        move |table| {
            let members = table.members(&actor, &named);
            table.kill_group(&actor, &named, now);
            Ok(members)
        },
        move |ended| match ended {
            Ok(ended) => reply.send(&body(group_id, ended)),
            Err(error) => reply.error(&error.into()),
        },
    );
}

fn signal_group(processes: &Arc<Processes>, actor: Actor, request: Request<'_>, reply: Reply<'_>) {
    let parsed = request.parse::<SignalGroup<'_>>().and_then(|message| {
        let group_id = required_group(message.group_id.as_deref())?;
        Ok((group_id, message.signal.ok_or(ProcessError::SignalRequired)?))
    });
    let (group_id, signal) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return reply.error(&error),
    };
    let reply = reply.later();
    let body = move |group_id: String, signalled| GroupSignalled {
        status: STATUS_OK,
        group_id: group_id.into(),
        signal,
        signalled,
    };
    if let Signal::Terminate | Signal::Kill = signal {
        return end_group(processes, actor, group_id, signal, reply, body);
    }
    let named = group_id.clone();
    processes.pause(
        signal,
        move |table| Ok(table.members(&actor, &named)),
        move |signalled| match signalled {
            Ok(signalled) => reply.send(&body(group_id, signalled)),
            Err(error) => reply.error(&error),
        },
    );
}

/// A process that the asker may see.
fn visible(table: &Table, actor: &Actor, pid: Pid) -> Result<Pid, ProcessError> {
    // What one may not see is not there.
    if actor.may_act(table, pid) { Ok(pid) } else { Err(ProcessError::NotFound(name(pid))) }
}

/// A process that the asker may act on and that has not ended.
fn living(table: &Table, actor: &Actor, pid: Pid) -> Result<Pid, ProcessError> {
    visible(table, actor, pid)?;
    match table.get(pid) {
        Some(entry) if entry.is_alive() => Ok(pid),
        _ => Err(ProcessError::Ended(name(pid))),
    }
}

fn required_pid(pid: Option<&str>) -> Result<Pid, ProcessError> {
    let pid = pid.filter(|pid| !pid.is_empty()).ok_or(ProcessError::PidRequired)?;
    pid_of(pid).ok_or_else(|| ProcessError::NotFound(shown(pid)))
}

fn required_group(group: Option<&str>) -> Result<String, ProcessError> {
    let group = group.filter(|group| !group.is_empty()).ok_or(ProcessError::GroupRequired)?;
    plain("group_id", group)?;
    Ok(group.to_owned())
}

/// An optional text; an empty one is none.
fn given<'a>(text: &'a Option<Cow<'_, str>>) -> Option<&'a str> {
    text.as_deref().filter(|text| !text.is_empty())
}

/// Refuses texts that are no names.
fn plain(what: &'static str, text: &str) -> Result<(), ProcessError> {
    if text.len() > NAME_BYTES_MAX {
        return Err(ProcessError::TooLong { what, bytes: text.len(), max: NAME_BYTES_MAX });
    }
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(ProcessError::NotPlain(what));
    }
    Ok(())
}

/// As much of a name that nobody has as an error should show.
fn shown(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(NAME_BYTES_MAX).collect()
}
