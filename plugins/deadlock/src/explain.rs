//! What was found, in sentences; and whom to end.

use crate::detect::ends::process_of;
use crate::detect::{Detection, NotedWait, Stuck, StuckWait, Why};
use potluck_sdk::message::deadlock::{CycleEdge, DeadlockFound, Victim};
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

/// Deadlocked processes that are listed.
const LISTED_MAX: usize = 1000;
/// Circles that are told in full.
const CIRCLES_MAX: usize = 3;
/// Processes of all circles in the answer, beyond the first circle.
const CHAINS_MAX: usize = 4000;
/// Processes outside of the circles that are spoken of one by one.
const BEHIND_MAX: usize = 3;
/// Processes of a circle that are spoken of one by one.
const CIRCLE_MAX: usize = 12;
const MIB: u64 = 1 << 20;

/// What the process table knows of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fact {
    pub(crate) priority: i64,
    pub(crate) created_unix_milliseconds: u64,
    pub(crate) name: String,
}

pub(crate) type Facts = HashMap<String, Fact>;

/// The answer to DEADLOCK_CHECK.
pub(crate) fn report(detection: &Detection, facts: &Facts, not_looked_at: &[String]) -> DeadlockFound {
    let mut room = detection.cycles.first().map_or(0, Vec::len).saturating_add(CHAINS_MAX);
    let fits = |chain: &&Vec<CycleEdge>| {
        let left = room.checked_sub(chain.len());
        room = left.unwrap_or(0);
        left.is_some()
    };
    DeadlockFound {
        deadlock: !detection.stuck.is_empty(),
        deadlocked_processes: detection.stuck.iter().take(LISTED_MAX).map(|stuck| stuck.pid.clone()).collect(),
        deadlocked_count: detection.stuck.len(),
        cycle: detection.cycles.first().cloned().unwrap_or_default(),
        cycles: detection.cycles.iter().take_while(fits).cloned().collect(),
        cycle_count: detection.cycle_count,
        explanation: explain(detection, facts),
        victim: choose(detection, facts, &HashSet::new()),
        waiting: detection.waiting,
        not_looked_at: not_looked_at.to_vec(),
    }
}

pub(crate) fn explain(detection: &Detection, facts: &Facts) -> String {
    if detection.stuck.is_empty() {
        return no_deadlock(detection);
    }
    let named = |pid: &str| match facts.get(pid) {
        Some(fact) if !fact.name.is_empty() => format!("{pid} ({})", fact.name),
        _ => pid.to_owned(),
    };
    let by_pid: HashMap<&str, &Stuck> = detection.stuck.iter().map(|stuck| (stuck.pid.as_str(), stuck)).collect();
    let mut sentences = Vec::new();
    for (number, circle) in detection.cycles.iter().take(CIRCLES_MAX).enumerate() {
        sentences.extend(tell_circle(circle, number, &by_pid, &named));
    }
    let told = detection.cycles.len().min(CIRCLES_MAX);
    match detection.cycle_count.saturating_sub(told) {
        0 => {}
        1 => sentences.push("There is 1 more circle of others.".to_owned()),
        more => sentences.push(format!("There are {more} more circles of others.")),
    }

    let in_circle: HashSet<&str> = detection.cycles.iter().take(told).flatten().map(|edge| edge.pid.as_str()).collect();
    // Who is of a circle that is only counted is not behind those that were told.
    let is_behind =
        |stuck: &&Stuck| !in_circle.contains(stuck.pid.as_str()) && stuck.circle.is_none_or(|number| number < told);
    let behind: Vec<&Stuck> = detection.stuck.iter().filter(is_behind).collect();
    let way = match detection.cycle_count {
        0 => "can never go on",
        1 => "is stuck behind them",
        _ => "is stuck behind these",
    };
    for stuck in behind.iter().take(BEHIND_MAX) {
        let Some(wait) = stuck.waits.first() else { continue };
        sentences.push(format!("{} {way}: it {}{}.", named(&stuck.pid), has(stuck), describe(wait, None)));
    }
    match behind.len().saturating_sub(BEHIND_MAX) {
        0 => {}
        1 => sentences.push("1 more is stuck behind them.".to_owned()),
        more => sentences.push(format!("{more} more are stuck behind them.")),
    }
    sentences.join(" ")
}

