//! Programs that the node runs for itself, such as the compiler of images: each to its end, or until it is called off.

use parking_lot::Mutex;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::fs::{File, TryLockError};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Longest line of a program's output that is read; what is longer is cut into several.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// What is read of the end of a program's complaints.
const COMPLAINT_BYTES_MAX: u64 = 4 << 10;
/// How often a folder is looked at in which somebody else is at work.
const LOCK_RETRY: Duration = Duration::from_millis(100);
/// Name of the file in a folder that whoever changes the folder has locked.
const LOCK: &str = ".lock";

/// All that is being run, so that it ends with the node.
#[derive(Default)]
pub(crate) struct Tools {
    /// Held while the lock of a run is taken, never the other way round.
    runs: Mutex<Runs>,
}

#[derive(Default)]
struct Runs {
    stopped: bool,
    runs: Vec<Weak<Run>>,
}

/// Some programs, one after the other, that are called off together.
#[derive(Default)]
pub(crate) struct Run {
    state: Mutex<RunState>,
}

#[derive(Default)]
struct RunState {
    cancelled: bool,
    /// The process group of the program, until it is reaped: so long nobody else can have its number.
    group: Option<Pid>,
}

/// How a program ended.
pub(crate) struct Ended {
    /// Nothing when it was killed.
    pub(crate) code: Option<i32>,
    /// The last line that it wrote on standard error, or how it ended.
    pub(crate) complaint: String,
}

impl Tools {
    /// Something is about to be run.
    pub(crate) fn begin(&self) -> Arc<Run> {
        let run = Arc::new(Run::default());
        let mut runs = self.runs.lock();
        run.state.lock().cancelled = runs.stopped;
        runs.runs.retain(|run| run.strong_count() > 0);
        runs.runs.push(Arc::downgrade(&run));
        run
    }

    /// Calls everything off, and whatever is begun later.
    pub(crate) fn stop(&self) {
        let runs = {
            let mut runs = self.runs.lock();
            runs.stopped = true;
            std::mem::take(&mut runs.runs)
        };
        for run in runs.iter().filter_map(Weak::upgrade) {
            run.cancel();
        }
    }
}

impl Run {
    /// Ends the program that runs; no other is begun.
    pub(crate) fn cancel(&self) {
        let mut state = self.state.lock();
        state.cancelled = true;
        if let Some(group) = state.group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// An error once it is called off.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.state.lock().cancelled { Err("it was called off".to_owned()) } else { Ok(()) }
    }

    /// Runs a program to its end and hands on each line that it prints.
    ///
    /// # Errors
    /// When it cannot be started, or is called off.
    pub(crate) fn output(&self, command: &mut Command, mut on_line: impl FnMut(&str)) -> Result<Ended, String> {
        let program = command.get_program().to_string_lossy().into_owned();
        let failed = |error: std::io::Error| format!("{program} cannot be started: {error}");
        let complaints = File::from(memfd_create("potluck-tool", MemfdFlags::CLOEXEC).map_err(|e| failed(e.into()))?);
        let stderr = complaints.try_clone().map_err(failed)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).process_group(0);
        let mut child = {
            let mut state = self.state.lock();
            if state.cancelled {
                return Err("it was called off".to_owned());
            }
            let child = command.spawn().map_err(failed)?;
            state.group = Some(Pid::from_child(&child));
            child
        };
        if let Some(stdout) = child.stdout.take() {
            for_each_line(stdout, &mut on_line);
        }
        let status = self.reap(&mut child).map_err(failed)?;
        self.check()?;
        let complaint = last_line(&complaints).unwrap_or_else(|| match (status.code(), status.signal()) {
            (Some(code), _) => format!("it ended with exit code {code}"),
            (None, signal) => format!("it was ended by signal {}", signal.unwrap_or_default()),
        });
        Ok(Ended { code: status.code(), complaint })
    }

    /// As [`Run::output`], for a program whose failure is a failure of the whole.
    ///
    /// # Errors
    /// Also when it ends with another exit code than 0: what it complained about.
    pub(crate) fn success(&self, command: &mut Command, on_line: impl FnMut(&str)) -> Result<(), String> {
        let ended = self.output(command, on_line)?;
        if ended.code == Some(0) { Ok(()) } else { Err(ended.complaint) }
    }

    fn reap(&self, child: &mut Child) -> std::io::Result<std::process::ExitStatus> {
        // Not reaped yet, its number is still its own when `cancel` uses it.
        let _ = waitid(WaitId::Pid(Pid::from_child(child)), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        let mut state = self.state.lock();
        if let Some(group) = state.group.take() {
            // What it has left running would go on for nobody.
            let _ = kill_process_group(group, Signal::KILL);
        }
        child.wait()
    }

    /// Waits until nobody else changes a folder, which is made if need be. It is ours until the file is closed, whatever
    /// becomes of this process.
    pub(crate) fn lock_folder(&self, folder: &Path) -> Result<File, String> {
        let failed = |error: std::io::Error| format!("{} cannot be used: {error}", folder.display());
        std::fs::create_dir_all(folder).map_err(failed)?;
        let lock = File::options().create(true).truncate(false).write(true).open(folder.join(LOCK)).map_err(failed)?;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            self.check()?;
            std::thread::sleep(LOCK_RETRY);
        }
    }
}

