//! A connection to a node, for the command line, the tests and the benchmarks.

use super::link::Link;
use crate::call::Response as RawResponse;
use potluck_sdk::abi::REPLY_OK;
use potluck_sdk::{ProviderError, Response};
use std::net::ToSocketAddrs;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address means nothing.
    #[error("{0:?} is not an address; use host:port, such as 127.0.0.1:9000")]
    Address(String),
    /// Nobody answers there.
    #[error("cannot connect to {0}: {1}; is a node running there? start one with `potluck peer`")]
    Connect(String, std::io::Error),
}

/// A multiplexed connection: many requests may be in flight through one `&self`.
pub struct Client {
    link: Arc<Link>,
}

impl Client {
    /// Connects to `host:port`. Runs within a tokio runtime.
    pub async fn connect(address: &str) -> Result<Client, ClientError> {
        let socket_address = address
            .to_socket_addrs()
            .ok()
            .and_then(|mut addresses| addresses.next())
            .ok_or_else(|| ClientError::Address(address.to_owned()))?;
        let (link, connected) = Link::open(socket_address, &tokio::runtime::Handle::current());
        match connected.await {
            Ok(Ok(())) => Ok(Client { link }),
            Ok(Err(error)) => Err(ClientError::Connect(address.to_owned(), error)),
            Err(_) => Err(ClientError::Connect(address.to_owned(), std::io::ErrorKind::Interrupted.into())),
        }
    }

    /// Sends a message (an object without `id`) and waits for its reply; an `ERROR` reply is an `Err`.
    pub async fn request(&self, json: &str, attachment: &[u8]) -> Result<Response, ProviderError> {
        let lost = || {
            let text = "the node closed the connection; connect again";
            self.link.closing_reason().unwrap_or_else(|| ProviderError::new(ProviderError::PEER_LOST, text))
        };
        let (answer, answered) = oneshot::channel::<RawResponse>();
        let sink = Box::new(move |response| drop(answer.send(response)));
        self.link.send(json, attachment, sink).map_err(|_| lost())?;
        let response = answered.await.map_err(|_| lost())?;
        let json = response.json.to_text();
        if response.reply != REPLY_OK {
            return Err(ProviderError::from_json(&json));
        }
        Ok(Response { json, attachment: response.attachment.as_bytes().to_vec() })
    }
}
