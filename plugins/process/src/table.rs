//! The table of processes: who there is, who descends from whom, and what follows when one ends.
//!
//! It calls nobody. What others have to be told of comes out as [`Effects`], for after the lock.

mod actor;
mod changes;
mod entry;
mod groups;
mod stopping;
#[cfg(test)]
mod tests;
mod view;

pub(crate) use actor::{Actor, pid_of};
pub(crate) use entry::{Entry, NewEntry};
pub(crate) use view::Filter;

use crate::config::ProcessConfig;
use crate::error::ProcessError;
use crate::news::News;
use crate::state;
use entry::{TaskData, TaskFacts};
use groups::{Groups, owner_of};
use potluck_sdk::message::process::{ProcessExit, ProcessState, Signal};
use potluck_sdk::shares::Shares;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// The number in a process's name.
pub(crate) type Pid = u64;

/// Words that many entries share and that are kept once; when there are more, those of nobody are dropped.
const WORDS_MAX: usize = 1_000;

/// Most ancestors of a process that somebody makes: its rights are looked up along them. Tasks of tasks are bounded by cpu.
const DEPTH_MAX: u32 = 256;

/// What others are to be told of.
#[derive(Default)]
pub(crate) struct Effects {
    /// Tasks that cpu has to signal, in this order.
    pub(crate) signals: Vec<(Pid, Signal)>,
    /// Processes without a task that have ended, and why: cpu tells of the others.
    pub(crate) gone: Vec<(Pid, &'static str)>,
    /// Processes that have ended and for which somebody waits.
    pub(crate) watched: Vec<(Pid, ProcessExit)>,
}

pub(crate) struct Table {
    limits: ProcessConfig,
    /// By number, so that lists can be read a page at a time.
    entries: BTreeMap<Pid, Entry>,
    next: Pid,
    /// How many are in each state, in the order of [`ProcessState::ALL`].
    counts: [usize; 6],
    /// Those that are TERMINATED, oldest first.
    finished: VecDeque<Pid>,
    /// Those that are ZOMBIE, by the time at which they ended.
    zombies: BTreeSet<(u64, Pid)>,
    /// How many entries without a task have not ended, by `requested_by`.
    taskless: HashMap<Arc<str>, usize>,
    /// Bytes of `task_data` of all entries.
    task_data_bytes: usize,
    /// What other nodes have of those.
    task_data_shares: Shares<1>,
    groups: Groups,
    words: HashSet<Arc<str>>,
    /// Tasks that were not taken in because the table was full.
    untracked: u64,
    pub(crate) news: News,
}

impl Table {
    pub(crate) fn new(limits: ProcessConfig) -> Table {
        Table {
            task_data_bytes: 0,
            task_data_shares: Shares::new(limits.peer_share),
            limits,
            entries: BTreeMap::new(),
            next: 1,
            counts: [0; 6],
            finished: VecDeque::new(),
            zombies: BTreeSet::new(),
            taskless: HashMap::new(),
            groups: Groups::default(),
            words: HashSet::new(),
            untracked: 0,
            news: News::default(),
        }
    }

    pub(crate) fn get(&self, pid: Pid) -> Option<&Entry> {
        self.entries.get(&pid)
    }

    pub(crate) fn get_mut(&mut self, pid: Pid) -> Option<&mut Entry> {
        self.entries.get_mut(&pid)
    }

    /// Hands out names; the first of them.
    pub(crate) fn reserve(&mut self, count: u64) -> Pid {
        let first = self.next;
        self.next = first.saturating_add(count);
        first
    }

    /// How many have not ended.
    pub(crate) fn alive(&self) -> usize {
        self.count(ProcessState::New)
            + self.count(ProcessState::Ready)
            + self.count(ProcessState::Running)
            + self.count(ProcessState::Waiting)
    }

    pub(crate) fn count(&self, state: ProcessState) -> usize {
        self.counts[state as usize]
    }

