//! Groups of processes.

use super::Pid;
use crate::config::ProcessConfig;
use crate::error::ProcessError;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// Names of killed groups that are remembered: as many as can be killed while a report of cpu's is on its way.
const KILLED_MAX: usize = 1_000;

#[derive(Default)]
pub(crate) struct Group {
    pub(crate) members: BTreeSet<Pid>,
    /// Who has made it by name; it then stays when nobody is in it. Else it goes with its last member.
    pub(crate) maker: Option<Arc<str>>,
    /// The other node that it counts for: that of its maker, else of its first member.
    pub(crate) owner: Option<Arc<str>>,
}

/// All groups, by name.
#[derive(Default)]
pub(crate) struct Groups {
    pub(crate) by_name: BTreeMap<Arc<str>, Group>,
    /// How many count for each other node that has some.
    pub(crate) by_owner: BTreeMap<Arc<str>, usize>,
    /// When groups were killed, in milliseconds since 1970: a process that was made before that and is heard of later
    /// ends too.
    killed: HashMap<Arc<str>, u64>,
    killed_order: VecDeque<Arc<str>>,
}

impl Groups {
    /// Adds a process of somebody's; says no when that would be one group too many.
    pub(crate) fn join(
        &mut self,
        name: &str,
        pid: Pid,
        requested_by: &str,
        limits: &ProcessConfig,
    ) -> Result<Arc<str>, ProcessError> {
        let name = self.name_of(name, requested_by, limits)?;
        if let Some(group) = self.by_name.get_mut(&name) {
            group.members.insert(pid);
        }
        Ok(name)
    }

    /// Makes a group that stays when it is empty, or lets one stay that is there; says no when that would be one too many.
    pub(crate) fn make(
        &mut self,
        name: &str,
        maker: &Arc<str>,
        limits: &ProcessConfig,
    ) -> Result<Arc<str>, ProcessError> {
        let name = self.name_of(name, maker, limits)?;
        let Some(group) = self.by_name.get(&name).filter(|group| group.maker.is_none()) else { return Ok(name) };
        let (before, after) = (group.owner.clone(), owner_of(maker));
        // From now on it is here because of its maker.
        if before.as_deref() != after {
            let after = self.count(after, limits)?;
            self.uncount(before);
            if let Some(group) = self.by_name.get_mut(&name) {
                group.owner = after;
            }
        }
        if let Some(group) = self.by_name.get_mut(&name) {
            group.maker = Some(Arc::clone(maker));
        }
        Ok(name)
    }

    /// The name of a group, which is there from now on.
    fn name_of(&mut self, name: &str, requested_by: &str, limits: &ProcessConfig) -> Result<Arc<str>, ProcessError> {
        if let Some((known, _)) = self.by_name.get_key_value(name) {
            return Ok(Arc::clone(known));
        }
        if self.by_name.len() >= limits.groups_max {
            return Err(ProcessError::GroupsFull(limits.groups_max));
        }
        let owner = self.count(owner_of(requested_by), limits)?;
        let name: Arc<str> = Arc::from(name);
        self.by_name.insert(Arc::clone(&name), Group { owner, ..Group::default() });
        Ok(name)
    }

    /// Counts one more group for a node, if it may have one.
    fn count(&mut self, owner: Option<&str>, limits: &ProcessConfig) -> Result<Option<Arc<str>>, ProcessError> {
        let Some(peer) = owner else { return Ok(None) };
        let share = limits.groups_per_peer_max;
        if self.by_owner.get(peer).is_some_and(|count| *count >= share) {
            return Err(ProcessError::GroupShareFull { peer: peer.to_owned(), share });
        }
        let peer = self.by_owner.get_key_value(peer).map_or_else(|| Arc::from(peer), |(peer, _)| Arc::clone(peer));
        *self.by_owner.entry(Arc::clone(&peer)).or_default() += 1;
        Ok(Some(peer))
    }

    fn uncount(&mut self, owner: Option<Arc<str>>) {
        let Some(peer) = owner else { return };
        if let Some(count) = self.by_owner.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                self.by_owner.remove(&peer);
            }
        }
    }

    fn remove(&mut self, name: &str) {
        if let Some(group) = self.by_name.remove(name) {
            self.uncount(group.owner);
        }
    }

    pub(crate) fn leave(&mut self, name: &str, pid: Pid) {
        if let Some(group) = self.by_name.get_mut(name) {
            group.members.remove(&pid);
            if group.members.is_empty() && group.maker.is_none() {
                self.remove(name);
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
                    self.remove(name);
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

/// The other node that a group, or what is kept with an entry, counts for which somebody has made.
pub(super) fn owner_of(requested_by: &str) -> Option<&str> {
    (requested_by != "local").then_some(requested_by)
}
