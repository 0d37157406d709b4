//! The trait that a plugin implements.

use crate::abi::{MESSAGE_SPOOLED, MessageDeclaration, Slice, WHEN_COUNT_MAX};
use crate::{Host, LeastCaller, ProviderError, Reply, Request};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A resource that a node offers.
///
/// The host calls `start` once, then `handle`, `status`, `event` and `health` from any of its threads and several at
/// once, and at the end `stop`. A panic in any of them is caught: the caller of `handle` gets `provider_panicked` and
/// the provider is shown as degraded.
pub trait Provider: Sized + Send + Sync + 'static {
    /// Id, version and the messages that it answers.
    const INFO: ProviderInfo;

    /// Makes the provider ready. It may block for a short while; the node does not serve before all have started.
    ///
    /// # Errors
    /// With the code [`ProviderError::INVALID_CONFIG`] the node refuses to start and shows the message, which should name
    /// the key ([`Config::parse`] does both). With any other the node starts without this provider.
    fn start(host: Host, config: Config<'_>) -> Result<Self, ProviderError>;

    /// Answers one message. It must not block: it answers at once, or calls [`Reply::later`] and answers from any
    /// thread. A reply that is dropped unanswered becomes the error `provider_dropped`.
    fn handle(&self, request: Request<'_>, reply: Reply<'_>);

    /// What this provider adds to the node's STATUS reply. It must not block.
    fn status(&self) -> Status {
        Status::default()
    }

    /// An event of a topic that the provider asked for with [`Host::subscribe`]. It must not block.
    fn event(&self, _topic: &str, _json: &str) {}

    /// Whether the provider can do its work. It must not block.
    fn health(&self) -> Health {
        Health::Ok
    }

    /// Gives back what it holds; requests that are still open are answered. It may block for a few seconds.
    fn stop(&self) {}
}

/// What a provider is called and which messages it answers.
#[derive(Clone, Copy)]
pub struct ProviderInfo {
    /// The id, as in `[plugins.<id>]`.
    pub id: &'static str,
    /// The plugin's own version, usually `env!("CARGO_PKG_VERSION")`.
    pub version: &'static str,
    /// The messages that it answers.
    pub messages: &'static [MessageInfo],
}

/// A message type, and who may send it.
// The layout is that of the declaration in the C table, which points straight at these.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct MessageInfo(MessageDeclaration);

impl MessageInfo {
    /// Declares that the provider answers `message_type` when it comes from `least_caller` or one with more rights.
    pub const fn new(message_type: &'static str, least_caller: LeastCaller) -> MessageInfo {
        MessageInfo(MessageDeclaration {
            message_type: Slice::new(message_type.as_bytes()),
            least_caller: least_caller as u32,
            flags: 0,
            when: [Slice::EMPTY; WHEN_COUNT_MAX],
        })
    }

    /// The provider answers only messages that have one of these outermost members, not null; another provider may answer
    /// the rest of the type. While there is no other, all come to this one.
    ///
    /// # Panics
    /// When there are more than [`WHEN_COUNT_MAX`].
    #[must_use]
    pub const fn when(mut self, members: &[&'static str]) -> MessageInfo {
        assert!(members.len() <= WHEN_COUNT_MAX, "a message type names too many members");
        let mut index = 0;
        while index < members.len() {
            self.0.when[index] = Slice::new(members[index].as_bytes());
            index += 1;
        }
        self
    }

    /// The node's own user may send the message with a member `data` that is larger than a frame: see
    /// [`Request::spooled`].
    #[must_use]
    pub const fn spooled(mut self) -> MessageInfo {
        self.0.flags |= MESSAGE_SPOOLED;
        self
    }
}

/// A provider's table of `plugins.toml`, without the keys that belong to the host (`path`).
#[derive(Clone, Copy)]
pub struct Config<'a> {
    json: &'a [u8],
}

impl<'a> Config<'a> {
    pub(crate) fn new(json: &'a [u8]) -> Config<'a> {
        Config { json }
    }

    /// Reads the table into a struct. Use `#[serde(default, deny_unknown_fields)]`, so that a missing key has its default
    /// and a misspelt one is refused by name.
    ///
    /// # Errors
    /// [`ProviderError::INVALID_CONFIG`] with the path of the key and what is wrong with it.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ProviderError> {
        let mut deserializer = serde_json::Deserializer::from_slice(self.json);
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            let path = error.path().to_string();
            // The inner error ends in a position within JSON that the user never saw.
            let text = error.into_inner().to_string();
            let text = text.split(" at line ").next().unwrap_or_default().to_owned();
            let message =
                if path == "." || text.starts_with("unknown field") { text } else { format!("key `{path}`: {text}") };
            ProviderError::new(ProviderError::INVALID_CONFIG, message)
        })
    }
}

/// How well a provider works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Nothing is wrong.
    Ok,
    /// It works with less than it should; one sentence says what is missing.
    Degraded(String),
}

/// The members that a provider adds to the node's STATUS reply, beside those of the host and of other providers.
#[derive(Clone, Debug, Default)]
pub struct Status(serde_json::Map<String, serde_json::Value>);

impl Status {
    /// Adds a member. A value that cannot be written as JSON becomes null.
    pub fn with(mut self, name: &str, value: impl Serialize) -> Status {
        self.0.insert(name.to_owned(), serde_json::to_value(value).unwrap_or_default());
        self
    }

    pub(crate) fn into_json(self) -> Vec<u8> {
        crate::error::to_json(&self.0)
    }
}