    /// Makes a process.
    pub(crate) fn create(&mut self, mut new: NewEntry<'_>, now: u64) -> Result<Pid, ProcessError> {
        if let Some(parent) = new.parent {
            match self.entries.get(&parent) {
                None => return Err(ProcessError::NoParent(name(parent))),
                Some(entry) if !entry.is_alive() || entry.doomed.is_some() => {
                    return Err(ProcessError::ParentEnds(name(parent)));
                }
                Some(entry) if entry.depth >= DEPTH_MAX => return Err(ProcessError::TooDeep(DEPTH_MAX)),
                Some(_) => {}
            }
        }
        if self.alive() >= self.limits.entries_max {
            return Err(ProcessError::TableFull(self.limits.entries_max));
        }
        let share = self.limits.entries_per_peer_max;
        let has_share = new.requested_by == "local" || self.taskless.get(new.requested_by).is_none_or(|n| *n < share);
        if !new.has_task && !has_share {
            return Err(ProcessError::ShareFull(share));
        }
        let taskless_max = self.limits.taskless_max();
        if !new.has_task && self.taskless.values().sum::<usize>() >= taskless_max {
            return Err(ProcessError::TasklessFull(taskless_max));
        }
        let task_data = match new.task_data.take() {
            Some(json) => {
                let (bytes, max) = (json.get().len(), self.limits.task_data_bytes_max);
                if self.task_data_bytes + bytes > max {
                    return Err(ProcessError::TaskDataFull(max));
                }
                let place = self
                    .task_data_shares
                    .take(owner_of(new.requested_by), 0, max, bytes)
                    .map_err(|full| ProcessError::TaskDataShareFull { peer: full.peer, share: full.share })?;
                Some(TaskData { json, _place: place })
            }
            None => None,
        };
        let pid = self.next;
        let group = match new.group {
            Some(group) => Some(self.groups.join(group, pid, new.requested_by, &self.limits)?),
            None => None,
        };
        self.next = self.next.saturating_add(1);
        let requested_by = self.word(new.requested_by);
        let mut entry = Entry::new(&new, requested_by, now);
        self.task_data_bytes += task_data.as_ref().map_or(0, |data| data.json.get().len());
        entry.task_data = task_data;
        entry.group = group;
        self.insert(pid, entry, new.parent);
        Ok(pid)
    }

    /// Puts an entry in; its parent lives.
    fn insert(&mut self, pid: Pid, mut entry: Entry, parent: Option<Pid>) {
        if let Some(parent) = parent
            && let Some(parent_entry) = self.entries.get_mut(&parent)
        {
            parent_entry.children.insert(pid);
            entry.depth = parent_entry.depth.saturating_add(1);
            entry.parent = Some(parent);
        }
        if entry.task.is_none() {
            *self.taskless.entry(Arc::clone(&entry.requested_by)).or_default() += 1;
        }
        self.counts[entry.state as usize] += 1;
        self.news.created += 1;
        self.news.note(pid, &mut entry);
        self.entries.insert(pid, entry);
    }

    /// Moves a process to another state, over those that lie on the way. Nothing happens when there is no way.
    fn set_state(&mut self, pid: Pid, to: ProcessState, now: u64) {
        let Some(entry) = self.entries.get_mut(&pid) else { return };
        for step in state::way(entry.state, to).unwrap_or_default() {
            debug_assert!(state::follows(entry.state, *step));
            self.counts[entry.state as usize] -= 1;
            self.counts[*step as usize] += 1;
            entry.state = *step;
            entry.state_milliseconds = now;
        }
        self.news.note(pid, entry);
    }

