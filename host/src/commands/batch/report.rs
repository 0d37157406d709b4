//! What `potluck batch` prints: a line for each task as it is done, a bar meanwhile, a summary at the end.

use super::window::Finished;
use crate::commands::missing;
use crate::commands::task_files::Saver;
use crate::output::{self, OutputError, printable, python_text, shorten, units};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use potluck_sdk::ProviderError;
use potluck_sdk::message::RawValue;
use potluck_sdk::message::cpu::CpuResult;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Widths of the columns before the last. Rows are printed long before the widest value is known.
const TASK_WIDTH: usize = 20;
const PEER_WIDTH: usize = 21;
const SECONDS_WIDTH: usize = 10;
/// Width of the last column when there is no terminal to fill.
const RESULT_WIDTH: usize = 100;
/// Least width of the last column, however narrow the terminal is.
const RESULT_WIDTH_MIN: usize = 20;

/// Prints results and counts them.
pub(super) struct Report {
    json: bool,
    bar: ProgressBar,
    start: Instant,
    is_heading_printed: bool,
    succeeded: u64,
    failed: u64,
    tasks_by_peer: BTreeMap<String, u64>,
    /// Where the files go that tasks hand back.
    saver: Option<Saver>,
    files: Files,
}

/// The files that tasks have handed back.
#[derive(Default)]
struct Files {
    count: u64,
    bytes: u64,
    /// Tasks whose files could not be saved.
    unsaved_tasks: u64,
}

/// A task as the table shows it.
struct Row {
    task_id: String,
    peer: String,
    seconds: Option<f64>,
    /// The result, or the error.
    outcome: Result<String, String>,
}

impl Report {
    /// A report on an input of so many bytes, if that is known.
    pub(super) fn new(json: bool, input_length: Option<u64>, saver: Option<Saver>) -> Report {
        Report {
            json,
            bar: progress_bar(input_length),
            start: Instant::now(),
            is_heading_printed: false,
            succeeded: 0,
            failed: 0,
            tasks_by_peer: BTreeMap::new(),
            saver,
            files: Files::default(),
        }
    }

    /// Prints tasks that are done, all in one write.
    pub(super) fn print(&mut self, done: &[Finished]) -> Result<(), OutputError> {
        let Some(last) = done.last() else { return Ok(()) };
        let result_width = self.result_width();
        let mut text = String::new();
        for finished in done {
            let row = Row::of(finished);
            match row.outcome {
                Ok(_) => self.succeeded += 1,
                Err(_) => self.failed += 1,
            }
            // Tasks that no peer ran have no line in the counts.
            if !row.peer.is_empty() {
                *self.tasks_by_peer.entry(row.peer.clone()).or_default() += 1;
            }
            if self.json {
                text.push_str(&json_line(finished));
            } else {
                if !std::mem::replace(&mut self.is_heading_printed, true) {
                    text.push_str(&line("TASK", "PEER", "TURNAROUND", "RESULT"));
                }
                text.push_str(&row.line(result_width));
            }
        }
        self.bar.set_position(last.input_position);
        self.bar.set_message(format!("{} ok, {} failed", self.succeeded, self.failed));
        self.bar.suspend(|| output::print(&text))?;
        for finished in done {
            if let Some(mistake) = self.files.keep(finished, self.saver.as_ref()) {
                self.bar.suspend(|| output::note(&mistake));
            }
        }
        Ok(())
    }

    /// Prints the summary on standard error. Returns whether all tasks succeeded and their files are saved.
    pub(super) fn finish(&self) -> bool {
        self.bar.finish_and_clear();
        let seconds = self.start.elapsed().as_secs_f64();
        let count = self.succeeded + self.failed;
        let rate = count as f64 / seconds.max(1e-6);
        output::note(&format!(
            "{} ok, {} failed in {} ({} tasks/s)",
            self.succeeded,
            self.failed,
            units::seconds(seconds),
            units::number(rate.round())
        ));
        for (peer, count) in &self.tasks_by_peer {
            output::note(&printable(&format!("  {peer}  {count}")));
        }
        if let Some(summary) = self.files.summary(self.saver.as_ref()) {
            output::note(&printable(&summary));
        }
        self.failed == 0 && self.files.unsaved_tasks == 0
    }

