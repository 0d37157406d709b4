//! `potluck files status`, `files repair` and `files bind`: how the replicas of owned files fare.

use super::not_found;
use crate::cli::BindArgs;
use crate::commands::owned::{self, is_whole, peer_text};
use crate::commands::pool::moment;
use crate::commands::session::{Session, parse};
use crate::output::activity::Activity;
use crate::output::table::{Table, state_cell, text_cell};
use crate::output::{self, printable};
use comfy_table::Color;
use potluck_sdk::message::owned_files::{
    BindOwner, OwnedFileEntry, OwnedFilesRepaired, OwnerBound, RepairOwnedFiles, ReplicaState,
};
use potluck_sdk::message::to_json;
use std::process::ExitCode;

/// Shows each replica of the owned files, or of one.
pub(super) async fn status(session: &Session, name: Option<&str>) -> anyhow::Result<ExitCode> {
    let mut table = Table::new(&["NAME", "REPLICA ON", "STATE", "LAST FOUND IN ORDER"]);
    let (mut listed, mut lacking) = (0_usize, 0_usize);
    let last = owned::each_page(session, name, &mut |page| {
        for file in &page.owned_files {
            listed += 1;
            lacking += usize::from(!is_whole(file));
            add_rows(&mut table, file);
        }
    })
    .await?;
    if let Some(name) = name.filter(|_| listed == 0) {
        // The list is printed already when it is for programs.
        return if session.json { Ok(ExitCode::FAILURE) } else { not_found(false, name, &last) };
    }
    if session.json {
        return Ok(ExitCode::SUCCESS);
    }
    if listed == 0 {
        output::print_line("No owned files")?;
        return Ok(ExitCode::SUCCESS);
    }
    table.print("")?;
    if lacking == 0 {
        output::note(&format!("All replicas of {listed} files are in order, or not checked yet."));
    } else {
        output::note(&format!(
            "{lacking} of {listed} files have fewer replicas in order than wanted; `potluck files repair` makes them anew"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn add_rows(table: &mut Table, file: &OwnedFileEntry) {
    for peer in &file.storage_peers {
        table.cells([
            text_cell(&file.filename),
            text_cell(&peer_text(peer)),
            state_cell(state_text(peer.state), Some(state_color(peer.state))),
            text_cell(&peer.checked_unix_seconds.map_or_else(|| "-".to_owned(), moment)),
        ]);
    }
    let lacking = (file.replicas as usize).saturating_sub(file.storage_peers.len());
    if lacking > 0 {
        let state = format!("{lacking} of {} not there", file.replicas);
        table.cells([text_cell(&file.filename), text_cell("-"), state_cell(&state, Some(Color::Red)), text_cell("-")]);
    }
}

fn state_text(state: ReplicaState) -> &'static str {
    match state {
        ReplicaState::Ok => "ok",
        ReplicaState::Unchecked => "not checked yet",
        ReplicaState::Away => "peer away",
        ReplicaState::Damaged => "damaged",
        ReplicaState::Missing => "missing",
    }
}

fn state_color(state: ReplicaState) -> Color {
    match state {
        ReplicaState::Ok => Color::Green,
        ReplicaState::Unchecked | ReplicaState::Away => Color::Yellow,
        ReplicaState::Damaged | ReplicaState::Missing => Color::Red,
    }
}

/// Has all replicas checked, and those that are lost made anew.
pub(super) async fn repair(session: &Session, name: Option<&str>) -> anyhow::Result<ExitCode> {
    let request = to_json(&RepairOwnedFiles { filename: name.map(Into::into), ..RepairOwnedFiles::default() });
    let activity = Activity::new("Checking replicas");
    // No limit on the wait: replicas are read and copied.
    let reply = session.client.request(&request, &[]).await;
    drop(activity);
    let reply = reply?;
    let repaired: OwnedFilesRepaired = parse(&reply)?;
    if session.json {
        output::print_json(&reply.json)?;
    } else {
        output::print_line(&format!(
            "Files checked: {}; replicas not in order: {}; made anew: {}",
            repaired.checked_files, repaired.damaged_replicas, repaired.repaired_replicas
        ))?;
        for error in &repaired.errors {
            output::note(&printable(error));
        }
    }
    Ok(if repaired.errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Says whose the files of an owner of an older system are.
pub(super) async fn bind(session: &Session, args: &BindArgs) -> anyhow::Result<ExitCode> {
    let reply = session.ask(&BindOwner { owner: Some(args.owner.as_str().into()), peer_id: Some(args.peer) }).await?;
    let bound: OwnerBound = parse(&reply)?;
    if session.json {
        output::print_json(&reply.json)?;
    } else {
        let text = format!("{} is {} now: {} files", args.owner, args.peer, bound.file_count);
        output::print_line(&printable(&text))?;
    }
    Ok(ExitCode::SUCCESS)
}
