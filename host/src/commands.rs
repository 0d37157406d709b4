//! What each command of the command line does.
//!
//! A command prints its result on standard output, notes on standard error, and returns an exit code; an error goes up
//! to [`main`], which prints it once.

mod batch;
mod cpu;
mod doctor;
pub(crate) mod duration;
mod events;
mod files;
mod guest;
mod identity;
mod join;
mod memory;
mod missing;
mod node;
mod os;
mod owned;
mod pages;
mod passphrase;
mod peers;
mod plugins;
mod pool;
mod recovery;
mod runtime_status;
mod sandbox;
mod schedule;
mod selftest;
mod send;
mod session;
mod status;
mod task_files;
mod token;
mod transfer;
pub(crate) mod values;

use crate::cli::{Cli, Command, CompletionsArgs};
use crate::output::{self, OutputError};
use anyhow::Context;
use clap::{CommandFactory, Parser};
use potluck_sdk::ProviderError;
use session::{Session, Target};
use std::process::ExitCode;

/// What the user typed cannot be carried out; the exit code is that of bad usage.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UsageError(String);

/// The user pressed Ctrl-C where a text was asked for.
#[derive(Debug, thiserror::Error)]
#[error("stopped; nothing was changed")]
struct Interrupted;

/// Exit code of a command that the user stopped with Ctrl-C, as shells count it.
const EXIT_INTERRUPTED: u8 = 130;
/// Exit code of bad usage, as clap's.
const EXIT_USAGE: u8 = 2;
/// Exit code of a command whose output nobody reads any more: as shells count a program that SIGPIPE has ended.
const EXIT_BROKEN_PIPE: u8 = 141;

/// Reads the command line and carries it out.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, with the exit code 0. clap does not tell when they cannot be written.
            if !error.use_stderr() && !output::stdout_is_terminal() {
                let printed = output::print(&error.render().to_string());
                return printed.map_or_else(|error| report(&error.into(), false, true), |()| ExitCode::SUCCESS);
            }
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(EXIT_USAGE));
        }
    };
    let json = cli.json;
    // Whoever sends a message by its type is told of it by its type.
    let in_words = !json && !matches!(cli.command, Some(Command::Send(_)));
    run(cli).unwrap_or_else(|error| report(&error, json, in_words))
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let node = Target {
        host: cli.host,
        port: cli.port,
        json: cli.json,
        tls: cli.tls,
        identity: cli.identity,
        token_file: cli.token_file,
    };
    match cli.command {
        None => {
            output::print(&Cli::command().render_help().to_string())?;
            Ok(ExitCode::SUCCESS)
        }
        Some(command) => match command {
            Command::Tracker(args) => node::tracker(node.host, node.port, args),
            Command::Peer(args) => node::peer(node.host, node.port, args),
            Command::Completions(args) => completions(&args),
            Command::Id(args) => identity::run(&node, args),
            Command::Join(args) => block_on(join::run(&node, args)),
            Command::Pool(args) => block_on(pool::run(&node, args.command)),
            Command::Token(args) => token::run(&node, &args),
            Command::Cpu(args) => block_on(cpu::run(&node, *args)),
            Command::Batch(args) => block_on(batch::run(&node, *args)),
            Command::Cancel(args) => ask(&node, async |session| cpu::cancel(&session, &args).await),
            Command::SetMem(args) => ask(&node, async |session| memory::set(&session, args).await),
            Command::GetMem(args) => ask(&node, async |session| memory::get(&session, &args).await),
            Command::DelMem(args) => ask(&node, async |session| memory::delete(&session, &args).await),
            Command::ListMem(args) => ask(&node, async |session| memory::list(&session, args).await),
            Command::PutFile(args) => block_on(files::put(&node, args)),
            Command::GetFile(args) => block_on(files::get(&node, args)),
            Command::Files(args) => ask(&node, async |session| files::run(&session, args).await),
            Command::DelFile(args) => ask(&node, async |session| files::delete(&session, args.get()).await),
            Command::FindFile(args) => ask(&node, async |session| files::find(&session, args.get()).await),
            Command::Fetch(args) => block_on(files::fetch(&node, args)),
            Command::Upload(args) => block_on(owned::upload(&node, args)),
            Command::Download(args) => block_on(owned::download(&node, args)),
            Command::Owned => ask(&node, async |session| owned::list(&session).await),
            Command::DeleteOwned(args) => ask(&node, async |session| owned::delete(&session, &args.name).await),
            Command::Recovery(args) => recovery::run(&node, args),
            Command::Os(command) => ask(&node, async |session| os::run(session, command).await),
            Command::Status => ask(&node, async |session| status::run(&session).await),
            Command::Peers => ask(&node, async |session| peers::run(&session).await),
            Command::Sandbox(args) => ask(&node, async |session| sandbox::run(&session, args.command).await),
            Command::Scheduler(args) => ask(&node, async |session| schedule::scheduler(&session, args.command).await),
            Command::Schedule(args) => ask(&node, async |session| schedule::run(&session, args).await),
            Command::Doctor(args) => block_on(doctor::run(&node, args)),
            Command::Plugins => ask(&node, async |session| plugins::run(&session).await),
            Command::Send(args) => ask(&node, async |session| send::run(&session, args).await),
            Command::Events(args) => ask(&node, async |session| events::run(&session, args).await),
            Command::Selftest => ask(&node, async |session| selftest::run(&session).await),
        },
    }
}

/// Connects to the node and carries out a command that asks it.
fn ask(node: &Target, command: impl AsyncFnOnce(Session) -> anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    block_on(async { command(Session::connect(node).await?).await })
}

fn block_on(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    // One thread: a client waits for its node and has nothing to compute.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop; the limit on open files may be too low")?;
    runtime.block_on(command)
}

fn completions(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "potluck", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints an error, at the one place where that is done. That nobody reads the output any more is none.
fn report(error: &anyhow::Error, json: bool, in_words: bool) -> ExitCode {
    if error.downcast_ref::<OutputError>().is_some_and(OutputError::is_broken_pipe) {
        return ExitCode::from(EXIT_BROKEN_PIPE);
    }
    if json && let Some(refusal) = error.downcast_ref::<ProviderError>() {
        // For programs, the ERROR reply with its code.
        let _ = output::print_json(&String::from_utf8_lossy(&refusal.to_json()));
    }
    let text = if in_words { missing::in_words(error) } else { format!("{error:#}") };
    output::note(&format!("Error: {text}"));
    if error.is::<UsageError>() {
        ExitCode::from(EXIT_USAGE)
    } else if error.is::<Interrupted>() {
        ExitCode::from(EXIT_INTERRUPTED)
    } else {
        ExitCode::FAILURE
    }
}
