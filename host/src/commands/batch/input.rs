//! The lines of a batch file, one task each.

use crate::commands::session::new_uuid;
use crate::output::raw_json::{Members, string};
use anyhow::{Context, anyhow, bail, ensure};
use potluck_sdk::message::{FRAME_BYTES_MAX, RawValue};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// What lines get that do not say it themselves.
pub(super) struct Defaults {
    pub(super) program: Option<Box<RawValue>>,
    pub(super) function: Option<Box<RawValue>>,
}

/// A task to send.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) message: String,
    pub(super) task_id: String,
    /// Where its line ends in the input, in bytes.
    pub(super) input_position: u64,
}

/// An input and what to call it in messages.
pub(super) struct Source {
    name: String,
    reader: Box<dyn BufRead + Send>,
}

/// Opens a file, or standard input for `-`. The length is known for a regular file.
pub(super) fn open(path: &Path) -> anyhow::Result<(Source, Option<u64>)> {
    if path == Path::new("-") {
        let reader = Box::new(BufReader::new(std::io::stdin()));
        return Ok((Source { name: "standard input".to_owned(), reader }, None));
    }
    let name = path.display().to_string();
    let file = File::open(path).with_context(|| format!("cannot read the tasks in {name}"))?;
    let metadata = file.metadata().with_context(|| format!("cannot read the tasks in {name}"))?;
    ensure!(!metadata.is_dir(), "{name} is a folder; name a file with one task a line");
    let length = metadata.is_file().then_some(metadata.len());
    Ok((Source { name, reader: Box::new(BufReader::new(file)) }, length))
}

/// Hands on one task after the other, and the first mistake, until `hand_on` says that nobody wants more.
pub(super) fn read(source: Source, defaults: &Defaults, mut hand_on: impl FnMut(anyhow::Result<Task>) -> bool) {
    let Source { name, mut reader } = source;
    // Names of tasks have to be unique on the node, also when several batches run at once.
    let id_prefix = match new_uuid() {
        Ok(uuid) => uuid.simple().to_string()[..8].to_owned(),
        Err(error) => {
            hand_on(Err(error));
            return;
        }
    };
    let (mut line_number, mut input_position) = (0_u64, 0_u64);
    loop {
        let mut line = Vec::new();
        let length = match reader.by_ref().take(FRAME_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line) {
            Ok(length) => length,
            Err(error) => {
                hand_on(Err(anyhow!(error).context(format!("cannot read the tasks in {name}"))));
                return;
            }
        };
        if length == 0 {
            return;
        }
        line_number += 1;
        input_position += length as u64;
        let task = match line_text(&line) {
            Ok("") => continue,
            Ok(text) => compose(text, defaults, || format!("{id_prefix}-{line_number}")),
            Err(error) => Err(error),
        };
        let task = task
            .map(|(message, task_id)| Task { message, task_id, input_position })
            .map_err(|error| error.context(format!("{name}:{line_number}")));
        let is_mistake = task.is_err();
        if !hand_on(task) || is_mistake {
            return;
        }
    }
}

/// A line without the white space around it.
fn line_text(line: &[u8]) -> anyhow::Result<&str> {
    ensure!(line.len() <= FRAME_BYTES_MAX, "the line is longer than a message may be ({FRAME_BYTES_MAX} bytes)");
    let text = std::str::from_utf8(line).context("the line is not UTF-8")?;
    Ok(text.trim_start_matches('\u{feff}').trim())
}

