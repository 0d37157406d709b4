//! Exercises of textbooks, with their known results. A unit of time is a millisecond; averages are compared as exact sums.

use super::*;
use crate::lab::trace::Times;
use crate::lab::workload::Planned;
use std::time::Duration;

const SJF: Algorithm = Algorithm::Sjf { preemptive: false };
const SRTF: Algorithm = Algorithm::Sjf { preemptive: true };
const PRIORITY: Algorithm = Algorithm::Priority { preemptive: false, ageing: None };
const PREEMPTIVE_PRIORITY: Algorithm = Algorithm::Priority { preemptive: true, ageing: None };

const fn rr(quantum_ms: u64) -> Algorithm {
    Algorithm::RoundRobin { quantum: Duration::from_millis(quantum_ms) }
}

/// Arrival, burst and priority (larger is higher) of each process, in tenths of a millisecond.
fn plan_of_tenths(slots: usize, processes: &[(u64, u64, i64)]) -> Plan {
    let planned = |(index, (arrival, burst, priority)): (usize, &(u64, u64, i64))| Planned {
        name: format!("P{}", index + 1),
        arrival_micros: arrival * 100,
        burst_micros: burst * 100,
        estimate_micros: burst * 100,
        priority: *priority,
        rank: *priority,
        program: None,
    };
    Plan { slots, processes: processes.iter().enumerate().map(planned).collect() }
}

fn plan(processes: &[(u64, u64, i64)]) -> Plan {
    let tenths = processes.iter().map(|(arrival, burst, priority)| (arrival * 10, burst * 10, *priority));
    plan_of_tenths(1, &tenths.collect::<Vec<_>>())
}

/// All arrive at 0.
fn at_once(bursts: &[u64]) -> Plan {
    plan(&bursts.iter().map(|burst| (0, *burst, 0)).collect::<Vec<_>>())
}

/// (process from 1, beginning, end), in milliseconds.
fn chart(trace: &Trace) -> Vec<(usize, u64, u64)> {
    trace.pieces.iter().map(|piece| (piece.process + 1, piece.from / 1000, piece.to / 1000)).collect()
}

fn times(plan: &Plan, algorithm: Algorithm, of: impl Fn(u64, Times) -> u64) -> Vec<u64> {
    let trace = simulate(plan, algorithm);
    let arrivals = plan.processes.iter().map(|process| process.arrival_micros);
    arrivals.enumerate().map(|(index, arrival)| of(arrival, trace.times(index).unwrap()) / 100).collect()
}

/// Waiting times, in tenths of a millisecond.
fn waits(plan: &Plan, algorithm: Algorithm) -> Vec<u64> {
    times(plan, algorithm, |arrival, times| times.completion - arrival - times.running)
}

/// Turnaround times, in tenths of a millisecond.
fn turnarounds(plan: &Plan, algorithm: Algorithm) -> Vec<u64> {
    times(plan, algorithm, |arrival, times| times.completion - arrival)
}

/// Ends, in milliseconds.
fn ends(plan: &Plan, algorithm: Algorithm) -> Vec<u64> {
    times(plan, algorithm, |_, times| times.completion / 10)
}

fn tenths(millis: &[u64]) -> Vec<u64> {
    millis.iter().map(|millis| millis * 10).collect()
}

#[test]
fn silberschatz_first_come_24_3_3_waits_17_on_average() {
    let plan = at_once(&[24, 3, 3]);
    assert_eq!(waits(&plan, Algorithm::Fcfs), tenths(&[0, 24, 27])); // 51 / 3 = 17
    assert_eq!(turnarounds(&plan, Algorithm::Fcfs), tenths(&[24, 27, 30])); // 81 / 3 = 27
    assert_eq!(simulate(&plan, Algorithm::Fcfs).schedule(&plan).average_waiting_ms, 17.0);
}

#[test]
fn silberschatz_first_come_3_3_24_waits_3_on_average() {
    let plan = at_once(&[3, 3, 24]);
    assert_eq!(waits(&plan, Algorithm::Fcfs), tenths(&[0, 3, 6]));
    assert_eq!(simulate(&plan, Algorithm::Fcfs).schedule(&plan).average_waiting_ms, 3.0);
}

#[test]
fn silberschatz_shortest_job_6_8_7_3_waits_7_on_average_and_10_25_with_first_come() {
    let plan = at_once(&[6, 8, 7, 3]);
    assert_eq!(waits(&plan, SJF), tenths(&[3, 16, 9, 0])); // 28 / 4 = 7
    assert_eq!(waits(&plan, Algorithm::Fcfs), tenths(&[0, 6, 14, 21])); // 41 / 4 = 10.25
    assert_eq!(simulate(&plan, Algorithm::Fcfs).schedule(&plan).average_waiting_ms, 10.25);
}

