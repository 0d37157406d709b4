//! `potluck kill`, `pause`, `resume`, `wait` and `priority`.

use super::{Node, count, report_one};
use crate::cli::{KillArgs, PauseArgs, PriorityArgs, SignalName, WaitArgs};
use crate::commands::session::parse;
use crate::output::{self, units};
use potluck_sdk::message::process::{
    PrioritySet, ProcessSignalled, ProcessTerminated, ProcessWaited, SetPriority, Signal, SignalProcess,
    TerminateProcess, WaitProcess,
};
use std::process::ExitCode;

/// Sends a signal to processes, by default one that ends them.
pub(super) async fn kill(node: &Node, args: KillArgs) -> anyhow::Result<ExitCode> {
    let signal = match args.signal {
        SignalName::Terminate if !args.tree => return terminate(node, &args.pids).await,
        SignalName::Terminate => Signal::Terminate,
        SignalName::Kill => Signal::Kill,
        SignalName::Pause => Signal::Pause,
        SignalName::Resume => Signal::Resume,
    };
    let tree = args.tree || matches!(args.signal, SignalName::Terminate | SignalName::Kill);
    signal_all(node, &args.pids, signal, tree).await
}

/// Pauses processes.
pub(super) async fn pause(node: &Node, args: PauseArgs) -> anyhow::Result<ExitCode> {
    signal_all(node, &args.pids, Signal::Pause, args.tree).await
}

/// Lets processes go on.
pub(super) async fn resume(node: &Node, args: PauseArgs) -> anyhow::Result<ExitCode> {
    signal_all(node, &args.pids, Signal::Resume, args.tree).await
}

async fn terminate(node: &Node, pids: &[String]) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for pid in pids {
        match node.ask(&TerminateProcess { pid: Some(pid.into()) }).await {
            Ok(reply) => node.print(&reply, || {
                let done: ProcessTerminated<'_> = parse(&reply)?;
                let others = (done.terminated as u64).saturating_sub(1);
                Ok(match others {
                    0 => format!("{} terminated", done.pid),
                    _ => format!("{} terminated, with {} below it", done.pid, count(others, "process", "processes")),
                })
            })?,
            Err(error) => {
                report_one(node, pid, error)?;
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

async fn signal_all(node: &Node, pids: &[String], signal: Signal, tree: bool) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for pid in pids {
        match node.ask(&SignalProcess { pid: Some(pid.into()), signal: Some(signal), tree }).await {
            Ok(reply) => node.print(&reply, || {
                let done: ProcessSignalled<'_> = parse(&reply)?;
                let processes = count(done.signalled as u64, "process", "processes");
                Ok(format!("{}: {} sent to {processes}", done.pid, done.signal.word()))
            })?,
            Err(error) => {
                report_one(node, pid, error)?;
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// Waits for the end of a process, and ends as it did.
pub(super) async fn wait(node: &Node, args: WaitArgs) -> anyhow::Result<ExitCode> {
    let reply = node.wait(&WaitProcess { pid: Some(args.pid.into()), timeout: args.timeout }, args.timeout).await?;
    let done: ProcessWaited<'_> = parse(&reply)?;
    let exit = &done.exit;
    node.print(&reply, || {
        let mut line = format!("{} ended with exit code {}", done.pid, exit.exit_code);
        if !exit.error.is_empty() {
            line += &format!(": {}", exit.error);
        }
        let mut facts = Vec::new();
        facts.extend(exit.cpu_seconds.map(|time| format!("{} of processor time", units::seconds(time))));
        facts.extend(exit.peak_memory_bytes.map(|bytes| format!("{} of memory", units::bytes(bytes))));
        facts.extend(exit.context_switches.map(|switches| count(switches, "context switch", "context switches")));
        if !facts.is_empty() {
            line += &format!(" ({})", facts.join(", "));
        }
        Ok(line)
    })?;
    // Beyond what an exit code can be, it is a failure and nothing more.
    Ok(u8::try_from(exit.exit_code).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Gives a process another priority.
pub(super) async fn priority(node: &Node, args: PriorityArgs) -> anyhow::Result<ExitCode> {
    let reply = node.ask(&SetPriority { pid: Some(args.pid.into()), priority: Some(args.priority) }).await?;
    if node.json() {
        output::print_json(&reply.json)?;
    } else {
        let done: PrioritySet<'_> = parse(&reply)?;
        output::print_line(&format!("{}: priority {}", output::printable(&done.pid), done.priority))?;
    }
    Ok(ExitCode::SUCCESS)
}
