//! `potluck quota`.

use super::Node;
use crate::commands::session::parse;
use crate::output::table::Table;
use crate::output::{self, shorten, units};
use potluck_sdk::message::quota::{CPU_TASKS, MEMORY_KEYS, QuotaCheck, QuotaReport, STORAGE_BYTES};
use std::process::ExitCode;

/// Shows how much is used, in all and by whom.
pub(super) async fn run(node: &Node) -> anyhow::Result<ExitCode> {
    let reply = node.ask(&QuotaCheck {}).await?;
    if node.json() {
        output::print_json(&reply.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let report: QuotaReport = parse(&reply)?;
    let quota = &report.quota;
    let mut table = Table::new(&["QUOTA", "USED", "LIMIT", "WITHIN"]);
    let window = quota.cpu_tasks.window_seconds.map_or_else(|| "-".to_owned(), units::seconds);
    table.row([
        CPU_TASKS.to_owned(),
        quota.cpu_tasks.used.to_string(),
        limit(CPU_TASKS, quota.cpu_tasks.limit),
        window,
    ]);
    for (resource, used, most) in [
        (MEMORY_KEYS, quota.memory_keys.used, quota.memory_keys.limit),
        (STORAGE_BYTES, quota.storage.used_bytes, quota.storage.limit_bytes),
    ] {
        let used = used.map_or_else(|| "-".to_owned(), |used| amount(resource, used));
        table.row([resource.to_owned(), used, limit(resource, most), "-".to_owned()]);
    }
    table.align_right([1, 2]);
    table.print("")?;
    if !quota.limits.is_empty() {
        output::print_line("")?;
        let mut table = Table::new(&["LIMIT OF", "THIS USER", "A MEMBER", "TOGETHER"]);
        for (resource, rule) in &quota.limits {
            let of = |most| limit(resource, most);
            table.row([resource.clone(), of(rule.local), of(rule.member), of(rule.total)]);
        }
        table.align_right([1, 2, 3]);
        table.print("")?;
    }
    if !report.callers.is_empty() {
        output::print_line("")?;
        let mut table = Table::new(&["CALLER", "OF", "USED", "LIMIT", "ROOM AGAIN IN"]);
        for line in &report.callers {
            let frees = line.frees_in_seconds.map_or_else(|| "-".to_owned(), units::seconds);
            let used = amount(&line.resource, line.used);
            let caller = shorten(&line.caller, 36).into_owned();
            table.row([caller, line.resource.clone(), used, limit(&line.resource, line.limit), frees]);
        }
        table.align_right([2, 3]);
        table.print("")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn limit(resource: &str, most: Option<u64>) -> String {
    most.map_or_else(|| "none".to_owned(), |most| amount(resource, most))
}

fn amount(resource: &str, number: u64) -> String {
    if resource.ends_with("_bytes") { units::bytes(number) } else { number.to_string() }
}
