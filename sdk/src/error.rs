//! Errors that reach a caller: a stable code for programs and one sentence for people.

use serde::Serialize;
use std::borrow::Cow;

/// A failure as it crosses the ABI and the wire.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    /// Stable, lower case with underscores, for programs.
    pub code: Cow<'static, str>,
    /// One sentence for people, which says what to do about it.
    pub message: String,
}

impl ProviderError {
    /// A message is not JSON, or a field is missing or of the wrong type.
    pub const INVALID_MESSAGE: &'static str = "invalid_message";
    /// A provider refused its table of `plugins.toml`; the node does not start.
    pub const INVALID_CONFIG: &'static str = "invalid_config";
    /// Nobody on the node answers this message type.
    pub const NO_PROVIDER: &'static str = "no_provider";
    /// The provider dropped the request without an answer.
    pub const PROVIDER_DROPPED: &'static str = "provider_dropped";
    /// The provider panicked.
    pub const PROVIDER_PANICKED: &'static str = "provider_panicked";
    /// The caller may not send this message.
    pub const FORBIDDEN: &'static str = "forbidden";
    /// The node is in no pool, or in another one.
    pub const NO_POOL: &'static str = "no_pool";
    /// The other peer cannot be reached; nothing was sent to it.
    pub const PEER_UNREACHABLE: &'static str = "peer_unreachable";
    /// The connection to the other peer broke before it answered.
    pub const PEER_LOST: &'static str = "peer_lost";
    /// The node is stopping.
    pub const NODE_STOPPING: &'static str = "node_stopping";
    /// A limit on memory, entries or requests in flight is reached.
    pub const LIMIT_REACHED: &'static str = "limit_reached";
    /// Something went wrong that the caller cannot help.
    pub const INTERNAL: &'static str = "internal";

    /// An error with a code of the provider's own.
    pub fn new(code: &'static str, message: impl Into<String>) -> ProviderError {
        ProviderError { code: Cow::Borrowed(code), message: message.into() }
    }

    /// A message whose fields are wrong.
    pub fn invalid(message: impl Into<String>) -> ProviderError {
        ProviderError::new(ProviderError::INVALID_MESSAGE, message)
    }

    /// The error as the JSON object of an `ERROR` reply.
    pub fn to_json(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Wire<'a> {
            r#type: &'static str,
            code: &'a str,
            error: &'a str,
        }
        // A truthy `error` is what tells old clients of a failure, so the text is never empty.
        let error = if self.message.is_empty() { &self.code } else { self.message.as_str() };
        to_json(&Wire { r#type: "ERROR", code: &self.code, error })
    }

    /// Reads an `ERROR` reply; any other text becomes an `internal` error.
    pub fn from_json(json: &str) -> ProviderError {
        #[derive(serde::Deserialize)]
        struct Wire {
            code: Option<String>,
            error: Option<String>,
        }
        match serde_json::from_str::<Wire>(json) {
            Ok(wire) => ProviderError {
                code: wire.code.map_or(Cow::Borrowed(ProviderError::INTERNAL), Cow::Owned),
                message: wire.error.unwrap_or_else(|| "the reply does not say what went wrong".to_owned()),
            },
            Err(_) => ProviderError::new(ProviderError::INTERNAL, "the reply is not an ERROR object"),
        }
    }
}

/// Serializes a value that cannot fail to serialize: messages hold no maps with other keys than strings.
pub(crate) fn to_json<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_else(|error| {
        ProviderError::new(ProviderError::INTERNAL, format!("a reply could not be written as JSON: {error}")).to_json()
    })
}
