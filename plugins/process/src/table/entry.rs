//! One process in the table.

use super::Pid;
use potluck_sdk::message::RawValue;
use potluck_sdk::message::process::{ProcessExit, ProcessState, Signal};
use potluck_sdk::shares::Place;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A process.
pub(crate) struct Entry {
    /// The process that it is a child of, as long as that one has not ended.
    pub(crate) parent: Option<Pid>,
    /// Those whose parent it is: they have not ended, or are zombies.
    pub(crate) children: BTreeSet<Pid>,
    /// How many ancestors it had when it was made.
    pub(crate) depth: u32,
    pub(crate) state: ProcessState,
    /// Why it is in its state; often empty.
    pub(crate) reason: Box<str>,
    pub(crate) priority: i64,
    pub(crate) group: Option<Arc<str>>,
    pub(crate) name: Box<str>,
    /// `local` or the id of a peer.
    pub(crate) requested_by: Arc<str>,
    /// The process of another node that made it.
    pub(crate) creator: Option<Box<str>>,
    /// What it runs; nothing of an entry that is for the books alone.
    pub(crate) task: Option<Box<TaskFacts>>,
    /// What its maker keeps there, until it ends.
    pub(crate) task_data: Option<TaskData>,
    pub(crate) created_milliseconds: u64,
    pub(crate) state_milliseconds: u64,
    /// How it ended.
    pub(crate) exit: Option<Box<ProcessExit>>,
    /// It was told to end, and so is everything that descends from it, also what is heard of later.
    pub(crate) doomed: Option<Signal>,
    /// How many wait for its end.
    pub(crate) watchers: u32,
    /// Whether the next event tells of it.
    pub(crate) in_news: bool,
    /// Others keep something in its name.
    pub(crate) is_named: bool,
}

/// The task of a process, as cpu reported it; empty until it has.
#[derive(Default)]
pub(crate) struct TaskFacts {
    pub(crate) task_id: Box<str>,
    pub(crate) function: Box<str>,
    pub(crate) runtime: Arc<str>,
    pub(crate) executed_by: Box<str>,
    /// Whether cpu knows of it.
    pub(crate) is_reported: bool,
}

/// Whatever somebody keeps with an entry.
pub(crate) struct TaskData {
    pub(crate) json: Box<RawValue>,
    /// What it counts for at the node that has made the entry.
    pub(crate) _place: Option<Place<1>>,
}

/// What a new process begins with.
pub(crate) struct NewEntry<'a> {
    pub(crate) parent: Option<Pid>,
    pub(crate) group: Option<&'a str>,
    pub(crate) priority: i64,
    pub(crate) name: &'a str,
    pub(crate) requested_by: &'a str,
    pub(crate) creator: Option<Box<str>>,
    pub(crate) has_task: bool,
    pub(crate) task_data: Option<Box<RawValue>>,
}

impl Entry {
    pub(crate) fn new(new: &NewEntry<'_>, requested_by: Arc<str>, now: u64) -> Entry {
        Entry {
            parent: None,
            children: BTreeSet::new(),
            depth: 0,
            state: ProcessState::New,
            reason: Box::default(),
            priority: new.priority,
            group: None,
            name: new.name.into(),
            requested_by,
            creator: new.creator.clone(),
            task: new.has_task.then(Box::default),
            task_data: None,
            created_milliseconds: now,
            state_milliseconds: now,
            exit: None,
            doomed: None,
            watchers: 0,
            in_news: false,
            is_named: false,
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.state.is_alive()
    }

    /// What people call it: its own name, else its task's.
    pub(crate) fn label(&self) -> &str {
        match &self.task {
            Some(task) if self.name.is_empty() => &task.task_id,
            _ => &self.name,
        }
    }
}
