//! The graph of who waits for whom, and the circles in it.

use potluck_sdk::message::deadlock::CycleEdge;
use std::collections::{HashMap, VecDeque};

/// Circles of one part are looked for from so many processes: enough that the answer is short, few enough that it comes soon.
const STARTS_MAX: usize = 64;
/// Processes and edges that are walked over for one of them, about: in a large part fewer starts must do.
const EDGES_MAX: usize = 200_000;

/// Circles that are told of; the others are counted.
pub(super) const CIRCLES_MAX: usize = 16;

/// The circles of a graph.
#[derive(Default)]
pub(super) struct Circles {
    /// The first few.
    pub(super) chains: Vec<Vec<CycleEdge>>,
    pub(super) count: usize,
    /// Which one a process is of, also when it is not on the short way around.
    pub(super) of: HashMap<usize, usize>,
}

/// Nodes are processes, then resources. A resource stands between those who wait for it and those who have it, so that a
/// thousand waiting for what a thousand have are not a million edges.
pub(super) struct Graph {
    edges: Vec<Vec<usize>>,
    process_count: usize,
    /// What a process waits for, by the node that its edge leads to.
    labels: HashMap<(usize, usize), (String, u64)>,
}

impl Graph {
    pub(super) fn new(process_count: usize) -> Graph {
        Graph { edges: vec![Vec::new(); process_count], process_count, labels: HashMap::new() }
    }

    /// A resource, with those who stand in the way.
    pub(super) fn resource(&mut self, held_by: impl Iterator<Item = usize>) -> usize {
        self.edges.push(held_by.collect());
        self.edges.len() - 1
    }

    pub(super) fn wait_for_resource(&mut self, process: usize, resource: usize, name: &str, units: u64) {
        self.edges[process].push(resource);
        self.labels.insert((process, resource), (name.to_owned(), units));
    }

    pub(super) fn wait_for_process(&mut self, process: usize, other: usize, name: &str, units: u64) {
        self.edges[process].push(other);
        self.labels.insert((process, other), (name.to_owned(), units));
    }

    /// One circle of each part of the graph whose nodes can all reach one another, a short one. Those whose processes wait
    /// for nobody outside come first, since no other must be opened for them to go on; then by the first name.
    pub(super) fn circles(&self, pids: &[&str]) -> Circles {
        let parts = self.parts();
        let mut part_of = vec![0; self.edges.len()];
        for (number, part) in parts.iter().enumerate() {
            part.iter().for_each(|node| part_of[*node] = number);
        }
        let mut found: Vec<(bool, Vec<usize>)> = Vec::new();
        for (number, part) in parts.iter().enumerate() {
            let is_circle = part.len() > 1 || part.iter().any(|node| self.edges[*node].contains(node));
            if is_circle {
                let waits_outside =
                    part.iter().any(|node| self.edges[*node].iter().any(|ahead| part_of[*ahead] != number));
                let mut members: Vec<usize> = part.iter().copied().filter(|node| *node < self.process_count).collect();
                members.sort_by_key(|process| pids[*process]);
                found.push((waits_outside, members));
            }
        }
        found.sort_by_key(|(waits_outside, members)| (*waits_outside, members.first().map(|first| pids[*first])));

        let mut circles = Circles { count: found.len(), ..Circles::default() };
        for (number, (_, members)) in found.into_iter().enumerate() {
            circles.of.extend(members.iter().map(|process| (*process, number)));
            if number < CIRCLES_MAX {
                circles.chains.extend(self.short_circle(&members, &part_of, pids));
            }
        }
        circles
    }

    fn short_circle(&self, members: &[usize], part_of: &[usize], pids: &[&str]) -> Option<Vec<CycleEdge>> {
        let edges: usize = members.iter().map(|process| self.edges[*process].len()).sum();
        let starts = (EDGES_MAX / (members.len() + edges)).clamp(1, STARTS_MAX);
        let circles = members.iter().take(starts).filter_map(|start| self.way_back(*start, part_of));
        let mut circle = circles.min_by_key(Vec::len)?;
        self.take_turns(&mut circle);
        let processes = circle.iter().enumerate().filter(|(_, node)| **node < self.process_count);
        let first = processes.min_by_key(|(_, node)| pids[**node]).map_or(0, |(position, _)| position);
        circle.rotate_left(first);
        Some(self.describe(&circle, pids))
    }