#[test]
fn silberschatz_shortest_remaining_8_4_9_5_waits_6_5_and_7_75_without_preemption() {
    let plan = plan(&[(0, 8, 0), (1, 4, 0), (2, 9, 0), (3, 5, 0)]);
    assert_eq!(waits(&plan, SRTF), tenths(&[9, 0, 15, 2])); // 26 / 4 = 6.5
    assert_eq!(chart(&simulate(&plan, SRTF)), [(1, 0, 1), (2, 1, 5), (4, 5, 10), (1, 10, 17), (3, 17, 26)]);
    assert_eq!(waits(&plan, SJF), tenths(&[0, 7, 15, 9])); // 31 / 4 = 7.75
    assert_eq!(simulate(&plan, SJF).schedule(&plan).average_waiting_ms, 7.75);
}

#[test]
fn silberschatz_round_robin_quantum_4_of_24_3_3_waits_17_thirds() {
    let plan = at_once(&[24, 3, 3]);
    assert_eq!(waits(&plan, rr(4)), tenths(&[6, 4, 7])); // 17 / 3 = 5.67
    let trace = simulate(&plan, rr(4));
    assert_eq!(chart(&trace), [(1, 0, 4), (2, 4, 7), (3, 7, 10), (1, 10, 30)]);
    assert_eq!((trace.context_switches(), trace.schedule(&plan).processes[0].preemptions), (3, 1));
}

#[test]
fn silberschatz_priority_10_1_2_1_5_waits_8_2_on_average() {
    // Priorities 3 1 4 5 2, the smallest is the highest.
    let plan = plan(&[(0, 10, -3), (0, 1, -1), (0, 2, -4), (0, 1, -5), (0, 5, -2)]);
    assert_eq!(waits(&plan, PRIORITY), tenths(&[6, 0, 16, 18, 1])); // 41 / 5 = 8.2
    assert_eq!(chart(&simulate(&plan, PRIORITY)), [(2, 0, 1), (5, 1, 6), (1, 6, 16), (3, 16, 18), (4, 18, 19)]);
    assert_eq!(waits(&plan, PREEMPTIVE_PRIORITY), waits(&plan, PRIORITY));
}

#[test]
fn silberschatz_exercise_of_five_processes_in_four_algorithms() {
    // Bursts 2 1 8 4 5, priorities 2 1 4 2 3, the largest is the highest; quantum 2.
    let plan = plan(&[(0, 2, 2), (0, 1, 1), (0, 8, 4), (0, 4, 2), (0, 5, 3)]);
    assert_eq!(turnarounds(&plan, Algorithm::Fcfs), tenths(&[2, 3, 11, 15, 20]));
    assert_eq!(turnarounds(&plan, SJF), tenths(&[3, 1, 20, 7, 12]));
    assert_eq!(turnarounds(&plan, PRIORITY), tenths(&[15, 20, 8, 19, 13]));
    assert_eq!(turnarounds(&plan, rr(2)), tenths(&[2, 3, 20, 13, 18]));
    assert_eq!(waits(&plan, Algorithm::Fcfs), tenths(&[0, 2, 3, 11, 15])); // 31 / 5 = 6.2
    assert_eq!(waits(&plan, SJF), tenths(&[1, 0, 12, 3, 7])); // 23 / 5 = 4.6, the shortest
    assert_eq!(waits(&plan, PRIORITY), tenths(&[13, 19, 0, 15, 8])); // 55 / 5 = 11
    assert_eq!(waits(&plan, rr(2)), tenths(&[0, 2, 12, 9, 13])); // 36 / 5 = 7.2
}

#[test]
fn silberschatz_exercise_with_arrivals_at_fractions_takes_10_53_and_9_53() {
    // Arrivals 0.0, 0.4, 1.0; bursts 8, 4, 1.
    let plan = plan_of_tenths(1, &[(0, 80, 0), (4, 40, 0), (10, 10, 0)]);
    assert_eq!(turnarounds(&plan, Algorithm::Fcfs), [80, 116, 120]); // 31.6 / 3 = 10.53
    assert_eq!(turnarounds(&plan, SJF), [80, 126, 80]); // 28.6 / 3 = 9.53
}

#[test]
fn round_robin_puts_arrivals_before_the_one_whose_quantum_ends_at_that_instant() {
    // Arrivals 0 1 2 3 4, bursts 5 3 1 2 3, quantum 2: averages 5.8 and 8.6.
    let plan = plan(&[(0, 5, 0), (1, 3, 0), (2, 1, 0), (3, 2, 0), (4, 3, 0)]);
    assert_eq!(ends(&plan, rr(2)), [13, 12, 5, 9, 14]);
    assert_eq!(waits(&plan, rr(2)), tenths(&[8, 8, 2, 4, 7])); // 29 / 5 = 5.8
    assert_eq!(turnarounds(&plan, rr(2)), tenths(&[13, 11, 3, 6, 10])); // 43 / 5 = 8.6
}

