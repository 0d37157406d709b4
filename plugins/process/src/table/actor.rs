//! Who may act on which process.

use super::{Entry, Pid, Table};
use potluck_sdk::shares::Owner;
use potluck_sdk::{Caller, PeerId, ProviderError, Request};

/// Who asks.
pub(crate) enum Actor {
    /// This machine's user, or a provider.
    All,
    /// Another node: it may act on what it has submitted or made.
    Peer(String),
    /// A task: it may act on itself and on what descends from it.
    Task(TaskActor),
}

/// A task that asks.
pub(crate) struct TaskActor {
    /// Its own process, when it is one of this table.
    pub(crate) pid: Option<Pid>,
    /// Its name, as [`Request::process_name`] gives it.
    name: String,
    /// The other node that it works for.
    peer: Option<String>,
}

impl Actor {
    pub(crate) fn of(request: &Request<'_>, own_id: &PeerId) -> Result<Actor, ProviderError> {
        match request.caller {
            Caller::Local | Caller::Web(_) | Caller::Plugin(_) => Ok(Actor::All),
            Caller::Member(peer) => Ok(Actor::Peer(peer.to_owned())),
            Caller::Task(peer) => {
                let name = request.process_name(own_id, None)?;
                let pid = pid_of(request.process);
                let peer = (peer != own_id.to_string()).then(|| peer.to_owned());
                Ok(Actor::Task(TaskActor { pid, name, peer }))
            }
        }
    }

    /// What `requested_by` of a process is that it makes.
    pub(crate) fn word(&self) -> &str {
        match self {
            Actor::All => "local",
            Actor::Peer(peer) => peer,
            Actor::Task(task) => task.peer.as_deref().unwrap_or("local"),
        }
    }

    /// The other node that it is or works for.
    pub(crate) fn peer(&self) -> Owner<'_> {
        match self {
            Actor::All => None,
            Actor::Peer(peer) => Some(peer),
            Actor::Task(task) => task.peer.as_deref(),
        }
    }

    /// Its name, when what it makes is known by that alone.
    pub(crate) fn creator(&self) -> Option<Box<str>> {
        match self {
            Actor::Task(task) => Some(task.name.as_str().into()),
            Actor::All | Actor::Peer(_) => None,
        }
    }

    /// The process that is meant when it makes one and names no parent.
    pub(crate) fn own_process(&self, table: &Table) -> Option<Pid> {
        match self {
            Actor::Task(task) => task.pid.filter(|pid| task.is(table, *pid)),
            Actor::All | Actor::Peer(_) => None,
        }
    }

    /// Whether it may see and act on a process of the table.
    pub(crate) fn may_act(&self, table: &Table, pid: Pid) -> bool {
        match self {
            Actor::All => table.get(pid).is_some(),
            Actor::Peer(peer) => table.get(pid).is_some_and(|entry| *entry.requested_by == **peer),
            Actor::Task(task) => {
                let mut next = Some(pid);
                while let Some(pid) = next {
                    let Some(entry) = table.get(pid) else { return false };
                    if task.is_root(table, pid, entry) {
                        return true;
                    }
                    next = entry.parent;
                }
                false
            }
        }
    }
}

impl TaskActor {
    /// Whether the task is this process, or has made it from another node.
    pub(crate) fn is_root(&self, table: &Table, pid: Pid, entry: &Entry) -> bool {
        self.is(table, pid) || entry.creator.as_deref() == Some(&self.name)
    }

    /// Whether the task is this process. A task that works for another node has to be a process of that node.
    fn is(&self, table: &Table, pid: Pid) -> bool {
        let wanted = self.peer.as_deref();
        self.pid == Some(pid)
            && table.get(pid).is_some_and(|entry| wanted.is_none_or(|peer| *entry.requested_by == *peer))
    }
}

/// The number of `P7`.
pub(crate) fn pid_of(text: &str) -> Option<Pid> {
    let digits = text.strip_prefix('P')?;
    // One name has one spelling.
    if digits.is_empty() || digits.starts_with(['0', '+']) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_spelling() {
        assert_eq!(pid_of("P7"), Some(7));
        for text in ["", "P", "7", "p7", "P07", "P0", "P+7", "P-1", "P7 ", "P7@x", "P99999999999999999999999"] {
            assert_eq!(pid_of(text), None, "{text:?}");
        }
    }
}
