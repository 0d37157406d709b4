//! What the next event on `process.changed` tells: however many tasks come and go, it stays small.

use crate::table::{Entry, Pid, Table, name};
use potluck_sdk::message::process::{ProcessChanged, ProcessesChanged};

/// Most processes that one event names.
const NAMES_MAX: usize = 64;

/// What has changed since the last event.
#[derive(Default)]
pub(crate) struct News {
    pub(crate) created: u64,
    pub(crate) ended: u64,
    pids: Vec<Pid>,
    more: u64,
}

impl News {
    /// Something has changed in a process.
    pub(crate) fn note(&mut self, pid: Pid, entry: &mut Entry) {
        if entry.in_news {
            return;
        }
        if self.pids.len() < NAMES_MAX {
            entry.in_news = true;
            self.pids.push(pid);
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pids.is_empty() && self.created == 0 && self.ended == 0
    }
}

impl Table {
    /// The event about what has changed since the last one.
    pub(crate) fn take_news(&mut self) -> ProcessesChanged {
        let news = std::mem::take(&mut self.news);
        let mut changes = Vec::with_capacity(news.pids.len());
        for pid in news.pids {
            let Some(entry) = self.get_mut(pid) else { continue };
            entry.in_news = false;
            changes.push(ProcessChanged {
                pid: name(pid),
                state: entry.state,
                reason: entry.reason.to_string(),
                exit_code: entry.exit.as_ref().map(|exit| exit.exit_code),
            });
        }
        ProcessesChanged {
            created: news.created,
            ended: news.ended,
            changes,
            more: news.more,
            processes_by_state: self.by_state(),
        }
    }
}
