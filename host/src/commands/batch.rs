//! `potluck batch`: many tasks over one connection, in a window that moves along the file.
//!
//! A thread reads the file and composes messages ([`input`]), at most `--jobs` tasks are in flight, and results wait in
//! the [`window`] until those before them have come, since they are printed in the order of the file. All three are
//! bounded, so that a file of any length takes the same memory.

mod input;
mod report;
mod window;

use super::cpu::{CANCEL_TIMEOUT, implied_runtime, read_program};
use super::guest::{self, Guest};
use super::session::{Session, Target};
use super::task_files::Saver;
use super::{EXIT_INTERRUPTED, values};
use crate::cli::BatchArgs;
use crate::output;
use anyhow::Context;
use input::{Defaults, Task};
use potluck_sdk::message::cpu::CancelTask;
use potluck_sdk::message::to_json;
use potluck_sdk::{ProviderError, Response};
use report::Report;
use std::borrow::Cow;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::ctrl_c;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use window::Window;

/// Tasks that the reading thread may be ahead. A few hide the time that reading takes; each may be a large one.
const READ_AHEAD: usize = 16;

type Answer = (u64, Result<Response, ProviderError>);

/// Runs the tasks of a file and prints their results in the order of the file.
pub(super) async fn run(node: &Target, args: BatchArgs) -> anyhow::Result<ExitCode> {
    let defaults = defaults(&args)?;
    let (source, length) = input::open(&args.tasks)?;
    let saver = args.save_files.map(|folder| Saver { folder, replace: args.force });
    let session = Session::connect(node).await?;

    let (sender, tasks) = mpsc::channel(READ_AHEAD);
    // A thread of its own that nobody waits for: a read from a terminal or a pipe may never return.
    std::thread::Builder::new()
        .name("batch-input".to_owned())
        .spawn(move || input::read(source, &defaults, |task| sender.blocking_send(task).is_ok()))
        .context("cannot start a thread to read the tasks")?;

    let mut batch = Batch {
        report: Report::new(session.json, length, saver),
        session,
        jobs: args.jobs as usize,
        window: Window::default(),
        in_flight: JoinSet::new(),
    };
    let outcome = batch.work(tasks).await;
    // The summary is true even when the batch broke off.
    let all_succeeded = batch.report.finish();
    Ok(match outcome? {
        End::Interrupted => ExitCode::from(EXIT_INTERRUPTED),
        End::Complete if all_succeeded => ExitCode::SUCCESS,
        End::Complete => ExitCode::FAILURE,
    })
}

/// What the options say for lines that do not.
fn defaults(args: &BatchArgs) -> anyhow::Result<Defaults> {
    let program = match (&args.program, &args.file) {
        (Some(program), _) => Some(program.clone()),
        (None, Some(path)) => Some(read_program(path)?),
        (None, None) => None,
    };
    let guest = args.module.as_deref().map(Guest::read).transpose()?;
    if guest.is_some() && args.runtime.is_some() {
        implied_runtime(args.runtime.clone(), true, false)?;
    }
    let text = |text: Option<&str>| text.map(values::text_value).transpose().map_err(anyhow::Error::msg);
    let mut others = Vec::new();
    let mut add = |name, value: Option<serde_json::Value>| -> anyhow::Result<()> {
        if let Some(value) = value {
            others.push((name, serde_json::value::to_raw_value(&value)?));
        }
        Ok(())
    };
    add("function", args.function.as_deref().map(Into::into))?;
    add("timeout", args.timeout.map(Into::into))?;
    add("cpu_limit_seconds", args.cpu_limit.map(Into::into))?;
    add("memory_limit_bytes", args.memory_limit.map(Into::into))?;
    add("output_limit_bytes", args.output_limit.map(Into::into))?;
    Ok(Defaults {
        program: text(program.as_deref())?,
        guest: guest.map(Arc::new),
        runtime: text(args.runtime.as_deref())?,
        image: text(args.image.as_deref())?,
        others,
    })
}

enum End {
    Complete,
    Interrupted,
}

struct Batch {
    session: Session,
    report: Report,
    /// Most tasks in flight.
    jobs: usize,
    window: Window,
    in_flight: JoinSet<Answer>,
}

impl Batch {
    /// Sends tasks and prints results until the input is over or broken and all results are there.
    async fn work(&mut self, mut tasks: mpsc::Receiver<anyhow::Result<Task>>) -> anyhow::Result<End> {
        let mut interrupt = std::pin::pin!(ctrl_c());
        let mut reading = true;
        let mut mistake = None;
        while reading || !self.in_flight.is_empty() {
            let may_send = reading && self.in_flight.len() < self.jobs && self.window.has_room(self.jobs);
            tokio::select! {
                biased;
                Ok(()) = &mut interrupt => {
                    self.cancel().await;
                    return Ok(End::Interrupted);
                }
                // Sending comes before printing: the pool should not wait for a terminal.
                task = tasks.recv(), if may_send => match task {
                    Some(Ok(task)) => self.send(task),
                    // What was sent before the bad line is still waited for.
                    Some(Err(error)) => (reading, mistake) = (false, Some(error)),
                    None => reading = false,
                },
                Some(answer) = self.in_flight.join_next() => {
                    let (number, reply) = answer.context("the wait for a task broke off")?;
                    self.answered(number, reply).await?;
                }
            }
        }
        mistake.map_or(Ok(End::Complete), Err)
    }

    fn send(&mut self, task: Task) {
        let client = Arc::clone(&self.session.client);
        let Task { message, guest, task_id, input_position } = task;
        let number = self.window.push(task_id, input_position);
        self.in_flight.spawn(async move { (number, guest::request(&client, &message, guest.as_deref()).await) });
    }

    async fn answered(&mut self, number: u64, reply: Result<Response, ProviderError>) -> anyhow::Result<()> {
        if let Err(error) = &reply
            && [ProviderError::PEER_LOST, ProviderError::PEER_UNREACHABLE].contains(&error.code.as_ref())
        {
            // One task's peer may be lost, or the node itself; then every other task would fail as well.
            self.session.ask_json(r#"{"type":"PING"}"#).await.context("the batch breaks off")?;
        }
        self.window.answer(number, reply);
        let mut done = Vec::new();
        while let Some(finished) = self.window.pop() {
            done.push(finished);
        }
        self.report.print(&done)?;
        Ok(())
    }

    /// Stops all tasks in flight, unless the user presses Ctrl-C again.
    async fn cancel(&mut self) {
        let mut cancels = JoinSet::new();
        for task_id in self.window.unanswered() {
            let client = Arc::clone(&self.session.client);
            let message = to_json(&CancelTask { task_id: Some(Cow::Borrowed(task_id)) });
            cancels.spawn(async move { client.request(&message, &[]).await.is_ok() });
        }
        let mut cancelled = 0;
        let all = async {
            while let Some(answer) = cancels.join_next().await {
                cancelled += u64::from(answer.unwrap_or(false));
            }
        };
        tokio::select! {
            biased;
            _ = ctrl_c() => {}
            _ = tokio::time::timeout(CANCEL_TIMEOUT, all) => {}
        }
        output::note(&format!("Interrupted; {cancelled} tasks in flight cancelled"));
    }
}
