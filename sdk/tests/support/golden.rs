//! A message and its frozen text.

use potluck_sdk::message::to_json;
use serde::{Deserialize, Serialize};

/// The example is written as `text`, and `text` is read and written again unchanged.
#[track_caller]
pub fn golden<'a, T: Serialize + Deserialize<'a>>(example: &T, text: &'a str) {
    assert_eq!(to_json(example), text);
    let read: T = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(to_json(&read), text, "after reading it back");
}
