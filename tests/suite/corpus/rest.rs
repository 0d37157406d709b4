//! What a node is like when it has nothing to do.

use potluck_tests::{TestNode, children, resident_bytes, wait_for};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What a node may have grown by: what an allocator keeps of messages of many megabytes that several threads have handled at
/// once, and not what is forgotten for each of a hundred programs.
const GROWTH_MAX_BYTES: u64 = 128 << 20;

/// Processes, descriptors and memory of a node at rest.
pub(super) struct Rest {
    processes: usize,
    descriptors: BTreeMap<String, usize>,
    resident_bytes: u64,
}

impl Rest {
    /// Looks at a node that has just been busy enough to have all its processes.
    pub(super) fn of(node: &TestNode) -> Rest {
        let mut before = (0, BTreeMap::new());
        // What is being started or stopped is neither there nor gone.
        wait_for("the node to come to rest", || {
            let now = (children(node.pid()).len(), descriptors(node.pid()));
            let is_ready = node.status()["executor"]["worker_processes"] == now.0;
            std::mem::replace(&mut before, now.clone()) == now && is_ready && node.active_tasks() == 0
        });
        Rest { processes: before.0, descriptors: before.1, resident_bytes: resident_bytes(node.pid()) }
    }

    /// What has changed since, one complaint each.
    pub(super) fn complaints(&self, now: &Rest) -> Vec<String> {
        let mut complaints = Vec::new();
        if now.processes != self.processes {
            complaints.push(format!("the node had {} processes and has {}", self.processes, now.processes));
        }
        if now.descriptors != self.descriptors {
            complaints
                .push(format!("the node's descriptors were {:?} and are {:?}", self.descriptors, now.descriptors));
        }
        let growth = now.resident_bytes.saturating_sub(self.resident_bytes);
        if growth > GROWTH_MAX_BYTES {
            complaints.push(format!("the node has grown from {} to {} bytes", self.resident_bytes, now.resident_bytes));
        }
        complaints
    }
}

/// What a process has open, by kind.
fn descriptors(pid: u32) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let target = target.to_string_lossy();
        // `socket:[123]`, and the same memory file once for each process.
        let kind = target.split_once(":[").map_or(&*target, |(kind, _)| kind);
        *kinds.entry(kind.to_owned()).or_default() += 1;
    }
    kinds
}

/// Processes in or below a folder that belong to nobody whom the node knows: what a task would leave behind.
pub(super) fn left_over(folder: &Path, known: &[u32]) -> Vec<u32> {
    let numbers = fs::read_dir("/proc").unwrap().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_there = |pid: &u32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|place| place.starts_with(folder));
    numbers.filter(|pid| !known.contains(pid)).filter(is_there).collect()
}
