//! The commands of the operating system: `ps`, `kill`, `group`, `resources`, `deadlock`, `memmap`, `queue`, `sem`,
//! `history`, `top` and their companions. Each asks the node, or through it the peer that `--to` names.

mod arena;
mod cache;
mod deadlock;
mod export;
mod groups;
mod history;
mod list;
mod processes;
mod queues;
mod quota;
mod resources;
mod screen;
mod semaphores;
mod top;
mod view;

use super::UsageError;
use super::session::Session;
use crate::cli::{OsCommand, ToArgs};
use crate::output::{self, printable};
use potluck_sdk::{ProviderError, Response, message};
use serde::Serialize;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How much longer than the node a command waits for the answer to a message with a time-out of its own.
const PATIENCE: Duration = Duration::from_secs(30);

/// Carries one of the commands out.
pub(super) async fn run(session: Session, command: OsCommand) -> anyhow::Result<ExitCode> {
    let json = session.json;
    let result = carry_out(session, command).await;
    // Programs get the node's own words.
    if json { result } else { result.map_err(advised) }
}

async fn carry_out(session: Session, command: OsCommand) -> anyhow::Result<ExitCode> {
    let node = |to: ToArgs| Node { session, to: to.to };
    match command {
        OsCommand::Ps(args) => list::ps(&node(args.to.clone()), args).await,
        OsCommand::Kill(args) => processes::kill(&node(args.to.clone()), args).await,
        OsCommand::Pause(args) => processes::pause(&node(args.to.clone()), args).await,
        OsCommand::Resume(args) => processes::resume(&node(args.to.clone()), args).await,
        OsCommand::Wait(args) => processes::wait(&node(args.to.clone()), args).await,
        OsCommand::Priority(args) => processes::priority(&node(args.to.clone()), args).await,
        OsCommand::Group(args) => groups::run(&node(args.to), args.command).await,
        OsCommand::Resources(args) => resources::run(&node(args.to), args.command).await,
        OsCommand::Deadlock(args) => deadlock::run(&node(args.to), args.command).await,
        OsCommand::Alloc(args) => arena::alloc(&node(args.to.clone()), args).await,
        OsCommand::Free(args) => arena::free(&node(args.to.clone()), args).await,
        OsCommand::Memmap(args) => arena::memmap(&node(args.to.clone()), args).await,
        OsCommand::Allocator(args) => arena::allocator(&node(args.to), args.command).await,
        OsCommand::Queue(args) => queues::run(&node(args.to), args.command).await,
        OsCommand::Sem(args) => semaphores::run(&node(args.to), args.command).await,
        OsCommand::History(args) => history::run(&node(args.to.clone()), *args).await,
        OsCommand::Quota(to) => quota::run(&node(to)).await,
        OsCommand::Cache(args) => cache::run(&node(args.to), args.command).await,
        OsCommand::Top(args) => top::run(&node(args.to.clone()), args).await,
    }
}

/// The node that is asked, or the peer behind it.
struct Node {
    session: Session,
    to: Option<String>,
}

impl Node {
    fn json(&self) -> bool {
        self.session.json
    }

    /// Sends a message that is answered at once.
    async fn ask<T: Serialize>(&self, request: &T) -> anyhow::Result<Response> {
        self.session.ask_json(&self.addressed(request)).await
    }

    /// Sends a message that is answered when something has happened; with a time-out, soon after it at the latest.
    async fn wait<T: Serialize>(&self, request: &T, timeout: Option<f64>) -> anyhow::Result<Response> {
        let json = self.addressed(request);
        match timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
            Some(timeout) => self.session.ask_within(timeout.saturating_add(PATIENCE), &json).await,
            None => Ok(self.session.client.request(&json, &[]).await?),
        }
    }

    fn addressed<T: Serialize>(&self, request: &T) -> String {
        let json = message::to_json(request);
        match (&self.to, json.strip_prefix('{')) {
            // Every message has a type, so something comes behind the comma.
            (Some(peer), Some(rest)) => format!("{{\"to\":{},{rest}", serde_json::Value::from(peer.as_str())),
            _ => json,
        }
    }

    /// Prints the reply as it is for programs, and a line for people.
    fn print(&self, reply: &Response, line: impl FnOnce() -> anyhow::Result<String>) -> anyhow::Result<()> {
        if self.json() {
            output::print_json(&reply.json)?;
        } else {
            output::print_line(&printable(&line()?))?;
        }
        Ok(())
    }
}

/// Reports what went wrong with one of several things; an error that is about none of them alone goes up.
fn report_one(node: &Node, name: &str, error: anyhow::Error) -> anyhow::Result<()> {
    let refusal: ProviderError = error.downcast()?;
    if refusal.code == ProviderError::NO_PROVIDER {
        return Err(refusal.into());
    }
    if node.json() {
        output::print_json(&String::from_utf8_lossy(&refusal.to_json()))?;
    }
    output::note(&format!("Error: {}", printable(&about(name, &refusal))));
    Ok(())
}