/// One circle, as a chain that closes.
fn tell_circle(
    circle: &[CycleEdge],
    number: usize,
    by_pid: &HashMap<&str, &Stuck>,
    named: &dyn Fn(&str) -> String,
) -> Vec<String> {
    let names: Vec<String> = circle.iter().take(CIRCLE_MAX).map(|edge| named(&edge.pid)).collect();
    let all = list(&names, circle.len());
    let mut sentences = vec![match (circle.len(), number) {
        (1, 0) => format!("Deadlock: {all} waits for itself and can never go on."),
        (1, _) => format!("{all} waits for itself as well."),
        (_, 0) => format!(
            "Deadlock: {all} wait for one another in a circle, and none of them can ever go on, whatever the other processes \
             do."
        ),
        _ => format!("{all} wait for one another in a circle of their own."),
    }];
    for edge in circle.iter().take(CIRCLE_MAX) {
        let Some(stuck) = by_pid.get(edge.pid.as_str()) else { continue };
        let wait = stuck.waits.iter().find(|wait| wait.resource == edge.waits_for);
        let wait = wait.map_or_else(String::new, |wait| describe(wait, Some(&edge.held_by)));
        sentences.push(format!("{} {}{wait}.", edge.pid, has(stuck)));
    }
    if let [CycleEdge { pid, waits_for, .. }] = circle
        && waits_for.starts_with("semaphore:")
    {
        sentences.push(format!(
            "It counts as stuck because so far only those who had permits of {waits_for} have given them back; if anybody else \
             signals it, {pid} goes on."
        ));
    }
    if circle.len() > 1 {
        let closes = if number == 0 { "That closes the circle." } else { "That closes this circle." };
        sentences.push(closes.to_owned());
    }
    sentences
}

fn no_deadlock(detection: &Detection) -> String {
    let found = match (detection.waiting, detection.can_go_on.as_slice()) {
        (0, _) => "No deadlock: nobody waits for anything without a time-out.".to_owned(),
        (waiting, []) => format!(
            "No deadlock: {} by somebody who does not wait.",
            if waiting == 1 { "1 request waits, and can be met" } else { "all requests that wait can be met" }
        ),
        (waiting, order) => format!(
            "No deadlock: {} For example, when those who wait for nothing have given back what they have, {} can go on{}.",
            if waiting == 1 { "1 request waits, and can be met." } else { "all requests that wait can be met." },
            order[0],
            order[1..].iter().map(|pid| format!(", then {pid}")).collect::<String>()
        ),
    };
    let sentences = [Some(found), detection.open.example.as_ref().map(|wait| tell_open(wait, detection.open.count))];
    let abroad = detection.abroad.example.as_ref().map(|wait| tell_abroad(wait, detection.abroad.count));
    sentences.into_iter().chain([abroad]).flatten().collect::<Vec<_>>().join(" ")
}

/// What the search left out, since anybody may end it.
fn tell_open(wait: &NotedWait, count: usize) -> String {
    let NotedWait { pid, resource, .. } = wait;
    let others = others(count);
    format!(
        "{pid} waits for {resource}, which anybody may signal, so nobody can say whether it waits in vain: it was left out{others}."
    )
}

/// What may be a deadlock together with another node's.
fn tell_abroad(wait: &NotedWait, count: usize) -> String {
    let NotedWait { pid, resource, held_by } = wait;
    format!(
        "{pid} waits for {resource}, of which {held_by} has some, a process of another node: what that waits for on its own \
         node is not known here{}.",
        others(count)
    )
}

fn others(count: usize) -> String {
    match count {
        0 | 1 => String::new(),
        2 => "; 1 more wait is like that".to_owned(),
        _ => format!("; {} more waits are like that", count - 1),
    }
}

