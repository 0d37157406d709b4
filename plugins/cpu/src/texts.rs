//! What is passed on of texts that a task has made: whoever sends them may have been talked into anything, and a reply
//! that has become too large for a frame reaches its client without the name of its task.

use crate::pool::Failed;
use potluck_worker_protocol::{ERROR_BYTES_MAX, OUTPUT_BYTES_RETURNED_MAX, TRACEBACK_BYTES_MAX};
use std::borrow::Cow;

/// Bytes of an exception's class, and of a code.
const CLASS_BYTES_MAX: usize = 256;
const CODE_BYTES_MAX: usize = 64;
/// Bytes that one byte becomes at most: three as a text, when it is none, and six in JSON.
const REPLACED_BYTES_MAX: usize = 3;
const ESCAPED_BYTES_MAX: usize = 6;
/// Bytes of the note behind a text that was shortened already.
const NOTE_BYTES_MAX: usize = 64;

/// What a task printed on one stream.
pub(crate) fn printed(text: Cow<'_, str>) -> String {
    cut(text, OUTPUT_BYTES_RETURNED_MAX)
}

/// Why a task failed.
pub(crate) fn failed(
    code: Cow<'_, str>,
    error: Cow<'_, str>,
    error_type: Option<Cow<'_, str>>,
    traceback: Option<Cow<'_, str>>,
) -> Failed {
    Failed {
        code: Cow::Owned(cut(code, CODE_BYTES_MAX)),
        error: cut(error, ERROR_BYTES_MAX),
        error_type: error_type.map(|text| cut(text, CLASS_BYTES_MAX)),
        traceback: traceback.map(|text| cut(text, TRACEBACK_BYTES_MAX)),
    }
}

/// A text that takes no more room than the worst one that a worker makes of so many bytes, also in JSON.
fn cut(text: Cow<'_, str>, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.into_owned();
    }
    let text_bytes_max = REPLACED_BYTES_MAX * bytes_max + NOTE_BYTES_MAX;
    let mut left = ESCAPED_BYTES_MAX * bytes_max + NOTE_BYTES_MAX;
    let mut goes_too_far = |(index, character): &(usize, char)| {
        let less = left.checked_sub(bytes_in_json(*character));
        left = less.unwrap_or(0);
        less.is_none() || index + character.len_utf8() > text_bytes_max
    };
    let end = text.char_indices().find(&mut goes_too_far).map(|(index, _)| index);
    let mut text = text.into_owned();
    if let Some(end) = end {
        text.truncate(end);
        text.push_str("\n[shortened]");
    }
    text
}

fn bytes_in_json(character: char) -> usize {
    match character {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        character if character.is_ascii_control() => ESCAPED_BYTES_MAX,
        character => character.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_honest_worker_sends_passes_whole() {
        for character in ["x", "\u{1}", "\u{fffd}", "\n", "é"] {
            // As a worker makes it: bytes that are no text become a character of three.
            let text = character.repeat(OUTPUT_BYTES_RETURNED_MAX) + "\n[12345678 more bytes]\n";
            assert_eq!(printed(Cow::Borrowed(&text)), text);
        }
        let failure = failed("task_failed".into(), "no".into(), Some("ValueError".into()), None);
        assert_eq!((&*failure.code, &*failure.error, failure.traceback), ("task_failed", "no", None));
    }

    #[test]
    fn what_is_too_long_is_cut_by_its_length_in_a_message() {
        let long = printed(Cow::Owned("x".repeat(16 << 20)));
        assert!(long.ends_with("\n[shortened]") && long.len() < 1 << 20, "{}", long.len());
        let escaped = printed(Cow::Owned("\u{1}".repeat(4 << 20)));
        assert!(serde_json::to_string(&escaped).unwrap().len() < 2 << 20);
        let failure = failed("é".repeat(5000).into(), "\"".repeat(1 << 20).into(), Some("T".repeat(9000).into()), None);
        let bytes = failure.code.len() + failure.error.len() + failure.error_type.unwrap_or_default().len();
        assert!(bytes < 128 << 10, "{bytes}");
    }
}