    fn result_width(&self) -> usize {
        if self.json || !output::stdout_is_terminal() {
            return RESULT_WIDTH;
        }
        let terminal = comfy_table::Table::new().width().map_or(RESULT_WIDTH, usize::from);
        terminal.saturating_sub(TASK_WIDTH + PEER_WIDTH + SECONDS_WIDTH + 6).max(RESULT_WIDTH_MIN)
    }
}

impl Files {
    /// Counts the files of a task and saves them. Returns what went wrong with that.
    fn keep(&mut self, finished: &Finished, saver: Option<&Saver>) -> Option<String> {
        let response = finished.reply.as_ref().ok()?;
        // Few tasks hand back files, and every reply was parsed once already.
        if !response.json.contains(r#""files""#) {
            return None;
        }
        let result: CpuResult<'_> = serde_json::from_str(&response.json).ok()?;
        self.count += result.files.len() as u64;
        self.bytes += response.attachment.len() as u64;
        if result.files.is_empty() {
            return None;
        }
        let error = saver?.save_below(&finished.task_id, &result.files, &response.attachment).err()?;
        self.unsaved_tasks += 1;
        Some(printable(&format!("Error: {}: {error:#}", finished.task_id)).into_owned())
    }

    fn summary(&self, saver: Option<&Saver>) -> Option<String> {
        if self.count == 0 {
            return None;
        }
        let files = format!("{} files with {} were handed back", self.count, units::bytes(self.bytes));
        Some(match saver {
            None => format!("{files}; --save-files FOLDER keeps them"),
            Some(saver) if self.unsaved_tasks == 0 => format!("{files} and saved below {}", saver.folder.display()),
            Some(_) => format!("{files}; those of {} tasks could not be saved", self.unsaved_tasks),
        })
    }
}

impl Row {
    fn of(finished: &Finished) -> Row {
        let row = |peer: &str, seconds, outcome| Row {
            task_id: finished.task_id.clone(),
            peer: peer.to_owned(),
            seconds,
            outcome,
        };
        let response = match &finished.reply {
            Ok(response) => response,
            Err(error) => return row("", None, Err(missing::refusal_in_words(error))),
        };
        match serde_json::from_str::<CpuResult<'_>>(&response.json) {
            Ok(result) => {
                let outcome = match &result.error {
                    Some(error) => Err(error.to_string()),
                    None => Ok(result_text(result.result.map_or("null", RawValue::get))),
                };
                row(&result.executed_by, Some(result.turnaround_time), outcome)
            }
            Err(_) => row(
                "",
                None,
                Err("the node's reply is no result of a task; use the same version on both sides".to_owned()),
            ),
        }
    }

    fn line(&self, result_width: usize) -> String {
        let outcome = match &self.outcome {
            Ok(result) => printable(result).into_owned(),
            Err(error) => printable(&format!("Error: {error}")).into_owned(),
        };
        let seconds = self.seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.3}"));
        let peer = if self.peer.is_empty() { "-" } else { &self.peer };
        line(&printable(&self.task_id), &printable(peer), &seconds, &shorten(&outcome, result_width))
    }
}

fn line(task: &str, peer: &str, seconds: &str, result: &str) -> String {
    format!("{task:TASK_WIDTH$}  {peer:PEER_WIDTH$}  {seconds:>SECONDS_WIDTH$}  {result}\n")
}

/// The beginning of a result as Python shows it. A result may have millions of characters, and a line shows a hundred.
fn result_text(json: &str) -> String {
    const JSON_BYTES_MAX: usize = 4096;
    let end = (0..=JSON_BYTES_MAX.min(json.len())).rev().find(|end| json.is_char_boundary(*end)).unwrap_or(0);
    python_text::str_text(&json[..end])
}

