//! A message on its way to a provider.

use crate::{Caller, PeerId, ProviderError};
use serde::Deserialize;
use std::path::Path;

/// Longest name of a process, in bytes, without the node that it runs on.
pub const PROCESS_NAME_BYTES_MAX: usize = 128;

/// One message, borrowed from the host until `handle` returns.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The message's `type`.
    pub message_type: &'a str,
    /// The whole message, as it was sent: one JSON object. It has not been checked beyond its outermost members.
    pub json: &'a str,
    /// The raw bytes that came behind it.
    pub attachment: &'a [u8],
    /// Who sent it.
    pub caller: Caller<'a>,
    /// The process that the caller is, when the caller is a task: `P7` when it runs here, whoever it works for, and
    /// `P7@<peer id>` when it runs on another node. Else, and for a task that is no process, empty. See
    /// [`Request::process_name`].
    pub process: &'a str,
    /// The IP address that it came from over the network; empty when it came from this machine, or from within the node.
    pub source_ip: &'a str,
    /// A file with the bytes of the member `data`, which is then missing in `json`: for types declared with
    /// [`crate::MessageInfo::spooled`], when the message was larger than a frame. The provider may move it away, or open
    /// it before `handle` returns; what is left of it is removed when the message is answered.
    pub spooled: Option<&'a Path>,
}

impl<'a> Request<'a> {
    /// Reads the message's fields. Values that belong to users should be `&RawValue`, so that they pass through
    /// unchanged.
    ///
    /// # Errors
    /// [`ProviderError::INVALID_MESSAGE`] with the field's name and what is wrong with it.
    pub fn parse<T: Deserialize<'a>>(&self) -> Result<T, ProviderError> {
        serde_json::from_str(self.json).map_err(|error| self.explain(error))
    }

    /// The name of the process in whose name this message is: `P7` for one of this node, whose id is `own_id`, and
    /// `P7@<peer id>` for one of another. A task speaks for itself alone, whatever the message `claims`; another node for
    /// its own processes; this machine's user and providers for any.
    ///
    /// # Errors
    /// [`ProviderError::INVALID_MESSAGE`] when there is no name, or one that no process can have.
    pub fn process_name(&self, own_id: &PeerId, claimed: Option<&str>) -> Result<String, ProviderError> {
        let (name, peer) = match self.caller {
            Caller::Task(peer) if self.process.is_empty() => {
                let text = format!("the task of {peer} is no process of its node, so it has no name to wait under");
                return Err(ProviderError::invalid(text));
            }
            // The host has seen to it.
            Caller::Task(_) => return Ok(self.process.to_owned()),
            Caller::Member(peer) => (claimed.unwrap_or_default(), Some(peer)),
            Caller::Local | Caller::Web(_) | Caller::Plugin(_) => (claimed.unwrap_or_default(), None),
        };
        let is_sound = (1..=PROCESS_NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
        if !is_sound || (peer.is_some() && name.contains('@')) {
            return Err(ProviderError::invalid("a process needs a name of 1 to 128 bytes, such as P7 or client-1"));
        }
        Ok(match peer.filter(|peer| *peer != own_id.to_string()) {
            Some(peer) => format!("{name}@{peer}"),
            None => name.to_owned(),
        })
    }

    /// The slow path of a refused message: says whether it is no JSON at all, or which field is wrong.
    #[cold]
    fn explain(&self, error: serde_json::Error) -> ProviderError {
        let text = error.to_string();
        if error.is_data() {
            let text = text.split(" at line ").next().unwrap_or_default();
            return ProviderError::invalid(format!("{}: {text}", self.message_type));
        }
        ProviderError::invalid(format!("Invalid message format: {text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_speaks_for_itself_alone_and_a_peer_for_its_own() {
        let own = PeerId::from_hash([1; 16]);
        let (own_text, other) = (own.to_string(), PeerId::from_hash([2; 16]).to_string());
        let name = |caller, process, claimed| {
            let request = Request {
                message_type: "X",
                json: "{}",
                attachment: b"",
                caller,
                process,
                source_ip: "",
                spooled: None,
            };
            request.process_name(&own, claimed).map_err(|error| error.code.into_owned())
        };
        let invalid = Err(ProviderError::INVALID_MESSAGE.to_owned());
        assert_eq!(name(Caller::Task(&own_text), "P7", Some("P1")), Ok("P7".to_owned()));
        assert_eq!(
            name(Caller::Task(&other), "P7", Some("P1")),
            Ok("P7".to_owned()),
            "it works for another, and runs here"
        );
        let there = format!("P7@{other}");
        assert_eq!(name(Caller::Task(&other), &there, Some("P1")), Ok(there.clone()));
        assert_eq!(name(Caller::Task(&other), "", Some("P1")), invalid);
        assert_eq!(name(Caller::Member(&other), "", Some("P1")), Ok(format!("P1@{other}")));
        assert_eq!(name(Caller::Member(&other), "", Some("P1@x")), invalid);
        assert_eq!(name(Caller::Local, "", Some("P1@x")), Ok("P1@x".to_owned()));
        assert_eq!(name(Caller::Local, "", Some("")), invalid);
        assert_eq!(name(Caller::Local, "", None), invalid);
    }
}
