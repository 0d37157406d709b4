//! What cpu, and other nodes, report of processes.

use super::shown;
use crate::error::ProcessError;
use crate::processes::Processes;
use crate::table::pid_of;
use potluck_sdk::message::process::{
    CHANGES_MAX, ENDED_TOPIC, PidsReserved, ProcessChanges, ProcessEnded, RESERVE_PIDS_MAX, ReportEnded, ReservePids,
};
use potluck_sdk::{Caller, Reply, Request};
use std::sync::Arc;

/// The reply to what needs no other.
const OK: &[u8] = br#"{"type":"STATUS","status":"OK"}"#;
/// Longest reason that is passed on, in bytes.
const REASON_BYTES_MAX: usize = 256;

/// PROCESS_CHANGES: the one message of this provider that comes for every task.
pub(crate) fn changes(processes: &Arc<Processes>, request: Request<'_>, reply: Reply<'_>) {
    let message: ProcessChanges<'_> = match request.parse() {
        Ok(message) => message,
        Err(error) => return reply.error(&error),
    };
    if message.changes.len() > CHANGES_MAX {
        return reply.error(&ProcessError::Changes(CHANGES_MAX).into());
    }
    processes.change(|state, now, effects| {
        for change in &message.changes {
            state.table.apply(change, now, effects);
        }
    });
    reply.send_json(OK.to_vec());
}

/// RESERVE_PIDS
pub(crate) fn reserve_pids(processes: &Arc<Processes>, request: Request<'_>, reply: Reply<'_>) {
    reply.result(request.parse::<ReservePids>().and_then(|message| {
        if !(1..=RESERVE_PIDS_MAX).contains(&message.count) {
            return Err(ProcessError::Count(RESERVE_PIDS_MAX).into());
        }
        let first = processes.change(|state, _, _| state.table.reserve(message.count));
        Ok(PidsReserved { first, count: message.count })
    }));
}

/// PROCESS_ENDED: a process has ended of which this table knows nothing.
pub(crate) fn process_ended(processes: &Arc<Processes>, request: Request<'_>, reply: Reply<'_>) {
    let message: ReportEnded<'_> = match request.parse() {
        Ok(message) => message,
        Err(error) => return reply.error(&error),
    };
    let pid = match request.process_name(&processes.own_id, message.pid.as_deref()) {
        Ok(pid) => pid,
        Err(error) => return reply.error(&error),
    };
    // Of its own processes this node knows better; a provider says what it knows.
    let is_own = pid_of(&pid).is_some_and(|pid| processes.look(|table| table.get(pid).is_some()));
    if is_own && !matches!(request.caller, Caller::Plugin(_)) {
        return reply.error(&ProcessError::InTable(pid).into());
    }
    let reason: String = shown(&message.reason).chars().take(REASON_BYTES_MAX).collect();
    let reason = if reason.is_empty() { "it has ended".to_owned() } else { reason };
    processes.host.publish(ENDED_TOPIC, &ProcessEnded { pid: pid.into(), reason: reason.into() });
    reply.send_json(OK.to_vec());
}