fn has(stuck: &Stuck) -> String {
    // Its own end is nothing that a process has.
    let holds = || stuck.holds.iter().filter(|(name, _)| process_of(name).is_none());
    let named: Vec<String> = holds().take(4).map(|(name, units)| amount(name, *units)).collect();
    if named.is_empty() { String::new() } else { format!("has {} and ", list(&named, holds().count())) }
}

/// `semaphore:fork-1`, `2 units of TAPE`, `512 bytes of memory`, `the end of P7`.
fn amount(resource: &str, units: u64) -> String {
    if let Some(process) = process_of(resource) {
        return format!("the end of {process}");
    }
    match (resource, units) {
        ("memory", _) => format!("{units} bytes of memory"),
        (_, 1) => resource.to_owned(),
        _ => format!("{units} units of {resource}"),
    }
}

fn describe(wait: &StuckWait, held_by: Option<&str>) -> String {
    let StuckWait { resource, units, total, free, .. } = wait;
    let wanted = amount(resource, *units);
    let holders: Vec<String> = wait.held_by.iter().map(|(pid, _)| pid.clone()).collect();
    let who = held_by.map_or_else(|| list(&holders, holders.len()), str::to_owned);
    match wait.why {
        Why::Behind => format!("waits for {wanted} behind {who}, which comes first"),
        Why::Unsafe => format!(
            "waits for {wanted}; {free} of {total} {} free, but Banker's algorithm may not give that out before {who} has \
             given something back, because not every process could then be sure to end",
            if *free == 1 { "is" } else { "are" }
        ),
        Why::Pieces(largest) => {
            let is = if *free == 1 { "is" } else { "are" };
            let between = if holders.is_empty() {
                String::new()
            } else {
                format!(
                    ", because of the blocks that {} {}",
                    list(&holders, holders.len()),
                    if holders.len() == 1 { "has" } else { "have" }
                )
            };
            format!(
                "waits for {wanted} in one piece; {free} of {total} {is} free, but no more than {largest} in one piece{between}"
            )
        }
        Why::Units if units > total => format!("waits for {wanted}, and there are only {total}"),
        Why::Units if holders.is_empty() => format!("waits for {wanted}, and only {free} of {total} will ever be free"),
        Why::Units if process_of(resource).is_some() => format!("waits for {wanted}"),
        Why::Units if *total == 1 => format!("waits for {wanted}, which {who} has"),
        Why::Units => {
            let held: Vec<String> = wait.held_by.iter().map(|(pid, units)| format!("{pid} has {units}")).collect();
            let is = if *free == 1 { "is" } else { "are" };
            format!("waits for {wanted}; {free} of {total} {is} free, and {}", list(&held, held.len()))
        }
    }
}

/// `P1, P2 and P3`; `total` is how many there are in all.
fn list(names: &[String], total: usize) -> String {
    match names {
        [] => "nobody".to_owned(),
        _ if total > names.len() => format!("{} and {} more", names.join(", "), total - names.len()),
        [one] => one.clone(),
        [others @ .., last] => format!("{} and {last}", others.join(", ")),
    }
}

/// Units that are lost when a process is ended; memory counts by the MiB.
fn cost(stuck: &Stuck) -> u64 {
    let units = |(name, units): &(String, u64)| match name.as_str() {
        "memory" => units.div_ceil(MIB),
        name if process_of(name).is_some() => 0,
        _ => *units,
    };
    stuck.holds.iter().map(units).fold(0, u64::saturating_add)
}

/// The number of a process of this node: a later one is younger.
fn number(pid: &str) -> Option<u64> {
    pid.strip_prefix('P')?.parse().ok()
}

