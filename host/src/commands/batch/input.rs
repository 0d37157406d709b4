//! The lines of a batch file, one task each.

use crate::commands::guest::Guest;
use crate::commands::session::new_uuid;
use crate::output::raw_json::{Members, string};
use anyhow::{Context, anyhow, bail, ensure};
use potluck_sdk::message::{FRAME_BYTES_MAX, RawValue};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Guests of a file that are known by their paths; a file with more than these looks at some of them again.
const GUESTS_KNOWN_MAX: usize = 1024;

/// What lines get that do not say it themselves.
#[derive(Default)]
pub(super) struct Defaults {
    pub(super) program: Option<Box<RawValue>>,
    /// The guest for lines with neither a program nor a guest of their own.
    pub(super) guest: Option<Arc<Guest>>,
    pub(super) runtime: Option<Box<RawValue>>,
    pub(super) image: Option<Box<RawValue>>,
    /// Other fields of CPU_TASK.
    pub(super) others: Vec<(&'static str, Box<RawValue>)>,
}

/// A task to send.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) message: String,
    /// What it runs, if that is a guest of this machine.
    pub(super) guest: Option<Arc<Guest>>,
    pub(super) task_id: String,
    /// Where its line ends in the input, in bytes.
    pub(super) input_position: u64,
}

/// An input and what to call it in messages.
pub(super) struct Source {
    name: String,
    reader: Box<dyn BufRead + Send>,
    guests: Guests,
}

/// The guests that lines name by their paths.
struct Guests {
    /// Where relative paths start.
    folder: PathBuf,
    known: HashMap<PathBuf, Arc<Guest>>,
}

impl Guests {
    fn starting_at(folder: impl Into<PathBuf>) -> Guests {
        Guests { folder: folder.into(), known: HashMap::new() }
    }

    fn read(&mut self, path: &str) -> anyhow::Result<Arc<Guest>> {
        let path = self.folder.join(path);
        if let Some(guest) = self.known.get(&path) {
            return Ok(Arc::clone(guest));
        }
        let guest = Arc::new(Guest::read(&path)?);
        if self.known.len() >= GUESTS_KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(path, Arc::clone(&guest));
        Ok(guest)
    }
}

/// Opens a file, or standard input for `-`. The length is known for a regular file.
pub(super) fn open(path: &Path) -> anyhow::Result<(Source, Option<u64>)> {
    if path == Path::new("-") {
        let reader = Box::new(BufReader::new(std::io::stdin()));
        return Ok((Source { name: "standard input".to_owned(), reader, guests: Guests::starting_at("") }, None));
    }
    let name = path.display().to_string();
    let file = File::open(path).with_context(|| format!("cannot read the tasks in {name}"))?;
    let metadata = file.metadata().with_context(|| format!("cannot read the tasks in {name}"))?;
    ensure!(!metadata.is_dir(), "{name} is a folder; name a file with one task a line");
    let length = metadata.is_file().then_some(metadata.len());
    let guests = Guests::starting_at(path.parent().unwrap_or(Path::new("")));
    Ok((Source { name, reader: Box::new(BufReader::new(file)), guests }, length))
}

/// Hands on one task after the other, and the first mistake, until `hand_on` says that nobody wants more.
pub(super) fn read(source: Source, defaults: &Defaults, mut hand_on: impl FnMut(anyhow::Result<Task>) -> bool) {
    let Source { name, mut reader, mut guests } = source;
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
            Ok(text) => compose(text, defaults, &mut guests, || format!("{id_prefix}-{line_number}")),
            Err(error) => Err(error),
        };
        let task = task
            .map(|composed| Task { input_position, ..composed })
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

