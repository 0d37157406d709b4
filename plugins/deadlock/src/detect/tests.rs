//! States whose answer is known, and random ones whose answer comes from a search through all that can happen.

mod pieces;

use super::*;
use crate::bank::{BankLimits, Wait};
use potluck_sdk::message::resources::{Holder, Waiter};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// States of each property; `POTLUCK_DEADLOCK_CASES` for another number.
fn cases(default: u32) -> u32 {
    std::env::var("POTLUCK_DEADLOCK_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn empty_bank() -> Bank {
    Bank::new(BankLimits { resources_max: 99, processes_max: 99, needs_max: 999, waits_max: 99 })
}

fn resource(name: &str, total: u64, holders: &[(&str, u64)], waiters: &[(&str, u64)]) -> ResourceState {
    ResourceState {
        resource_id: name.to_owned(),
        kind: "semaphore".to_owned(),
        total_units: total,
        available_units: total - holders.iter().map(|(_, units)| units).sum::<u64>(),
        owned: true,
        holders: holders.iter().map(|(pid, units)| Holder { pid: (*pid).to_owned(), units: *units }).collect(),
        waiters: waiters
            .iter()
            .map(|(pid, units)| Waiter {
                pid: (*pid).to_owned(),
                units: *units,
                since_unix_milliseconds: 1,
                bounded: false,
            })
            .collect(),
    }
}

fn plain(resources: Vec<ResourceState>) -> Detection {
    detect(&Snapshot { resources, places: Vec::new(), bank: empty_bank() }, None, &HashSet::new())
}

fn names(detection: &Detection) -> Vec<&str> {
    detection.stuck.iter().map(|stuck| stuck.pid.as_str()).collect()
}

fn circle(detection: &Detection) -> Vec<(&str, &str, &str)> {
    detection.cycles.iter().flatten().map(|edge| (&*edge.pid, &*edge.waits_for, &*edge.held_by)).collect()
}

#[test]
fn who_waits_for_the_end_of_the_deadlocked_is_no_part_of_it_unless_they_wait_for_it() {
    let mut resources = vec![
        resource("semaphore:a", 1, &[("P2", 1)], &[("P3", 1)]),
        resource("semaphore:b", 1, &[("P3", 1)], &[("P2", 1)]),
        resource("child:P2", 1, &[("P2", 1)], &[("P1", 1)]),
        resource("process:P3", 1, &[("P3", 1)], &[("P1", 1)]),
    ];
    assert_eq!(names(&plain(resources.clone())), ["P2", "P3"]);
    // Somebody needs what the parent has, so that is in the way.
    let mut more = resources.clone();
    more.push(resource("semaphore:c", 1, &[("P1", 1)], &[("P4", 1)]));
    assert_eq!(names(&plain(more)), ["P1", "P2", "P3", "P4"]);
    // Now one of them needs what the parent has.
    resources[0] = resource("semaphore:a", 1, &[("P1", 1)], &[("P3", 1)]);
    let found = plain(resources);
    assert_eq!(names(&found), ["P1", "P2", "P3"]);
    assert_eq!(circle(&found), [("P1", "process:P3", "P3"), ("P3", "semaphore:a", "P1")]);
}

#[test]
fn two_that_wait_for_each_other_are_deadlocked() {
    let found = plain(vec![
        resource("semaphore:a", 1, &[("P1", 1)], &[("P2", 1)]),
        resource("semaphore:b", 1, &[("P2", 1)], &[("P1", 1)]),
    ]);
    assert_eq!(names(&found), ["P1", "P2"]);
    assert_eq!(circle(&found), [("P1", "semaphore:b", "P2"), ("P2", "semaphore:a", "P1")]);
    assert_eq!((found.waiting, found.keys.len()), (2, 2));
}

#[test]
fn five_philosophers_with_one_fork_each_are_deadlocked() {
    let pids = ["P1", "P2", "P3", "P4", "P5"];
    let forks = (0..5)
        .map(|fork| resource(&format!("semaphore:fork-{fork}"), 1, &[(pids[fork], 1)], &[(pids[(fork + 4) % 5], 1)]));
    let found = plain(forks.collect());
    assert_eq!(names(&found), pids);
    let expected: Vec<_> = circle(&found).iter().map(|edge| (edge.0, edge.2)).collect();
    assert_eq!(expected, [("P1", "P2"), ("P2", "P3"), ("P3", "P4"), ("P4", "P5"), ("P5", "P1")]);
}

#[test]
fn a_circle_is_no_deadlock_while_a_third_can_give_a_unit_back() {
    let two = |holders: &[(&str, u64)]| {
        vec![resource("semaphore:a", 2, holders, &[("P2", 1)]), resource("semaphore:b", 1, &[("P2", 1)], &[("P1", 1)])]
    };
    let found = plain(two(&[("P1", 1), ("P3", 1)]));
    assert!(found.stuck.is_empty(), "P3 can end, and then P2");
    assert_eq!(found.can_go_on, ["P2", "P1"]);
    assert_eq!(names(&plain(two(&[("P1", 2)]))), ["P1", "P2"]);
}

#[test]
fn who_waits_behind_a_deadlock_is_deadlocked_but_not_in_the_circle() {
    let found = plain(vec![
        resource("semaphore:a", 1, &[("P1", 1)], &[("P2", 1), ("P0", 1)]),
        resource("semaphore:b", 1, &[("P2", 1)], &[("P1", 1)]),
        resource("semaphore:c", 1, &[("P0", 1)], &[("P9", 1)]),
    ]);
    assert_eq!(names(&found), ["P0", "P1", "P2", "P9"]);
    assert_eq!(found.cycles[0].len(), 2);
    assert_eq!(found.cycles[0][0].pid, "P1");
}

#[test]
fn separate_circles_are_all_found_and_those_that_wait_for_no_other_come_first() {
    let pair = |number: usize, one: &'static str, other: &'static str, more: &[(&str, u64)]| {
        let behind: Vec<(&str, u64)> = [(other, 1)].iter().chain(more).copied().collect();
        [
            resource(&format!("semaphore:l{number}"), 1, &[(one, 1)], &behind),
            resource(&format!("semaphore:r{number}"), 1, &[(other, 1)], &[(one, 1)]),
        ]
    };
    // P1 is of the first circle by name, but waits for the one of P5 and P6 as well.
    let found = plain(
        [pair(0, "P1", "P2", &[]), pair(1, "P3", "P4", &[]), pair(2, "P5", "P6", &[("P1", 1), ("P9", 1)])].concat(),
    );
    assert_eq!(names(&found), ["P1", "P2", "P3", "P4", "P5", "P6", "P9"]);
    let firsts: Vec<&str> = found.cycles.iter().map(|circle| circle[0].pid.as_str()).collect();
    assert_eq!((firsts.as_slice(), found.cycle_count), (["P3", "P5", "P1"].as_slice(), 3));
    let of: Vec<Option<usize>> = found.stuck.iter().map(|stuck| stuck.circle).collect();
    assert_eq!(of, [Some(2), Some(2), Some(0), Some(0), Some(1), Some(1), None]);
}

#[test]
fn of_very_many_circles_the_first_are_listed_and_all_are_counted() {
    let resources = (0..1000).map(|number| {
        let pid = format!("P{number:04}");
        resource(&format!("semaphore:{number}"), 1, &[(&pid, 1)], &[(&pid, 1)])
    });
    let found = plain(resources.collect());
    assert_eq!((found.cycles.len(), found.cycle_count), (16, 1000));
    assert_eq!(found.cycles[15][0].pid, "P0015");
}

#[test]
fn a_circle_of_very_many_is_found_without_recursion() {
    let pids: Vec<String> = (0..50_000).map(|number| format!("P{number:05}")).collect();
    let resources = pids
        .iter()
        .zip(pids.iter().cycle().skip(1))
        .map(|(holder, waiter)| resource(&format!("semaphore:{holder}"), 1, &[(holder, 1)], &[(waiter, 1)]));
    let found = plain(resources.collect());
    assert_eq!((found.cycles.len(), found.cycles[0].len(), found.cycle_count), (1, 50_000, 1));
}

#[test]
fn who_gets_one_of_two_requests_may_overtake_with_the_other_and_is_not_stuck() {
    let mut bank = empty_bank();
    bank.set_resource("A", Some("OTHER"), 3).unwrap();
    bank.set_resource("B", Some("OTHER"), 3).unwrap();
    for (pid, a, b) in [("P0", 1, 3), ("P1", 0, 3), ("P2", 3, 2), ("P3", 2, 0)] {
        let max = units(&[("A", a), ("B", b)]).into_iter().filter(|(_, units)| *units > 0).collect();
        bank.set_process(pid, max).unwrap();
    }
    bank.request("P1", &units(&[("B", 1)])).unwrap();
    bank.request("P3", &units(&[("A", 1)])).unwrap();
    for (ticket, pid, name, count) in [(1, "P2", "A", 2), (2, "P0", "B", 1), (3, "P2", "B", 1)] {
        let wanted = units(&[(name, count)]);
        assert!(bank.request(pid, &wanted).unwrap_err().may_pass());
        bank_wait(&mut bank, ticket, pid, wanted);
    }
    // When P3 has ended, P2 gets A, and has something then: it need not wait for B behind P0.
    let resources = vec![resource("semaphore:s", 1, &[("P0", 1)], &[("P1", 1)])];
    let found = detect(&Snapshot { resources, places: Vec::new(), bank }, None, &HashSet::new());
    assert_eq!(names(&found), ["P0", "P1"]);
}

#[test]
fn a_process_can_be_deadlocked_with_itself() {
    let found = plain(vec![resource("semaphore:a", 1, &[("P1", 1)], &[("P1", 1)])]);
    assert_eq!(circle(&found), [("P1", "semaphore:a", "P1")]);
    // Of those that have some each, two are told.
    let found = plain(vec![resource("semaphore:a", 2, &[("P2", 1), ("P1", 1)], &[("P1", 1), ("P2", 1)])]);
    assert_eq!(circle(&found), [("P1", "semaphore:a", "P2"), ("P2", "semaphore:a", "P1")]);
}

#[test]
fn waits_that_end_by_themselves_or_by_anybody_are_no_deadlock() {
    let circle = |change: fn(&mut ResourceState)| {
        let mut first = resource("semaphore:a", 1, &[("P1", 1)], &[("P2", 1)]);
        change(&mut first);
        plain(vec![first, resource("semaphore:b", 1, &[("P2", 1)], &[("P1", 1)])])
    };
    let open = circle(|state| state.owned = false);
    assert!(open.stuck.is_empty());
    let example = NotedWait { pid: "P2".to_owned(), resource: "semaphore:a".to_owned(), held_by: String::new() };
    assert_eq!(open.open, Noted { count: 1, example: Some(example) });
    assert!(circle(|state| state.waiters[0].bounded = true).stuck.is_empty());
    assert_eq!(circle(|_| ()).stuck.len(), 2);
}

#[test]
fn a_wait_for_what_a_process_of_another_node_has_is_noted() {
    let found = plain(vec![resource("semaphore:a", 2, &[("P1", 1), ("P7@far", 1)], &[("P2", 1), ("P3", 1)])]);
    assert!(found.stuck.is_empty());
    let example = NotedWait { pid: "P2".to_owned(), resource: "semaphore:a".to_owned(), held_by: "P7@far".to_owned() };
    assert_eq!((found.abroad, found.open.count), (Noted { count: 2, example: Some(example) }, 0));

    let mut bank = empty_bank();
    bank.set_resource("A", None, 1).unwrap();
    bank.set_process("P7@far", units(&[("A", 1)])).unwrap();
    bank.set_process("P1", units(&[("A", 1)])).unwrap();
    bank.request("P7@far", &units(&[("A", 1)])).unwrap();
    bank_wait(&mut bank, 1, "P1", units(&[("A", 1)]));
    let found = detect(&Snapshot { resources: Vec::new(), places: Vec::new(), bank }, None, &HashSet::new());
    let example = NotedWait { pid: "P1".to_owned(), resource: "A".to_owned(), held_by: "P7@far".to_owned() };
    assert_eq!(found.abroad, Noted { count: 1, example: Some(example) });
}

#[test]
fn only_waits_that_were_there_before_count_when_a_deadlock_is_confirmed() {
    let mut resources = vec![
        resource("semaphore:a", 1, &[("P1", 1)], &[("P2", 1)]),
        resource("semaphore:b", 1, &[("P2", 1)], &[("P1", 1)]),
    ];
    let keys = plain(resources.clone()).keys;
    let again = |resources| {
        detect(&Snapshot { resources, places: Vec::new(), bank: empty_bank() }, Some(&keys), &HashSet::new())
            .stuck
            .len()
    };
    assert_eq!(again(resources.clone()), 2);
    resources[1].waiters[0].since_unix_milliseconds += 1;
    assert_eq!(again(resources), 0, "P1 went on in between");
}

#[test]
fn who_is_gone_gives_back_what_it_had() {
    let resources = vec![
        resource("semaphore:a", 1, &[("P1", 1)], &[("P2", 1)]),
        resource("semaphore:b", 1, &[("P2", 1)], &[("P1", 1)]),
    ];
    let gone = HashSet::from(["P1".to_owned()]);
    assert!(detect(&Snapshot { resources, places: Vec::new(), bank: empty_bank() }, None, &gone).stuck.is_empty());
}

fn units(of: &[(&str, u64)]) -> Units {
    of.iter().map(|(name, units)| ((*name).to_owned(), *units)).collect()
}

fn bank_wait(bank: &mut Bank, ticket: u64, pid: &str, wanted: Units) {
    let wait = Wait { ticket, pid: pid.to_owned(), units: wanted, since_unix_milliseconds: 1, is_bounded: false };
    bank.wait(wait).unwrap();
}

#[test]
fn what_a_process_may_still_need_is_no_wait() {
    // The original system's demonstration: it called this a deadlock.
    let mut bank = empty_bank();
    bank.set_resource("R1", Some("CPU"), 2).unwrap();
    bank.set_resource("R2", Some("CPU"), 2).unwrap();
    bank.set_process("P1", units(&[("R1", 2), ("R2", 1)])).unwrap();
    bank.set_process("P2", units(&[("R1", 1), ("R2", 2)])).unwrap();
    bank.request("P1", &units(&[("R1", 2)])).unwrap();
    assert!(bank.request("P2", &units(&[("R2", 2)])).is_err(), "Banker's algorithm does not let it come so far");
    bank_wait(&mut bank, 1, "P2", units(&[("R2", 2)]));
    let found = detect(&Snapshot { resources: Vec::new(), places: Vec::new(), bank }, None, &HashSet::new());
    assert!(found.stuck.is_empty());
    assert_eq!(found.can_go_on, ["P2"]);
}

#[test]
fn a_deadlock_across_the_bank_and_a_semaphore_is_found_even_when_units_are_free() {
    let mut bank = empty_bank();
    bank.set_resource("A", Some("OTHER"), 3).unwrap();
    bank.set_process("P1", units(&[("A", 3)])).unwrap();
    bank.set_process("P2", units(&[("A", 2)])).unwrap();
    bank.request("P1", &units(&[("A", 2)])).unwrap();
    // One unit is free, but were P2 to get it, P1 could never end.
    bank_wait(&mut bank, 1, "P2", units(&[("A", 1)]));
    let semaphore = resource("semaphore:s", 1, &[("P2", 1)], &[("P1", 1)]);
    let found = detect(&Snapshot { resources: vec![semaphore], places: Vec::new(), bank }, None, &HashSet::new());
    assert_eq!(names(&found), ["P1", "P2"]);
    assert_eq!(circle(&found), [("P1", "semaphore:s", "P2"), ("P2", "A", "P1")]);
    assert_eq!((found.stuck[1].waits[0].why, found.stuck[1].waits[0].free), (Why::Unsafe, 1));
}

/// What can happen next: somebody ends, or the first of a queue gets its units.
#[derive(Clone)]
struct World {
    free: Vec<u64>,
    /// Of each process: what it has of each resource, how many waits it has, and whether it has ended.
    has: Vec<Vec<u64>>,
    pending: Vec<usize>,
    ended: Vec<bool>,
    queues: Vec<Vec<(usize, u64)>>,
}

impl World {
    fn next(&self) -> Vec<World> {
        let mut all = Vec::new();
        for process in (0..self.has.len()).filter(|process| !self.ended[*process] && self.pending[*process] == 0) {
            let mut world = self.clone();
            world.ended[process] = true;
            world.free.iter_mut().zip(&self.has[process]).for_each(|(free, units)| *free += units);
            all.push(world);
        }
        for (index, queue) in self.queues.iter().enumerate() {
            if let Some(&(process, units)) = queue.first()
                && units <= self.free[index]
            {
                let mut world = self.clone();
                world.queues[index].remove(0);
                world.free[index] -= units;
                world.has[process][index] += units;
                world.pending[process] -= 1;
                all.push(world);
            }
        }
        all
    }

    fn key(&self) -> (Vec<bool>, Vec<usize>) {
        (self.ended.clone(), self.queues.iter().map(Vec::len).collect())
    }

    /// Who has not ended where nothing can happen any more, for every way that leads there.
    fn ends(&self) -> BTreeSet<Vec<usize>> {
        let (mut seen, mut open, mut ends) = (HashSet::new(), vec![self.clone()], BTreeSet::new());
        while let Some(world) = open.pop() {
            if !seen.insert(world.key()) {
                continue;
            }
            let next = world.next();
            if next.is_empty() {
                ends.insert((0..world.ended.len()).filter(|process| !world.ended[*process]).collect());
            }
            open.extend(next);
        }
        ends
    }
}

type RandomState = (usize, Vec<(Vec<u64>, u64, Vec<(usize, u64)>)>);

/// Processes, and for each resource: what each of them has, what is free, and who waits.
fn random_state() -> impl Strategy<Value = RandomState> {
    (2_usize..=5, 1_usize..=4).prop_flat_map(|(processes, resources)| {
        let has = prop::collection::vec(prop::sample::select(vec![0_u64, 0, 1, 2]), processes);
        let waits = prop::collection::vec((0..processes, 1_u64..=3), 0..=3);
        (Just(processes), prop::collection::vec((has, 0_u64..=1, waits), resources))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(4000)))]

    /// Never a false alarm, and never a miss: whoever is named is stuck at the end of every way, and nobody else is.
    #[test]
    fn a_search_through_all_that_can_happen_finds_the_same((processes, state) in random_state()) {
        let pids: Vec<String> = (0..processes).map(|number| format!("P{number}")).collect();
        let mut world = World {
            free: state.iter().map(|(_, free, _)| *free).collect(),
            has: (0..processes).map(|process| state.iter().map(|(has, _, _)| has[process]).collect()).collect(),
            pending: vec![0; processes],
            ended: vec![false; processes],
            queues: state.iter().map(|(_, _, waits)| waits.clone()).collect(),
        };
        for (process, _) in state.iter().flat_map(|(_, _, waits)| waits) {
            world.pending[*process] += 1;
        }
        let resources = state.iter().enumerate().map(|(index, (has, free, waits))| {
            let holders: Vec<(&str, u64)> =
                pids.iter().map(String::as_str).zip(has.iter().copied()).filter(|(_, units)| *units > 0).collect();
            let waiters: Vec<(&str, u64)> = waits.iter().map(|(process, units)| (pids[*process].as_str(), *units)).collect();
            resource(&format!("R{index}"), free + has.iter().sum::<u64>(), &holders, &waiters)
        });
        let found = plain(resources.collect());
        let stuck: Vec<String> = found.stuck.iter().map(|stuck| stuck.pid.clone()).collect();
        let ends: Vec<Vec<String>> = world.ends().into_iter()
            .map(|end| end.into_iter().map(|process| pids[process].clone()).collect()).collect();
        prop_assert_eq!(ends, vec![stuck.clone()]);
        // The circle is made of processes that are stuck, each waiting for the next.
        for (number, circle) in found.cycles.iter().enumerate() {
            for (edge, next) in circle.iter().zip(circle.iter().cycle().skip(1)) {
                let stuck = found.stuck.iter().find(|stuck| stuck.pid == edge.pid);
                prop_assert_eq!(stuck.and_then(|stuck| stuck.circle), Some(number));
                prop_assert_eq!(&edge.held_by, &next.pid);
            }
        }
        prop_assert_eq!(found.cycles.len(), found.cycle_count);
    }

    /// With the bank as well, and with processes that wait for several things at once. Then it may depend on who ends first
    /// whether a deadlock comes about: it is one when it is there, and those are in it whom no order helps.
    #[test]
    fn a_search_with_the_bank_finds_the_same(
        max in prop::collection::vec((0_u64..=3, 0_u64..=3), 4),
        asks in prop::collection::vec((0_usize..4, 0_u64..=2, 0_u64..=2), 0..10),
        semaphores in prop::collection::vec((0_usize..4, prop::option::of(0_usize..4)), 0..=3),
    ) {
        let pids = ["P0", "P1", "P2", "P3"];
        let pair = |(a, b): (u64, u64)| units(&[("A", a), ("B", b)]).into_iter().filter(|(_, units)| *units > 0).collect::<Units>();
        let mut bank = empty_bank();
        bank.set_resource("A", Some("OTHER"), 3).unwrap();
        bank.set_resource("B", Some("OTHER"), 3).unwrap();
        for (pid, max) in pids.iter().zip(max) {
            bank.set_process(pid, pair(max)).unwrap();
        }
        for (ticket, (process, a, b)) in asks.into_iter().enumerate() {
            let wanted = pair((a, b));
            if !wanted.is_empty() && bank.request(pids[process], &wanted).is_err_and(|denial| denial.may_pass()) {
                bank_wait(&mut bank, ticket as u64, pids[process], wanted);
            }
        }
        bank.serve();
        let semaphores = semaphores.into_iter()
            .map(|(holder, waiter)| (Some(pids[holder].to_owned()), waiter.map(|process| pids[process].to_owned())));
        let state = Mixed { ended: BTreeSet::new(), semaphores: semaphores.collect(), bank };

        let stuck = state.stuck();
        let ends = state.ends(&pids);
        for end in &ends {
            let left = end.left(&pids);
            prop_assert!(stuck.is_subset(&left), "{stuck:?} can end: only {left:?} are left");
            prop_assert_eq!(end.stuck(), left, "where nothing can happen any more, all who are left are deadlocked");
        }
        let waits = |pid: &str| {
            state.semaphores.iter().filter(|(_, waiter)| waiter.as_deref() == Some(pid)).count()
                + state.bank.waits.iter().filter(|wait| wait.pid == pid).count()
        };
        if pids.iter().all(|pid| waits(pid) <= 1) {
            prop_assert_eq!(ends.iter().map(|end| end.left(&pids)).collect::<BTreeSet<_>>(), BTreeSet::from([stuck]));
        }
    }
}

