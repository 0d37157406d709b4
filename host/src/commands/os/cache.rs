//! `potluck cache`.

use super::{Node, count};
use crate::cli::CacheCommand;
use crate::commands::session::parse;
use crate::output::table::Table;
use crate::output::{self, units};
use potluck_sdk::message::cache::{CacheClear, CacheCleared, CacheStatistics, CacheStatisticsReply};
use std::process::ExitCode;

/// Shows how well the cache serves, or clears it.
pub(super) async fn run(node: &Node, command: Option<CacheCommand>) -> anyhow::Result<ExitCode> {
    match command.unwrap_or(CacheCommand::Show) {
        CacheCommand::Show => {
            let reply = node.ask(&CacheStatistics {}).await?;
            if node.json() {
                output::print_json(&reply.json)?;
            } else {
                print(&parse(&reply)?)?;
            }
        }
        CacheCommand::Clear => {
            let reply = node.ask(&CacheClear {}).await?;
            node.print(&reply, || {
                let removed = parse::<CacheCleared<'_>>(&reply)?.removed;
                Ok(format!("{} forgotten", count(removed as u64, "result", "results")))
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(reply: &CacheStatisticsReply) -> anyhow::Result<()> {
    let cache = &reply.cache;
    let mut table = Table::new::<&str>(&[]);
    let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
    row("results", format!("{} of {}", cache.size, cache.max_size));
    row("size", format!("{} of {}", units::bytes(cache.bytes as u64), units::bytes(cache.bytes_max as u64)));
    row("hits", cache.hits.to_string());
    row("misses", cache.misses.to_string());
    row("hit rate", format!("{:.1} %", cache.hit_rate * 100.0));
    row("kept for", units::seconds(cache.ttl_seconds));
    row("made room", cache.evictions.to_string());
    row("too old", cache.expirations.to_string());
    row("waiting for a run", format!("{} for {}", cache.waiting, count(cache.leases as u64, "run", "runs")));
    row("reuses", if cache.assume_pure { "every run" } else { "runs that were observed to be pure" }.to_owned());
    table.print("")?;
    Ok(())
}
