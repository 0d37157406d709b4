//! What the cpu provider and a worker process say to each other.
//!
//! The worker's standard input is one end of a socket pair. Over it go frames: a 4-byte big-endian length and one JSON
//! object. The first message from the provider also carries the [`Claims`] page as a file descriptor. The worker answers
//! with [`Ready`], and then each [`Order`] with one [`Report`], in the order in which they came.
//!
//! While an order runs, the worker may send a [`Call`] for it, and gets an [`Answer`]: that is how a task reaches its node.
//! Orders that come in between wait in the worker. After the report of an order no call of it follows.
//!
//! Several orders may wait in the socket, so that a worker need not idle between short tasks. The claims decide, without
//! a message, whether an order is run: see [`claims`].

pub mod claims;
mod files;
mod frames;
mod handover;
mod link;
mod patience;
mod remove;

pub use claims::Claims;
pub use files::{FILE_NAME_BYTES_MAX, FILES_BYTES_MAX, FILES_MAX, FileEntry, is_file_name, may_come_back};
pub use frames::{FRAME_BYTES_MAX, FrameReader, write_frame};
pub use handover::{receive_claims, send_claims};
pub use link::{Link, Unanswered};
pub use patience::Patience;
pub use remove::remove_folder;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Longest result, as JSON text: it must fit into a frame to the client, with what the task printed beside it.
pub const RESULT_BYTES_MAX: usize = 12 << 20;
/// Most of what a task printed that is sent back, for each stream.
pub const OUTPUT_BYTES_RETURNED_MAX: usize = 256 << 10;
/// Longest sentence about a failure.
pub const ERROR_BYTES_MAX: usize = 16 << 10;
/// Longest message of a task to its node, and longest reply.
pub const CALL_BYTES_MAX: usize = 12 << 20;
/// Calls of one order that may be open at a time.
pub const CALLS_MAX: usize = 64;
/// Longest traceback.
pub const TRACEBACK_BYTES_MAX: usize = 64 << 10;

/// Provider to worker: run a function.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order<'a> {
    /// The claim that belongs to this order.
    pub slot: usize,
    /// Address space that the process may use, in bytes; 0 for no limit.
    pub memory_limit_bytes: u64,
    /// What the task may print on each stream, in bytes.
    pub output_limit_bytes: u64,
    /// The program's text; empty for a guest.
    #[serde(borrow, default)]
    pub program: Cow<'a, str>,
    /// The guest to run, as the SHA-256 of its bytes in hexadecimal digits: the name of its file in the worker's folder
    /// of modules.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub module_sha256: Option<Cow<'a, str>>,
    /// The function to call.
    #[serde(borrow)]
    pub function: Cow<'a, str>,
    /// A JSON array.
    #[serde(borrow)]
    pub args: &'a RawValue,
}

/// Worker to provider, once: it can take orders.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ready {
    /// What runs the programs, such as `CPython 3.11.7`.
    pub description: String,
    /// What the process has given up before anything of others is run in it.
    #[serde(default)]
    pub protections: Vec<Protection>,
    /// The worker looks at its claims while it runs an order: one that is condemned is stopped and reported as
    /// [`Report::stopped`], and the worker lives on. Others must be killed.
    #[serde(default)]
    pub stops_orders: bool,
}

/// One way in which a worker process is kept from doing harm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protection {
    /// What it is called, such as `landlock`.
    pub name: String,
    /// Whether it is in force.
    pub state: ProtectionState,
    /// Why it is not, or what it does not cover; empty when there is nothing to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Whether a [`Protection`] is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProtectionState {
    /// In force.
    On,
    /// Switched off, or it failed although the kernel has it.
    Off,
    /// The kernel does not have it.
    Unavailable,
}

/// Worker to provider, while an order runs: the task sends a message to its node.
#[derive(Debug, Serialize, Deserialize)]
pub struct Call<'a> {
    /// Number of the call, the worker's choice; calls that are open at a time have different ones.
    pub call: u64,
    /// The claim of the order.
    pub slot: usize,
    /// The message, a JSON object.
    #[serde(borrow)]
    pub message: &'a RawValue,
}

/// How the frame of an [`Answer`] begins; that of an [`Order`] begins with its slot.
const ANSWER: &[u8] = b"{\"answer\":";