/// Semaphores with one permit, by who has it and who waits, and the bank.
#[derive(Clone)]
struct Mixed {
    ended: BTreeSet<String>,
    semaphores: Vec<(Option<String>, Option<String>)>,
    bank: Bank,
}

impl Mixed {
    fn left(&self, pids: &[&str]) -> BTreeSet<String> {
        pids.iter().filter(|pid| !self.ended.contains(**pid)).map(|pid| (*pid).to_owned()).collect()
    }

    /// Whom the search names.
    fn stuck(&self) -> BTreeSet<String> {
        let resources = self.semaphores.iter().enumerate().map(|(index, (holder, waiter))| {
            let holders: Vec<(&str, u64)> = holder.iter().map(|pid| (pid.as_str(), 1)).collect();
            let waiters: Vec<(&str, u64)> = waiter.iter().map(|pid| (pid.as_str(), 1)).collect();
            resource(&format!("semaphore:{index}"), 1, &holders, &waiters)
        });
        let snapshot = Snapshot { resources: resources.collect(), places: Vec::new(), bank: self.bank.clone() };
        detect(&snapshot, None, &HashSet::new()).stuck.into_iter().map(|stuck| stuck.pid).collect()
    }

    /// The process ends, and what it had is given out at once, as the providers do.
    fn end(&self, pid: &str) -> Mixed {
        let mut next = self.clone();
        next.ended.insert(pid.to_owned());
        for (holder, waiter) in &mut next.semaphores {
            if holder.as_deref() == Some(pid) {
                *holder = waiter.take();
            }
        }
        next.bank.end(pid);
        next.bank.serve();
        next
    }

    /// Where nothing can happen any more, for every order in which processes end.
    fn ends(&self, pids: &[&str]) -> Vec<Mixed> {
        let (mut open, mut seen, mut ends) = (vec![self.clone()], HashSet::new(), Vec::new());
        while let Some(state) = open.pop() {
            let tickets: Vec<u64> = state.bank.waits.iter().map(|wait| wait.ticket).collect();
            if !seen.insert((state.ended.clone(), state.semaphores.clone(), tickets)) {
                continue;
            }
            let waits = |pid: &str| {
                state.semaphores.iter().any(|(_, waiter)| waiter.as_deref() == Some(pid))
                    || state.bank.waits.iter().any(|wait| wait.pid == pid)
            };
            let can_end: Vec<String> = state.left(pids).into_iter().filter(|pid| !waits(pid)).collect();
            if can_end.is_empty() {
                ends.push(state);
            } else {
                open.extend(can_end.iter().map(|pid| state.end(pid)));
            }
        }
        ends
    }
}
