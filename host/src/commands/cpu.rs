//! `potluck cpu` and `potluck cancel`.

use super::guest::{self, Guest};
use super::session::{Session, Target, new_uuid, parse};
use super::task_files::{self, Saver};
use super::{EXIT_INTERRUPTED, UsageError, values};
use crate::cli::{CancelArgs, CpuArgs};
use crate::output::{self, python_text, units};
use anyhow::Context;
use potluck_sdk::message::cpu::{CachePolicy, CancelTask, CpuResult, CpuTask};
use potluck_sdk::message::{RawValue, to_json};
use std::borrow::Cow;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::ctrl_c;

/// How long Ctrl-C waits for the node to stop the task.
pub(super) const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs a task and prints what became of it.
pub(super) async fn run(node: &Target, args: CpuArgs) -> anyhow::Result<ExitCode> {
    // What can be wrong on this side is said before a node is asked.
    let guest = args.module.as_deref().map(Guest::read).transpose()?;
    let program = match (&args.program, &args.file) {
        (Some(program), _) => Some(program.clone()),
        (None, Some(path)) => Some(read_program(path)?),
        (None, None) => None,
    };
    let program = program.as_deref().map(values::text_value).transpose().map_err(UsageError)?;
    let runtime = implied_runtime(args.runtime, guest.is_some(), args.image.is_some())?;
    let arguments = args.args.as_deref().map(values::arguments).transpose().map_err(UsageError)?;
    let task_id = match args.task_id {
        Some(task_id) => task_id,
        None => new_uuid()?.to_string(),
    };
    let task = CpuTask {
        task_id: Some(Cow::Borrowed(&task_id)),
        program: program.as_deref(),
        function: Some(Cow::Owned(args.function)),
        args: arguments.as_deref(),
        confidential: args.confidential.then_some(true),
        priority: args.priority,
        max_retries: args.retries,
        timeout: args.timeout,
        source_peer: None,
        estimated_time: args.estimated_time,
        runtime: runtime.map(Cow::Owned),
        image: args.image.map(Cow::Owned),
        module_sha256: guest.as_ref().map(|guest| Cow::Borrowed(guest.sha256.as_str())),
        cpu_limit_seconds: args.cpu_limit,
        memory_limit_bytes: args.memory_limit,
        output_limit_bytes: args.output_limit,
        isolated: args.isolated.then_some(true),
        cache: match (args.cache, args.no_cache) {
            (true, _) => Some(CachePolicy::Always),
            (_, true) => Some(CachePolicy::Never),
            (false, false) => None,
        },
        ..CpuTask::default()
    };

    let session = Session::connect(node).await?;
    let request = to_json(&task);
    let reply = tokio::select! {
        // The signal comes first, so that it is watched before the task is sent.
        biased;
        Ok(()) = ctrl_c() => return Ok(interrupted(&session, &task_id).await),
        reply = guest::request(&session.client, &request, guest.as_ref()) => reply?,
    };
    let result: CpuResult<'_> = parse(&reply)?;
    let code = if result.error.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if session.json {
        output::print_json(&reply.json)?;
    } else {
        print_result(&result)?;
    }
    if args.verbose {
        output::note(&output::printable(&run_summary(&result)));
    }
    let saver = args.save_files.map(|folder| Saver { folder, replace: args.force });
    keep_files(&result, &reply.attachment, saver.as_ref(), session.json)?;
    Ok(code)
}

/// What runs the task when the user does not say: only one runtime takes guests, and only one has images.
pub(super) fn implied_runtime(
    runtime: Option<String>,
    has_guest: bool,
    has_image: bool,
) -> Result<Option<String>, UsageError> {
    match runtime.as_deref() {
        None if has_guest => Ok(Some("wasm".to_owned())),
        None if has_image => Ok(Some("sandbox".to_owned())),
        Some("python" | "sandbox") if has_guest => {
            Err(UsageError("a guest (--module) runs in the runtime wasm; leave --runtime out".to_owned()))
        }
        Some("python" | "wasm") if has_image => {
            Err(UsageError("an image (--image) belongs to the runtime sandbox; leave --runtime out".to_owned()))
        }
        Some("wasm") if !has_guest => {
            Err(UsageError("the runtime wasm runs guests; name one with --module FILE".to_owned()))
        }
        _ => Ok(runtime),
    }
}

/// What the task printed, then what it returned or why it failed.
fn print_result(result: &CpuResult<'_>) -> anyhow::Result<()> {
    output::print(&whole_lines(&result.stdout))?;
    output::print_error(&whole_lines(&result.stderr));
    match &result.error {
        None => {
            let value = result.result.map_or("null", RawValue::get);
            output::print_line(&format!("Result: {}", python_text::str_text(value)))?;
        }
        Some(error) => {
            output::print_error(&whole_lines(result.traceback.as_deref().unwrap_or_default()));
            output::note(&format!("Error: {error}"));
        }
    }
    Ok(())
}

