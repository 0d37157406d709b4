//! `potluck ps`.

use super::{Node, age_seconds, screen};
use crate::cli::{PsArgs, StateName};
use crate::commands::pages::Pages;
use crate::commands::session::parse;
use crate::output::table::{Table, state_cell, text_cell};
use crate::output::{self, shorten, units};
use comfy_table::Color;
use potluck_sdk::message::process::{ListProcesses, ProcessFacts, ProcessList, ProcessState, ProcessTree};
use std::collections::{HashMap, HashSet};
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::ctrl_c;

/// Processes of one answer of the node.
const PAGE: usize = 1000;
/// Longest text of a cell, in characters.
const CELL_CHARACTERS_MAX: usize = 60;
/// A pause that is shorter keeps the node busy with nothing else.
const PAUSE_SECONDS_MIN: f64 = 0.1;

/// Prints the processes, once or until Ctrl-C.
pub(super) async fn ps(node: &Node, args: PsArgs) -> anyhow::Result<ExitCode> {
    if !args.watch {
        let (text, code) = show(node, &args).await?;
        output::print(&text)?;
        return Ok(code);
    }
    let pause = Duration::from_secs_f64(args.every.clamp(PAUSE_SECONDS_MIN, 86_400.0));
    let mut interrupt = std::pin::pin!(ctrl_c());
    loop {
        let shown = tokio::select! {
            biased;
            Ok(()) = &mut interrupt => return Ok(ExitCode::SUCCESS),
            shown = show(node, &args) => shown?,
        };
        // The screen is cleared and drawn in one write, so that it does not flicker.
        let clear = if output::stdout_is_terminal() && !node.json() { screen::CLEAR } else { "" };
        output::print(&format!("{clear}{}", shown.0))?;
        tokio::select! {
            biased;
            Ok(()) = &mut interrupt => return Ok(ExitCode::SUCCESS),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// The text to print.
async fn show(node: &Node, args: &PsArgs) -> anyhow::Result<(String, ExitCode)> {
    if let (Some(pid), true) = (&args.pid, node.json() && !chooses(args)) {
        let reply = node.ask(&ProcessTree { root_pid: Some(pid.into()), usage: true }).await?;
        return Ok((format!("{}\n", output::one_line(&reply.json)), ExitCode::SUCCESS));
    }
    let mut request = ListProcesses {
        state: args.state.map(state),
        group_id: args.group.as_deref().map(Into::into),
        after: None,
        limit: Some(PAGE),
        usage: true,
    };
    let mut pages = Pages::new("processes", node.json());
    let mut processes: Vec<ProcessFacts> = Vec::new();
    let mut more = loop {
        let reply = node.ask(&request).await?;
        let page: ProcessList = parse(&reply)?;
        pages.add(&reply.json);
        let is_empty = page.processes.is_empty();
        processes.extend(page.processes);
        // Of which process one has come, is known when all are there.
        if args.pid.is_none() {
            choose(&mut processes, &mut pages.entries, |process| is_chosen(process, args));
        }
        match page.next.filter(|_| !is_empty) {
            Some(next) if (args.pid.is_some() || processes.len() < args.limit) && !pages.is_full() => {
                request.after = Some(next.into());
            }
            next => break next.is_some(),
        }
    };
    if let Some(pid) = &args.pid {
        let wanted = below(&processes, pid);
        choose(&mut processes, &mut pages.entries, |process| wanted.contains(&process.pid));
        anyhow::ensure!(
            !processes.is_empty(),
            "there is no process {pid}; `potluck ps --all` shows those that there are"
        );
        choose(&mut processes, &mut pages.entries, |process| is_chosen(process, args));
    }
    if processes.len() > args.limit {
        processes.truncate(args.limit);
        pages.entries.truncate(args.limit);
        pages.cut_before(processes.last().map_or("", |process| &process.pid));
        more = true;
    }
    if node.json() {
        return Ok((format!("{}\n", output::one_line(&pages.text())), ExitCode::SUCCESS));
    }
    let mut text = if processes.is_empty() { "No processes\n".to_owned() } else { table(&processes, args.flat) + "\n" };
    if more {
        text += "There are more; --limit shows them.\n";
    }
    Ok((text, ExitCode::SUCCESS))
}

/// Whether the command line asks for some processes among those below one, or for a list of them.
fn chooses(args: &PsArgs) -> bool {
    args.flat || args.state.is_some() || args.group.is_some() || args.by.is_some() || args.name.is_some()
}

/// Whether the command line asks for a process. Which state and group is meant the node has heeded.
fn is_chosen(process: &ProcessFacts, args: &PsArgs) -> bool {
    let wants_ended = args.all || args.state.is_some() || args.pid.is_some();
    (wants_ended || process.state != ProcessState::Terminated)
        && args.by.as_ref().is_none_or(|by| process.requested_by == *by)
        && args.name.as_ref().is_none_or(|name| has(process, name))
}

/// Keeps the processes that are wanted, and of their texts, where there are any, the same.
fn choose(processes: &mut Vec<ProcessFacts>, texts: &mut Vec<String>, is_wanted: impl Fn(&ProcessFacts) -> bool) {
    let mut wanted = processes.iter().map(&is_wanted);
    texts.retain(|_| wanted.next().unwrap_or(false));
    processes.retain(is_wanted);
}

fn has(process: &ProcessFacts, name: &str) -> bool {
    [&process.function, &process.task_id, &process.name].iter().any(|text| text.contains(name))
}

fn state(name: StateName) -> ProcessState {
    match name {
        StateName::New => ProcessState::New,
        StateName::Ready => ProcessState::Ready,
        StateName::Running => ProcessState::Running,
        StateName::Waiting => ProcessState::Waiting,
        StateName::Terminated => ProcessState::Terminated,
        StateName::Zombie => ProcessState::Zombie,
    }
}

/// The names of a process and of all that came from it, of those that are there.
fn below(processes: &[ProcessFacts], root: &str) -> HashSet<String> {
    let roots = processes.iter().filter(|process| process.pid == root);
    let mut wanted: HashSet<String> = roots.map(|process| process.pid.clone()).collect();
    // A child may stand before its parent, so it is looked through until nothing is added any more.
    loop {
        let before = wanted.len();
        for process in processes {
            if process.ppid.as_ref().is_some_and(|parent| wanted.contains(parent)) {
                wanted.insert(process.pid.clone());
            }
        }
        if wanted.len() == before {
            return wanted;
        }
    }
}

/// The processes as a table, one below its parent.
fn table(processes: &[ProcessFacts], flat: bool) -> String {
    let mut table =
        Table::new(&["PID", "STATE", "CPU", "MEMORY", "AGE", "PRIORITY", "RUNTIME", "WHERE", "FOR", "FUNCTION", "WHY"]);
    let rows = if flat { processes.iter().map(|it| (String::new(), it)).collect() } else { tree(processes) };
    for (lines, process) in rows {
        let why = match &process.exit {
            Some(exit) if exit.error.is_empty() => format!("exit code {}", exit.exit_code),
            Some(exit) => format!("exit code {}: {}", exit.exit_code, exit.error),
            None => process.reason.clone(),
        };
        table.cells([
            text_cell(&format!("{lines}{}", process.pid)),
            state_cell(process.state.word(), color(process.state)),
            text_cell(&cpu(process)),
            text_cell(&memory(process)),
            text_cell(&units::seconds(age_seconds(process.created_unix_milliseconds).round())),
            text_cell(&process.priority.to_string()),
            text_cell(or_dash(&process.runtime)),
            text_cell(or_dash(&process.executed_by)),
            text_cell(&shorten(or_dash(&process.requested_by), 8)),
            text_cell(&shorten(what(process), CELL_CHARACTERS_MAX)),
            text_cell(&shorten(&why, CELL_CHARACTERS_MAX)),
        ]);
    }
    table.align_right([2, 3, 4, 5]);
    table.text("")
}

/// Processor time of a process, so far or in all.
pub(super) fn cpu(process: &ProcessFacts) -> String {
    let in_all = process.exit.as_ref().and_then(|exit| exit.cpu_seconds);
    let seconds = in_all.or(process.usage.map(|usage| usage.cpu_seconds));
    seconds.map_or_else(|| "-".to_owned(), units::seconds)
}

/// Memory of a process: what it has, or the most that it had.
pub(super) fn memory(process: &ProcessFacts) -> String {
    let most = process.exit.as_ref().and_then(|exit| exit.peak_memory_bytes);
    let bytes = most.or(process.usage.map(|usage| usage.memory_bytes));
    bytes.map_or_else(|| "-".to_owned(), units::bytes)
}

/// What a process is about.
pub(super) fn what(process: &ProcessFacts) -> &str {
    [&process.function, &process.name, &process.task_id].into_iter().find(|text| !text.is_empty()).map_or("-", |it| it)
}

pub(super) fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

fn color(state: ProcessState) -> Option<Color> {
    match state {
        ProcessState::Running => Some(Color::Green),
        ProcessState::Waiting => Some(Color::Yellow),
        ProcessState::Zombie => Some(Color::Red),
        ProcessState::New | ProcessState::Ready | ProcessState::Terminated => None,
    }
}

/// The processes in the order of a tree, with the lines that lead to each. One whose parent is not there is a root.
pub(super) fn tree(processes: &[ProcessFacts]) -> Vec<(String, &ProcessFacts)> {
    let known: HashSet<&str> = processes.iter().map(|process| process.pid.as_str()).collect();
    let parent = |process: &ProcessFacts| process.ppid.clone().filter(|parent| known.contains(parent.as_str()));
    let mut children: HashMap<Option<String>, Vec<&ProcessFacts>> = HashMap::new();
    for process in processes {
        children.entry(parent(process)).or_default().push(process);
    }
    let mut rows = Vec::with_capacity(processes.len());
    let roots = children.remove(&None).unwrap_or_default();
    // What is to be shown, the next last: the lines before it, whether it is the last of its siblings, its depth.
    let mut open: Vec<(String, bool, bool, &ProcessFacts)> =
        roots.into_iter().rev().map(|root| (String::new(), true, true, root)).collect();
    while let Some((lines, is_last, is_root, process)) = open.pop() {
        let own = match (is_root, is_last) {
            (true, _) => String::new(),
            (false, true) => format!("{lines}└─ "),
            (false, false) => format!("{lines}├─ "),
        };
        let inner = match (is_root, is_last) {
            (true, _) => String::new(),
            (false, true) => format!("{lines}   "),
            (false, false) => format!("{lines}│  "),
        };
        rows.push((own, process));
        // Taken out, so that no answer of a node can lead round in circles.
        let of_process = children.remove(&Some(process.pid.clone())).unwrap_or_default();
        let count = of_process.len();
        for (index, child) in of_process.into_iter().enumerate().rev() {
            open.push((inner.clone(), index + 1 == count, false, child));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: &str, parent: Option<&str>) -> ProcessFacts {
        ProcessFacts { pid: pid.to_owned(), ppid: parent.map(str::to_owned), ..ProcessFacts::default() }
    }

    #[test]
    fn children_stand_below_their_parents() {
        let processes = [
            process("P1", None),
            process("P2", Some("P1")),
            process("P3", Some("P1")),
            process("P4", Some("P2")),
            process("P5", Some("gone")),
            process("P6", Some("P2")),
        ];
        let rows: Vec<String> =
            tree(&processes).iter().map(|(lines, process)| format!("{lines}{}", process.pid)).collect();
        assert_eq!(rows, ["P1", "├─ P2", "│  ├─ P4", "│  └─ P6", "└─ P3", "P5"]);
        assert_eq!(below(&processes, "P2"), ["P2", "P4", "P6"].map(str::to_owned).into());
        assert!(below(&processes, "gone").is_empty(), "what came from a process that is not there is not below it");
    }

    #[test]
    fn the_texts_go_with_their_processes() {
        let all = ["P1", "P2", "P3"].map(|pid| process(pid, None));
        let (mut processes, mut texts) = (all.to_vec(), ["1", "2", "3"].map(str::to_owned).to_vec());
        choose(&mut processes, &mut texts, |process| process.pid != "P2");
        assert_eq!((processes.len(), texts.join(" ")), (2, "1 3".to_owned()));
        choose(&mut processes, &mut Vec::new(), |_| true);
        assert_eq!(processes.len(), 2);
    }

    #[test]
    fn parents_in_a_circle_do_no_harm() {
        let processes = [process("P1", Some("P2")), process("P2", Some("P1")), process("P3", Some("P3"))];
        tree(&processes);
        assert_eq!(below(&processes, "P1").len(), 2);
    }
}
