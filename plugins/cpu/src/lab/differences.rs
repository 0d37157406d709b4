//! Where a measured schedule differs from the exact one, and what the difference comes from, in sentences.

use super::trace::{Trace, millis};
use super::workload::Plan;
use crate::scheduler::Algorithm;

/// Less than this of the simulated time is no difference worth a sentence.
const SHARE_MIN: f64 = 0.01;
/// A program whose burst is wrong by less was judged well.
const MISJUDGED_SHARE: f64 = 0.1;
/// Names in a list.
const NAMES_MAX: usize = 8;

/// Compares the two; the first sentence is the sum, the others are its parts.
pub(super) fn differences(plan: &Plan, algorithm: Algorithm, simulated: &Trace, real: &Trace) -> Vec<String> {
    let mut sentences: Vec<String> = failures(plan, real);
    sentences.push(average_waiting(plan, simulated, real));
    sentences.extend(order(plan, "ended", simulated, real, |trace, process| {
        trace.times(process).map(|times| times.completion)
    }));
    sentences.extend(order(plan, "were begun", simulated, real, |trace, process| {
        trace.times(process).map(|times| times.start)
    }));
    sentences.extend(misjudged(plan, real));
    sentences.extend(overrun(plan, real));
    sentences.extend(lost(plan, real));
    sentences.extend(switches(algorithm, simulated, real));
    sentences
}

fn failures(plan: &Plan, real: &Trace) -> Vec<String> {
    let failed = |(process, error): (usize, &Option<String>)| {
        let error: String = error.as_ref()?.chars().take(300).collect();
        Some(format!("{} failed: {error}", plan.processes[process].name))
    };
    real.errors.iter().enumerate().filter_map(failed).collect()
}

fn average_waiting(plan: &Plan, simulated: &Trace, real: &Trace) -> String {
    let (exact, measured) = (simulated.schedule(plan).average_waiting_ms, real.schedule(plan).average_waiting_ms);
    let difference = measured - exact;
    let share = if exact > 0.0 { format!(", {:+.1} %", 100.0 * difference / exact) } else { String::new() };
    format!("average waiting {measured:.1} ms, simulated {exact:.1} ms ({difference:+.1} ms{share})")
}

/// Whether processes came in another order to something, as far as they did at different times at all.
fn order(
    plan: &Plan,
    what: &str,
    simulated: &Trace,
    real: &Trace,
    when: impl Fn(&Trace, usize) -> Option<u64>,
) -> Option<String> {
    let sorted = |trace: &Trace| {
        let mut order: Vec<usize> = (0..plan.processes.len()).collect();
        // Whoever has none is last. Sorting is stable.
        order.sort_by_key(|process| when(trace, *process).unwrap_or(u64::MAX));
        order
    };
    let (exact, measured) = (sorted(simulated), sorted(real));
    // Those that the simulation has at the same instant may come in any order.
    let instants = |order: &[usize]| order.iter().map(|process| when(simulated, *process)).collect::<Vec<_>>();
    if instants(&exact) == instants(&measured) {
        return None;
    }
    let names = |order: &[usize]| {
        let mut names: Vec<&str> =
            order.iter().take(NAMES_MAX).map(|process| plan.processes[*process].name.as_str()).collect();
        if order.len() > NAMES_MAX {
            names.push("...");
        }
        names.join(" ")
    };
    Some(format!("processes {what} in another order: {}, simulated {}", names(&measured), names(&exact)))
}

/// Programs that used more or less processor time than the burst that was simulated for them.
fn misjudged(plan: &Plan, real: &Trace) -> Vec<String> {
    let processes = plan.processes.iter().zip(&real.used).filter(|(planned, _)| planned.program.is_some());
    let judged = processes.filter_map(|(planned, used)| {
        let (used, burst) = ((*used)?, planned.burst_micros);
        let is_off = used.abs_diff(burst) as f64 >= MISJUDGED_SHARE * burst as f64;
        is_off.then(|| {
            let (name, burst) = (&planned.name, millis(burst));
            format!("{name} used {:.1} ms of processor time, and {burst} ms were simulated for it", millis(used))
        })
    });
    judged.collect()
}