/// The task of a line, with values as they stand there.
fn compose(
    line: &str,
    defaults: &Defaults,
    guests: &mut Guests,
    new_id: impl FnOnce() -> String,
) -> anyhow::Result<Task> {
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
        // `id` numbers requests on the wire and `attachment` counts bytes that no line has: both are the client's. A
        // guest's path means nothing to a node.
        if !["type", "id", "attachment", "task_id", "module"].contains(&name.as_ref()) {
            push(name, value.get());
        }
    }
    let is_missing = |name: &str| matches!(members.get(name), None | Some("null"));
    let named_guest = match members.get("module").filter(|_| !is_missing("module")) {
        Some(path) => Some(guests.read(&string(path).context("the module is no string")?)?),
        None => None,
    };
    if named_guest.is_some() {
        ensure!(is_missing("program"), "the task has both a program and a module; leave one of them out");
    }
    let says_what_to_run = named_guest.is_some() || !is_missing("program") || !is_missing("module_sha256");
    let guest = named_guest.or_else(|| defaults.guest.clone().filter(|_| !says_what_to_run));
    if let Some(guest) = &guest {
        ensure!(is_missing("module_sha256"), "the task has both module and module_sha256; leave one of them out");
        push("module_sha256", &format!("\"{}\"", guest.sha256));
    } else if !says_what_to_run {
        match &defaults.program {
            Some(program) => push("program", program.get()),
            None => bail!("the task has no program; add one, or give all tasks one with --file"),
        }
    }
    let runs_a_guest = guest.is_some() || !is_missing("module_sha256");
    if is_missing("runtime") {
        let has_image = !is_missing("image") || defaults.image.is_some();
        match &defaults.runtime {
            _ if runs_a_guest => push("runtime", r#""wasm""#),
            Some(runtime) => push("runtime", runtime.get()),
            None if has_image => push("runtime", r#""sandbox""#),
            None => {}
        }
    }
    if let Some(image) = defaults.image.as_ref().filter(|_| is_missing("image") && !runs_a_guest) {
        push("image", image.get());
    }
    for (name, value) in defaults.others.iter().filter(|(name, _)| is_missing(name)) {
        push(name, value.get());
    }
    let task_id = match members.get("task_id").filter(|_| !is_missing("task_id")) {
        Some(text) => string(text).context("the task_id is no string")?,
        None => new_id(),
    };
    push("task_id", &serde_json::Value::from(task_id.as_str()).to_string());
    message.push('}');
    Ok(Task { message, guest, task_id, input_position: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::values::text_value;

    fn defaults() -> Defaults {
        Defaults {
            program: Some(text_value("P").unwrap()),
            others: vec![("function", text_value("f").unwrap())],
            ..Defaults::default()
        }
    }

    fn none() -> Defaults {
        Defaults::default()
    }

    fn composed(line: &str, defaults: &Defaults) -> Result<Task, String> {
        let mut guests = Guests::starting_at("/no/such/folder");
        compose(line, defaults, &mut guests, || "new".to_owned()).map_err(|error| format!("{error:#}"))
    }

    fn read_all(text: &'static [u8], defaults: &Defaults) -> Vec<Result<Task, String>> {
        let mut tasks = Vec::new();
        let source = Source { name: "t.jsonl".to_owned(), reader: Box::new(text), guests: Guests::starting_at("") };
        read(source, defaults, |task| {
            tasks.push(task.map_err(|error| format!("{error:#}")));
            true
        });
        tasks
    }

    #[test]
    fn a_line_is_a_task_with_its_values_untouched() {
        let line = r#"{"args": [1.00, 123456789012345678901234567890], "task_id": "a\n", "id": 5, "program": "Q"}"#;
        let Task { message, task_id, .. } = composed(line, &none()).unwrap();
        assert_eq!(task_id, "a\n");
        assert_eq!(
            message,
            r#"{"type":"CPU_TASK","args":[1.00, 123456789012345678901234567890],"program":"Q","task_id":"a\n"}"#
        );
    }

    #[test]
    fn defaults_fill_what_a_line_lacks() {
        let compose = |line| composed(line, &defaults()).unwrap().message;
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

    #[test]
    fn a_runtime_follows_from_what_is_to_be_run() {
        let text = |text: &str| Some(text_value(text).unwrap());
        let with = |runtime, image| Defaults { runtime, image, ..defaults() };
        let rest = r#""function":"f","task_id":"new"}"#;
        for (line, defaults, middle) in [
            ("{}", with(text("sandbox"), None), r#""program":"P","runtime":"sandbox","#),
            (r#"{"runtime":"python"}"#, with(text("sandbox"), None), r#""runtime":"python","program":"P","#),
            ("{}", with(None, text("science")), r#""program":"P","runtime":"sandbox","image":"science","#),
            (r#"{"image":"science"}"#, with(None, None), r#""image":"science","program":"P","runtime":"sandbox","#),
            (
                r#"{"module_sha256":"ab"}"#,
                with(text("sandbox"), text("science")),
                r#""module_sha256":"ab","runtime":"wasm","#,
            ),
        ] {
            let message = composed(line, &defaults).unwrap().message;
            assert_eq!(message, format!(r#"{{"type":"CPU_TASK",{middle}{rest}"#), "{line}");
        }
    }

    #[test]
    fn a_guest_is_named_by_a_path_that_starts_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("g.wasm"), b"\0asm\x01\0\0\0").unwrap();
        std::fs::write(folder.path().join("default.wasm"), b"\0asm\x0d\0\x01\0").unwrap();
        let tasks = folder.path().join("tasks.jsonl");
        let lines = "{\"module\":\"g.wasm\"}\n{\"module\":\"g.wasm\",\"args\":[2]}\n{}\n{\"program\":\"p\"}\n{\"module\":\"x\"}\n";
        std::fs::write(&tasks, lines).unwrap();
        let guest = Guest::read(&folder.path().join("default.wasm")).unwrap();
        let defaults = Defaults { guest: Some(Arc::new(guest)), ..Defaults::default() };
        let mut read = Vec::new();
        super::read(open(&tasks).unwrap().0, &defaults, |task| {
            read.push(task);
            true
        });
        let guest = |index: usize| read[index].as_ref().unwrap().guest.clone();
        let (first, second, third) = (guest(0).unwrap(), guest(1).unwrap(), guest(2).unwrap());
        assert!(Arc::ptr_eq(&first, &second) && first.sha256 != third.sha256);
        let message = &read[1].as_ref().unwrap().message;
        let expected = format!(r#"{{"type":"CPU_TASK","args":[2],"module_sha256":"{}","runtime":"wasm""#, first.sha256);
        assert!(message.starts_with(&expected), "{message}");
        assert!(guest(3).is_none() && read[3].as_ref().unwrap().message.contains(r#""program":"p""#));
        let error = format!("{:#}", read[4].as_ref().unwrap_err());
        assert!(error.contains("tasks.jsonl:5") && error.contains("cannot read"), "{error}");
    }

    #[test]
    fn a_task_is_a_program_or_a_guest() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("g.wasm"), b"\0asm\x01\0\0\0").unwrap();
        let mut guests = Guests::starting_at(folder.path());
        for other in [r#""program":"p""#, r#""module_sha256":"ab""#] {
            let line = format!(r#"{{"module":"g.wasm",{other}}}"#);
            let error = super::compose(&line, &none(), &mut guests, || "new".to_owned()).unwrap_err().to_string();
            assert!(error.contains("leave one of them out"), "{error}");
        }
    }
}
