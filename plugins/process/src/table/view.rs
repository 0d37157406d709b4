//! The table as others see it: facts, lists, trees, counts.

use super::{Actor, Entry, Pid, Table, name};
use potluck_sdk::message::process::{Forest, GroupFacts, GroupList, ProcessFacts, ProcessState, Tree, TreeNode};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Bound;

/// Most nodes of a tree in one reply: some 4 MB.
const TREE_NODES_MAX: usize = 20_000;
/// Deepest tree in one reply: readers of JSON follow some hundred levels, and each of these takes two.
const TREE_DEPTH_MAX: usize = 48;
/// Most entries that are looked at for one page: a page may be shorter than asked for, and still have a `next`.
const SCAN_MAX: usize = 20_000;
/// The same for a task, whose ancestors are looked at for each entry.
const SCAN_OF_TASK_MAX: usize = 1_000;
/// Most names of a group's processes in a list.
const GROUP_NAMES_MAX: usize = 1_000;

/// What a page of LIST_PROCESSES is to hold.
pub(crate) struct Filter<'a> {
    pub(crate) state: Option<ProcessState>,
    pub(crate) group: Option<&'a str>,
    pub(crate) after: Option<Pid>,
    pub(crate) limit: usize,
}

/// The member `process_manager` of STATUS.
#[derive(Serialize)]
pub(crate) struct TableStatus {
    total_processes: usize,
    process_groups: usize,
    processes_by_state: BTreeMap<String, usize>,
    total_groups: usize,
    alive: usize,
    untracked: u64,
    next_pid: String,
}

impl Table {
    pub(crate) fn facts(&self, pid: Pid) -> Option<ProcessFacts> {
        let entry = self.entries.get(&pid)?;
        let task = entry.task.as_deref();
        Some(ProcessFacts {
            pid: name(pid),
            ppid: entry.parent.map(name),
            state: entry.state,
            reason: entry.reason.to_string(),
            priority: entry.priority,
            name: entry.name.to_string(),
            group_id: entry.group.as_deref().map(str::to_owned),
            requested_by: entry.requested_by.to_string(),
            task_id: task.map(|task| task.task_id.to_string()).unwrap_or_default(),
            function: task.map(|task| task.function.to_string()).unwrap_or_default(),
            runtime: task.map(|task| task.runtime.to_string()).unwrap_or_default(),
            executed_by: task.map(|task| task.executed_by.to_string()).unwrap_or_default(),
            task_data: None,
            children: entry.children.len(),
            created_unix_milliseconds: entry.created_milliseconds,
            state_unix_milliseconds: entry.state_milliseconds,
            usage: None,
            exit: entry.exit.as_deref().cloned(),
        })
    }

    /// A page, and where the next one begins.
    pub(crate) fn list(&self, actor: &Actor, filter: &Filter<'_>) -> (Vec<ProcessFacts>, Option<Pid>) {
        let begin = filter.after.map_or(Bound::Unbounded, Bound::Excluded);
        let scan_max = if matches!(actor, Actor::Task(_)) { SCAN_OF_TASK_MAX } else { SCAN_MAX };
        let (mut page, mut scanned, mut last) = (Vec::new(), 0, None);
        for (pid, entry) in self.entries.range((begin, Bound::Unbounded)) {
            if page.len() >= filter.limit || scanned >= scan_max {
                return (page, last);
            }
            scanned += 1;
            last = Some(*pid);
            let is_meant = filter.state.is_none_or(|state| entry.state == state)
                && filter.group.is_none_or(|group| entry.group.as_deref() == Some(group))
                && actor.may_act(self, *pid);
            if is_meant {
                page.extend(self.facts(*pid));
            }
        }
        (page, None)
    }

    /// Everything that the asker may see, as trees.
    pub(crate) fn forest(&self, actor: &Actor) -> Forest {
        let roots = self.roots(actor);
        let total_processes = match actor {
            Actor::All => self.alive() + self.count(ProcessState::Zombie),
            Actor::Peer(peer) => {
                let is_meant =
                    |entry: &&Entry| *entry.requested_by == **peer && entry.state != ProcessState::Terminated;
                self.entries.values().filter(is_meant).count()
            }
            Actor::Task(_) => self.with_descendants(&roots).len(),
        };
        let mut left = TREE_NODES_MAX;
        let mut nodes = Vec::new();
        for root in roots {
            if left == 0 {
                break;
            }
            nodes.extend(self.node(root, TREE_DEPTH_MAX, &mut left));
        }
        Forest { roots: nodes, total_processes }
    }

