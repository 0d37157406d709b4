//! A connection to a node, for the command line, the tests and the benchmarks.

use super::dial::DialError;
use super::frame::FrameBudget;
use super::link::{Credentials, Link, Target};
use super::tls::{Pin, Tls};
use crate::call::Response as RawResponse;
use crate::identity::Identity;
use crate::pool::Pool;
use potluck_sdk::abi::REPLY_OK;
use potluck_sdk::{ProviderError, Response};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::oneshot;

/// What unfinished answers to one client may hold.
const FRAME_BYTES_TOTAL_MAX: usize = 256 << 20;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address means nothing.
    #[error("{0:?} is not an address; use host:port, such as 127.0.0.1:9000")]
    Address(String),
    /// Nobody answers there.
    #[error("cannot connect to {0}: {1}; is a node running there? start one with `potluck peer`")]
    Connect(String, std::io::Error),
    /// Somebody answers there, but not as hoped for.
    #[error("{0}")]
    Dial(DialError),
    /// The identity to connect with cannot be used.
    #[error("{0}")]
    Identity(String),
}

/// A multiplexed connection: many requests may be in flight through one `&self`.
pub struct Client {
    link: Arc<Link>,
}

impl Client {
    /// Connects to `host:port` on this machine, with plain frames, if the node there is this user's or root's. Runs within
    /// a tokio runtime.
    pub async fn connect(address: &str) -> Result<Client, ClientError> {
        Client::connect_plain(address, false).await
    }

    /// As [`Client::connect`], to a node of whichever account.
    pub async fn connect_to_any_account(address: &str) -> Result<Client, ClientError> {
        Client::connect_plain(address, true).await
    }

    async fn connect_plain(address: &str, any_account: bool) -> Result<Client, ClientError> {
        let key = crate::key::KeyPair::generate().map_err(|error| ClientError::Identity(error.to_string()))?;
        let nobody = std::env::temp_dir().join("no such pool");
        let credentials = credentials(&key, &nobody)?;
        let target = Target { address: resolve(address)?, pin: None, any_account };
        Client::open(address, target, credentials).await
    }

    /// Connects to `host:port` inside TLS, as the node of a data directory: to that node itself as its user, to others of
    /// its pool as a member. Runs within a tokio runtime.
    pub async fn connect_as(address: &str, data_dir: &Path) -> Result<Client, ClientError> {
        let identity = Identity::load(data_dir).map_err(|error| ClientError::Identity(format!("{error:#}")))?;
        let credentials = credentials(&identity.key, data_dir)?;
        let pin = match credentials.pool.standing() {
            Some(_) => Pin::Any,
            None => Pin::Peer(identity.peer_id),
        };
        let target = Target { address: resolve(address)?, pin: Some(pin), any_account: false };
        Client::open(address, target, credentials).await
    }

    async fn open(address: &str, target: Target, credentials: Credentials) -> Result<Client, ClientError> {
        let (link, connected) = Link::open(target, credentials, &tokio::runtime::Handle::current());
        match connected.await {
            Ok(Ok(())) => Ok(Client { link }),
            Ok(Err(DialError::Unreachable(_, error))) => Err(ClientError::Connect(address.to_owned(), error)),
            Ok(Err(error)) => Err(ClientError::Dial(error)),
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
        Ok(Response { json, attachment: response.attachment.into_vec() })
    }
}

fn resolve(address: &str) -> Result<SocketAddr, ClientError> {
    let mut addresses = address.to_socket_addrs().map_err(|_| ClientError::Address(address.to_owned()))?;
    addresses.next().ok_or_else(|| ClientError::Address(address.to_owned()))
}

fn credentials(key: &crate::key::KeyPair, data_dir: &Path) -> Result<Credentials, ClientError> {
    let make = || -> anyhow::Result<Credentials> {
        let frames = FrameBudget::new(FRAME_BYTES_TOTAL_MAX);
        let pool = Arc::new(Pool::open_to_show(data_dir, key.public())?);
        Ok(Credentials { tls: Arc::new(Tls::new(key)?), pool, frames })
    };
    make().map_err(|error| ClientError::Identity(format!("{error:#}")))
}
