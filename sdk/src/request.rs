//! A message on its way to a provider.

use crate::{Caller, ProviderError};
use serde::Deserialize;
use std::path::Path;

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