/// The CPU_RESULT as it came; for a task that got an ERROR, that one with the name of the task.
fn json_line(finished: &Finished) -> String {
    let json = match &finished.reply {
        Ok(response) => output::one_line(&response.json).into_owned(),
        Err(error) => error_json(&finished.task_id, error),
    };
    json + "\n"
}

fn error_json(task_id: &str, error: &ProviderError) -> String {
    let code: &str = &error.code;
    serde_json::json!({ "type": "ERROR", "task_id": task_id, "code": code, "error": error.message }).to_string()
}

/// A bar over the bytes of the input, or a count when its length is not known. Without a terminal it stays hidden.
fn progress_bar(input_length: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(input_length, ProgressDrawTarget::stderr());
    let template = match input_length {
        Some(_) => "{wide_bar} {percent:>3} %  {msg}  {elapsed}",
        None => "{spinner} {msg}  {elapsed}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    if !bar.is_hidden() {
        bar.enable_steady_tick(Duration::from_millis(200));
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;
    use potluck_sdk::Response;

    fn finished(json: &str) -> Finished {
        let response = Response { json: json.to_owned(), attachment: Vec::new() };
        Finished { task_id: "t1".to_owned(), input_position: 0, reply: Ok(response) }
    }

    const RESULT: &str = r#"{"type":"CPU_RESULT","task_id":"t1","result":[1,"a\nb"],"error":null,
        "executed_by":"127.0.0.1:9000","runtime":"python","execution_time":0.1,"waiting_time":0.0,
        "turnaround_time":0.1234,"attempts":1,"cached":false}"#;

    #[test]
    fn a_task_is_one_line() {
        let row = Row::of(&finished(RESULT));
        assert_eq!(row.line(100), "t1                    127.0.0.1:9000              0.123  [1, 'a\\nb']\n");
        assert_eq!(json_line(&finished(RESULT)).matches('\n').count(), 1);
    }

    #[test]
    fn an_error_names_its_task() {
        let error = ProviderError::invalid("line one\nline two");
        let finished = Finished { task_id: "t1".to_owned(), input_position: 0, reply: Err(error) };
        assert!(Row::of(&finished).line(100).ends_with("Error: line one\\nline two\n"));
        let expected = r#"{"code":"invalid_message","error":"line one\nline two","task_id":"t1","type":"ERROR"}"#;
        assert_eq!(json_line(&finished), format!("{expected}\n"));
    }

    #[test]
    fn a_long_result_is_cut_between_characters() {
        assert!(result_text(&format!("\"{}\"", "é".repeat(5000))).starts_with("éé"));
        assert_eq!(shorten(&result_text(&"9".repeat(100_000)), 5), "9999…");
    }

    #[test]
    fn files_of_tasks_are_saved_in_folders_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let saver = Saver { folder: folder.path().to_owned(), replace: false };
        let json = RESULT.replace(r#""attempts""#, r#""files":[{"name":"a.txt","bytes":2}],"attempts""#);
        let mut finished = finished(&json);
        finished.reply.as_mut().unwrap().attachment = b"hi".to_vec();
        let mut files = Files::default();
        assert_eq!(files.keep(&finished, None), None);
        assert!(files.summary(None).unwrap().starts_with("1 files with 2 B were handed back; --save-files"));
        assert_eq!(files.keep(&finished, Some(&saver)), None);
        assert_eq!(std::fs::read_to_string(folder.path().join("t1/a.txt")).unwrap(), "hi");
        let mistake = files.keep(&finished, Some(&saver)).unwrap();
        assert!(mistake.starts_with("Error: t1: ") && mistake.contains("--force"), "{mistake}");
        assert!(files.summary(Some(&saver)).unwrap().contains("1 tasks"));
    }
}
