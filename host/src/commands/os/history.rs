//! `potluck history`.

use super::{Node, count, export};
use crate::cli::{HistoryArgs, HistoryCommand};
use crate::commands::pages::Pages;
use crate::commands::session::parse;
use crate::commands::{UsageError, duration::duration_seconds};
use crate::output::raw_json::{Members, indent};
use crate::output::table::Table;
use crate::output::{self, printable, shorten, units};
use potluck_sdk::message::history::{
    HistoryClear, HistoryCleared, PointInTime, TaskHistory, TaskHistoryEntry, TaskHistoryPage, TaskRecord,
};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Records when the command line does not say, as ever.
const LIMIT_DEFAULT: usize = 100;
/// Records of one answer of the node.
const PAGE: usize = 2000;
/// As many as the original client shows.
const RECENT: usize = 10;
/// Longest text of a cell, in characters.
const CELL_CHARACTERS_MAX: usize = 60;

/// Shows, exports or clears the history.
pub(super) async fn run(node: &Node, args: HistoryArgs) -> anyhow::Result<ExitCode> {
    if let Some(HistoryCommand::Clear) = args.command {
        let reply = node.ask(&HistoryClear {}).await?;
        node.print(&reply, || {
            let removed = parse::<HistoryCleared<'_>>(&reply)?.removed;
            Ok(format!("{} forgotten", count(removed, "record", "records")))
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.limit == Some(0) {
        return Err(UsageError("--limit 0: it must be 1 or more".to_owned()).into());
    }
    if let Some(task_id) = &args.task_id {
        return one(node, task_id).await;
    }
    let request = request(&args)?;
    if let Some(format) = args.export {
        return export::run(node, request, format, args.limit, args.save.as_deref()).await;
    }
    show(node, request, args.limit.unwrap_or(LIMIT_DEFAULT), args.table).await
}

async fn one(node: &Node, task_id: &str) -> anyhow::Result<ExitCode> {
    let reply = node.ask(&TaskHistory { task_id: Some(task_id.into()), ..TaskHistory::default() }).await?;
    let entry: TaskHistoryEntry = parse(&reply)?;
    if node.json() {
        output::print_json(&reply.json)?;
    } else if entry.task.is_some() {
        let task = Members::of(&reply.json).and_then(|reply| reply.get("task").map(indent));
        output::print_line(&task.unwrap_or_default())?;
    } else {
        output::print_line(&printable(&format!("Task '{task_id}' not found")))?;
    }
    Ok(if entry.task.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn show(node: &Node, mut request: TaskHistory<'_>, limit: usize, as_table: bool) -> anyhow::Result<ExitCode> {
    let mut records: Vec<TaskRecord> = Vec::new();
    let mut statistics = None;
    let mut pages = Pages::new("history", node.json());
    loop {
        request.limit = Some(limit.saturating_sub(records.len()).clamp(1, PAGE) as i64);
        let reply = node.ask(&request).await?;
        let page: TaskHistoryPage = parse(&reply)?;
        // The newest records come first.
        pages.add_before(&reply.json);
        if statistics.is_none() {
            statistics = Members::of(&reply.json).and_then(|reply| reply.get("statistics").map(indent));
        }
        records.splice(0..0, page.history);
        // A search that takes long is answered in parts. A `next` that does not go back would go on for ever.
        let goes_on = page.next.is_some() && page.next.is_none_or(|next| request.before.is_none_or(|last| next < last));
        if !goes_on || records.len() >= limit || pages.is_full() {
            break;
        }
        request.before = page.next;
    }
    if node.json() {
        pages.finish()?;
        return Ok(ExitCode::SUCCESS);
    }
    if as_table {
        print_table(&records)?;
        pages.finish()?;
        return Ok(ExitCode::SUCCESS);
    }
    output::print_line("Task History Statistics:")?;
    output::print_line(&statistics.unwrap_or_default())?;
    output::print_line("")?;
    output::print_line(&format!("Recent Tasks ({}):", records.len()))?;
    for record in records.iter().skip(records.len().saturating_sub(RECENT)) {
        output::print_line(&printable(&recent(record)))?;
    }
    pages.finish()?;
    Ok(ExitCode::SUCCESS)
}

/// A record in short: first what the original client says of it, then when it ended and how long it took.
fn recent(record: &TaskRecord) -> String {
    let took = record.execution_time.map(|time| format!(" after {}", units::seconds(time))).unwrap_or_default();
    let TaskRecord { task_id, status, task_type, .. } = record;
    format!("  {task_id}: {status} - {task_type}, ended {}{took}", ended(record))
}

/// When a task ended, by the clock of the node that has the record, to the second.
fn ended(record: &TaskRecord) -> String {
    let whole = |time: &str| time.split('.').next().unwrap_or_default().to_owned();
    match record.timestamp.as_str() {
        "" => whole(&units::utc_time(record.finished_unix_ms)) + "Z",
        timestamp => whole(timestamp),
    }
}

fn print_table(records: &[TaskRecord]) -> anyhow::Result<()> {
    if records.is_empty() {
        output::print_line("No records")?;
        return Ok(());
    }
    let mut table = Table::new(&["ENDED", "TASK", "STATUS", "TIME", "FUNCTION", "RUNTIME", "WHERE", "FOR", "WHAT"]);
    for record in records {
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let what = record.error.as_ref().or(record.result.as_ref()).map_or("", String::as_str);
        table.row([
            ended(record),
            record.task_id.clone(),
            record.status.clone(),
            record.execution_time.map_or_else(|| "-".to_owned(), units::seconds),
            shorten(&text(&record.function), CELL_CHARACTERS_MAX).into_owned(),
            text(&record.runtime),
            text(&record.peer_info),
            shorten(&text(&record.requested_by), 8).into_owned(),
            shorten(what, CELL_CHARACTERS_MAX).into_owned(),
        ]);
    }
    table.align_right([3]);
    table.print("")?;
    Ok(())
}

fn request(args: &HistoryArgs) -> Result<TaskHistory<'_>, UsageError> {
    let text = |text: &Option<String>| text.clone().map(Into::into);
    Ok(TaskHistory {
        task_id: None,
        limit: None,
        task_type: text(&args.task_type),
        status: text(&args.status),
        peer: text(&args.peer),
        requested_by: text(&args.by),
        since: args.since.as_deref().map(|text| point("--since", text)).transpose()?,
        until: args.until.as_deref().map(|text| point("--until", text)).transpose()?,
        text: text(&args.text),
        before: None,
    })
}

/// What a person writes for a time: seconds since 1970, a duration before now, or ISO 8601, which the node reads.
fn point(option: &str, text: &str) -> Result<PointInTime, UsageError> {
    if let Ok(seconds) = text.parse::<f64>() {
        // Rust reads `nan` and `inf` as numbers, and JSON has none: the node would see no limit at all.
        return if seconds.is_finite() {
            Ok(PointInTime::UnixSeconds(seconds))
        } else {
            Err(UsageError(format!(
                "{option}: {text:?} is no time; write seconds since 1970, a time ago such as 2h, or ISO 8601 such as \
                 2026-01-31T12:00:00"
            )))
        };
    }
    Ok(match duration_seconds(text) {
        Ok(seconds) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            PointInTime::UnixSeconds(now.as_secs_f64() - seconds as f64)
        }
        Err(_) => PointInTime::Text(text.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_when_it_ended_and_how_long_it_took() {
        let record = TaskRecord {
            task_id: "t1".to_owned(),
            status: "SUCCESS".to_owned(),
            task_type: "CPU_TASK".to_owned(),
            timestamp: "2026-01-31T12:00:05.678901".to_owned(),
            execution_time: Some(0.0123),
            ..TaskRecord::default()
        };
        assert_eq!(recent(&record), "  t1: SUCCESS - CPU_TASK, ended 2026-01-31T12:00:05 after 12.3 ms");
        let never_run = TaskRecord { timestamp: String::new(), execution_time: None, ..record };
        assert_eq!(recent(&never_run), "  t1: SUCCESS - CPU_TASK, ended 1970-01-01T00:00:00Z");
    }

    #[test]
    fn times_are_written_in_three_ways() {
        let point = |text| point("--since", text).unwrap();
        assert_eq!(point("1767323045.5"), PointInTime::UnixSeconds(1_767_323_045.5));
        assert_eq!(point("2026-01-31"), PointInTime::Text("2026-01-31".to_owned()));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(matches!(point("2h"), PointInTime::UnixSeconds(seconds) if (now - seconds - 7200.0).abs() < 60.0));
    }

    #[test]
    fn what_is_no_time_is_refused_with_what_is_expected() {
        for text in ["nan", "-NaN", "inf", "-infinity", "1e999"] {
            let error = point("--since", text).unwrap_err().to_string();
            assert!(error.starts_with("--since: ") && error.contains("such as 2h"), "{error}");
        }
    }
}