    /// Where the trees begin that the asker may see.
    fn roots(&self, actor: &Actor) -> Vec<Pid> {
        let is_root = |pid: Pid, entry: &Entry| match actor {
            Actor::All => entry.parent.is_none(),
            Actor::Peer(peer) => {
                let is_theirs = |entry: &Entry| *entry.requested_by == **peer;
                is_theirs(entry) && !entry.parent.and_then(|parent| self.get(parent)).is_some_and(is_theirs)
            }
            Actor::Task(task) => task.is_root(self, pid, entry),
        };
        let living = self.entries.iter().filter(|(_, entry)| entry.state != ProcessState::Terminated);
        living.filter(|(pid, entry)| is_root(**pid, entry)).map(|(pid, _)| *pid).collect()
    }

    pub(crate) fn tree(&self, root: Pid) -> Option<Tree> {
        let mut left = TREE_NODES_MAX;
        self.node(root, TREE_DEPTH_MAX, &mut left).map(Tree::Node)
    }

    /// Enters how those of a tree ended that have; returns the first `count_max` that run a task, for their usage.
    pub(crate) fn enter_exits(&self, tree: &mut Tree, count_max: usize) -> Vec<String> {
        let mut open: Vec<&mut TreeNode> = match tree {
            Tree::Whole(forest) => forest.roots.iter_mut().rev().collect(),
            Tree::Node(root) => vec![root],
        };
        let mut have_task = Vec::new();
        while let Some(node) = open.pop() {
            if let Some(entry) = super::pid_of(&node.pid).and_then(|pid| self.entries.get(&pid)) {
                node.exit.clone_from(&entry.exit);
                if entry.is_alive() && entry.task.is_some() && have_task.len() < count_max {
                    have_task.push(node.pid.clone());
                }
            }
            open.extend(node.children.iter_mut().rev());
        }
        have_task
    }

    fn node(&self, pid: Pid, depth: usize, left: &mut usize) -> Option<TreeNode> {
        let entry: &Entry = self.entries.get(&pid)?;
        *left = left.saturating_sub(1);
        let mut children = Vec::new();
        if depth > 0 {
            for child in &entry.children {
                if *left == 0 {
                    break;
                }
                children.extend(self.node(*child, depth - 1, left));
            }
        }
        Some(TreeNode {
            pid: name(pid),
            ppid: entry.parent.map(name),
            state: entry.state,
            priority: entry.priority,
            name: entry.label().to_owned(),
            reason: entry.reason.to_string(),
            executed_by: entry.task.as_ref().map(|task| task.executed_by.to_string()).unwrap_or_default(),
            usage: None,
            exit: None,
            more_children: entry.children.len() - children.len(),
            children,
        })
    }

    pub(crate) fn groups(&self, actor: &Actor) -> GroupList {
        let mut list = GroupList::default();
        for (group_id, group) in &self.groups.by_name {
            let is_maker = group.maker.as_deref() == Some(actor.word());
            let mut pids: Vec<Pid> = Vec::new();
            let mut members = 0;
            for pid in group.members.iter().filter(|pid| actor.may_act(self, **pid)) {
                members += 1;
                if pids.len() < GROUP_NAMES_MAX {
                    pids.push(*pid);
                }
            }
            if members == 0 && !is_maker && !matches!(actor, Actor::All) {
                continue;
            }
            list.total_groups += 1;
            // A frame holds so many groups with a few members each; in larger ones the names make place for others.
            if list.groups.len() < GROUP_NAMES_MAX {
                let pids = pids.into_iter().map(name).collect();
                list.groups.push(GroupFacts { group_id: group_id.to_string(), pids, members });
            }
        }
        list
    }

    /// How many processes are in each state; those that none is in are left out.
    pub(crate) fn by_state(&self) -> BTreeMap<String, usize> {
        let all = ProcessState::ALL.into_iter().map(|state| (state.word().to_owned(), self.count(state)));
        all.filter(|(_, count)| *count > 0).collect()
    }

    pub(crate) fn total(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn status(&self) -> TableStatus {
        TableStatus {
            total_processes: self.total(),
            process_groups: self.groups.by_name.len(),
            processes_by_state: self.by_state(),
            total_groups: self.groups.by_name.len(),
            alive: self.alive(),
            untracked: self.untracked,
            next_pid: name(self.next),
        }
    }
}