/// Who ran the task, in what, and for how long.
fn run_summary(result: &CpuResult<'_>) -> String {
    let mut text = format!(
        "{} ran it in {}: {}, after {} of waiting",
        result.executed_by,
        result.runtime,
        units::seconds(result.execution_time),
        units::seconds(result.waiting_time)
    );
    if result.attempts != 1 {
        text += &format!("; {} attempts", result.attempts);
    }
    if result.cached {
        text += "; the result of an earlier run";
    }
    text += match result.deterministic {
        Some(true) => "; deterministic: it used no clock, no randomness and no service of the node",
        Some(false) => "; not deterministic: it used a clock, randomness, files or a service of the node",
        None => "",
    };
    text
}

/// Saves the files that came with a result, or says that there are some.
fn keep_files(result: &CpuResult<'_>, attachment: &[u8], saver: Option<&Saver>, json: bool) -> anyhow::Result<()> {
    if result.files.is_empty() {
        if saver.is_some() && result.error.is_none() && !json {
            output::note("The task handed back no files");
        }
        return Ok(());
    }
    match saver {
        Some(saver) => {
            let saved = saver.save(&result.files, attachment)?;
            if !json {
                for (path, file) in saved.iter().zip(&result.files) {
                    let text = format!("{} saved to {}", units::bytes(file.bytes as u64), path.display());
                    output::note(&output::printable(&text));
                }
            }
        }
        // Programs have the list in the reply.
        None if json => {}
        None => output::note(&task_files::listing(&result.files)),
    }
    Ok(())
}

/// A text that ends its last line, so that what follows begins a new one.
fn whole_lines(text: &str) -> Cow<'_, str> {
    if text.is_empty() || text.ends_with('\n') { Cow::Borrowed(text) } else { Cow::Owned(format!("{text}\n")) }
}

/// The user pressed Ctrl-C: stops the task too, unless the user presses it again.
async fn interrupted(session: &Session, task_id: &str) -> ExitCode {
    let request = to_json(&CancelTask { task_id: Some(Cow::Borrowed(task_id)) });
    tokio::select! {
        biased;
        Ok(()) = ctrl_c() => output::note("Interrupted; the task may still be running"),
        answer = tokio::time::timeout(CANCEL_TIMEOUT, session.client.request(&request, &[])) => match answer {
            Ok(Ok(_)) => output::note(&format!("Cancelled task {task_id}")),
            Ok(Err(error)) => output::note(&format!("Interrupted: {error}")),
            Err(_) => output::note("Interrupted; the node does not answer, so the task may still be running"),
        },
    }
    ExitCode::from(EXIT_INTERRUPTED)
}

/// Stops a task by its name.
pub(super) async fn cancel(session: &Session, args: &CancelArgs) -> anyhow::Result<ExitCode> {
    let reply = session.ask(&CancelTask { task_id: Some(Cow::Borrowed(&args.task_id)) }).await?;
    if session.json {
        output::print_json(&reply.json)?;
    } else {
        output::print_line(&format!("Task {} cancelled successfully", args.task_id))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The text of a program's file; `-` is standard input.
pub(super) fn read_program(path: &Path) -> anyhow::Result<String> {
    let (name, bytes) = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).context("cannot read the program from standard input")?;
        (Cow::Borrowed("standard input"), bytes)
    } else {
        let name = path.to_string_lossy();
        let bytes = std::fs::read(path).with_context(|| format!("cannot read the program {name}"))?;
        (name, bytes)
    };
    let text = String::from_utf8(bytes)
        .with_context(|| format!("the program in {name} is not UTF-8; save it with that encoding"))?;
    // Python takes a byte order mark at the start of a file, but not at the start of a text.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_of_a_task_ends_its_last_line() {
        assert_eq!(whole_lines(""), "");
        assert_eq!(whole_lines("a\n"), "a\n");
        assert_eq!(whole_lines("a\nb"), "a\nb\n");
    }

    #[test]
    fn a_guest_and_an_image_say_which_runtime_is_meant() {
        let runtime = |runtime: Option<&str>, has_guest, has_image| {
            implied_runtime(runtime.map(str::to_owned), has_guest, has_image).map_err(|error| error.to_string())
        };
        assert_eq!(runtime(None, false, false), Ok(None));
        assert_eq!(runtime(None, true, false), Ok(Some("wasm".to_owned())));
        assert_eq!(runtime(None, false, true), Ok(Some("sandbox".to_owned())));
        assert_eq!(runtime(Some("sandbox"), false, true), Ok(Some("sandbox".to_owned())));
        assert_eq!(runtime(Some("perl"), true, true), Ok(Some("perl".to_owned())));
        for (name, has_guest, has_image) in [("python", true, false), ("wasm", false, false), ("python", false, true)] {
            assert!(runtime(Some(name), has_guest, has_image).unwrap_err().contains("runtime"), "{name}");
        }
    }

    #[test]
    fn a_summary_says_what_a_result_does_not_show() {
        let json = r#"{"type":"CPU_RESULT","task_id":"t","result":1,"error":null,"executed_by":"127.0.0.1:9001",
            "runtime":"sandbox","execution_time":0.0015,"waiting_time":0.0,"turnaround_time":0.0015,"attempts":2,
            "cached":false,"deterministic":true}"#;
        let text = run_summary(&serde_json::from_str(json).unwrap());
        for words in ["127.0.0.1:9001", "sandbox", "1.5 ms", "2 attempts", "deterministic"] {
            assert!(text.contains(words), "{words:?} is missing in {text}");
        }
        assert!(!text.contains("not deterministic"), "{text}");
    }
}
