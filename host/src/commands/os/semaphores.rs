//! `potluck sem`.

use super::Node;
use crate::cli::SemCommand;
use crate::commands::pages::Pages;
use crate::commands::session::parse;
use crate::output::table::Table;
use crate::output::{self, shorten};
use potluck_sdk::message::ipc::{
    CreateSemaphore, DeleteSemaphore, ListPage, ListSemaphores, STATUS_BLOCKED, SemaphoreCreated, SemaphoreDeleted,
    SemaphoreInfo, SemaphoreKind, SemaphoreList, SemaphoreSignal, SemaphoreState, SemaphoreWait,
};
use std::process::ExitCode;

/// Semaphores of one answer of the node.
const PAGE: usize = 1000;
/// Longest list of holders in a table, in characters.
const HOLDERS_CHARACTERS_MAX: usize = 60;

/// Carries out what is asked of a semaphore.
pub(super) async fn run(node: &Node, command: SemCommand) -> anyhow::Result<ExitCode> {
    match command {
        SemCommand::Create { sem, value, binary, exist_ok } => {
            let kind = binary.then_some(SemaphoreKind::Binary);
            let message = CreateSemaphore { sem_id: Some(sem.into()), initial_value: value, kind, exist_ok };
            let reply = node.ask(&message).await?;
            node.print(&reply, || {
                let done: SemaphoreCreated<'_> = parse(&reply)?;
                let verb = if done.created { "created" } else { "is there" };
                Ok(format!("Semaphore {} {verb}, with the value {}", done.sem_id, done.value))
            })?;
        }
        SemCommand::Wait { sem, name, timeout } => {
            let message =
                SemaphoreWait { sem_id: Some(sem.into()), process_id: Some(name.name.clone().into()), timeout };
            let reply = node.wait(&message, timeout).await?;
            let done: SemaphoreState<'_> = parse(&reply)?;
            let is_blocked = done.status == STATUS_BLOCKED;
            node.print(&reply, || {
                Ok(match is_blocked {
                    true => format!("{} is blocked: {} was not free in time", name.name, done.sem_id),
                    false => format!("{} has {}; its value is {}", name.name, done.sem_id, done.value),
                })
            })?;
            return Ok(if is_blocked { ExitCode::FAILURE } else { ExitCode::SUCCESS });
        }
        SemCommand::Signal { sem, name } => {
            let message = SemaphoreSignal { sem_id: Some(sem.into()), process_id: Some(name.name.into()) };
            let reply = node.ask(&message).await?;
            node.print(&reply, || {
                let done: SemaphoreState<'_> = parse(&reply)?;
                Ok(format!("{} signalled; its value is {}", done.sem_id, done.value))
            })?;
        }
        SemCommand::List { prefix } => list(node, &prefix).await?,
        SemCommand::Delete { sem } => {
            let reply = node.ask(&DeleteSemaphore { sem_id: Some(sem.into()) }).await?;
            node.print(&reply, || {
                let done: SemaphoreDeleted<'_> = parse(&reply)?;
                Ok(format!("Semaphore {} deleted, with {} waiting", done.sem_id, done.waiters))
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(node: &Node, prefix: &str) -> anyhow::Result<()> {
    let mut table = Table::new(&["SEMAPHORE", "KIND", "VALUE", "OF", "WAITING", "HELD BY"]);
    let mut page = ListPage { prefix: prefix.into(), after: None, limit: Some(PAGE) };
    let mut pages = Pages::new("semaphores", node.json());
    let mut listed = 0;
    loop {
        let reply = node.ask(&ListSemaphores { page: page.clone() }).await?;
        let list: SemaphoreList = parse(&reply)?;
        pages.add(&reply.json);
        for semaphore in &list.semaphores {
            table.row(row(semaphore));
        }
        listed += list.semaphores.len();
        page.after = list.next.filter(|_| !list.semaphores.is_empty() && !pages.is_full()).map(Into::into);
        if page.after.is_none() {
            break;
        }
    }
    match (node.json(), listed) {
        (true, _) => {}
        (false, 0) => output::print_line("No semaphores")?,
        (false, _) => {
            table.align_right([2, 3, 4]);
            table.print("")?;
        }
    }
    pages.finish()?;
    Ok(())
}

fn row(semaphore: &SemaphoreInfo) -> [String; 6] {
    let kind = match semaphore.kind {
        SemaphoreKind::Counting => "counting",
        SemaphoreKind::Binary => "binary",
    };
    [
        semaphore.sem_id.clone(),
        kind.to_owned(),
        semaphore.value.to_string(),
        semaphore.initial_value.to_string(),
        semaphore.waiting.to_string(),
        holders(semaphore),
    ]
}

/// Who holds it, in short.
pub(super) fn holders(semaphore: &SemaphoreInfo) -> String {
    let mut text = shorten(&semaphore.holders.join(", "), HOLDERS_CHARACTERS_MAX).into_owned();
    let hidden = semaphore.holder_count.saturating_sub(semaphore.holders.len() as u64);
    if hidden > 0 {
        text += &format!(" and {hidden} more");
    }
    if text.is_empty() { "-".to_owned() } else { text }
}
