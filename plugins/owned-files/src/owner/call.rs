//! Questions to other nodes from a thread that waits for the answer.

use crate::error::OwnedError;
use potluck_sdk::message::to_json;
use potluck_sdk::{Host, ProviderError, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::mpsc;
use std::time::Duration;

/// How long another node may take for a small answer, or for a block of 8 MiB over a slow line.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The tracker, wherever it is.
pub(crate) const TRACKER: &str = "tracker";

/// A message for another node.
pub(crate) fn addressed<T: Serialize>(to: &str, message: &T) -> String {
    let json = to_json(message);
    let rest = json.strip_prefix('{').unwrap_or(&json);
    format!("{{\"to\":{},{rest}", to_json(to))
}

/// What it means that nothing came in that time.
pub(crate) fn timed_out(to: &str, timeout: Duration) -> ProviderError {
    let text = format!("{to} does not answer within {} s", timeout.as_secs());
    ProviderError::new(ProviderError::PEER_LOST, text)
}

/// Whether the other node is gone, rather than that it has refused.
pub(crate) fn is_away(error: &ProviderError) -> bool {
    let code = &error.code;
    code == ProviderError::PEER_LOST || code == ProviderError::PEER_UNREACHABLE || code == ProviderError::NODE_STOPPING
}

/// Asks another node, and waits.
pub(crate) fn ask<T: Serialize>(
    host: Host,
    to: &str,
    message: &T,
    attachment: &[u8],
) -> Result<Response, ProviderError> {
    ask_within(host, to, message, attachment, ANSWER_TIMEOUT)
}

/// As [`ask`], with another time.
pub(crate) fn ask_within<T: Serialize>(
    host: Host,
    to: &str,
    message: &T,
    attachment: &[u8],
    timeout: Duration,
) -> Result<Response, ProviderError> {
    let (sender, receiver) = mpsc::sync_channel(1);
    host.call_with(&addressed(to, message), attachment, move |answer| {
        let _ = sender.try_send(answer);
    });
    receiver.recv_timeout(timeout).unwrap_or_else(|_| Err(timed_out(to, timeout)))
}

/// Reads an answer.
pub(crate) fn read<T: DeserializeOwned>(response: &Response) -> Result<T, OwnedError> {
    serde_json::from_str(&response.json).map_err(|error| {
        OwnedError::Peer(ProviderError::new("invalid_reply", format!("a node's answer cannot be read: {error}")))
    })
}
