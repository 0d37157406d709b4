//! The textbook's example step by step, and safety against a search through all orders.

use super::*;
use proptest::prelude::*;

fn units(of: &[(&str, u64)]) -> Units {
    of.iter().filter(|(_, units)| *units > 0).map(|(name, units)| ((*name).to_owned(), *units)).collect()
}

fn abc(a: u64, b: u64, c: u64) -> Units {
    units(&[("A", a), ("B", b), ("C", c)])
}

/// Silberschatz, Galvin, Gagne: Operating System Concepts, section 8.6.3.3: five processes, A 10, B 5, C 7.
fn textbook() -> Banker {
    let mut banker = Banker::default();
    for (name, total) in [("A", 10), ("B", 5), ("C", 7)] {
        banker.set_resource(name, Some("OTHER"), total).unwrap();
    }
    for (pid, max, allocation) in [
        ("P0", abc(7, 5, 3), abc(0, 1, 0)),
        ("P1", abc(3, 2, 2), abc(2, 0, 0)),
        ("P2", abc(9, 0, 2), abc(3, 0, 2)),
        ("P3", abc(2, 2, 2), abc(2, 1, 1)),
        ("P4", abc(4, 3, 3), abc(0, 0, 2)),
    ] {
        banker.set_process(pid, max).unwrap();
        banker.request(pid, &allocation).unwrap();
    }
    banker
}

fn available(banker: &Banker) -> Vec<u64> {
    banker.resources.values().map(|resource| resource.available).collect()
}

#[test]
fn the_textbook_example_step_by_step() {
    let mut banker = textbook();
    assert_eq!(available(&banker), [3, 3, 2]);
    let needs: Vec<Units> = banker.processes.values().map(Customer::need).collect();
    assert_eq!(needs, [abc(7, 4, 3), abc(1, 2, 2), abc(6, 0, 0), abc(0, 1, 1), abc(4, 3, 1)]);
    assert_eq!(
        banker.safe_sequence().unwrap(),
        ["P1", "P3", "P4", "P2", "P0"],
        "the order in the book ends the same way"
    );

    assert_eq!(banker.request("P1", &abc(1, 0, 2)), Ok(()));
    assert_eq!(available(&banker), [2, 3, 0]);
    assert!(banker.safe_sequence().is_some());

    assert_eq!(banker.request("P4", &abc(3, 3, 0)), Err(Denial::Insufficient));
    assert_eq!(banker.request("P0", &abc(0, 2, 0)), Err(Denial::Unsafe));
    assert_eq!(available(&banker), [2, 3, 0], "a denial changes nothing");

    assert_eq!(banker.request("P3", &abc(0, 1, 1)), Err(Denial::Insufficient), "C is all given out");
    banker.remove_process("P1").unwrap();
    assert_eq!(available(&banker), [5, 3, 2]);
    assert_eq!(banker.request("P0", &abc(0, 2, 0)), Ok(()), "now it is safe");
}

#[test]
fn checks_come_in_the_order_of_the_protocol() {
    let mut banker = textbook();
    let text = |result: Result<(), Denial>| result.unwrap_err().to_string();
    assert_eq!(text(banker.request("P9", &units(&[("Z", 99)]))), "Process P9 not registered");
    assert_eq!(text(banker.request("P0", &units(&[("Z", 99)]))), "Resource Z not registered");
    assert_eq!(text(banker.request("P0", &abc(8, 0, 0))), "Request exceeds need");
    assert_eq!(text(banker.request("P0", &abc(7, 0, 0))), "Insufficient resources available");
    assert_eq!(text(banker.request("P0", &abc(0, 3, 0))), "Allocation would lead to unsafe state");
}

#[test]
fn no_more_is_released_than_was_given_out() {
    let mut banker = textbook();
    assert_eq!(banker.release("P1", &abc(3, 0, 0)), Err(Refusal::Release));
    assert_eq!(banker.release("P1", &abc(1, 1, 0)), Err(Refusal::Release), "all or none");
    assert_eq!(banker.release("P9", &abc(1, 0, 0)), Err(Refusal::Release));
    assert_eq!(available(&banker), [3, 3, 2]);
    assert_eq!(banker.release("P1", &abc(1, 0, 0)), Ok(()));
    assert_eq!(amount(&banker.processes["P1"].need(), "A"), 2, "what was released is needed again");
}

