//! Ends of processes, for which others wait: resources of one unit, which the process has itself.

use super::Stuck;
use std::collections::HashSet;

/// The process for whose end those wait who wait for a resource, if it is such a one.
pub(crate) fn process_of(resource: &str) -> Option<&str> {
    resource.strip_prefix("child:").or_else(|| resource.strip_prefix("process:"))
}

/// Who only waits for the end of others, and is in nobody's way, has no part in what keeps these from it.
pub(super) fn leave_out_onlookers(stuck: &mut Vec<Stuck>) {
    let only_looks_on =
        |stuck: &Stuck| stuck.circle.is_none() && stuck.waits.iter().all(|wait| process_of(&wait.resource).is_some());
    let holders = |stuck: &Stuck| -> Vec<String> {
        stuck.waits.iter().flat_map(|wait| wait.held_by.iter().map(|(pid, _)| pid.clone())).collect()
    };
    let (mut onlookers, mut kept): (Vec<Stuck>, Vec<Stuck>) = stuck.drain(..).partition(only_looks_on);
    // Whoever is in the way of one that stays, stays as well.
    let mut in_the_way: Vec<String> = kept.iter().flat_map(holders).collect();
    let mut seen: HashSet<String> = HashSet::new();
    while let Some(pid) = in_the_way.pop() {
        if seen.insert(pid.clone())
            && let Some(position) = onlookers.iter().position(|stuck| stuck.pid == pid)
        {
            let one = onlookers.swap_remove(position);
            in_the_way.extend(holders(&one));
            kept.push(one);
        }
    }
    kept.sort_by(|a, b| a.pid.cmp(&b.pid));
    *stuck = kept;
}