/// Whom to end: one of the first circle, since ending another would not open it. The one that has the least, then the one with
/// the lowest priority, then the youngest.
pub(crate) fn choose(detection: &Detection, facts: &Facts, except: &HashSet<String>) -> Option<Victim> {
    let circle: HashSet<&str> = detection.cycles.iter().take(1).flatten().map(|edge| edge.pid.as_str()).collect();
    let may = |stuck: &&Stuck| !except.contains(&stuck.pid);
    let mut candidates: Vec<&Stuck> =
        detection.stuck.iter().filter(|stuck| circle.contains(stuck.pid.as_str())).filter(may).collect();
    if candidates.is_empty() {
        candidates = detection.stuck.iter().filter(may).collect();
    }
    let fact = |stuck: &Stuck| facts.get(&stuck.pid);
    let priority = |stuck: &Stuck| fact(stuck).map_or(i64::MAX, |fact| fact.priority);
    let age = |stuck: &Stuck| (fact(stuck).map(|fact| fact.created_unix_milliseconds), number(&stuck.pid));
    let victim = *candidates.iter().min_by_key(|stuck| (cost(stuck), priority(stuck), Reverse(age(stuck))))?;

    let same_cost: Vec<&&Stuck> = candidates.iter().filter(|other| cost(other) == cost(victim)).collect();
    let same_priority = same_cost.iter().filter(|other| priority(other) == priority(victim)).count();
    let least = match cost(victim) {
        0 => "it has nothing that would be lost".to_owned(),
        1 => "it has the least, 1 unit".to_owned(),
        units => format!("it has the least, {units} units"),
    };
    let why = if candidates.len() == 1 {
        "it is the only one that ending can help".to_owned()
    } else if same_cost.len() == 1 {
        format!("of the {} processes of the circle {least}", candidates.len())
    } else if same_priority == 1 {
        format!(
            "{least}, as {} others, and has the lowest priority of them ({})",
            same_cost.len() - 1,
            priority(victim)
        )
    } else if same_cost.iter().filter(|other| age(other) == age(victim)).count() == 1 {
        format!("{least}, as others, and of those with the lowest priority it is the youngest")
    } else {
        format!("{least}, as others, and nothing else tells them apart")
    };
    Some(Victim { pid: victim.pid.clone(), why })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Noted;

    fn stuck(pid: &str, holds: (&str, u64), waits: (&str, u64), held_by: &str) -> Stuck {
        let wait = StuckWait {
            resource: waits.0.to_owned(),
            units: waits.1,
            total: waits.1,
            free: 0,
            held_by: vec![(held_by.to_owned(), waits.1)],
            why: Why::Units,
        };
        Stuck { pid: pid.to_owned(), holds: vec![(holds.0.to_owned(), holds.1)], waits: vec![wait], circle: None }
    }

    fn circle() -> Detection {
        let edge = |pid: &str, waits_for: &str, held_by: &str| CycleEdge {
            pid: pid.to_owned(),
            waits_for: waits_for.to_owned(),
            units: 1,
            held_by: held_by.to_owned(),
        };
        Detection {
            stuck: vec![
                stuck("P1", ("semaphore:a", 1), ("semaphore:b", 1), "P2"),
                stuck("P2", ("semaphore:b", 1), ("TAPE", 2), "P3"),
                stuck("P3", ("TAPE", 2), ("semaphore:a", 1), "P1"),
                stuck("P4", ("x", 1), ("TAPE", 2), "P3"),
            ],
            cycles: vec![vec![
                edge("P1", "semaphore:b", "P2"),
                edge("P2", "TAPE", "P3"),
                edge("P3", "semaphore:a", "P1"),
            ]],
            cycle_count: 1,
            waiting: 4,
            ..Detection::default()
        }
    }

    #[test]
    fn a_deadlock_is_told_as_a_chain_that_closes() {
        let facts = Facts::from([("P2".to_owned(), Fact { name: "eater".to_owned(), ..Fact::default() })]);
        assert_eq!(
            explain(&circle(), &facts),
            "Deadlock: P1, P2 (eater) and P3 wait for one another in a circle, and none of them can ever go on, whatever the \
             other processes do. P1 has semaphore:a and waits for semaphore:b, which P2 has. P2 has semaphore:b and waits \
             for 2 units of TAPE; 0 of 2 are free, and P3 has 2. P3 has 2 units of TAPE and waits for semaphore:a, which P1 \
             has. That closes the circle. P4 is stuck behind them: it has x and waits for 2 units of TAPE; 0 of 2 are free, \
             and P3 has 2."
        );
    }

    /// `count` pairs whose processes wait for each other, and one process that waits for the first pair.
    fn pairs(count: usize) -> Detection {
        let mut detection = Detection { cycle_count: count, ..Detection::default() };
        for number in 0..count {
            let (one, other) = (format!("P{number}1"), format!("P{number}2"));
            let (left, right) = (format!("semaphore:l{number}"), format!("semaphore:r{number}"));
            let edge = |pid: &str, waits_for: &str, held_by: &str| CycleEdge {
                pid: pid.to_owned(),
                waits_for: waits_for.to_owned(),
                units: 1,
                held_by: held_by.to_owned(),
            };
            detection.cycles.push(vec![edge(&one, &right, &other), edge(&other, &left, &one)]);
            for (pid, holds, waits, held_by) in [(&one, &left, &right, &other), (&other, &right, &left, &one)] {
                let stuck = stuck(pid, (holds, 1), (waits, 1), held_by);
                detection.stuck.push(Stuck { circle: Some(number), ..stuck });
            }
        }
        detection.stuck.push(stuck("P9", ("x", 1), ("semaphore:l0", 1), "P01"));
        detection
    }

    #[test]
    fn every_circle_is_told_before_those_who_are_stuck_behind_them() {
        assert_eq!(
            explain(&pairs(2), &Facts::new()),
            "Deadlock: P01 and P02 wait for one another in a circle, and none of them can ever go on, whatever the other \
             processes do. P01 has semaphore:l0 and waits for semaphore:r0, which P02 has. P02 has semaphore:r0 and waits \
             for semaphore:l0, which P01 has. That closes the circle. P11 and P12 wait for one another in a circle of their \
             own. P11 has semaphore:l1 and waits for semaphore:r1, which P12 has. P12 has semaphore:r1 and waits for \
             semaphore:l1, which P11 has. That closes this circle. P9 is stuck behind these: it has x and waits for \
             semaphore:l0, which P01 has."
        );
    }

    #[test]
    fn of_many_circles_three_are_told_and_the_others_counted() {
        let text = explain(&pairs(5), &Facts::new());
        assert!(text.contains("P21 and P22 wait") && !text.contains("P31"), "{text}");
        assert!(text.contains("That closes this circle. There are 2 more circles of others. P9 is stuck"), "{text}");
        assert!(!text.contains("more are stuck"), "{text}");
        assert!(explain(&pairs(4), &Facts::new()).contains("There is 1 more circle of others."));
    }

    #[test]
    fn long_circles_leave_room_in_the_answer() {
        let mut detection = pairs(3);
        detection.cycles[1] = vec![detection.cycles[1][0].clone(); CHAINS_MAX + 1];
        let found = report(&detection, &Facts::new(), &[]);
        assert_eq!((found.cycle.len(), found.cycles.len(), found.cycle_count), (2, 1, 3));
    }

    #[test]
    fn the_victim_has_the_least_then_the_lowest_priority_then_is_the_youngest() {
        let fact =
            |priority, created_unix_milliseconds| Fact { priority, created_unix_milliseconds, name: String::new() };
        let facts = |first: Fact, second: Fact| Facts::from([("P1".to_owned(), first), ("P2".to_owned(), second)]);
        let victim = |facts: &Facts| choose(&circle(), facts, &HashSet::new()).unwrap();
        let chosen = victim(&facts(fact(1, 5), fact(5, 9)));
        assert_eq!((chosen.pid.as_str(), chosen.why.contains("lowest priority of them (1)")), ("P1", true));
        let chosen = victim(&facts(fact(5, 9), fact(5, 5)));
        assert_eq!((chosen.pid.as_str(), chosen.why.contains("youngest")), ("P1", true));
        assert_eq!(victim(&Facts::new()).pid, "P2", "without facts the higher number is the younger one");
        let except = HashSet::from(["P1".to_owned(), "P2".to_owned()]);
        assert_eq!(choose(&circle(), &Facts::new(), &except).unwrap().pid, "P3");
    }

    #[test]
    fn without_a_deadlock_it_says_how_all_can_go_on() {
        let mut detection = Detection::default();
        assert_eq!(explain(&detection, &Facts::new()), "No deadlock: nobody waits for anything without a time-out.");
        detection.waiting = 2;
        detection.can_go_on = vec!["P2".to_owned(), "P1".to_owned()];
        assert!(explain(&detection, &Facts::new()).ends_with("P2 can go on, then P1."));
    }

    #[test]
    fn what_the_search_cannot_look_behind_is_said() {
        let noted = |count, held_by: &str| Noted {
            count,
            example: Some(NotedWait {
                pid: "P1".to_owned(),
                resource: "semaphore:s".to_owned(),
                held_by: held_by.to_owned(),
            }),
        };
        let mut detection = Detection { waiting: 1, open: noted(1, ""), ..Detection::default() };
        assert_eq!(
            explain(&detection, &Facts::new()),
            "No deadlock: 1 request waits, and can be met by somebody who does not wait. P1 waits for semaphore:s, which \
             anybody may signal, so nobody can say whether it waits in vain: it was left out."
        );
        (detection.waiting, detection.open, detection.abroad) = (3, Noted::default(), noted(3, "P7@far"));
        let text = explain(&detection, &Facts::new());
        assert!(
            text.ends_with(
                "P1 waits for semaphore:s, of which P7@far has some, a process of another node: what that waits for on its \
                 own node is not known here; 2 more waits are like that."
            ),
            "{text}"
        );
    }

    #[test]
    fn who_waits_for_itself_at_a_semaphore_is_told_why_it_counts() {
        let waits = |resource: &str| {
            let edge =
                CycleEdge { pid: "P1".to_owned(), waits_for: resource.to_owned(), units: 1, held_by: "P1".to_owned() };
            let detection = Detection {
                stuck: vec![stuck("P1", (resource, 1), (resource, 1), "P1")],
                cycles: vec![vec![edge]],
                cycle_count: 1,
                ..Detection::default()
            };
            explain(&detection, &Facts::new())
        };
        assert_eq!(
            waits("semaphore:a"),
            "Deadlock: P1 waits for itself and can never go on. P1 has semaphore:a and waits for semaphore:a, which P1 has. It \
             counts as stuck because so far only those who had permits of semaphore:a have given them back; if anybody else \
             signals it, P1 goes on."
        );
        assert!(!waits("memory").contains("counts as stuck"));
    }

    #[test]
    fn who_waits_for_a_child_waits_for_its_end() {
        let parent = stuck("P1", ("semaphore:a", 1), ("child:P2", 1), "P2");
        let child = stuck("P2", ("child:P2", 1), ("semaphore:a", 1), "P1");
        assert_eq!(describe(&parent.waits[0], Some("P2")), "waits for the end of P2");
        assert_eq!((has(&parent).as_str(), has(&child).as_str()), ("has semaphore:a and ", ""));
        assert_eq!((cost(&parent), cost(&child)), (1, 0));
    }

    #[test]
    fn memory_in_pieces_is_told_with_the_largest_one() {
        let wait = StuckWait {
            resource: "memory".to_owned(),
            units: 300,
            total: 1024,
            free: 512,
            held_by: vec![("P1".to_owned(), 256), ("P2".to_owned(), 256)],
            why: Why::Pieces(256),
        };
        assert_eq!(
            describe(&wait, None),
            "waits for 300 bytes of memory in one piece; 512 of 1024 are free, but no more than 256 in one piece, because of \
             the blocks that P1 and P2 have"
        );
    }
}
