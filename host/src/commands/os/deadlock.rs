//! `potluck deadlock`.

use super::{Node, count};
use crate::cli::DeadlockCommand;
use crate::commands::session::parse;
use crate::output::table::Table;
use crate::output::{self, printable};
use potluck_sdk::message::deadlock::{
    DeadlockCheck, DeadlockChecked, DeadlockFound, DeadlockResolved, EndedVictim, ResolveDeadlock,
};
use std::process::ExitCode;

/// Looks for a deadlock, or resolves one.
pub(super) async fn run(node: &Node, command: Option<DeadlockCommand>) -> anyhow::Result<ExitCode> {
    match command.unwrap_or(DeadlockCommand::Check) {
        DeadlockCommand::Check => check(node).await,
        DeadlockCommand::Resolve { pid, once } => resolve(node, pid, once).await,
    }
}

async fn check(node: &Node) -> anyhow::Result<ExitCode> {
    let reply = node.ask(&DeadlockCheck {}).await?;
    let checked: DeadlockChecked = parse(&reply)?;
    if node.json() {
        output::print_json(&reply.json)?;
    } else {
        print(&checked.found)?;
    }
    Ok(if checked.found.deadlock { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(found: &DeadlockFound) -> anyhow::Result<()> {
    if !found.deadlock {
        output::print_line("No deadlock")?;
    } else {
        output::print_line(&printable(&format!("Deadlock: {}", found.deadlocked_processes.join(", "))))?;
        let hidden = found.deadlocked_count.saturating_sub(found.deadlocked_processes.len());
        if hidden > 0 {
            output::print_line(&format!("and {hidden} more"))?;
        }
        for cycle in &found.cycles {
            output::print_line("")?;
            let mut table = Table::new(&["PROCESS", "WAITS FOR", "UNITS", "HELD BY"]);
            for edge in cycle {
                table.row([&edge.pid, &edge.waits_for, &edge.units.to_string(), &edge.held_by]);
            }
            table.align_right([2]);
            table.print("  ")?;
        }
        let hidden = found.cycle_count.saturating_sub(found.cycles.len());
        if hidden > 0 {
            output::print_line(&format!("\nand {}", count(hidden as u64, "more circle", "more circles")))?;
        }
        output::print_line("")?;
    }
    for line in found.explanation.lines() {
        output::print_line(&printable(line))?;
    }
    if let Some(victim) = &found.victim {
        let text = format!("`potluck deadlock resolve` would end {}: {}", victim.pid, victim.why);
        output::print_line(&printable(&text))?;
    }
    if !found.not_looked_at.is_empty() {
        output::note(&printable(&format!("Not looked at: {}", found.not_looked_at.join(", "))));
    }
    Ok(())
}

async fn resolve(node: &Node, pid: Option<String>, once: bool) -> anyhow::Result<ExitCode> {
    let reply = node.ask(&ResolveDeadlock { pid, once }).await?;
    let resolved: DeadlockResolved = parse(&reply)?;
    if node.json() {
        output::print_json(&reply.json)?;
    } else {
        for line in outcome(&resolved) {
            output::print_line(&printable(&line))?;
        }
    }
    Ok(if resolved.deadlock { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The lines of an answer to RESOLVE_DEADLOCK.
fn outcome(resolved: &DeadlockResolved) -> Vec<String> {
    let mut lines: Vec<String> = resolved.ended.iter().map(ended).collect();
    lines.extend(resolved.failures.iter().cloned());
    let left = resolved.deadlocked_processes.join(", ");
    lines.push(match (resolved.deadlock, resolved.ended.is_empty()) {
        (true, _) => format!("There is still a deadlock: {left}"),
        (false, true) => "No deadlock, so nothing was ended".to_owned(),
        (false, false) => "No deadlock is left".to_owned(),
    });
    lines
}

fn ended(victim: &EndedVictim) -> String {
    let how = match victim.how.as_str() {
        "terminated" => "terminated".to_owned(),
        "waits_cancelled" => {
            "it runs on another node, so only its waits were ended and what it had here released".to_owned()
        }
        "released" => "its waits were ended and what it had was released".to_owned(),
        other => other.to_owned(),
    };
    format!("{} ended, because {} ({how})", victim.pid, victim.why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(how: &str, deadlock: bool) -> DeadlockResolved {
        let victim = EndedVictim { pid: "P7".to_owned(), why: "it has the least".to_owned(), how: how.to_owned() };
        DeadlockResolved { ended: vec![victim], deadlock, ..DeadlockResolved::default() }
    }

    #[test]
    fn what_was_done_is_said_once() {
        let text = outcome(&resolved("terminated", false)).join("\n");
        assert_eq!(text, "P7 ended, because it has the least (terminated)\nNo deadlock is left");
        assert!(outcome(&resolved("waits_cancelled", false))[0].contains("another node"));
        assert!(outcome(&resolved("released", false))[0].contains("what it had was released"));
        assert_eq!(outcome(&DeadlockResolved::default()), ["No deadlock, so nothing was ended"]);
    }

    #[test]
    fn what_is_left_and_what_did_not_work_is_said() {
        let mut answer = resolved("terminated", true);
        answer.deadlocked_processes = vec!["P8".to_owned(), "P9".to_owned()];
        answer.failures = vec!["P8 could not be ended: it is busy".to_owned()];
        assert_eq!(outcome(&answer)[1..], ["P8 could not be ended: it is busy", "There is still a deadlock: P8, P9"]);
    }
}