    /// Who waits for more of what it has itself waits for the others as well that have some of it. If one of them waits for
    /// the same, the two are told, since ending either may help.
    fn take_turns(&self, circle: &mut Vec<usize>) {
        if let [process, resource] = circle[..]
            && resource >= self.process_count
        {
            let is_other = |other: &&usize| **other != process && self.edges[**other].contains(&resource);
            if let Some(&other) = self.edges[resource].iter().find(is_other) {
                circle.extend([other, resource]);
            }
        }
    }

    /// The parts of the graph whose nodes can all reach one another (Tarjan's algorithm, without recursion).
    fn parts(&self) -> Vec<Vec<usize>> {
        const UNSEEN: usize = usize::MAX;
        let mut order = vec![UNSEEN; self.edges.len()];
        // The earliest node of the way that can be reached.
        let mut reach = vec![UNSEEN; self.edges.len()];
        let mut is_open = vec![false; self.edges.len()];
        let (mut open, mut parts, mut count) = (Vec::new(), Vec::new(), 0);
        for start in 0..self.edges.len() {
            if order[start] != UNSEEN {
                continue;
            }
            // Each node of the way, and which of its edges is next.
            let mut way = vec![(start, 0)];
            while let Some((node, next)) = way.last_mut() {
                let node = *node;
                if *next == 0 {
                    (order[node], reach[node], is_open[node]) = (count, count, true);
                    open.push(node);
                    count += 1;
                }
                if let Some(&ahead) = self.edges[node].get(*next) {
                    *next += 1;
                    if order[ahead] == UNSEEN {
                        way.push((ahead, 0));
                    } else if is_open[ahead] {
                        reach[node] = reach[node].min(order[ahead]);
                    }
                    continue;
                }
                way.pop();
                if let Some((before, _)) = way.last() {
                    reach[*before] = reach[*before].min(reach[node]);
                }
                if reach[node] == order[node] {
                    let from = open.iter().rposition(|other| *other == node).unwrap_or_default();
                    let part = open.split_off(from);
                    part.iter().for_each(|node| is_open[*node] = false);
                    parts.push(part);
                }
            }
        }
        parts
    }

    /// The shortest circle through a node, which is its first. It never leaves the part that the node is of.
    fn way_back(&self, start: usize, part_of: &[usize]) -> Option<Vec<usize>> {
        let mut from: HashMap<usize, usize> = HashMap::new();
        let mut next = VecDeque::from([start]);
        while let Some(node) = next.pop_front() {
            for &ahead in self.edges[node].iter().filter(|ahead| part_of[**ahead] == part_of[start]) {
                if ahead == start {
                    let mut circle = vec![node];
                    while let Some(&before) = from.get(circle.last()?) {
                        circle.push(before);
                    }
                    circle.reverse();
                    return Some(circle);
                }
                if let std::collections::hash_map::Entry::Vacant(place) = from.entry(ahead) {
                    place.insert(node);
                    next.push_back(ahead);
                }
            }
        }
        None
    }

    /// The circle begins with a process.
    fn describe(&self, circle: &[usize], pids: &[&str]) -> Vec<CycleEdge> {
        let mut edges = Vec::new();
        for (position, &node) in circle.iter().enumerate().filter(|(_, node)| **node < self.process_count) {
            let ahead = circle[(position + 1) % circle.len()];
            let holder = if ahead < self.process_count { ahead } else { circle[(position + 2) % circle.len()] };
            let (waits_for, units) = self.labels.get(&(node, ahead)).cloned().unwrap_or_default();
            edges.push(CycleEdge { pid: pids[node].to_owned(), waits_for, units, held_by: pids[holder].to_owned() });
        }
        edges
    }
}