#[test]
fn what_a_process_may_need_can_change_as_long_as_the_state_stays_safe() {
    let mut banker = textbook();
    let refused = |result: Result<(), Refusal>| result.unwrap_err().to_string();
    assert!(refused(banker.set_process("P5", abc(11, 0, 0))).contains("only 10 units"));
    assert!(refused(banker.set_process("P1", abc(1, 2, 2))).contains("has or waits for 2 units of A"));
    assert_eq!(refused(banker.set_process("P5", units(&[("Z", 1)]))), "Resource Z not registered");
    banker.set_process("P1", abc(2, 0, 0)).unwrap();
    for pid in ["P0", "P2", "P3", "P4"] {
        let has = banker.processes[pid].allocation.clone();
        banker.set_process(pid, has).unwrap();
    }
    // Each of two processes has 2 of A and could then need all ten.
    banker.set_process("P1", abc(10, 0, 0)).unwrap();
    assert_eq!(banker.set_process("P2", abc(10, 0, 2)), Err(Refusal::Unsafe));
    assert_eq!(banker.processes["P2"].max_need, abc(3, 0, 2), "a refusal changes nothing");
    assert!(refused(banker.remove_resource("A").map(|_| ())).contains("max_need of process P1"));
}

/// Whether all can end, by trying every order.
fn can_all_end(free: &mut [u64], waiting: &mut Vec<(Vec<u64>, Vec<u64>)>) -> bool {
    if waiting.is_empty() {
        return true;
    }
    for index in 0..waiting.len() {
        let (allocation, need) = waiting[index].clone();
        if need.iter().zip(&*free).all(|(need, free)| need <= free) {
            waiting.remove(index);
            free.iter_mut().zip(&allocation).for_each(|(free, units)| *free += units);
            let all = can_all_end(free, waiting);
            free.iter_mut().zip(&allocation).for_each(|(free, units)| *free -= units);
            waiting.insert(index, (allocation, need));
            if all {
                return true;
            }
        }
    }
    false
}

/// What is free, and of each process what it has and what it may still need.
type State = (Vec<u64>, Vec<(Vec<u64>, Vec<u64>)>);

fn state() -> impl Strategy<Value = State> {
    (1_usize..=3, 1_usize..=5).prop_flat_map(|(resources, processes)| {
        let vector = move || prop::collection::vec(0_u64..=4, resources);
        (vector(), prop::collection::vec((vector(), vector()), processes))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Any state, also one that the algorithm itself would never have let come about.
    #[test]
    fn safety_is_what_an_exhaustive_search_finds((free, processes) in state()) {
        let names = ["A", "B", "C"];
        let named = |vector: &[u64]| units(&names.iter().copied().zip(vector.iter().copied()).collect::<Vec<_>>());
        let mut banker = Banker::default();
        for (index, units) in free.iter().enumerate() {
            let total = units + processes.iter().map(|(allocation, _)| allocation[index]).sum::<u64>();
            let resource = Resource { kind: "OTHER".to_owned(), total, available: *units };
            banker.resources.insert(names[index].to_owned(), resource);
        }
        // A process may never need more than there is.
        let mut sound = Vec::new();
        for (number, (allocation, need)) in processes.iter().enumerate() {
            let totals = banker.resources.values().map(|resource| resource.total);
            let need: Vec<u64> =
                need.iter().zip(allocation).zip(totals).map(|((need, has), total)| (*need).min(total - has)).collect();
            let max: Vec<u64> = need.iter().zip(allocation).map(|(need, has)| need + has).collect();
            let customer = Customer { max_need: named(&max), allocation: named(allocation) };
            banker.processes.insert(format!("P{number}"), customer);
            sound.push((allocation.clone(), need));
        }
        let sequence = banker.safe_sequence();
        prop_assert_eq!(sequence.is_some(), can_all_end(&mut free.clone(), &mut sound));
        // The order that it names can be gone through.
        let mut after = banker.clone();
        for pid in sequence.into_iter().flatten() {
            for (name, need) in after.processes[&pid].need() {
                prop_assert!(need <= after.resources[&name].available);
            }
            after.remove_process(&pid);
        }
    }

    /// Whatever is asked for and released, the state stays safe and the books balance.
    #[test]
    fn no_request_makes_the_state_unsafe(steps in prop::collection::vec((0_usize..4, 0_usize..3, 0_u64..4, any::<bool>()), 1..80)) {
        let names = ["A", "B", "C"];
        let mut banker = Banker::default();
        for (name, total) in names.iter().zip([5, 3, 4]) {
            banker.set_resource(name, Some("OTHER"), total).unwrap();
        }
        for number in 0..4 {
            banker.set_process(&format!("P{number}"), abc(2 + number, 3, 4 - number)).unwrap();
        }
        for (process, resource, count, release) in steps {
            let (pid, wanted) = (format!("P{process}"), units(&[(names[resource], count)]));
            let before = banker.clone();
            let changed = if release { banker.release(&pid, &wanted).is_ok() } else { banker.request(&pid, &wanted).is_ok() };
            prop_assert!(changed || (before.processes == banker.processes && before.resources == banker.resources));
            prop_assert!(banker.safe_sequence().is_some());
            for (name, resource) in &banker.resources {
                let given: u64 = banker.processes.values().map(|process| amount(&process.allocation, name)).sum();
                prop_assert_eq!(resource.available + given, resource.total);
            }
        }
    }
}
