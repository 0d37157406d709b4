//! `potluck pool`: who is in, who comes in, who goes.

mod members;
mod tokens;

use super::session::{Session, Target, parse};
use crate::cli::PoolCommand;
use crate::output;
use crate::output::table::Table;
use crate::output::units;
use potluck_sdk::message::pool::{PoolDiscover, PoolDiscovered, PoolDone, PoolLeave};
use serde::Serialize;
use std::process::ExitCode;

/// Carries out one of the subcommands.
pub(super) async fn run(node: &Target, command: PoolCommand) -> anyhow::Result<ExitCode> {
    let session = Session::connect_peer_or_tracker(node).await?;
    match command {
        PoolCommand::Create(args) => tokens::create(&session, args).await,
        PoolCommand::Token(args) => tokens::token(&session, args).await,
        PoolCommand::Tokens => tokens::list(&session).await,
        PoolCommand::Cancel(args) => tokens::cancel(&session, args.token_id).await,
        PoolCommand::Members => members::list(&session).await,
        PoolCommand::Revoke(args) => members::revoke(&session, args.peer).await,
        PoolCommand::Readmit(args) => members::readmit(&session, args.peer).await,
        PoolCommand::Leave => done(&session, &PoolLeave {}, |done| format!("Left the pool {}", done.pool_id)).await,
        PoolCommand::Discover => discover(&session).await,
    }
}

/// Asks for a change, and says in a line that it was made.
async fn done(
    session: &Session,
    request: &impl Serialize,
    success: impl FnOnce(&PoolDone) -> String,
) -> anyhow::Result<ExitCode> {
    let reply = session.ask(request).await?;
    if session.json {
        output::print_json(&reply.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let done: PoolDone = parse(&reply)?;
    output::print_line(&output::printable(&success(&done)))?;
    if let Some(note) = &done.note {
        output::note(&output::printable(note));
    }
    Ok(ExitCode::SUCCESS)
}

async fn discover(session: &Session) -> anyhow::Result<ExitCode> {
    let reply = session.ask(&PoolDiscover {}).await?;
    let found: PoolDiscovered = parse(&reply)?;
    if session.json {
        output::print_json(&reply.json)?;
    } else if found.trackers.is_empty() {
        output::print_line("No trackers can be heard")?;
    } else {
        let mut table = Table::new(&["POOL", "OWN", "ADDRESSES"]);
        for tracker in &found.trackers {
            let own = if tracker.own_pool { "yes" } else { "no" };
            table.row([&tracker.pool_id.to_string(), own, &tracker.addresses.join(", ")]);
        }
        table.print("")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A moment as people read it, to the minute.
pub(super) fn moment(unix_seconds: u64) -> String {
    let text = units::utc_time(unix_seconds.saturating_mul(1000));
    match text.split_once('T') {
        Some((date, time)) => format!("{date} {} UTC", time.get(..5).unwrap_or(time)),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_shown_to_the_minute() {
        assert_eq!(moment(951_827_696), "2000-02-29 12:34 UTC");
        moment(u64::MAX);
    }
}
