//! `potluck history --export`: records for other programs.

use super::Node;
use crate::cli::ExportFormat;
use crate::commands::session::parse;
use crate::output::{self, OutputError};
use anyhow::Context;
use potluck_sdk::message::history::{TaskHistory, TaskHistoryPage, TaskRecord};
use potluck_sdk::message::to_json;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Records of one answer of the node.
const PAGE: usize = 5000;

const HEADINGS: &str = "number,timestamp,finished_unix_ms,task_id,task_type,status,execution_time,waiting_time,\
    cpu_seconds,function,runtime,peer_info,peer_id,requested_by,role,pid,attempts,cached,confidential,code,result,error";

/// Writes the records that fit, the oldest first, to a file or standard output.
pub(super) async fn run(
    node: &Node,
    mut request: TaskHistory<'_>,
    format: ExportFormat,
    limit: Option<usize>,
    save: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    // Pages come with the newest first, so their texts wait here. A record is a line of some hundred bytes.
    let mut pages: Vec<String> = Vec::new();
    let mut count = 0;
    loop {
        let wanted = limit.map_or(PAGE, |limit| limit.saturating_sub(count).clamp(1, PAGE));
        request.limit = Some(wanted as i64);
        let reply = node.ask(&request).await?;
        let page: TaskHistoryPage = parse(&reply)?;
        count += page.history.len();
        if !page.history.is_empty() {
            pages.push(page.history.iter().map(|record| line(record, format)).collect());
        }
        let goes_on = page.next.is_some_and(|next| request.before.is_none_or(|last| next < last));
        if !goes_on || limit.is_some_and(|limit| count >= limit) {
            break;
        }
        request.before = page.next;
    }
    let written = match save {
        Some(path) => {
            let file = OpenOptions::new().write(true).create(true).truncate(true).open(path);
            let file = file.with_context(|| format!("cannot write {}", path.display()))?;
            write(std::io::BufWriter::new(file), &pages, format)
        }
        None => write(std::io::stdout().lock(), &pages, format),
    };
    written.map_err(OutputError::new)?;
    if let Some(path) = save {
        output::note(&format!("{} saved to {}", super::count(count as u64, "record", "records"), path.display()));
    }
    Ok(ExitCode::SUCCESS)
}

fn write(mut file: impl Write, pages: &[String], format: ExportFormat) -> std::io::Result<()> {
    if format == ExportFormat::Csv {
        file.write_all(format!("{HEADINGS}\r\n").as_bytes())?;
    } else {
        file.write_all(b"[")?;
    }
    let mut is_first = true;
    for page in pages.iter().rev() {
        let text = match (format, is_first) {
            // Each record comes with the comma before it.
            (ExportFormat::Json, true) => page.trim_start_matches(','),
            _ => page,
        };
        is_first = false;
        file.write_all(text.as_bytes())?;
    }
    if format == ExportFormat::Json {
        file.write_all(b"\n]\n")?;
    }
    file.flush()
}

fn line(record: &TaskRecord, format: ExportFormat) -> String {
    if format == ExportFormat::Json {
        return format!(",\n{}", to_json(record));
    }
    let number = |number: Option<f64>| number.map(|number| number.to_string()).unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let fields = [
        record.number.to_string(),
        record.timestamp.clone(),
        record.finished_unix_ms.to_string(),
        record.task_id.clone(),
        record.task_type.clone(),
        record.status.clone(),
        number(record.execution_time),
        number(record.waiting_time),
        number(record.cpu_seconds),
        text(&record.function),
        text(&record.runtime),
        text(&record.peer_info),
        text(&record.peer_id),
        text(&record.requested_by),
        text(&record.role),
        text(&record.pid),
        record.attempts.map(|attempts| attempts.to_string()).unwrap_or_default(),
        record.cached.to_string(),
        record.confidential.to_string(),
        text(&record.code),
        text(&record.result),
        text(&record.error),
    ];
    fields.map(|field| quoted(&field)).join(",") + "\r\n"
}

/// A field of RFC 4180. What a spreadsheet would take for a formula is kept from being one: names and errors are made
/// by whoever sent the task.
fn quoted(field: &str) -> String {
    let is_number = field.parse::<f64>().is_ok();
    let guard = if field.starts_with(['=', '+', '-', '@', '\t', '\r']) && !is_number { "'" } else { "" };
    if guard.is_empty() && !field.contains([',', '"', '\n', '\r']) {
        return field.to_owned();
    }
    format!("\"{guard}{}\"", field.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        for (field, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"x\"\n", "\"say \"\"x\"\"\n\""),
            ("=1+1", "\"'=1+1\""),
            ("-5", "-5"),
            ("-x", "\"'-x\""),
        ] {
            assert_eq!(quoted(field), expected, "{field:?}");
        }
    }

    #[test]
    fn there_is_a_field_for_each_heading() {
        let record = TaskRecord { task_id: "T1".to_owned(), ..TaskRecord::default() };
        let text = line(&record, ExportFormat::Csv);
        assert_eq!(text.split(',').count(), HEADINGS.split(',').count());
    }

    #[test]
    fn pages_are_put_together_with_the_oldest_first() {
        let page = |ids: &[&str], format| -> String {
            ids.iter()
                .map(|id| line(&TaskRecord { task_id: (*id).to_owned(), ..TaskRecord::default() }, format))
                .collect()
        };
        let mut out = Vec::new();
        write(&mut out, &[page(&["c"], ExportFormat::Json), page(&["a", "b"], ExportFormat::Json)], ExportFormat::Json)
            .unwrap();
        let records: Vec<TaskRecord> = serde_json::from_slice(&out).unwrap();
        assert_eq!(records.iter().map(|record| record.task_id.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
        let mut out = Vec::new();
        write(&mut out, &[], ExportFormat::Json).unwrap();
        assert!(serde_json::from_slice::<Vec<TaskRecord>>(&out).unwrap().is_empty());
        let mut out = Vec::new();
        let pages = [page(&["c"], ExportFormat::Csv), page(&["a", "b"], ExportFormat::Csv)];
        write(&mut out, &pages, ExportFormat::Csv).unwrap();
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), 4);
    }
}