    /// Moves an entry without a task as somebody says; only one step at a time.
    pub(crate) fn step(&mut self, pid: Pid, to: ProcessState, now: u64) -> Result<(), ProcessError> {
        let entry = self.entries.get_mut(&pid).ok_or_else(|| ProcessError::NotFound(name(pid)))?;
        if entry.task.is_some() {
            return Err(ProcessError::HasTask(name(pid)));
        }
        if !state::follows(entry.state, to) {
            return Err(ProcessError::Transition { pid: name(pid), from: entry.state, to });
        }
        entry.reason = Box::default();
        self.set_state(pid, to, now);
        Ok(())
    }

    /// Others keep something in the name of a process since a request that came then.
    pub(crate) fn named(&mut self, pid: Pid, since_unix_milliseconds: u64, effects: &mut Effects) {
        let Some(entry) = self.entries.get_mut(&pid) else { return };
        match &entry.exit {
            None => entry.is_named = true,
            Some(exit) if exit.unix_milliseconds >= since_unix_milliseconds => {
                effects.gone.push((pid, "it has ended"));
            }
            // It had ended before, so it is just a name.
            Some(_) => {}
        }
    }

    /// A process has ended, in one way or another.
    pub(crate) fn end(&mut self, pid: Pid, exit: ProcessExit, effects: &mut Effects) {
        let Some(entry) = self.entries.get_mut(&pid).filter(|entry| entry.is_alive()) else { return };
        let now = exit.unix_milliseconds;
        if exit.exit_code >= 128 {
            let signal = if exit.exit_code == Signal::Kill.exit_code() { Signal::Kill } else { Signal::Terminate };
            entry.doomed.get_or_insert(signal);
        }
        let (doomed, children, group) = (entry.doomed, std::mem::take(&mut entry.children), entry.group.take());
        let had_task = entry.task.is_some();
        let becomes_zombie = entry.parent.is_some();
        if entry.watchers > 0 {
            effects.watched.push((pid, exit.clone()));
        }
        if entry.task.is_none() || entry.is_named {
            effects.gone.push((pid, if exit.exit_code >= 128 { "it was ended" } else { "it has ended" }));
        }
        if entry.task.is_none()
            && let Some(count) = self.taskless.get_mut(&entry.requested_by)
        {
            *count -= 1;
            if *count == 0 {
                self.taskless.remove(&entry.requested_by);
            }
        }
        self.task_data_bytes -= entry.task_data.take().map_or(0, |data| data.json.get().len());
        entry.exit = Some(Box::new(exit));
        entry.reason = Box::default();
        self.news.ended += 1;
        if let Some(group) = group {
            self.groups.leave(&group, pid);
        }
        if becomes_zombie {
            self.set_state(pid, ProcessState::Zombie, now);
            self.zombies.insert((now, pid));
            if self.zombies.len() > self.limits.zombies_max
                && let Some((_, oldest)) = self.zombies.first().copied()
            {
                self.reap(oldest, now);
            }
        } else {
            self.set_state(pid, ProcessState::Terminated, now);
            self.remember(pid);
        }
        let (mut orphans, mut left) = (Vec::new(), Vec::new());
        for child in children {
            let Some(entry) = self.entries.get_mut(&child) else { continue };
            if entry.state == ProcessState::Zombie {
                // Nobody is left who could ask how it ended.
                self.reap(child, now);
                continue;
            }
            entry.parent = None;
            // The task alone knew when one of these would be over.
            if had_task && entry.task.is_none() && entry.doomed.is_none() {
                left.push(child);
            }
            orphans.push(child);
        }
        if doomed.is_none() && !left.is_empty() {
            self.terminate(&left, Signal::Terminate, now, effects);
        }
        if let Some(signal) = doomed {
            orphans.retain(|child| self.entries.get(child).is_some_and(|entry| entry.doomed.is_none()));
            if !orphans.is_empty() {
                self.terminate(&orphans, signal, now, effects);
            }
        }
    }

