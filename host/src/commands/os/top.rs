//! `potluck top`.

use super::Node;
use super::screen::{self, Screen};
use super::view::View;
use crate::cli::TopArgs;
use crate::commands::session::{is_no_provider, parse};
use crate::output::{self, units};
use potluck_sdk::message::ipc::{ListPage, ListQueues, ListSemaphores};
use potluck_sdk::message::memory_manager::MemoryMap;
use potluck_sdk::message::process::ListProcesses;
use potluck_sdk::message::scheduler::GetScheduler;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};

/// More fit on no screen.
const PROCESSES_MAX: usize = 1000;
/// Queues, and semaphores, that are looked at.
const LISTED_MAX: usize = 1000;
/// A pause that is shorter keeps the node busy with nothing else.
const PAUSE_SECONDS_MIN: f64 = 0.1;

#[derive(Serialize)]
#[serde(tag = "type", rename = "STATUS")]
struct Status {}

/// Draws the node's state again and again, until q or Ctrl-C. Where there is no terminal it is printed once.
pub(super) async fn run(node: &Node, args: TopArgs) -> anyhow::Result<ExitCode> {
    let (first, json) = look(node).await?;
    if node.json() {
        output::print_json(&json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some(screen) = Screen::open()? else {
        // A height that shows all.
        for line in first.lines(200, PROCESSES_MAX * 2) {
            output::print_line(line.trim_end())?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let pause = Duration::from_secs_f64(args.every.clamp(PAUSE_SECONDS_MIN, 86_400.0));
    let mut keys = screen::keys();
    let mut has_keys = true;
    let mut interrupt = std::pin::pin!(ctrl_c());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut resized = signal(SignalKind::window_change())?;
    let mut view = first;
    loop {
        let (width, height) = screen::size();
        screen.draw(&view.lines(width, height))?;
        let next = async {
            tokio::time::sleep(pause).await;
            look(node).await
        };
        tokio::select! {
            biased;
            Ok(()) = &mut interrupt => return Ok(ExitCode::SUCCESS),
            _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
            key = keys.recv(), if has_keys => match key {
                Some(b'q' | b'Q') => return Ok(ExitCode::SUCCESS),
                Some(_) => {}
                // Standard input is at its end; Ctrl-C is still there.
                None => has_keys = false,
            },
            _ = resized.recv() => {}
            seen = next => view = seen?.0,
        }
    }
}

/// Asks for all that is shown. Beside it, for programs, the replies: an object with a member for each part, null where the
/// node has nobody who answers.
async fn look(node: &Node) -> anyhow::Result<(View, String)> {
    let status = node.ask(&Status {}).await?;
    let page = || ListPage { limit: Some(LISTED_MAX), ..ListPage::default() };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let unix_milliseconds = u64::try_from(now.as_millis()).unwrap_or(0);
    let of = node.to.as_deref().unwrap_or("the node");
    let list = ListProcesses { limit: Some(PROCESSES_MAX), usage: true, ..ListProcesses::default() };
    let mut json = format!("{{\"type\":\"TOP\",\"unix_milliseconds\":{unix_milliseconds},\"status\":{}", status.json);
    let view = View {
        title: format!("potluck top of {of}, {} (q: quit)", units::utc_time(unix_milliseconds)),
        status: status.json,
        processes: part(node, &list, "processes", &mut json).await?,
        scheduler: part(node, &GetScheduler {}, "scheduler", &mut json).await?,
        arena: part(node, &MemoryMap { limit: Some(1), from: None }, "arena", &mut json).await?,
        queues: part(node, &ListQueues { page: page() }, "queues", &mut json).await?,
        semaphores: part(node, &ListSemaphores { page: page() }, "semaphores", &mut json).await?,
    };
    Ok((view, json + "}"))
}

/// The answer to one question; nothing when the node has nobody who answers it. `json` gets it as a member.
async fn part<T: Serialize, R: DeserializeOwned>(
    node: &Node,
    request: &T,
    name: &str,
    json: &mut String,
) -> anyhow::Result<Option<R>> {
    match node.ask(request).await {
        Ok(reply) => {
            *json += &format!(",\"{name}\":{}", reply.json);
            Ok(Some(parse(&reply)?))
        }
        Err(error) if is_no_provider(&error) => {
            *json += &format!(",\"{name}\":null");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