fn for_each_line(source: impl Read, on_line: &mut impl FnMut(&str)) {
    let mut source = BufReader::new(source);
    let mut line = Vec::new();
    loop {
        line.clear();
        match source.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => on_line(String::from_utf8_lossy(&line).trim_end()),
        }
    }
}

fn last_line(file: &File) -> Option<String> {
    let length = file.metadata().ok()?.len();
    let start = length.saturating_sub(COMPLAINT_BYTES_MAX);
    let mut end = vec![0; usize::try_from(length - start).ok()?];
    file.read_exact_at(&mut end, start).ok()?;
    let text = String::from_utf8_lossy(&end);
    text.lines().rfind(|line| !line.trim().is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn lines_are_handed_on_and_the_last_complaint_is_kept() {
        let run = Tools::default().begin();
        let mut lines = Vec::new();
        let ended = run.output(&mut shell("echo one; echo two; echo first >&2; echo last >&2; exit 3"), |line| {
            lines.push(line.to_owned());
        });
        let ended = ended.unwrap();
        assert_eq!((ended.code, ended.complaint.as_str()), (Some(3), "last"));
        assert_eq!(lines, ["one", "two"]);
        assert_eq!(run.success(&mut shell("exit 4"), |_| {}).unwrap_err(), "it ended with exit code 4");
        assert!(run.success(&mut Command::new("/no/such/program"), |_| {}).unwrap_err().contains("cannot be started"));
    }

    #[test]
    fn what_is_called_off_ends_with_all_that_it_has_started() {
        let tools = Tools::default();
        let run = tools.begin();
        // The inner shell holds the pipe open as long as it lives.
        let result = run.success(&mut shell("(echo ready; sleep 3600) & wait"), |line| {
            assert_eq!(line, "ready");
            tools.stop();
        });
        assert_eq!(result.unwrap_err(), "it was called off");
        assert!(run.success(&mut shell("true"), |_| {}).is_err());
        assert!(tools.begin().check().is_err());
    }

    #[test]
    fn a_folder_that_somebody_else_changes_is_waited_for() {
        let folder = std::env::temp_dir().join(format!("potluck-lock-{}", std::process::id()));
        let tools = Tools::default();
        let first = tools.begin().lock_folder(&folder).unwrap();
        std::thread::scope(|scope| {
            let run = tools.begin();
            let path = &folder;
            let second = scope.spawn(move || run.lock_folder(path).map(drop));
            drop(first);
            assert_eq!(second.join().unwrap(), Ok(()));
        });
        let first = tools.begin().lock_folder(&folder).unwrap();
        tools.stop();
        assert!(tools.begin().lock_folder(&folder).is_err());
        drop(first);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