/// What went wrong, with the name of what it went wrong with.
fn about(name: &str, refusal: &ProviderError) -> String {
    let text = with_advice(refusal);
    if text.split_whitespace().any(|word| word.trim_end_matches([',', ';', ':']) == name) {
        text
    } else {
        format!("{name}: {text}")
    }
}

fn advised(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<ProviderError>() {
        Ok(mut refusal) => {
            refusal.message = with_advice(&refusal);
            refusal.into()
        }
        Err(error) => error,
    }
}

/// What the node calls by the names of its messages, and the commands that send them.
const COMMANDS: [(&str, &str); 8] = [
    ("PROCESS_INFO says how", "`potluck wait` says how"),
    ("TERMINATE_PROCESS", "`potluck kill`"),
    ("SIGNAL_PROCESS", "`potluck kill`"),
    ("send UNREGISTER_PROCESS for it", "use `potluck resources forget`"),
    ("UNREGISTER_RESOURCE", "`potluck resources unregister`"),
    ("UNREGISTER_PROCESS", "`potluck resources forget`"),
    ("REGISTER_PROCESS", "`potluck resources need`"),
    ("MEMORY_MAP", "`potluck memmap`"),
];

/// The node's words, and which command helps. Many of these words are those of the original system, and clients compare
/// them, so the node itself cannot say more.
fn with_advice(refusal: &ProviderError) -> String {
    if refusal.code == ProviderError::NO_PROVIDER {
        // By the name of the message it is told which plugin is missing.
        return refusal.message.clone();
    }
    let text = COMMANDS.iter().fold(refusal.message.clone(), |text, (name, command)| text.replace(name, command));
    let advice = match (&*refusal.code, text.split(' ').next().unwrap_or_default()) {
        ("not_found", "Process") => "`potluck ps --all` shows those that there are",
        ("not_found", "Queue") => "`potluck queue list` shows those that there are",
        ("not_found", "Semaphore") => "`potluck sem list` shows those that there are",
        ("already_exists", "Queue" | "Semaphore") => "with --exist-ok that one is used",
        ("not_registered", "Process") => "`potluck resources need` registers it",
        ("not_registered", "Resource") => "`potluck resources` shows those that there are",
        ("not_allocated", _) => "`potluck resources` shows who has what",
        ("block_not_found", _) if !text.contains("potluck memmap") => "see `potluck memmap`",
        ("queue_full", "Failed") => {
            "the queue is full: with --timeout it is waited for, and `potluck queue receive` makes room"
        }
        _ => return text,
    };
    format!("{text}; {advice}")
}

/// `1 process`, `2 processes`.
fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// How long ago a moment was, in seconds.
fn age_seconds(unix_milliseconds: u64) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now.as_secs_f64() - unix_milliseconds as f64 / 1000.0).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_which_command_helps() {
        let text = |code: &'static str, text: &str| with_advice(&ProviderError::new(code, text));
        assert_eq!(
            text("not_found", "Queue q not found"),
            "Queue q not found; `potluck queue list` shows those that there are"
        );
        assert_eq!(text("internal", "Queue q is odd"), "Queue q is odd");
        assert_eq!(
            text("queue_full", "Failed to send message"),
            "Failed to send message; the queue is full: with --timeout it is waited for, and `potluck queue receive` \
             makes room"
        );
    }

    #[test]
    fn messages_of_the_node_are_told_as_commands() {
        for (code, told, expected) in [
            (
                "process_ended",
                "process P7 has ended already; PROCESS_INFO says how, while it is remembered",
                "process P7 has ended already; `potluck wait` says how, while it is remembered",
            ),
            (
                "in_use",
                "CPU is in the max_need of process P1; end it, or send UNREGISTER_PROCESS for it, first",
                "CPU is in the max_need of process P1; end it, or use `potluck resources forget`, first",
            ),
            (
                "in_use",
                "max_need of process P1 is 3; lower it with REGISTER_PROCESS, or end the process, first",
                "max_need of process P1 is 3; lower it with `potluck resources need`, or end the process, first",
            ),
            (
                "already_exists",
                "Resource already registered: GPU is of the type OTHER; UNREGISTER_RESOURCE forgets it",
                "Resource already registered: GPU is of the type OTHER; `potluck resources unregister` forgets it",
            ),
            (
                "block_not_found",
                "process x has no block at 99999; MEMORY_MAP shows where its blocks begin",
                "process x has no block at 99999; `potluck memmap` shows where its blocks begin",
            ),
        ] {
            assert_eq!(with_advice(&ProviderError::new(code, told)), expected);
        }
    }

    #[test]
    fn one_of_several_is_named_once() {
        let refusal = |text: &str| ProviderError::new("other", text);
        assert_eq!(about("P7", &refusal("Process P7 is odd")), "Process P7 is odd");
        assert_eq!(about("P7", &refusal("Process P77 is odd")), "P7: Process P77 is odd");
    }

    #[test]
    fn numbers_agree_with_their_nouns() {
        assert_eq!([count(0, "block", "blocks"), count(1, "block", "blocks")], ["0 blocks", "1 block"]);
    }
}
