//! `potluck group`.

use super::{Node, count};
use crate::cli::GroupCommand;
use crate::commands::session::parse;
use crate::output::table::Table;
use crate::output::{self, shorten};
use potluck_sdk::message::process::{
    CreateGroup, GroupCreated, GroupKilled, GroupList, GroupSignalled, KillGroup, ListGroups, Signal, SignalGroup,
};
use std::collections::HashSet;
use std::process::ExitCode;

/// Longest list of members in a table, in characters.
const MEMBERS_CHARACTERS_MAX: usize = 120;

/// Carries out what is asked of a group.
pub(super) async fn run(node: &Node, command: GroupCommand) -> anyhow::Result<ExitCode> {
    match command {
        GroupCommand::Create { group, pids } => {
            let named = pids.iter().collect::<HashSet<_>>().len();
            let pids = pids.into_iter().map(Into::into).collect();
            let reply = node.ask(&CreateGroup { group_id: Some(group.into()), pids }).await?;
            node.print(&reply, || {
                let done: GroupCreated<'_> = parse(&reply)?;
                let members = count(done.members as u64, "process", "processes");
                Ok(format!("Group {} has {members}", done.group_id))
            })?;
            if !node.json() && parse::<GroupCreated<'_>>(&reply)?.members < named {
                output::note("Processes that have ended or are not there were passed over; see `potluck ps`");
            }
        }
        GroupCommand::List => list(node).await?,
        GroupCommand::Kill { group } => {
            let reply = node.ask(&KillGroup { group_id: Some(group.into()) }).await?;
            let done: GroupKilled<'_> = parse(&reply)?;
            node.print(&reply, || {
                let ended = count(done.terminated as u64, "process", "processes");
                Ok(format!("Group {}: {ended} terminated", done.group_id))
            })?;
            return Ok(reached(node, done.terminated));
        }
        GroupCommand::Pause { group } => return signal(node, group, Signal::Pause).await,
        GroupCommand::Resume { group } => return signal(node, group, Signal::Resume).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(node: &Node) -> anyhow::Result<()> {
    let reply = node.ask(&ListGroups {}).await?;
    if node.json() {
        output::print_json(&reply.json)?;
        return Ok(());
    }
    let list: GroupList = parse(&reply)?;
    if list.groups.is_empty() {
        output::print_line("No groups")?;
        return Ok(());
    }
    let mut table = Table::new(&["GROUP", "PROCESSES", "PIDS"]);
    for group in &list.groups {
        let pids = shorten(&group.pids.join(", "), MEMBERS_CHARACTERS_MAX).into_owned();
        table.row([group.group_id.clone(), group.members.to_string(), pids]);
    }
    table.align_right([1]);
    table.print("")?;
    Ok(())
}

/// The node does not tell a group without processes from one that is not there: nothing was done for either.
fn reached(node: &Node, processes: usize) -> ExitCode {
    if processes > 0 {
        return ExitCode::SUCCESS;
    }
    if !node.json() {
        output::note("There is no such group, or nobody in it to whom that applies; see `potluck group list`");
    }
    ExitCode::FAILURE
}

async fn signal(node: &Node, group: String, signal: Signal) -> anyhow::Result<ExitCode> {
    let reply = node.ask(&SignalGroup { group_id: Some(group.into()), signal: Some(signal) }).await?;
    let done: GroupSignalled<'_> = parse(&reply)?;
    node.print(&reply, || {
        let processes = count(done.signalled as u64, "process", "processes");
        Ok(format!("Group {}: {} sent to {processes}", done.group_id, done.signal.word()))
    })?;
    Ok(reached(node, done.signalled))
}