    /// Somebody knows how a zombie ended: it is one no longer.
    pub(crate) fn reap(&mut self, pid: Pid, now: u64) {
        let Some(entry) = self.entries.get_mut(&pid).filter(|entry| entry.state == ProcessState::Zombie) else {
            return;
        };
        self.zombies.remove(&(entry.state_milliseconds, pid));
        if let Some(parent) = entry.parent.take()
            && let Some(parent) = self.entries.get_mut(&parent)
        {
            parent.children.remove(&pid);
        }
        self.set_state(pid, ProcessState::Terminated, now);
        self.remember(pid);
    }

    /// Keeps one that is TERMINATED for a while, and forgets the oldest.
    fn remember(&mut self, pid: Pid) {
        self.finished.push_back(pid);
        if self.finished.len() > self.limits.finished_max
            && let Some(oldest) = self.finished.pop_front()
            && self.entries.remove(&oldest).is_some()
        {
            self.counts[ProcessState::Terminated as usize] -= 1;
        }
    }

    /// The entries without a task that a peer has made and that have not ended.
    pub(crate) fn taskless_of(&self, peer: &str) -> Vec<Pid> {
        if !self.taskless.contains_key(peer) {
            return Vec::new();
        }
        let theirs = |entry: &Entry| entry.task.is_none() && entry.is_alive() && *entry.requested_by == *peer;
        self.entries.iter().filter(|(_, entry)| theirs(entry)).map(|(pid, _)| *pid).collect()
    }

    /// The members of a group that the asker may act on.
    pub(crate) fn members(&self, actor: &Actor, group: &str) -> Vec<Pid> {
        let Some(group) = self.groups.by_name.get(group) else { return Vec::new() };
        group.members.iter().copied().filter(|pid| actor.may_act(self, *pid)).collect()
    }

    /// Forgets a group whose members are being ended, when it is the asker's to forget.
    pub(crate) fn kill_group(&mut self, actor: &Actor, group: &str, now: u64) {
        let Some(known) = self.groups.by_name.get(group) else { return };
        let all = known.members.iter().all(|pid| actor.may_act(self, *pid));
        if all || known.maker.as_deref() == Some(actor.word()) {
            self.groups.kill(group, now);
        }
    }

    /// Makes a group, or adds to one, those of these processes that live and that the asker may act on; how many it has.
    pub(crate) fn make_group(&mut self, actor: &Actor, group: &str, pids: &[Pid]) -> Result<usize, ProcessError> {
        let maker = self.word(actor.word());
        let known = self.groups.make(group, &maker, &self.limits)?;
        for pid in pids {
            if !actor.may_act(self, *pid) {
                continue;
            }
            let Some(entry) = self.entries.get_mut(pid).filter(|entry| entry.is_alive()) else { continue };
            let former = entry.group.replace(Arc::clone(&known));
            if let Some(former) = former.filter(|former| **former != *known) {
                self.groups.leave(&former, *pid);
            }
            self.groups.join(group, *pid, &maker, &self.limits)?;
        }
        Ok(self.groups.by_name.get(group).map_or(0, |group| group.members.len()))
    }

    /// Forgets a process that was made a moment ago and could not begin. Somebody may wait for its end by now.
    pub(crate) fn take_back(&mut self, pid: Pid, error: &str, now: u64, effects: &mut Effects) {
        let exit =
            ProcessExit { exit_code: 1, error: error.to_owned(), unix_milliseconds: now, ..ProcessExit::default() };
        self.end(pid, exit, effects);
        self.reap(pid, now);
    }

    /// The text, kept once for all entries that have it.
    fn word(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.words.get(text) {
            return Arc::clone(known);
        }
        if self.words.len() >= WORDS_MAX {
            self.words.retain(|word| Arc::strong_count(word) > 1);
        }
        let word: Arc<str> = Arc::from(text);
        // When all are in use, this one is kept by its entries alone.
        if self.words.len() < WORDS_MAX {
            self.words.insert(Arc::clone(&word));
        }
        word
    }
}

/// `P7` of 7.
pub(crate) fn name(pid: Pid) -> String {
    format!("P{pid}")
}
