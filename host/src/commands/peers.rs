//! `potluck peers`.

use super::session::{Session, is_no_provider, parse};
use crate::output::raw_json::{Members, elements};
use crate::output::table::Table;
use crate::output::{self, units};
use anyhow::Context;
use potluck_sdk::message::node::{ListPeers, PeerList};
use potluck_sdk::message::tracker::PeerEntry;
use std::process::ExitCode;

/// Lists the peers that a node knows.
pub(super) async fn run(session: &Session) -> anyhow::Result<ExitCode> {
    let (json, list) = match session.ask(&ListPeers {}).await {
        Ok(reply) => {
            let list: PeerList = parse(&reply)?;
            if list.peers.is_empty() {
                from_status(session).await?.unwrap_or((reply.json, list))
            } else {
                (reply.json, list)
            }
        }
        Err(error) if is_no_provider(&error) => from_status(session).await?.ok_or(error)?,
        Err(error) => return Err(error),
    };
    if session.json {
        output::print_json(&json)?;
        return Ok(ExitCode::SUCCESS);
    }
    if list.peers.is_empty() {
        output::print_line("No peers")?;
    } else {
        print_table(&list.peers)?;
    }
    if !list.tracker_connected {
        output::note("No tracker answers the node; this is what it knows without one.");
    }
    Ok(ExitCode::SUCCESS)
}

/// A tracker hears of no peers from another tracker; its own are in its STATUS.
async fn from_status(session: &Session) -> anyhow::Result<Option<(String, PeerList)>> {
    let reply = session.ask_json(r#"{"type":"STATUS"}"#).await?;
    let Some(peers) = Members::of(&reply.json).and_then(|status| status.get("peers").map(str::to_owned)) else {
        return Ok(None);
    };
    if elements(&peers).is_none() {
        return Ok(None);
    }
    let json = format!(r#"{{"type":"PEER_LIST","peers":{peers},"tracker_connected":true}}"#);
    let list = serde_json::from_str(&json).context("the tracker's list of peers has another form than expected")?;
    Ok(Some((json, list)))
}

fn print_table(peers: &[PeerEntry]) -> anyhow::Result<()> {
    let mut table = Table::new(&["PEER", "ADDRESS", "WORKERS", "RUNNING", "QUEUED", "LOAD"]);
    for peer in peers {
        table.row([
            peer.peer_id.map_or_else(|| "-".to_owned(), |id| id.short()),
            peer.address(),
            peer.load.workers.to_string(),
            peer.load.running.to_string(),
            peer.load.queued.to_string(),
            units::number(peer.load.cpu_load),
        ]);
    }
    table.align_right(2..6);
    table.print("")?;
    Ok(())
}
