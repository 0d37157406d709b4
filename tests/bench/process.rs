//! Programs that end when their owner does, and Ctrl-C.

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::fs::File;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Pause between two looks at something that is about to happen.
const POLL: Duration = Duration::from_millis(5);

/// A program in a process group of its own. The group is killed when this is dropped, also by a panic.
pub(crate) struct Program {
    name: String,
    child: Child,
    /// What it writes to standard error.
    log: PathBuf,
}

impl Program {
    /// Starts a program; `folder` takes its log and must outlive it.
    pub(crate) fn start(name: &str, command: &mut Command, folder: &Path) -> Result<Program> {
        let log = folder.join(format!("{name}.log"));
        let stderr = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let child = command.stderr(stderr).process_group(0).spawn();
        let child = child.with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Program { name: name.to_owned(), child, log })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The pipes of a program that was started with some.
    pub(crate) fn pipes(&mut self) -> Result<(ChildStdin, ChildStdout)> {
        let pipes = self.child.stdin.take().zip(self.child.stdout.take());
        pipes.with_context(|| format!("{} was started without pipes", self.name))
    }

    /// Waits until `look` finds what it looks for; an error when the program ends before, or it takes too long.
    pub(crate) fn wait_for<T>(&mut self, what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
        const LIMIT: Duration = Duration::from_secs(20);
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}) before {what}: {}", self.name, self.last_words());
            }
            if Instant::now() > deadline {
                bail!("{}: {what}: not within {} s: {}", self.name, LIMIT.as_secs(), self.last_words());
            }
            std::thread::sleep(POLL);
        }
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        let mut text = String::new();
        let read = File::open(&self.log).and_then(|mut file| file.read_to_string(&mut text));
        let lines: Vec<&str> = text.lines().collect();
        match (read, &lines[lines.len().saturating_sub(5)..]) {
            (Ok(_), []) | (Err(_), _) => "its log is empty".to_owned(),
            (Ok(_), last) => last.join("\n"),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // While it has not been waited for, its id cannot be another's.
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// A command without input and output.
pub(crate) fn quiet(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// What a program prints, when it is there and succeeds.
pub(crate) fn output_of(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A port that nobody listens on: the system has just given it away and taken it back.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("cannot find a free port")?;
    Ok(listener.local_addr()?.port())
}

/// Whether somebody asked this program to stop. The first request only sets a flag, so that nothing that was started
/// stays behind; a second one ends the program at once.
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    pub(crate) fn catch() -> Result<Interrupt> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: the handler that looks at the flag runs before the one that sets it.
            signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&flag))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag)))
                .context("cannot catch Ctrl-C")?;
        }
        Ok(Interrupt(flag))
    }

    /// An error once somebody has asked.
    pub(crate) fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }

    /// Sleeps, unless somebody asks.
    pub(crate) fn sleep(&self, duration: Duration) -> Result<()> {
        const LOOK_EVERY: Duration = Duration::from_millis(50);
        let end = Instant::now() + duration;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            self.check()?;
            std::thread::sleep(left.min(LOOK_EVERY));
        }
        Ok(())
    }
}