/// Processes had their slots for longer than they needed.
fn overrun(plan: &Plan, real: &Trace) -> Option<String> {
    let planned: u64 = plan.processes.iter().map(|process| process.burst_micros).sum();
    let over = |process: usize| {
        let running = real.times(process).map_or(0, |times| times.running);
        i128::from(running) - i128::from(plan.processes[process].burst_micros)
    };
    let total: i128 = (0..plan.processes.len()).map(over).sum();
    if (total as f64) < SHARE_MIN * planned as f64 {
        return None;
    }
    let most = (0..plan.processes.len()).max_by_key(|process| over(*process))?;
    let used: Option<u64> = real.used.iter().copied().collect::<Option<Vec<u64>>>().map(|used| used.iter().sum());
    let used = used.map_or(String::new(), |used| format!(" and {:.1} ms of processor time", millis(used)));
    Some(format!(
        "processes had slots for {:.1} ms more than their bursts (most: {}, {:.1} ms){used}: a slot is no core of its \
         own, and a process needs time to take its order, to stop and to report",
        total as f64 / 1e3,
        plan.processes[most].name,
        over(most) as f64 / 1e3,
    ))
}

/// Slots that nobody had although somebody waited.
fn lost(plan: &Plan, real: &Trace) -> Option<String> {
    let lost = lost_micros(plan, real);
    if (lost as f64) < SHARE_MIN * real.busy() as f64 {
        return None;
    }
    let begun = real.pieces.len().max(1) as u64;
    Some(format!(
        "slots were free for {:.1} ms while somebody was ready: {begun} times one had to be given away, which took {:.2} \
         ms on average",
        millis(lost),
        millis(lost) / begun as f64
    ))
}

/// The time of slots that were free while somebody was ready.
fn lost_micros(plan: &Plan, trace: &Trace) -> u64 {
    let mut changes: Vec<(u64, i64, i64)> =
        trace.pieces.iter().flat_map(|piece| [(piece.from, 0, 1), (piece.to, 0, -1)]).collect();
    for (process, planned) in plan.processes.iter().enumerate() {
        if let Some(times) = trace.times(process) {
            changes.extend([(planned.arrival_micros, 1, 0), (times.completion, -1, 0)]);
        }
    }
    changes.sort_unstable();
    let slots = i64::try_from(plan.slots).unwrap_or(i64::MAX);
    let (mut there, mut running, mut since, mut lost) = (0_i64, 0_i64, 0, 0);
    for (at, arrived, began) in changes {
        let idle = (there.min(slots) - running).max(0);
        lost += (at - since) * u64::try_from(idle).unwrap_or(0);
        (there, running, since) = (there + arrived, running + began, at);
    }
    lost
}

