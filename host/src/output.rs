//! What the command line prints: texts for people, JSON for programs.
//!
//! Nothing here panics when the reader of a pipe has gone away, as `println!` would.

pub(crate) mod activity;
pub(crate) mod python_text;
pub(crate) mod raw_json;
pub(crate) mod table;
pub(crate) mod units;

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

/// Standard output cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the output")]
pub(crate) struct OutputError(#[source] io::Error);

impl OutputError {
    /// What went wrong.
    pub(crate) fn new(error: io::Error) -> OutputError {
        OutputError(error)
    }

    /// Whether the reader of a pipe has gone away, such as `head` after its lines; that is no news for anybody.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Writes a text to standard output as it is.
pub(crate) fn print(text: &str) -> Result<(), OutputError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(OutputError)
}

/// Writes a line to standard output.
pub(crate) fn print_line(line: &str) -> Result<(), OutputError> {
    print(&format!("{line}\n"))
}

/// Writes a JSON value to standard output, in one line.
pub(crate) fn print_json(json: &str) -> Result<(), OutputError> {
    print_line(&one_line(json))
}

/// Writes a text to standard error as it is. A failure is ignored: nobody is left to be told.
pub(crate) fn print_error(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Writes a line to standard error.
pub(crate) fn note(line: &str) {
    print_error(&format!("{line}\n"));
}

/// Whether a person sees standard output.
pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// A JSON text without line breaks. Inside a JSON string they are escaped, so those found here are white space.
pub(crate) fn one_line(json: &str) -> Cow<'_, str> {
    if json.contains(['\n', '\r']) { Cow::Owned(json.replace(['\n', '\r'], " ")) } else { Cow::Borrowed(json) }
}

/// A text that stays on its line and cannot command the terminal: control characters are shown as escapes.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if character.is_control() { out.extend(character.escape_default()) } else { out.push(character) }
    }
    Cow::Owned(out)
}

/// At most `characters_max` characters of a text; a text that was cut ends in `…`.
pub(crate) fn shorten(text: &str, characters_max: usize) -> Cow<'_, str> {
    if text.chars().nth(characters_max).is_none() {
        return Cow::Borrowed(text);
    }
    let mut short: String = text.chars().take(characters_max.saturating_sub(1)).collect();
    short.push('…');
    Cow::Owned(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_for_programs_is_one_line() {
        assert_eq!(one_line("{\n  \"a\": \"x\\ny\"\r\n}"), "{   \"a\": \"x\\ny\"  }");
    }

    #[test]
    fn control_characters_are_shown_not_obeyed() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\u{9b}"), "a\\u{1b}[2Jb\\nc\\u{9b}");
        assert_eq!(printable("naïve"), "naïve");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(shorten("äöüß", 4), "äöüß");
        assert_eq!(shorten("äöüß!", 4), "äöü…");
        assert_eq!(shorten("abc", 0), "…");
    }
}
