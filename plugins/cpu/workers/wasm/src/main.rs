//! The worker program for WebAssembly: the runtimes `sandbox` and `wasm`, and the tools that prepare what they run.
//!
//! It serves the same frames as the Python worker, one order at a time, each in an instance that was never used before
//! and is dropped afterwards. One thread does everything; a second one only keeps the time while an order runs.

mod link;
mod serve;
mod ticker;

mod guest;
mod sandbox;

mod cache;
mod instance;
mod output;
mod reactor;

mod engine;
mod image;

mod bake;
mod progress;
mod science;
mod snapshot;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use rustix::fs::Mode;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "potluck-worker-wasm", about = "Runs WebAssembly for the cpu provider", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves orders on standard input; only the cpu provider starts this
    #[command(subcommand)]
    Serve(Serve),
    /// Compiles an image, if that has not been done
    Compile(Compile),
    /// Makes an image of another one and packages
    Bake(Bake),
    /// Makes the science image of its wheel
    Science(Science),
    /// Tells whether an image has been compiled for this program: exit code 0 if so, 3 if not
    Check(Check),
}

#[derive(Subcommand)]
enum Serve {
    /// Programs in an image
    Sandbox(ServeSandbox),
    /// Guests, from a folder of modules
    Wasm(ServeWasm),
}

#[derive(Args)]
struct ServeSandbox {
    #[command(flatten)]
    image: Check,
    #[command(flatten)]
    common: Common,
    /// Instances that wait for an order, started and never used
    #[arg(long, default_value_t = 4)]
    spares: usize,
}

#[derive(Args)]
struct ServeWasm {
    /// Folder of the guests, each named by its SHA-256
    #[arg(long)]
    modules: PathBuf,
    #[command(flatten)]
    common: Common,
    /// Bytes of guests' machine code that are kept
    #[arg(long, default_value_t = 64 << 20)]
    cache_bytes: usize,
}

#[derive(Args)]
struct Common {
    /// Memory that an order may use at most, in bytes
    #[arg(long, default_value_t = 2 << 30)]
    memory_max: u64,
    /// Largest file that the process may write
    #[arg(long, default_value_t = 1 << 30)]
    file_bytes_max: u64,
}

#[derive(Args)]
struct Compile {
    /// Folder of the image
    #[arg(long)]
    image: PathBuf,
    /// Where the compiled code goes, when not beside the image
    #[arg(long)]
    into: Option<PathBuf>,
}

#[derive(Args)]
struct Bake {
    /// Folder of the image that the packages are added to
    #[arg(long)]
    image: PathBuf,
    /// A wheel, a folder or a file with modules; in the order in which they are given
    #[arg(long = "package")]
    packages: Vec<PathBuf>,
    /// Folder of the new image
    #[arg(long)]
    into: PathBuf,
}

#[derive(Args)]
struct Science {
    /// The wheel
    #[arg(long)]
    wheel: PathBuf,
    /// Folder of the new image
    #[arg(long)]
    into: PathBuf,
}

#[derive(Args)]
struct Check {
    /// Folder of the image
    #[arg(long)]
    image: PathBuf,
    /// Another folder that may have its compiled code
    #[arg(long)]
    compiled: Option<PathBuf>,
}

fn main() -> ExitCode {
    // Machine code that others could have written is not loaded again, so none is ever written that way.
    let others_write = Mode::WGRP | Mode::WOTH;
    let inherited = rustix::process::umask(others_write);
    rustix::process::umask(inherited | others_write);
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Serve(Serve::Sandbox(options)) => sandbox::serve(&options)?,
        Command::Serve(Serve::Wasm(options)) => guest::serve(&options)?,
        Command::Compile(options) => {
            image::compile(&options.image, options.into.as_deref())?;
        }
        Command::Bake(options) => bake::bake(&options.image, &options.packages, &options.into)?,
        Command::Science(options) => science::install(&options.wheel, &options.into)?,
        Command::Check(options) => match image::find_compiled(&options.image, options.compiled.as_deref())? {
            Some(path) => println!("{}", path.display()),
            None => return Ok(ExitCode::from(3)),
        },
    }
    Ok(ExitCode::SUCCESS)
}
