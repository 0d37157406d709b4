//! What this node really has: processors, memory, disk, network.

use potluck_sdk::NodeFacts;
use std::collections::BTreeMap;
use std::fs;

const MIB: u64 = 1 << 20;
/// Megabits a second of a network whose speed the machine does not tell, as virtual ones do not.
const NETWORK_UNITS: u64 = 1000;

/// CPU in cores, MEMORY and DISK in MiB, NETWORK in megabits a second.
pub(crate) fn resources(node: &NodeFacts) -> BTreeMap<String, u64> {
    let disk =
        rustix::fs::statvfs(&node.node_dir).map_or(0, |facts| facts.f_bavail.saturating_mul(facts.f_frsize) / MIB);
    let all = [
        ("CPU", node.cores as u64),
        ("MEMORY", memory_bytes().unwrap_or(0) / MIB),
        ("DISK", disk),
        ("NETWORK", network_megabits().unwrap_or(NETWORK_UNITS)),
    ];
    all.into_iter().map(|(name, total)| (name.to_owned(), total)).collect()
}

/// Memory of the machine, or of the container that this node is in.
fn memory_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let machine = line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.saturating_mul(1024);
    let container = fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    Some(container.map_or(machine, |limit: u64| limit.min(machine)))
}

/// Speed of the fastest interface that tells one.
fn network_megabits() -> Option<u64> {
    let interfaces = fs::read_dir("/sys/class/net").ok()?;
    let speed = |path: std::path::PathBuf| fs::read_to_string(path.join("speed")).ok()?.trim().parse::<u64>().ok();
    interfaces.flatten().filter_map(|interface| speed(interface.path())).filter(|speed| *speed > 0).max()
}
