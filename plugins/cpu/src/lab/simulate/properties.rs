//! What must hold for every workload and algorithm.

use super::*;
use crate::lab::workload::Planned;
use proptest::collection::vec;
use proptest::prelude::*;
use std::time::Duration;

fn plans() -> impl Strategy<Value = Plan> {
    let process =
        (0_u64..50, 1_u64..40, -3_i64..4, 0_u64..40).prop_map(|(arrival, burst, priority, estimate)| Planned {
            arrival_micros: arrival,
            burst_micros: burst,
            estimate_micros: estimate,
            priority,
            rank: priority,
            ..Planned::default()
        });
    (1_usize..4, vec(process, 1..12)).prop_map(|(slots, processes)| Plan { slots, processes })
}

fn algorithms() -> impl Strategy<Value = Algorithm> {
    prop_oneof![
        Just(Algorithm::Fcfs),
        any::<bool>().prop_map(|preemptive| Algorithm::Sjf { preemptive }),
        (any::<bool>(), proptest::option::of(1_u64..20))
            .prop_map(|(preemptive, step)| Algorithm::Priority { preemptive, ageing: step.map(Duration::from_micros) }),
        (1_u64..15).prop_map(|micros| Algorithm::RoundRobin { quantum: Duration::from_micros(micros) }),
    ]
}

/// Who is there, has not ended and does not run at an instant, and who runs; at instants between two pieces, what holds
/// right after them.
fn ready_and_running(plan: &Plan, trace: &Trace, at: u64) -> (Vec<usize>, Vec<usize>) {
    let runs =
        |process: usize| trace.pieces.iter().any(|piece| piece.process == process && piece.from <= at && at < piece.to);
    let is_there = |process: &usize| {
        let end = trace.times(*process).map_or(0, |times| times.completion);
        plan.processes[*process].arrival_micros <= at && at < end
    };
    (0..plan.processes.len()).filter(is_there).partition(|process| !runs(*process))
}

proptest! {
    #[test]
    fn every_process_gets_exactly_what_it_needs_after_its_arrival(plan in plans(), algorithm in algorithms()) {
        let trace = simulate(&plan, algorithm);
        for (index, process) in plan.processes.iter().enumerate() {
            let times = trace.times(index).unwrap();
            prop_assert_eq!(times.running, process.burst_micros);
            prop_assert!(times.start >= process.arrival_micros);
        }
    }

    #[test]
    fn no_slot_has_two_processes_and_no_process_two_slots(plan in plans(), algorithm in algorithms()) {
        let trace = simulate(&plan, algorithm);
        for (index, piece) in trace.pieces.iter().enumerate() {
            prop_assert!(piece.slot < plan.slots && piece.from < piece.to);
            for other in &trace.pieces[..index] {
                let overlap = piece.from < other.to && other.from < piece.to;
                prop_assert!(!overlap || (piece.slot != other.slot && piece.process != other.process));
            }
        }
    }

    #[test]
    fn no_slot_idles_while_somebody_waits(plan in plans(), algorithm in algorithms()) {
        let trace = simulate(&plan, algorithm);
        for at in 0..trace.end() {
            let (ready, running) = ready_and_running(&plan, &trace, at);
            prop_assert!(ready.is_empty() || running.len() == plan.slots, "at {}: {:?} {:?}", at, ready, running);
        }
    }

    #[test]
    fn nobody_runs_longer_than_a_quantum_while_others_wait(plan in plans(), micros in 1_u64..15) {
        let quantum = Duration::from_micros(micros);
        let trace = simulate(&plan, Algorithm::RoundRobin { quantum });
        for piece in &trace.pieces {
            // The longest stretch of the piece in which somebody waited.
            let mut stretch = 0;
            for at in piece.from..piece.to {
                let waits = !ready_and_running(&plan, &trace, at).0.is_empty();
                stretch = if waits { stretch + 1 } else { 0 };
                // With several slots, one whose turn comes at once goes on where it is.
                prop_assert!(stretch <= micros || plan.slots > 1, "{:?} at {}", piece, at);
            }
        }
    }

    #[test]
    fn who_does_not_preempt_runs_to_the_end(plan in plans(), algorithm in algorithms()) {
        prop_assume!(!algorithm.preempts_on_arrival() && algorithm.quantum().is_none());
        let trace = simulate(&plan, algorithm);
        prop_assert_eq!(trace.pieces.len(), plan.processes.len());
    }

    #[test]
    fn a_higher_priority_never_waits_for_a_lower_one_that_can_be_stopped(plan in plans()) {
        let trace = simulate(&plan, Algorithm::Priority { preemptive: true, ageing: None });
        for at in 0..trace.end() {
            let (ready, running) = ready_and_running(&plan, &trace, at);
            let rank = |process: &usize| plan.processes[*process].rank;
            let (highest, lowest) = (ready.iter().map(rank).max(), running.iter().map(rank).min());
            prop_assert!(highest.is_none() || highest <= lowest);
        }
    }

    #[test]
    fn shortest_remaining_first_has_the_shortest_average_on_one_slot(mut plan in plans(), other in algorithms()) {
        plan.slots = 1;
        for process in &mut plan.processes {
            process.estimate_micros = process.burst_micros;
        }
        let total = |algorithm| {
            let trace = simulate(&plan, algorithm);
            (0..plan.processes.len()).map(|index| trace.times(index).unwrap().completion).sum::<u64>()
        };
        let best = total(Algorithm::Sjf { preemptive: true });
        prop_assert!(best <= total(other));
    }
}
