//! `potluck selftest`: checks a running node from outside, with messages that any client could send.

use super::missing;
use super::session::{Session, is_no_provider, new_uuid, parse};
use crate::output::{self, python_text};
use anyhow::{Context, anyhow, bail, ensure};
use potluck_sdk::message::cpu::{BatchResult, BatchTask, CancelTask, CpuResult, CpuTask, outcome};
use potluck_sdk::message::memory::{DeleteMem, GetMem, MemResponse, SetMem};
use potluck_sdk::message::{RawValue, to_json};
use potluck_sdk::{ProviderError, Response};
use std::borrow::Cow;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A check that takes longer has failed; a first task may have to wait for a worker to start.
const CHECK_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a condition is looked at while a check waits for it.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// How long the check of cancelling waits for a word that the task runs; a node that never says so is fine.
const RUNNING_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the node may know nothing of the task that is to be cancelled.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(15);

const CHECKS: [&str; 6] = ["status", "task", "confidential task", "memory", "batch", "cancel"];

async fn check(name: &str, session: &Session) -> anyhow::Result<()> {
    match name {
        "status" => status(session).await,
        "task" => task(session, "def main(a, b): return a * b", "[5, 5]", false, "25").await,
        "confidential task" => task(session, "def main(a, b): return a + b", "[5, 10]", true, "15").await,
        "memory" => memory(session).await,
        "batch" => batch(session).await,
        _ => cancel(session).await,
    }
}