#[test]
fn stallings_five_processes_in_all_algorithms() {
    // A to E arrive at 0 2 4 6 8 and need 3 6 4 5 2.
    let plan = plan(&[(0, 3, 0), (2, 6, 0), (4, 4, 0), (6, 5, 0), (8, 2, 0)]);
    assert_eq!(ends(&plan, Algorithm::Fcfs), [3, 9, 13, 18, 20]); // mean turnaround 8.6
    assert_eq!(ends(&plan, rr(1)), [4, 18, 17, 20, 15]); // 10.8
    assert_eq!(ends(&plan, rr(4)), [3, 17, 11, 20, 19]); // 10.0
    assert_eq!(ends(&plan, SJF), [3, 9, 15, 20, 11]); // 7.6
    assert_eq!(ends(&plan, SRTF), [3, 15, 8, 20, 10]); // 7.2
    let mean = |algorithm| simulate(&plan, algorithm).schedule(&plan).average_turnaround_ms;
    assert_eq!([Algorithm::Fcfs, rr(1), rr(4), SJF, SRTF].map(mean), [8.6, 10.8, 10.0, 7.6, 7.2]);
}

#[test]
fn preemptive_priority_stops_the_lower_one_and_goes_on_with_it_later() {
    // By hand: P1 0-1, P2 1-3, P3 3-5, P4 5-6, P3 6-8, P1 8-15.
    let plan = plan(&[(0, 8, -3), (1, 2, -1), (3, 4, -2), (5, 1, 0)]);
    assert_eq!(waits(&plan, PREEMPTIVE_PRIORITY), tenths(&[7, 0, 1, 0])); // 8 / 4 = 2
    let chart = chart(&simulate(&plan, PREEMPTIVE_PRIORITY));
    assert_eq!(chart, [(1, 0, 1), (2, 1, 3), (3, 3, 5), (4, 5, 6), (3, 6, 8), (1, 8, 15)]);
    // Without preemption: P1 0-8, P4 8-9, P2 9-11, P3 11-15.
    assert_eq!(waits(&plan, PRIORITY), tenths(&[0, 8, 8, 3]));
}

#[test]
fn ageing_serves_one_that_would_starve() {
    // A low one, and a high one every 2 ms that needs 2 ms. By hand: with a step each 4 ms, the low one of time 0 is as
    // urgent as the one of priority 3 that comes at 12, and came first.
    let mut processes = vec![(0, 2, 3), (0, 2, 0)];
    processes.extend((1..10).map(|number| (2 * number, 2, 3)));
    let plan = plan(&processes);
    let aged = Algorithm::Priority { preemptive: false, ageing: Some(Duration::from_millis(4)) };
    assert_eq!(ends(&plan, PRIORITY)[1], 22);
    assert_eq!(ends(&plan, aged)[1], 14);
    let aged = Algorithm::Priority { preemptive: true, ageing: Some(Duration::from_millis(4)) };
    assert_eq!(ends(&plan, aged)[1], 14);
}

#[test]
fn two_slots_share_one_queue() {
    // By hand: slot 0 has P1 0-4 and P4 4-5, slot 1 has P2 0-3 and P3 3-5.
    let plan = plan_of_tenths(2, &[(0, 40, 0), (0, 30, 0), (0, 20, 0), (0, 10, 0)]);
    assert_eq!(waits(&plan, Algorithm::Fcfs), tenths(&[0, 0, 3, 4]));
    let schedule = simulate(&plan, Algorithm::Fcfs).schedule(&plan);
    assert_eq!((schedule.end_ms, schedule.utilization, schedule.context_switches), (5.0, 1.0, 2));
    assert_eq!(schedule.throughput_per_second, 800.0);
}

#[test]
fn round_robin_on_two_slots_lets_nobody_keep_one() {
    // By hand, three of 4 ms, quantum 2: P1 P2 | P3 P1 | P2 P3; P1 keeps its slot.
    let plan = plan_of_tenths(2, &[(0, 40, 0), (0, 40, 0), (0, 40, 0)]);
    assert_eq!(ends(&plan, rr(2)), [4, 6, 6]);
    let preemptions = simulate(&plan, rr(2)).schedule(&plan).processes.iter().map(|p| p.preemptions).sum::<usize>();
    assert_eq!(preemptions, 1);
}

#[test]
fn a_wrong_estimate_misleads_shortest_job_first() {
    let mut plan = at_once(&[8, 2]);
    plan.processes[0].estimate_micros = 1000;
    assert_eq!(waits(&plan, SJF), tenths(&[0, 8]));
}

#[test]
fn a_slot_idles_until_somebody_comes() {
    let plan = plan(&[(5, 2, 0), (9, 1, 0)]);
    for algorithm in [Algorithm::Fcfs, SRTF, PREEMPTIVE_PRIORITY, rr(1)] {
        assert_eq!(chart(&simulate(&plan, algorithm)), [(1, 5, 7), (2, 9, 10)]);
        let schedule = simulate(&plan, algorithm).schedule(&plan);
        assert_eq!((schedule.utilization, schedule.context_switches), (0.6, 1));
    }
}