/// The message for a line, with values as they stand there, and the name of its task.
fn compose(line: &str, defaults: &Defaults, new_id: impl FnOnce() -> String) -> anyhow::Result<(String, String)> {
    let members = match serde_json::from_str::<Members<'_>>(line) {
        Ok(members) => members,
        Err(error) => {
            // The line is one line to the parser, so only the column says something.
            let text = error.to_string();
            let text = text.replace(" at line 1 column ", " at column ");
            bail!("{text}; write one JSON object with the fields of CPU_TASK, such as {{\"args\": [5]}}");
        }
    };
    if let Some(message_type) = members.get("type") {
        ensure!(
            message_type == r#""CPU_TASK""#,
            "the type is {message_type}; a batch holds tasks of the type \"CPU_TASK\""
        );
    }
    let mut message = String::with_capacity(line.len() + 128);
    message.push_str(r#"{"type":"CPU_TASK""#);
    let mut push = |name: &str, value: &str| {
        message.push(',');
        message.push_str(&serde_json::Value::from(name).to_string());
        message.push(':');
        message.push_str(value);
    };
    for (name, value) in &members.0 {
        // `id` numbers requests on the wire and `attachment` counts bytes that no line has: both are the client's.
        if !["type", "id", "attachment", "task_id"].contains(&name.as_ref()) {
            push(name, value.get());
        }
    }
    let is_missing = |name: &str| matches!(members.get(name), None | Some("null"));
    match &defaults.program {
        Some(program) if is_missing("program") => push("program", program.get()),
        None if is_missing("program") => bail!("the task has no program; add one, or give all tasks one with --file"),
        _ => {}
    }
    if let Some(function) = defaults.function.as_ref().filter(|_| is_missing("function")) {
        push("function", function.get());
    }
    let task_id = match members.get("task_id").filter(|_| !is_missing("task_id")) {
        Some(text) => string(text).context("the task_id is no string")?,
        None => new_id(),
    };
    push("task_id", &serde_json::Value::from(task_id.as_str()).to_string());
    message.push('}');
    Ok((message, task_id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::values::text_value;

    fn defaults() -> Defaults {
        Defaults { program: Some(text_value("P").unwrap()), function: Some(text_value("f").unwrap()) }
    }

    fn none() -> Defaults {
        Defaults { program: None, function: None }
    }

    fn read_all(text: &'static [u8], defaults: &Defaults) -> Vec<Result<Task, String>> {
        let mut tasks = Vec::new();
        let source = Source { name: "t.jsonl".to_owned(), reader: Box::new(text) };
        read(source, defaults, |task| {
            tasks.push(task.map_err(|error| format!("{error:#}")));
            true
        });
        tasks
    }

    #[test]
    fn a_line_is_a_task_with_its_values_untouched() {
        let line = r#"{"args": [1.00, 123456789012345678901234567890], "task_id": "a\n", "id": 5, "program": "Q"}"#;
        let (message, task_id) = compose(line, &none(), String::new).unwrap();
        assert_eq!(task_id, "a\n");
        assert_eq!(
            message,
            r#"{"type":"CPU_TASK","args":[1.00, 123456789012345678901234567890],"program":"Q","task_id":"a\n"}"#
        );
    }

    #[test]
    fn defaults_fill_what_a_line_lacks() {
        let compose = |line| compose(line, &defaults(), || "new".to_owned()).unwrap().0;
        assert_eq!(compose("{}"), r#"{"type":"CPU_TASK","program":"P","function":"f","task_id":"new"}"#);
        assert_eq!(
            compose(r#"{"type":"CPU_TASK","function":"g","program":"Q","task_id":null}"#),
            r#"{"type":"CPU_TASK","function":"g","program":"Q","task_id":"new"}"#
        );
    }

    #[test]
    fn a_bad_line_is_named_and_ends_the_file() {
        let tasks = read_all(b"{}\n\n{\"args\": [1]}\r\n[1]\n{}\n", &defaults());
        assert_eq!(tasks.len(), 3);
        assert_eq!(tasks[1].as_ref().unwrap().input_position, 19);
        assert!(tasks[1].as_ref().unwrap().task_id.ends_with("-3"));
        assert!(tasks[2].as_ref().unwrap_err().starts_with("t.jsonl:4: "), "{:?}", tasks[2]);
    }

    #[test]
    fn mistakes_say_what_is_wrong() {
        for (line, mistake) in [
            (&b"{\"args\": [1,}"[..], "column"),
            (b"{}", "no program"),
            (b"{\"program\": \"p\", \"task_id\": 5}", "task_id"),
            (b"{\"type\": \"SET_MEM\"}", "SET_MEM"),
            (b"\xff\xfe", "UTF-8"),
        ] {
            let tasks = read_all(line, &none());
            let error = tasks[0].as_ref().unwrap_err();
            assert!(error.contains(mistake) && error.starts_with("t.jsonl:1: "), "{error}");
        }
    }
}
