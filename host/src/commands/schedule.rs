//! `potluck scheduler` and `potluck schedule compare`.

mod compare;
mod gantt;

use super::session::{Session, parse};
use crate::cli::{ScheduleArgs, ScheduleCommand, SchedulerCommand, SchedulerSetArgs};
use crate::output::table::Table;
use crate::output::{self, printable, units};
use potluck_sdk::message::scheduler::{GetScheduler, SchedulerChoice, SchedulerSet, SchedulerState, SetScheduler};
use std::process::ExitCode;

/// `potluck schedule`.
pub(super) async fn run(session: &Session, args: ScheduleArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        ScheduleCommand::Compare(args) => compare::run(session, args).await,
    }
}

/// `potluck scheduler`.
pub(super) async fn scheduler(session: &Session, command: Option<SchedulerCommand>) -> anyhow::Result<ExitCode> {
    match command {
        None | Some(SchedulerCommand::Show) => show(session).await,
        Some(SchedulerCommand::Set(args)) => set(session, &args).await,
    }
}

async fn show(session: &Session) -> anyhow::Result<ExitCode> {
    let reply = session.ask(&GetScheduler {}).await?;
    let state: SchedulerState = parse(&reply)?;
    if session.json {
        output::print_json(&reply.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut facts = Table::new::<&str>(&[]);
    facts.row(["Algorithm", &described(&state.scheduler)]);
    facts.row(["Slots", &format!("{} of {} are taken", state.running, state.slots)]);
    facts.row(["Queue", &format!("{} waiting, {} of them begun", state.queued, state.suspended)]);
    facts.row(["Available", &state.available.join(", ")]);
    facts.print("")?;
    if state.statistics.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    output::print_line("\nMeasured since the node started, on average:")?;
    let mut table = Table::new(&[
        "ALGORITHM",
        "IN FORCE",
        "TASKS",
        "WAITING",
        "TURNAROUND",
        "RESPONSE",
        "TASKS/S",
        "SWITCHES",
        "QUEUE",
        "LONGEST",
    ]);
    for one in &state.statistics {
        table.row([
            one.algorithm.as_str(),
            &units::seconds(one.in_force_seconds),
            &one.tasks.to_string(),
            &units::seconds(one.average_waiting_seconds),
            &units::seconds(one.average_turnaround_seconds),
            &units::seconds(one.average_response_seconds),
            &format!("{:.1}", one.throughput_per_second),
            &one.context_switches.to_string(),
            &format!("{:.1}", one.average_queue),
            &one.longest_queue.to_string(),
        ]);
    }
    table.align_right(1..10);
    table.print("  ")?;
    Ok(ExitCode::SUCCESS)
}

async fn set(session: &Session, args: &SchedulerSetArgs) -> anyhow::Result<ExitCode> {
    let request = SetScheduler {
        algorithm: Some(args.algorithm.as_str().into()),
        quantum_ms: args.quantum,
        preemptive: args.preemptive.then_some(true),
        ageing_seconds: args.ageing,
    };
    let reply = session.ask(&request).await?;
    let set: SchedulerSet<'_> = parse(&reply)?;
    if session.json {
        output::print_json(&reply.json)?;
    } else {
        output::print_line(&format!("Scheduler set: {}", described(&set.scheduler)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// An algorithm with its options, for people.
fn described(choice: &SchedulerChoice) -> String {
    let mut text = printable(&choice.algorithm).into_owned();
    if let Some(quantum_ms) = choice.quantum_ms {
        text += &format!(", quantum {quantum_ms} ms");
    }
    if choice.preemptive == Some(true) {
        text += ", preemptive";
    }
    if let Some(seconds) = choice.ageing_seconds {
        text += &format!(", ageing by a step every {seconds} s");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_algorithm_is_shown_with_what_was_chosen_for_it() {
        let choice =
            |algorithm: &str| SchedulerChoice { algorithm: algorithm.to_owned(), ..SchedulerChoice::default() };
        assert_eq!(described(&SchedulerChoice { quantum_ms: Some(50.0), ..choice("RR") }), "RR, quantum 50 ms");
        let aged = SchedulerChoice { preemptive: Some(true), ageing_seconds: Some(2.5), ..choice("PRIORITY") };
        assert_eq!(described(&aged), "PRIORITY, preemptive, ageing by a step every 2.5 s");
        assert_eq!(described(&SchedulerChoice { preemptive: Some(false), ..choice("SJF") }), "SJF");
    }
}
