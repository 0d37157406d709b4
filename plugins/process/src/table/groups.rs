//! Groups of processes.

use super::Pid;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// Names of killed groups that are remembered: as many as can be killed while a report of cpu's is on its way.
const KILLED_MAX: usize = 1_000;

#[derive(Default)]
pub(crate) struct Group {
    pub(crate) members: BTreeSet<Pid>,
    /// Who has made it by name; it then stays when nobody is in it. Else it goes with its last member.
    pub(crate) maker: Option<Arc<str>>,
}

/// All groups, by name.
#[derive(Default)]
pub(crate) struct Groups {
    pub(crate) by_name: BTreeMap<Arc<str>, Group>,
    /// When groups were killed, in milliseconds since 1970: a process that was made before that and is heard of later
    /// ends too.
    killed: HashMap<Arc<str>, u64>,
    killed_order: VecDeque<Arc<str>>,
}

impl Groups {
    /// Adds a process; says no when that would be one group too many.
    pub(crate) fn join(&mut self, name: &str, pid: Pid, groups_max: usize) -> Option<Arc<str>> {
        let name = self.name_of(name, groups_max)?;
        self.by_name.entry(Arc::clone(&name)).or_default().members.insert(pid);
        Some(name)
    }

    /// Makes a group that stays when it is empty; says no when that would be one too many.
    pub(crate) fn make(&mut self, name: &str, maker: &Arc<str>, groups_max: usize) -> Option<Arc<str>> {
        let name = self.name_of(name, groups_max)?;
        self.by_name.entry(Arc::clone(&name)).or_default().maker.get_or_insert_with(|| Arc::clone(maker));
        Some(name)
    }

    fn name_of(&self, name: &str, groups_max: usize) -> Option<Arc<str>> {
        match self.by_name.get_key_value(name) {
            Some((known, _)) => Some(Arc::clone(known)),
            None => (self.by_name.len() < groups_max).then(|| Arc::from(name)),
        }
    }

    pub(crate) fn leave(&mut self, name: &str, pid: Pid) {
        if let Some(group) = self.by_name.get_mut(name) {
            group.members.remove(&pid);
            if group.members.is_empty() && group.maker.is_none() {
                self.by_name.remove(name);
            }
        }
    }

    /// Remembers that a group was killed, and forgets the group when nobody else is in it.
    pub(crate) fn kill(&mut self, name: &str, now: u64) {
        let name: Arc<str> = match self.by_name.get_mut(name) {
            Some(group) => {
                group.maker = None;
                let is_empty = group.members.is_empty();
                let known = self.by_name.get_key_value(name).map(|(known, _)| Arc::clone(known));
                if is_empty {
                    self.by_name.remove(name);
                }
                known.unwrap_or_else(|| Arc::from(name))
            }
            None => Arc::from(name),
        };
        if self.killed.insert(Arc::clone(&name), now).is_none() {
            self.killed_order.push_back(name);
            if self.killed_order.len() > KILLED_MAX
                && let Some(oldest) = self.killed_order.pop_front()
            {
                self.killed.remove(&oldest);
            }
        }
    }

    /// Whether a process of the group that was made at that time has been killed with it.
    pub(crate) fn is_killed(&self, name: &str, created: u64) -> bool {
        self.killed.get(name).is_some_and(|killed| created <= *killed)
    }
}
