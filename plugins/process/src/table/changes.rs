//! What cpu reports of tasks.

use super::{Effects, Entry, NewEntry, Pid, Table, TaskFacts, name, pid_of};
use crate::error::ProcessError;
use potluck_sdk::message::process::{Change, ChangeKind, ProcessExit, ProcessState, RESERVE_PIDS_MAX, Signal};
use std::sync::Arc;

/// Larger numbers are not handed out: JSON's numbers end here.
const PID_MAX: Pid = 1 << 53;
/// Longest text that is kept of a report, in bytes: a reason, a function's name, an error's first line.
const TEXT_BYTES_MAX: usize = 256;

impl Table {
    /// Takes one change in. What is not known, or cannot be, is passed over.
    pub(crate) fn apply(&mut self, change: &Change<'_>, now: u64, effects: &mut Effects) {
        let Some(pid) = pid_of(&change.pid).filter(|pid| *pid < PID_MAX) else { return };
        let at = if change.unix_milliseconds == 0 { now } else { change.unix_milliseconds };
        match change.change {
            ChangeKind::Created => self.reported(pid, change, at, effects),
            ChangeKind::State => self.changed(pid, change, at),
            ChangeKind::Ended => {
                let exit = ProcessExit {
                    exit_code: change.exit_code.unwrap_or(i32::from(!change.outcome.is_empty())),
                    outcome: cut(&change.outcome).to_owned(),
                    error: cut(&change.error).to_owned(),
                    cpu_seconds: change.cpu_seconds,
                    peak_memory_bytes: change.peak_memory_bytes,
                    context_switches: change.context_switches,
                    unix_milliseconds: at,
                };
                if self.get(pid).is_some_and(|entry| entry.task.is_some()) {
                    self.end(pid, exit, effects);
                }
            }
            ChangeKind::Joined => self.reap(pid, at),
        }
    }

    fn reported(&mut self, pid: Pid, change: &Change<'_>, at: u64, effects: &mut Effects) {
        if self.entries.contains_key(&pid) {
            return self.confirmed(pid, change, effects);
        }
        if self.alive() >= self.limits.entries_max {
            self.untracked += 1;
            return;
        }
        // Names that an earlier run of this table has handed out: cpu may hold some more of them.
        if pid >= self.next {
            self.next = pid + RESERVE_PIDS_MAX + 1;
        }
        let (mut parent, mut doom) = (pid_of(&change.parent_pid), None);
        if let Some(entry) = parent.and_then(|parent| self.entries.get(&parent)) {
            doom = entry.doomed;
            if !entry.is_alive() {
                parent = None;
            }
        } else {
            parent = None;
        }
        let group = Some(&*change.group_id).filter(|group| !group.is_empty() && group.len() <= TEXT_BYTES_MAX);
        if let Some(group) = group
            && self.groups.is_killed(group, at)
        {
            doom = doom.or(Some(Signal::Kill));
        }
        let requested_by = if change.requested_by.is_empty() { "local" } else { cut(&change.requested_by) };
        let new = NewEntry {
            parent,
            group: None,
            priority: change.priority,
            name: "",
            requested_by,
            creator: None,
            has_task: true,
            task_data: None,
        };
        let words = (self.word(requested_by), self.word(cut(&change.runtime)));
        let mut entry = Entry::new(&new, words.0, at);
        entry.task = Some(Box::new(task_facts(change, words.1)));
        // One that is to end joins no group.
        if doom.is_none() {
            entry.group = group.and_then(|group| self.groups.join(group, pid, requested_by, &self.limits).ok());
        }
        entry.doomed = doom;
        self.insert(pid, entry, parent);
        effects.signals.extend(doom.map(|signal| (pid, signal)));
    }

    /// cpu knows now of a process that CREATE_PROCESS has made.
    fn confirmed(&mut self, pid: Pid, change: &Change<'_>, effects: &mut Effects) {
        let runtime = self.word(cut(&change.runtime));
        let Some(entry) = self.entries.get_mut(&pid) else { return };
        match &mut entry.task {
            Some(task) if !task.is_reported => **task = task_facts(change, runtime),
            _ => return,
        }
        // It was told to end before cpu could have heard of it.
        if let Some(signal) = entry.doomed {
            effects.signals.push((pid, signal));
        }
    }

    fn changed(&mut self, pid: Pid, change: &Change<'_>, at: u64) {
        let Some(state @ (ProcessState::Ready | ProcessState::Running | ProcessState::Waiting)) = change.state else {
            return;
        };
        let Some(entry) = self.entries.get_mut(&pid).filter(|entry| entry.is_alive()) else { return };
        let Some(task) = &mut entry.task else { return };
        // Also when it is nowhere else any more: a peer has refused it, or given it back.
        if *task.executed_by != *change.executed_by {
            task.executed_by = cut(&change.executed_by).into();
        }
        if *entry.reason != *change.reason {
            entry.reason = cut(&change.reason).into();
        }
        self.set_state(pid, state, at);
    }

    /// Another priority, of which cpu knows.
    pub(crate) fn set_priority(&mut self, pid: Pid, priority: i64) -> Result<(), ProcessError> {
        let entry = self.entries.get_mut(&pid).ok_or_else(|| ProcessError::NotFound(name(pid)))?;
        entry.priority = priority;
        self.news.note(pid, entry);
        Ok(())
    }
}

fn task_facts(change: &Change<'_>, runtime: Arc<str>) -> TaskFacts {
    TaskFacts {
        task_id: cut(&change.task_id).into(),
        function: cut(&change.function).into(),
        runtime,
        executed_by: cut(&change.executed_by).into(),
        is_reported: true,
    }
}

/// The beginning of a text.
fn cut(text: &str) -> &str {
    if text.len() <= TEXT_BYTES_MAX {
        return text;
    }
    let mut end = TEXT_BYTES_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
