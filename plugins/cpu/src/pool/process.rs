//! What /proc tells of a process and of those that it has started.
//!
//! A worker is the subreaper of its descendants: whatever they do, sessions and process groups of their own included,
//! they stay below it as long as it lives.

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

/// Kernel clock ticks per second in /proc/PID/stat: fixed at 100 for user space on Linux.
const TICKS_PER_SECOND: f64 = 100.0;
/// Descendants that are looked at in one round; a task that has more is stopped in several.
const DESCENDANTS_MAX: usize = 4096;
/// Rounds in which descendants are stopped. Each leaves only those that were started during it.
const KILL_ROUNDS: usize = 16;

/// Processor time that a process has used, with that of its children that it has waited for.
pub(super) fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field is the program's name in parentheses and may hold anything; utime, stime, cutime and cstime are
    // fields 14 to 17.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields = after_name.split_ascii_whitespace().skip(11).take(4);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

/// The same of a process and of all that it has started.
pub(super) fn cpu_seconds_of_all(pid: u32) -> f64 {
    cpu_seconds(pid) + descendants(pid).into_iter().map(cpu_seconds).sum::<f64>()
}

/// Memory that a process has for itself alone, in bytes, swapped out or not: what is only mapped from files, such as an
/// image's code, is everybody's.
pub(super) fn own_memory_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    // Lines such as `RssAnon:     1234 kB`.
    let kibibytes = status.lines().filter_map(|line| {
        let amount = line.strip_prefix("RssAnon:").or_else(|| line.strip_prefix("VmSwap:"))?;
        amount.trim_ascii().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    kibibytes.sum::<u64>().saturating_mul(1024)
}

/// Memory of a process.
#[derive(Clone, Copy, Default)]
pub(super) struct Memory {
    /// What it has now.
    pub(super) resident_bytes: u64,
    /// The most that it ever had.
    pub(super) peak_bytes: u64,
}

/// Memory of a process; none when it is gone.
pub(super) fn memory(pid: u32) -> Memory {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let amount = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_ascii().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    let bytes = |name: &str| amount(name).unwrap_or(0).saturating_mul(1024);
    Memory { resident_bytes: bytes("VmRSS:"), peak_bytes: bytes("VmHWM:") }
}

/// Threads of a process.
pub(super) fn threads(pid: u32) -> u64 {
    // A folder for each, beside its own name and its parent's.
    std::fs::metadata(format!("/proc/{pid}/task")).map_or(0, |folder| folder.nlink().saturating_sub(2))
}

/// All processes below a process.
pub(super) fn descendants(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut unvisited = vec![pid];
    while let Some(parent) = unvisited.pop() {
        for child in children(parent) {
            if found.len() == DESCENDANTS_MAX {
                return found;
            }
            found.push(child);
            unvisited.push(child);
        }
    }
    found
}

/// Stops all processes below a process. While it lives no other process can get one of their numbers in between: those
/// that have ended stay its children until it reaps them, and it must not run meanwhile.
pub(super) fn kill_descendants(pid: u32) {
    if children(pid).is_empty() {
        return;
    }
    signal(pid, Signal::STOP);
    for _ in 0..KILL_ROUNDS {
        let running: Vec<u32> = descendants(pid).into_iter().filter(|pid| is_running(*pid)).collect();
        if running.is_empty() {
            return;
        }
        for pid in running {
            signal(pid, Signal::KILL);
        }
    }
}

/// Stops the process group of a process, and all that it has started: some may have left the group. A process that has
/// been signalled starts no other, so each round finds only what was started before the last one.
pub(super) fn stop(pid: u32) {
    signal_group(pid, Signal::STOP);
    let mut signalled = BTreeSet::new();
    for _ in 0..KILL_ROUNDS {
        let new: Vec<u32> = descendants(pid).into_iter().filter(|pid| signalled.insert(*pid)).collect();
        if new.is_empty() {
            return;
        }
        for pid in new {
            signal(pid, Signal::STOP);
        }
    }
}

/// Lets them go on.
pub(super) fn go_on(pid: u32) {
    for pid in descendants(pid) {
        signal(pid, Signal::CONT);
    }
    signal_group(pid, Signal::CONT);
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

fn signal_group(leader: u32, signal: Signal) {
    if let Some(leader) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(leader, signal);
    }
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = threads.flatten().filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
        .collect()
}

fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_was_written_to_counts() {
        let taken = std::hint::black_box(vec![1_u8; 64 << 20]);
        let bytes = own_memory_bytes(std::process::id());
        // The kernel counts in some pages at a time.
        assert!(bytes >= taken.len() as u64 - (4 << 20), "{bytes}");
        assert_eq!(own_memory_bytes(u32::MAX), 0);
    }
}
