//! Running other programs and waiting for them.

use anyhow::{Context, Result, bail};
use std::env;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// Pause between two looks at a condition.
pub(crate) const POLL: Duration = Duration::from_millis(20);

/// Runs a program to its end; anything but exit code 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", line(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

/// Runs a program and returns what it wrote to standard output, or `None` when it is missing or fails.
pub(crate) fn output_if_ok(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// The command as a person would type it.
pub(crate) fn line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut words = vec![program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|argument| quoted(&argument.to_string_lossy())));
    words.join(" ")
}

/// A word that a shell reads as one.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_./=:,@%+".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Where a program is found on the search path.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Where a server is found, which Debian puts where users do not look.
pub(crate) fn find_server(name: &str) -> Option<PathBuf> {
    Some(Path::new("/usr/sbin").join(name)).filter(|path| path.is_file())
}

/// Waits for a child to end, but not longer than `limit`.
pub(crate) fn wait_for(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for a child process")? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

/// The last lines of a log, for an error message.
pub(crate) fn log_tail(path: &Path) -> String {
    const LINES: usize = 25;
    const BYTES: u64 = 16 << 10;
    let read = || -> std::io::Result<Vec<u8>> {
        let size = fs::metadata(path)?.len();
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(size.saturating_sub(BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = match read() {
        Ok(bytes) => bytes,
        Err(error) => return format!("  (cannot read {}: {error})", path.display()),
    };
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return "  (its log is empty)".to_owned();
    }
    lines[lines.len().saturating_sub(LINES)..].iter().map(|line| format!("  {line}\n")).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_a_shell_reads_it() {
        let mut command = Command::new("/somewhere/bin/cargo");
        command.args(["test", "--", "it's"]);
        assert_eq!(line(&command), r"cargo test -- 'it'\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn a_missing_program_is_no_panic() {
        assert_eq!(output_if_ok(&mut Command::new("/no/such/program")), None);
        assert!(run(&mut Command::new("/no/such/program")).is_err());
    }

    #[test]
    fn a_log_ends_with_its_last_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.log");
        fs::write(&path, (0..100).map(|number| format!("line {number}\n")).collect::<String>()).unwrap();
        let tail = log_tail(&path);
        assert!(tail.starts_with("  line 75\n") && tail.ends_with("  line 99\n"), "{tail}");
        assert!(log_tail(&folder.path().join("none")).contains("cannot read"));
    }
}
