//! `potluck cpu` and `potluck cancel`.

use super::session::{Session, Target, new_uuid, parse};
use super::{EXIT_INTERRUPTED, UsageError, values};
use crate::cli::{CancelArgs, CpuArgs};
use crate::output::{self, python_text};
use anyhow::Context;
use potluck_sdk::message::cpu::{CancelTask, CpuResult, CpuTask};
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
    let program = match (&args.program, &args.file) {
        (Some(program), _) => program.clone(),
        (None, Some(path)) => read_program(path)?,
        (None, None) => return Err(UsageError("name the program with --program or --file".to_owned()).into()),
    };
    let program = values::text_value(&program).map_err(UsageError)?;
    let arguments = args.args.as_deref().map(values::arguments).transpose().map_err(UsageError)?;
    let task_id = match args.task_id {
        Some(task_id) => task_id,
        None => new_uuid()?.to_string(),
    };
    let task = CpuTask {
        task_id: Some(Cow::Borrowed(&task_id)),
        program: Some(&program),
        function: Some(Cow::Owned(args.function)),
        args: arguments.as_deref(),
        confidential: args.confidential.then_some(true),
        priority: args.priority,
        max_retries: args.retries,
        timeout: args.timeout,
        source_peer: None,
        estimated_time: args.estimated_time,
        runtime: args.runtime.map(Cow::Owned),
        cpu_limit_seconds: args.cpu_limit,
        memory_limit_bytes: args.memory_limit,
        output_limit_bytes: args.output_limit,
        isolated: args.isolated.then_some(true),
    };

    let session = Session::connect(node).await?;
    let request = to_json(&task);
    let reply = tokio::select! {
        // The signal comes first, so that it is watched before the task is sent.
        biased;
        Ok(()) = ctrl_c() => return Ok(interrupted(&session, &task_id).await),
        reply = session.client.request(&request, &[]) => reply?,
    };
    let result: CpuResult<'_> = parse(&reply)?;
    let code = if result.error.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if session.json {
        output::print_json(&reply.json)?;
    } else {
        print_result(&result)?;
    }
    Ok(code)
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
}