fn switches(algorithm: Algorithm, simulated: &Trace, real: &Trace) -> Option<String> {
    let (exact, measured) = (simulated.context_switches(), real.context_switches());
    let quantum = algorithm.quantum().map(|quantum| u64::try_from(quantum.as_micros()).unwrap_or(u64::MAX));
    if exact == measured {
        return None;
    }
    let mut sentence = format!("{measured} switches, simulated {exact}");
    if let Some(quantum) = quantum {
        // Turns that ended before the quantum did so because the process had.
        let full: Vec<u64> =
            real.pieces.iter().map(|piece| piece.to - piece.from).filter(|turn| *turn >= quantum).collect();
        if !full.is_empty() {
            let mean = full.iter().sum::<u64>() / full.len() as u64;
            let longest = full.iter().max().copied().unwrap_or(0);
            sentence += &format!(
                ": full turns took {:.1} ms on average, {:.1} ms at most, of a quantum of {} ms",
                millis(mean),
                millis(longest),
                millis(quantum)
            );
        }
    }
    Some(sentence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::simulate::simulate;
    use crate::lab::trace::Piece;
    use crate::lab::workload::Planned;
    use std::time::Duration;

    const MS: u64 = 1000;

    fn plan(bursts: &[u64]) -> Plan {
        let planned = |(index, burst): (usize, &u64)| Planned {
            name: format!("P{}", index + 1),
            burst_micros: burst * MS,
            estimate_micros: burst * MS,
            ..Planned::default()
        };
        Plan { slots: 1, processes: bursts.iter().enumerate().map(planned).collect() }
    }

    fn measured(pieces: &[(usize, u64, u64)]) -> Trace {
        let piece = |&(process, from, to): &(usize, u64, u64)| Piece { slot: 0, process, from: from * MS, to: to * MS };
        Trace { pieces: pieces.iter().map(piece).collect(), ..Trace::default() }
    }

    #[test]
    fn what_went_as_simulated_is_one_sentence() {
        let plan = plan(&[24, 3]);
        let exact = simulate(&plan, Algorithm::Fcfs);
        let sentences = differences(&plan, Algorithm::Fcfs, &exact, &exact);
        assert_eq!(sentences, ["average waiting 12.0 ms, simulated 12.0 ms (+0.0 ms, +0.0 %)"]);
    }

    #[test]
    fn the_parts_of_a_difference_are_told_apart() {
        let plan = plan(&[24, 3]);
        let exact = simulate(&plan, Algorithm::Fcfs);
        // Two milliseconds too long, three until the next one.
        let real = measured(&[(0, 0, 26), (1, 29, 32)]);
        assert_eq!(lost_micros(&plan, &real), 3 * MS);
        let sentences = differences(&plan, Algorithm::Fcfs, &exact, &real);
        assert_eq!(sentences.len(), 3, "{sentences:#?}");
        assert!(sentences[1].starts_with("processes had slots for 2.0 ms more than their bursts (most: P1, 2.0 ms)"));
        assert!(sentences[2].starts_with("slots were free for 3.0 ms while somebody was ready: 2 times"));
    }

    #[test]
    fn another_order_and_other_turns_are_told() {
        let plan = plan(&[10, 10]);
        let algorithm = Algorithm::RoundRobin { quantum: Duration::from_millis(5) };
        let exact = simulate(&plan, algorithm);
        let real = measured(&[(1, 0, 7), (0, 7, 17), (1, 17, 20)]);
        let sentences = differences(&plan, algorithm, &exact, &real);
        assert!(
            sentences.iter().any(|text| text == "processes ended in another order: P2 P1, simulated P1 P2") || {
                sentences.iter().any(|text| text == "processes were begun in another order: P2 P1, simulated P1 P2")
            }
        );
        let expected =
            "2 switches, simulated 3: full turns took 8.5 ms on average, 10.0 ms at most, of a quantum of 5 ms";
        assert_eq!(sentences.last().unwrap(), expected);
    }

    #[test]
    fn those_that_come_at_one_instant_have_no_order() {
        let mut plan = plan(&[5, 5]);
        plan.slots = 2;
        let exact = simulate(&plan, Algorithm::Fcfs);
        let real = measured(&[(1, 0, 5), (0, 0, 5)]);
        assert!(
            order(&plan, "ended", &exact, &real, |trace, process| Some(trace.times(process)?.completion)).is_none()
        );
    }

    #[test]
    fn a_program_whose_burst_is_wrong_is_named() {
        use crate::lab::workload::Program;
        let mut plan = plan(&[60, 20]);
        let program = || Program { text: String::new(), function: "main".to_owned(), args: Vec::new() };
        plan.processes[0].program = Some(program());
        plan.processes[1].program = Some(program());
        let real = Trace { used: vec![Some(24 * MS), Some(21 * MS)], ..Trace::default() };
        let expected = "P1 used 24.0 ms of processor time, and 60 ms were simulated for it";
        assert_eq!(misjudged(&plan, &real), [expected]);
    }

    #[test]
    fn who_failed_is_told_first() {
        let plan = plan(&[5]);
        let real = Trace { errors: vec![Some("name 'x' is not defined".to_owned())], ..measured(&[(0, 0, 1)]) };
        let sentences = differences(&plan, Algorithm::Fcfs, &simulate(&plan, Algorithm::Fcfs), &real);
        assert_eq!(sentences[0], "P1 failed: name 'x' is not defined");
    }
}
