//! The task that shows whether a runtime works: x * x.

use crate::commands::guest::sha256;
use crate::commands::session::{Session, parse};
use anyhow::bail;
use potluck_sdk::message::cpu::{CpuResult, CpuTask};
use potluck_sdk::message::{RawValue, to_json};
use std::borrow::Cow;
use std::time::Duration;

const PROGRAM: &str = r#""def main(x):\n    return x * x\n""#;
const ARGS: &str = "[7]";
const RESULT: &str = "49";
/// Time for the task; a worker may have to be started for it.
const TASK_LIMIT: Duration = Duration::from_secs(60);
/// The same in the sandbox, whose image may have to be compiled first.
const SANDBOX_LIMIT: Duration = Duration::from_secs(300);
/// How long after that a node is asked for its answer.
const GRACE: Duration = Duration::from_secs(10);

/// What `square.wat` beside this file becomes.
const GUEST: &[u8] = b"\0asm\x01\0\0\0\x01\x0c\x02`\x04\x7f\x7f\x7f\x7f\x01\x7f`\0\0\x02D\x02\
    \x16wasi_snapshot_preview1\x07fd_read\0\0\x16wasi_snapshot_preview1\x08fd_write\0\0\x03\x02\x01\x01\
    \x05\x03\x01\0\x01\x07\x13\x02\x06_start\0\x02\x06memory\x02\0\
    \nG\x01E\x01\x01\x7fA\0A\0A\x01A\x20\x10\0\x1aA\x11-\0\0A0k!\0\x20\0\x20\0l!\0A\x10\x20\0A\nnA0j:\0\0\
    A\x11\x20\0A\npA0j:\0\0A\x01A\x08A\x01A\x20\x10\x01\x1a\x0b\
    \x0b\x16\x01\0A\0\x0b\x10\x10\0\0\0\x10\0\0\0\x10\0\0\0\x02\0\0\0";

/// Runs the task in a runtime of the node. Returns how long it ran, in seconds.
pub(super) async fn run(session: &Session, runtime: &str) -> anyhow::Result<f64> {
    let program: &RawValue = serde_json::from_str(PROGRAM)?;
    let args: &RawValue = serde_json::from_str(ARGS)?;
    let is_guest = runtime == "wasm";
    let limit = if runtime == "sandbox" { SANDBOX_LIMIT } else { TASK_LIMIT };
    let task = CpuTask {
        program: (!is_guest).then_some(program),
        module_sha256: is_guest.then(|| Cow::Owned(sha256(GUEST))),
        args: Some(args),
        runtime: Some(Cow::Borrowed(runtime)),
        // It is this node that is looked at.
        confidential: Some(true),
        timeout: Some(limit.as_secs_f64()),
        ..CpuTask::default()
    };
    let request = to_json(&task);
    let attachment = if is_guest { GUEST } else { &[] };
    let answer = tokio::time::timeout(limit + GRACE, session.client.request(&request, attachment)).await;
    let Ok(reply) = answer else { bail!("the node has not answered within {} s", (limit + GRACE).as_secs()) };
    let reply = reply?;
    let result: CpuResult<'_> = parse(&reply)?;
    if let Some(error) = &result.error {
        bail!("{error}");
    }
    match result.result.map_or("null", RawValue::get) {
        RESULT => Ok(result.execution_time),
        other => bail!("7 * 7 is said to be {}", other.chars().take(40).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_is_made_from_the_text_beside_it() {
        let made = wat::parse_str(include_str!("square.wat")).unwrap();
        // Behind it stand the names for debuggers.
        assert_eq!(made.get(..GUEST.len()), Some(GUEST));
    }

    #[test]
    fn program_and_arguments_are_json() {
        let program: String = serde_json::from_str(PROGRAM).unwrap();
        assert!(program.starts_with("def main(x):\n"));
        let args: Vec<i64> = serde_json::from_str(ARGS).unwrap();
        assert_eq!((args[0] * args[0]).to_string(), RESULT);
    }
}