/// Provider to worker: what came back. Calls are answered in any order.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer<'a> {
    /// Number of the call. The first member, by which a worker tells an answer from an order.
    pub answer: u64,
    /// The reply, a JSON object; `ERROR` when it failed.
    #[serde(borrow)]
    pub message: &'a RawValue,
}

impl<'a> Answer<'a> {
    /// Whether a frame from the provider is an answer, and no order.
    pub fn is_one(frame: &[u8]) -> bool {
        frame.starts_with(ANSWER)
    }

    /// Reads the frame of an answer.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(frame: &'a [u8]) -> std::io::Result<Answer<'a>> {
        Ok(serde_json::from_slice(frame)?)
    }
}

/// The message of a task as it can be sent: one JSON object of at most [`CALL_BYTES_MAX`].
///
/// # Errors
/// The refusal, as the task gets it.
pub fn read_call(text: &str) -> Result<&RawValue, String> {
    if text.len() > CALL_BYTES_MAX {
        let error = format!(
            "the message has {} bytes, more than the {CALL_BYTES_MAX} that a task may send at once; send it in parts",
            text.len()
        );
        return Err(refusal("limit_reached", &error));
    }
    match serde_json::from_str::<&RawValue>(text) {
        Ok(message) if message.get().starts_with('{') => Ok(message),
        _ => Err(refusal("invalid_message", "the message is no JSON object")),
    }
}

/// What a task gets instead of a reply when its worker could not send its message: an `ERROR`, as the node would write it.
pub fn refusal(code: &str, error: &str) -> String {
    serde_json::json!({ "type": "ERROR", "code": code, "error": error }).to_string()
}

/// Worker to provider: what became of an order.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report<'a> {
    /// The claim of the order.
    pub slot: usize,
    /// The order had been revoked and was not run; all other fields are empty.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
    /// What the function returned, when it succeeded.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub result: Option<&'a RawValue>,
    /// Why it failed.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure<'a>>,
    /// How long the program ran.
    #[serde(default)]
    pub seconds: f64,
    /// What it printed on standard output, capped.
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub stdout: Cow<'a, str>,
    /// What it printed on standard error, capped.
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub stderr: Cow<'a, str>,
    /// The order had been condemned and was stopped; all other fields are empty, and the worker lives on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
    /// Whether the run was observed to depend on nothing but its program and arguments: it asked for no time, no
    /// randomness and no service of the node. Nothing when the runtime cannot tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deterministic: Option<bool>,
    /// Files that the task hands back. When there are any, the next frame holds their bytes, one behind the other.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileEntry<'a>>,
    /// The task left something behind that runs on: the worker should not get another one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retire: bool,
}

/// Why a task failed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Failure<'a> {
    /// One of the codes of a CPU_RESULT.
    #[serde(borrow)]
    pub code: Cow<'a, str>,
    /// One line.
    #[serde(borrow)]
    pub error: Cow<'a, str>,
    /// The exception's class.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub error_type: Option<Cow<'a, str>>,
    /// The traceback.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub traceback: Option<Cow<'a, str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_from_orders() {
        let message = serde_json::from_str::<&RawValue>(r#"{"type":"STATUS"}"#).unwrap();
        let answer = serde_json::to_vec(&Answer { answer: 7, message }).unwrap();
        assert!(Answer::is_one(&answer));
        assert_eq!(Answer::read(&answer).unwrap().answer, 7);
        let order = Order {
            slot: 0,
            memory_limit_bytes: 0,
            output_limit_bytes: 0,
            program: "{\"answer\":1}".into(),
            module_sha256: None,
            function: "main".into(),
            args: message,
        };
        assert!(!Answer::is_one(&serde_json::to_vec(&order).unwrap()));
    }

    #[test]
    fn a_call_is_one_object_that_fits() {
        assert_eq!(read_call(" {\"type\": \"X\"}\n").unwrap().get(), "{\"type\": \"X\"}");
        for text in ["", "[]", "{", "{}{}", "{} \"slot\":1", "null"] {
            assert!(read_call(text).unwrap_err().contains("invalid_message"), "{text}");
        }
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(CALL_BYTES_MAX));
        assert!(read_call(&long).unwrap_err().contains("limit_reached"));
    }
}
