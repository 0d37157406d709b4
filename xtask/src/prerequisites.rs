//! What must be on the machine beside Rust: what is missing is installed where that is possible without a question, and
//! otherwise the one command that installs it is said.

use crate::process;
use crate::python::{self, Interpreter};
use anyhow::{Result, bail};
use std::process::{Command, Stdio};

/// A `python3` that is new enough, installed if need be.
pub(crate) fn python() -> Result<Interpreter> {
    if let Some(interpreter) = python::find() {
        return new_enough(interpreter);
    }
    install_or_explain("python3", &["python3", "python3-venv"])?;
    match python::find() {
        Some(interpreter) => new_enough(interpreter),
        None => bail!("python3 was installed but does not run"),
    }
}

fn new_enough(interpreter: Interpreter) -> Result<Interpreter> {
    if !interpreter.is_supported() {
        bail!(
            "the python3 on the search path is {} ({}); Potluck needs 3.10 or newer",
            interpreter.version(),
            interpreter.path().display()
        );
    }
    Ok(interpreter)
}

/// A C compiler: Rust links with it, and the tests build a plugin in C.
pub(crate) fn c_compiler() -> Result<()> {
    if process::find_program("cc").is_none() {
        install_or_explain("a C compiler", &["gcc", "libc6-dev"])?;
    }
    Ok(())
}

/// What the tests of encrypted connections look at them with, what makes networks of their own, and what decrypts a file
/// that a node has encrypted.
pub(crate) fn network_tools() -> Result<()> {
    for (program, package) in [("openssl", "openssl"), ("ip", "iproute2"), ("age", "age")] {
        if process::find_program(program).is_none() {
            install_or_explain(program, &[package])?;
        }
    }
    Ok(())
}

/// Installs Debian packages, or fails with the command that does.
pub(crate) fn install_or_explain(what: &str, packages: &[&str]) -> Result<()> {
    if process::find_program("apt-get").is_none() {
        bail!("{what} is missing; install it with your package manager (Debian calls it {})", packages.join(" "));
    }
    let packages = packages.join(" ");
    if !rustix::process::geteuid().is_root() {
        bail!("{what} is missing; install it with: sudo apt-get update && sudo apt-get install -y {packages}");
    }
    println!("  {what} is missing: installing {packages}");
    // Without the lists there may be nothing to install from; one list that cannot be fetched does no harm.
    let _ = process::run(&mut apt_get(&["update"]));
    let mut command = apt_get(&["install", "-y", "--no-install-recommends"]);
    // What is there stays, also where a package that is wanted would take its place.
    process::run(command.arg("--no-remove").args(packages.split(' ')))
}

fn apt_get(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(["-qq", "-o", "DPkg::Lock::Timeout=120"]).args(arguments);
    // No package may ask a question: nobody is there to answer.
    command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    command
}
