//! Signals: what they do at once to entries without a task, and which tasks cpu has to be asked about.

use super::{Effects, Pid, Table, name};
use crate::error::ProcessError;
use potluck_sdk::message::process::{ProcessExit, ProcessState, Signal};
use std::collections::HashSet;

/// The reason of a process that is paused.
pub(crate) const PAUSED: &str = "paused";

/// Processes that are told to end.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Stopping {
    /// How many have ended already.
    pub(crate) ended: usize,
    /// Those whose tasks have not.
    pub(crate) pending: Vec<Pid>,
}

/// Processes that are paused or resumed.
#[derive(Debug, Default)]
pub(crate) struct Pausing {
    /// How many are, already.
    pub(crate) done: usize,
    /// Those that cpu has to be asked about.
    pub(crate) tasks: Vec<Pid>,
    /// Why the last one is not that could not be.
    pub(crate) refused: Option<ProcessError>,
}

impl Table {
    /// These and all that descend from them, as far as they live; children first.
    pub(crate) fn with_descendants(&self, roots: &[Pid]) -> Vec<Pid> {
        let mut seen = HashSet::new();
        let mut order = Vec::new();
        let mut stack = roots.to_vec();
        while let Some(pid) = stack.pop() {
            let Some(entry) = self.entries.get(&pid).filter(|entry| entry.is_alive()) else { continue };
            if !seen.insert(pid) {
                continue;
            }
            order.push(pid);
            stack.extend(&entry.children);
        }
        // A root may be the descendant of another one that was met later, but a parent never comes before its parent.
        order.reverse();
        order
    }

    /// Ends processes and all that descend from them: in the table children first, tasks are asked for parents first.
    pub(crate) fn terminate(&mut self, roots: &[Pid], signal: Signal, now: u64, effects: &mut Effects) -> Stopping {
        let mut stopping = Stopping::default();
        let mut taskless = Vec::new();
        let first_signal = effects.signals.len();
        // All are marked before the first ends, so that nobody takes those along whose turn is still to come.
        for pid in self.with_descendants(roots) {
            let Some(entry) = self.entries.get_mut(&pid) else { continue };
            let is_news = match entry.doomed {
                None => true,
                Some(before) => signal == Signal::Kill && before != Signal::Kill,
            };
            if is_news {
                entry.doomed = Some(signal);
            }
            if entry.task.is_none() {
                taskless.push(pid);
                continue;
            }
            stopping.pending.push(pid);
            if is_news {
                effects.signals.push((pid, signal));
            }
        }
        // Parents before their children: one that waits for a child must not go on with what that left.
        effects.signals[first_signal..].reverse();
        stopping.ended = taskless.len();
        for pid in taskless {
            let exit = ProcessExit { exit_code: signal.exit_code(), unix_milliseconds: now, ..ProcessExit::default() };
            self.end(pid, exit, effects);
        }
        stopping
    }

    /// Pauses or resumes these processes.
    pub(crate) fn pause(&mut self, pids: &[Pid], signal: Signal, now: u64) -> Pausing {
        let mut pausing = Pausing::default();
        for pid in pids {
            let Some(entry) = self.entries.get_mut(pid).filter(|entry| entry.is_alive()) else {
                pausing.refused = Some(ProcessError::Ended(name(*pid)));
                continue;
            };
            if entry.task.is_some() {
                pausing.tasks.push(*pid);
                continue;
            }
            let is_paused = &*entry.reason == PAUSED;
            let (to, reason) = match signal {
                Signal::Resume if !is_paused => {
                    pausing.refused = Some(ProcessError::NotPaused(name(*pid)));
                    continue;
                }
                Signal::Resume => (ProcessState::Ready, ""),
                _ => (ProcessState::Waiting, PAUSED),
            };
            entry.reason = reason.into();
            self.set_state(*pid, to, now);
            pausing.done += 1;
        }
        pausing
    }

    /// Ends a process of whose task nobody knows.
    pub(crate) fn give_up(&mut self, pid: Pid, error: &str, now: u64, effects: &mut Effects) {
        let Some(entry) = self.entries.get(&pid).filter(|entry| entry.is_alive()) else { return };
        let exit_code = entry.doomed.map_or(1, Signal::exit_code);
        let exit = ProcessExit { exit_code, error: error.to_owned(), unix_milliseconds: now, ..ProcessExit::default() };
        // What it held in its name is released, whoever should have said so. Of one that was named its end tells.
        if entry.task.is_some() && !entry.is_named {
            effects.gone.push((pid, "its task is lost"));
        }
        self.end(pid, exit, effects);
    }
}
