//! Passphrases: from a file, from the environment, or from the person at the terminal, who sees none of it.

use super::Interrupted;
use super::session::environment;
use crate::identity::portable::PASSPHRASE_CHARACTERS_MIN;
use anyhow::{Context, bail};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

/// Most bytes of a passphrase; a terminal gives no longer lines either.
const BYTES_MAX: usize = 4096;
/// What Ctrl-C sends.
const CTRL_C: u8 = 3;

/// What a passphrase is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It will open the file; a typing mistake would lock it for good, so it is asked twice.
    Protect,
    /// It opens the file.
    Open,
}

/// The passphrase in a file, else in `POTLUCK_PASSPHRASE`, else the one that is typed.
pub(super) fn passphrase(file: Option<&Path>, purpose: Purpose) -> anyhow::Result<String> {
    if let Some(path) = file {
        return from_file(path);
    }
    match environment("POTLUCK_PASSPHRASE") {
        Some(text) => Ok(text),
        None => typed(purpose),
    }
}

fn from_file(path: &Path) -> anyhow::Result<String> {
    let read = || -> anyhow::Result<String> {
        let mut bytes = Vec::new();
        File::open(path)?.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
        let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
        if end > BYTES_MAX {
            bail!("its first line is longer than {BYTES_MAX} bytes");
        }
        if line.is_empty() {
            bail!("its first line is empty; write the passphrase there");
        }
        Ok(std::str::from_utf8(line).context("its first line is no UTF-8")?.to_owned())
    };
    read().with_context(|| format!("cannot read the passphrase from {}", path.display()))
}

fn typed(purpose: Purpose) -> anyhow::Result<String> {
    // Not standard input, which may be the file that is imported.
    let mut terminal = File::options().read(true).write(true).open("/dev/tty").context(
        "there is no terminal to ask for the passphrase at; use --passphrase-file FILE or set POTLUCK_PASSPHRASE",
    )?;
    let first = ask(&mut terminal, "Passphrase: ")?;
    if purpose == Purpose::Open {
        return Ok(first);
    }
    if first.chars().count() < PASSPHRASE_CHARACTERS_MIN {
        bail!("the passphrase is too short; use {PASSPHRASE_CHARACTERS_MIN} characters or more");
    }
    if ask(&mut terminal, "The same again: ")? != first {
        bail!("the two passphrases differ; nothing was written, try again");
    }
    Ok(first)
}

/// A line from the terminal, which shows none of it.
fn ask(terminal: &mut File, prompt: &str) -> anyhow::Result<String> {
    let hidden = Hidden::new(terminal).context("cannot hide the passphrase; use --passphrase-file FILE")?;
    terminal.write_all(prompt.as_bytes()).context("cannot write to the terminal")?;
    let line = read_line(terminal);
    drop(hidden);
    // The end of the line was not shown either.
    let _ = terminal.write_all(b"\n");
    let line = line?;
    if line.is_empty() {
        bail!("no passphrase was typed");
    }
    let text = String::from_utf8(line).ok().filter(|text| !text.contains(char::is_control));
    text.context("what was typed is no text; try again")
}

fn read_line(terminal: &mut File) -> anyhow::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut buffer = [0; 256];
    while line.len() <= BYTES_MAX {
        let count = match terminal.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).context("cannot read from the terminal"),
        };
        line.extend_from_slice(&buffer[..count]);
        match line.last() {
            _ if count == 0 => return Ok(line),
            Some(&CTRL_C) => return Err(Interrupted.into()),
            Some(b'\n') => {
                line.pop();
                return Ok(line);
            }
            _ => {}
        }
    }
    bail!("the passphrase is longer than {BYTES_MAX} bytes")
}

/// A terminal that shows nothing of what is typed; it is as before when this goes.
struct Hidden {
    terminal: File,
    before: Termios,
}

impl Hidden {
    fn new(terminal: &File) -> std::io::Result<Hidden> {
        let terminal = terminal.try_clone()?;
        let before = tcgetattr(&terminal)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL);
        // Ctrl-C must not end the program before the terminal is as it was: it ends the line instead.
        hidden.local_modes.remove(LocalModes::ISIG);
        hidden.special_codes[SpecialCodeIndex::VEOL] = CTRL_C;
        tcsetattr(&terminal, OptionalActions::Flush, &hidden)?;
        Ok(Hidden { terminal, before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Drain, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn the_first_line_of_a_file_is_the_passphrase() {
        let contents: [&[u8]; 4] = [b" two words ", b" two words \n", b" two words \r\nmore\n", b" two words \n\xff"];
        for content in contents {
            assert_eq!(from_file(file(content).path()).unwrap(), " two words ");
        }
    }

    #[test]
    fn a_file_without_a_passphrase_is_named() {
        for content in [&b""[..], b"\n", b"\xff\n", &[b'x'; BYTES_MAX + 9]] {
            let file = file(content);
            let error = format!("{:#}", from_file(file.path()).unwrap_err());
            assert!(error.contains(file.path().to_str().unwrap()), "{error}");
        }
    }
}
