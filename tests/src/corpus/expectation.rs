//! How a program may end, as its file says it, and how it did end.

use serde_json::Value;
use std::fmt;

/// One way in which a program may end.
///
/// `ok` for any result, `ok 1` for that one (any JSON), `timeout` for that code of the CPU_RESULT, and
/// `timeout: Task execution` for that code with these words in the error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    code: String,
    detail: Option<String>,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `ok`, or the code of what was answered.
    pub code: String,
    /// The result as JSON, or the error.
    pub detail: String,
}

impl Outcome {
    /// The code under which a result is an outcome.
    pub const OK: &str = "ok";

    /// With this code.
    pub fn new(code: impl Into<String>, detail: impl Into<String>) -> Outcome {
        Outcome { code: code.into(), detail: detail.into() }
    }
}

impl Expectation {
    /// What the text in a file means.
    ///
    /// # Panics
    /// When it means nothing.
    pub fn parse(text: &str) -> Expectation {
        let (code, detail) = match text.split_once(": ") {
            _ if text.starts_with("ok ") => (Outcome::OK, text.strip_prefix("ok ")),
            Some((code, words)) => (code, Some(words)),
            None => (text, None),
        };
        assert!(code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "not an outcome: {text:?}");
        Expectation { code: code.to_owned(), detail: detail.map(str::to_owned) }
    }

    /// Whether it was so.
    pub fn matches(&self, outcome: &Outcome) -> bool {
        self.code == outcome.code
            && self.detail.as_ref().is_none_or(|wanted| {
                if self.code == Outcome::OK {
                    // Not a text that merely looks the same, nor one that merely looks different.
                    let parse = |text: &str| serde_json::from_str::<Value>(text).ok();
                    parse(wanted).is_some_and(|wanted| parse(&outcome.detail) == Some(wanted))
                } else {
                    outcome.detail.contains(wanted)
                }
            })
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) if self.code == Outcome::OK => write!(formatter, "ok {detail}"),
            Some(detail) => write!(formatter, "{}: {detail}", self.code),
            None => formatter.write_str(&self.code),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.code == Outcome::OK { " " } else { ": " };
        write!(formatter, "{}{separator}{}", self.code, self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expectation_holds_for_what_it_names_alone() {
        for (expected, outcome, holds) in [
            ("ok", ("ok", "[1]"), true),
            ("ok [1]", ("ok", "[ 1 ]"), true),
            ("ok [1]", ("ok", "[1, 2]"), false),
            ("ok []", ("task_failed", "[]"), false),
            ("timeout", ("timeout", "Task execution timeout"), true),
            ("timeout: execution", ("timeout", "Task execution timeout"), true),
            ("timeout: patience", ("timeout", "Task execution timeout"), false),
            ("task_failed: a: b", ("task_failed", "it is a: b"), true),
        ] {
            let expectation = Expectation::parse(expected);
            assert_eq!(expectation.to_string(), expected);
            assert_eq!(expectation.matches(&Outcome::new(outcome.0, outcome.1)), holds, "{expected} {outcome:?}");
        }
    }
}