/// Runs all checks, also those behind one that failed.
pub(super) async fn run(session: &Session) -> anyhow::Result<ExitCode> {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for name in CHECKS {
        let start = Instant::now();
        let result = match tokio::time::timeout(CHECK_TIMEOUT, check(name, session)).await {
            Ok(result) => result,
            Err(_) => Err(anyhow!("no result within {} s", CHECK_TIMEOUT.as_secs())),
        };
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        let (word, reason) = match &result {
            Ok(()) => ("ok", String::new()),
            // Programs get the node's own words.
            Err(error) if is_no_provider(error) && !session.json => ("skip", missing::in_words(error)),
            Err(error) if is_no_provider(error) => ("skip", format!("{error:#}")),
            Err(error) => ("FAIL", format!("{error:#}")),
        };
        *match word {
            "ok" => &mut passed,
            "skip" => &mut skipped,
            _ => &mut failed,
        } += 1;
        if session.json {
            let line = serde_json::json!({
                "check": name, "outcome": word.to_lowercase(), "milliseconds": milliseconds, "reason": reason,
            });
            output::print_line(&line.to_string())?;
        } else if result.is_ok() {
            output::print_line(&format!("ok   {name} ({milliseconds:.1} ms)"))?;
        } else {
            output::print_line(&output::printable(&format!("{word} {name}: {reason}")))?;
        }
    }
    let summary = format!("{passed} ok, {failed} failed, {skipped} skipped");
    if session.json {
        output::note(&summary)
    } else {
        output::print_line(&summary)?
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn status(session: &Session) -> anyhow::Result<()> {
    #[derive(serde::Deserialize)]
    struct Word<'a> {
        #[serde(borrow)]
        status: Cow<'a, str>,
    }
    let reply = session.ask_json(r#"{"type":"STATUS"}"#).await?;
    let word: Word<'_> = parse(&reply)?;
    ensure!(word.status == "OK", "the status is {:?}, not \"OK\"", word.status);
    Ok(())
}

async fn task(session: &Session, program: &str, args: &str, confidential: bool, expected: &str) -> anyhow::Result<()> {
    let reply = session.client.request(&task_json(None, program, args, confidential)?, &[]).await?;
    let result: CpuResult<'_> = parse(&reply)?;
    expect_result(&result, expected)
}

fn task_json(task_id: Option<&str>, program: &str, args: &str, confidential: bool) -> anyhow::Result<String> {
    let program = serde_json::value::to_raw_value(program)?;
    let args: &RawValue = serde_json::from_str(args)?;
    Ok(to_json(&CpuTask {
        task_id: task_id.map(Cow::Borrowed),
        program: Some(&program),
        args: Some(args),
        confidential: Some(confidential),
        timeout: Some(CHECK_TIMEOUT.as_secs_f64()),
        ..CpuTask::default()
    }))
}

fn expect_result(result: &CpuResult<'_>, expected: &str) -> anyhow::Result<()> {
    if let Some(error) = &result.error {
        bail!("the task failed: {error}");
    }
    let actual = result.result.map_or("null", RawValue::get);
    ensure!(actual == expected, "the result is {actual}, not {expected}");
    Ok(())
}

/// Stores a value, reads it back and removes it, also when reading failed.
async fn memory(session: &Session) -> anyhow::Result<()> {
    let key = serde_json::value::to_raw_value(&format!("potluck-selftest-{}", new_uuid()?))?;
    // No machine integer holds this one: it has to pass as text.
    let value = RawValue::from_string(r#"["é\n",123456789012345678901234567890]"#.to_owned())?;
    session.ask(&SetMem { key: Some(&key), value: Some(&value), ttl_seconds: None, if_version: None }).await?;
    let read = session.ask(&GetMem { key: Some(&key) }).await;
    session.ask(&DeleteMem { key: Some(&key), if_version: None }).await.context("the value cannot be removed")?;

    let read = read?;
    let response: MemResponse<'_> = parse(&read)?;
    let found = response.value.filter(|_| response.found).context("the value that was stored is not found")?;
    // The same value may be written with other white space and escapes; its digits may not change.
    let (actual, expected) = (python_text::repr_text(found.get()), python_text::repr_text(value.get()));
    ensure!(actual == expected, "the value is {actual}, not {expected}");
    let read = session.ask(&GetMem { key: Some(&key) }).await?;
    ensure!(!parse::<MemResponse<'_>>(&read)?.found, "the value is still there after it was removed");
    Ok(())
}

/// Sends tasks that take the longer the earlier they stand, and expects the results in the order of the tasks.
async fn batch(session: &Session) -> anyhow::Result<()> {
    const TASKS: usize = 8;
    let program = "def main(n): return sum(i % 7 for i in range((8 - n) * 2000)) * 0 + n * n";
    let tasks = (0..TASKS)
        .map(|n| Ok(RawValue::from_string(task_json(None, program, &format!("[{n}]"), false)?)?))
        .collect::<anyhow::Result<Vec<Box<RawValue>>>>()?;
    let request = to_json(&BatchTask { tasks: tasks.iter().map(AsRef::as_ref).collect() });
    let reply = session.client.request(&request, &[]).await?;
    let results = parse::<BatchResult<'_>>(&reply)?.results;
    ensure!(results.len() == TASKS, "{} results came back for {TASKS} tasks", results.len());
    for (n, result) in results.iter().enumerate() {
        let result: CpuResult<'_> =
            serde_json::from_str(result.get()).with_context(|| format!("result {n} is no result of a task"))?;
        expect_result(&result, &(n * n).to_string()).with_context(|| format!("task {n} of the batch"))?;
    }
    Ok(())
}

/// Starts a task that never ends, cancels it once it runs, and expects its submitter to hear of that.
async fn cancel(session: &Session) -> anyhow::Result<()> {
    let task_id = format!("selftest-{}", new_uuid()?);
    // Confidential, so that the task is here and not at another peer.
    let request = task_json(Some(&task_id), "def main():\n    while True:\n        pass\n", "[]", true)?;
    let client = Arc::clone(&session.client);
    let submitter = tokio::spawn(async move { client.request(&request, &[]).await });

    let start = Instant::now();
    while !submitter.is_finished() && start.elapsed() < RUNNING_TIMEOUT {
        match running_tasks(session).await? {
            Some(0) => tokio::time::sleep(POLL_INTERVAL).await,
            // One runs, or the node's scheduler does not tell.
            _ => break,
        }
    }
    let cancel = CancelTask { task_id: Some(Cow::Borrowed(&task_id)) };
    while !submitter.is_finished() {
        match session.ask(&cancel).await {
            Ok(_) => break,
            Err(error) if start.elapsed() > REFUSAL_TIMEOUT => {
                return Err(error.context("the task could not be cancelled"));
            }
            // The node may not have taken the task in yet.
            Err(_) => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
    let reply: Result<Response, ProviderError> = submitter.await.context("the wait for the task broke off")?;
    let reply = reply?;
    let result: CpuResult<'_> = parse(&reply)?;
    if result.code.as_deref() == Some(outcome::CANCELLED) {
        return Ok(());
    }
    bail!("the task was not cancelled: {}", result.error.as_deref().unwrap_or("it ended by itself"))
}

/// What the scheduler says to run at present; nothing when it does not say.
async fn running_tasks(session: &Session) -> anyhow::Result<Option<u64>> {
    let reply = session.ask_json(r#"{"type":"STATUS"}"#).await?;
    let status: serde_json::Value = parse(&reply)?;
    Ok(status.pointer("/scheduler/stats/active_tasks").and_then(serde_json::Value::as_u64))
}
