//! A conversation with a node.

use super::{UsageError, values::join_host_port};
use crate::cli::{PEER_PORT_DEFAULT, TRACKER_PORT_DEFAULT};
use crate::data_dir;
use crate::net::client::{Client, ClientError};
use anyhow::{Context, bail};
use potluck_sdk::message::pool::Authenticate;
use potluck_sdk::{ProviderError, Response, message};
use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;
use serde::de::Deserialize;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a node may take to answer what it should answer at once; the original client waits as long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Most bytes of a file with an access token.
const TOKEN_FILE_BYTES_MAX: u64 = 4096;

/// The node to ask, as the command line says, how to ask it, and how to print what it answers.
#[derive(Default)]
pub(super) struct Target {
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    /// Print JSON for programs.
    pub(super) json: bool,
    /// Ask inside TLS, also on this machine.
    pub(super) tls: bool,
    /// Data directory of the node to ask as, inside TLS.
    pub(super) identity: Option<PathBuf>,
    /// File with the node's access token, for those who are not its user.
    pub(super) token_file: Option<PathBuf>,
}

impl Target {
    /// What the command line says, else the environment, else a peer on this machine.
    pub(super) fn address(&self) -> Result<String, UsageError> {
        self.address_with(self.port()?)
    }

    fn address_with(&self, port: u16) -> Result<String, UsageError> {
        let host = self.host.clone().or_else(|| environment("POTLUCK_HOST"));
        Ok(join_host_port(host.as_deref().unwrap_or("127.0.0.1"), port))
    }

    fn port(&self) -> Result<u16, UsageError> {
        Ok(self.chosen_port()?.unwrap_or(PEER_PORT_DEFAULT))
    }

    /// The port that somebody has named; nothing when it is only the default.
    fn chosen_port(&self) -> Result<Option<u16>, UsageError> {
        match self.port {
            Some(port) => Ok(Some(port)),
            None => environment_port("POTLUCK_PORT"),
        }
    }

    /// The data directory that a command is about: the one that it names, else that of the port.
    pub(super) fn data_dir(&self, named: Option<&Path>) -> anyhow::Result<PathBuf> {
        if let Some(folder) = named {
            return Ok(folder.to_owned());
        }
        let address = self.address()?;
        if !is_loopback(&address) {
            let text =
                format!("{address} is not this machine; run this command there, or name a folder with --data-dir");
            return Err(UsageError(text).into());
        }
        data_dir::default_path(self.port()?)
    }

    /// As which node to connect to an address; nothing for plain frames, which no node takes from another machine.
    fn connect_as(&self, address: &str) -> anyhow::Result<Option<PathBuf>> {
        match &self.identity {
            Some(folder) => Ok(Some(folder.clone())),
            None if self.tls || !is_loopback(address) => data_dir::default_path(self.port()?).map(Some),
            None => Ok(None),
        }
    }

    /// The access token to show to the node at an address. It is never sent to another machine: it would be no use
    /// there, and is a secret.
    fn access_token(&self, address: &str) -> anyhow::Result<Option<String>> {
        match &self.token_file {
            Some(_) if !is_loopback(address) => {
                let text =
                    format!("an access token is for nodes of this machine, and {address} is not; see `potluck join`");
                Err(UsageError(text).into())
            }
            Some(path) => read_token(path).map(Some),
            None => Ok(environment("POTLUCK_TOKEN").filter(|_| is_loopback(address))),
        }
    }
}

fn read_token(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(TOKEN_FILE_BYTES_MAX).read_to_string(&mut text))
        .with_context(|| format!("cannot read the access token from {}", path.display()))?;
    match text.trim() {
        "" => bail!("{} holds no access token; `potluck token show` prints it for its owner", path.display()),
        token => Ok(token.to_owned()),
    }
}

/// A connection, and how to print what comes back.
pub(super) struct Session {
    /// Shared, since tasks of a batch wait for their answers side by side.
    pub(super) client: Arc<Client>,
    /// Print JSON for programs.
    pub(super) json: bool,
}

impl Session {
    /// Connects to the node that the command line names.
    pub(super) async fn connect(node: &Target) -> anyhow::Result<Session> {
        Session::connect_to(node, &node.address()?).await
    }

    /// As [`Session::connect`]; when nobody has named a port and no peer is there, to the tracker.
    pub(super) async fn connect_peer_or_tracker(node: &Target) -> anyhow::Result<Session> {
        match Session::connect(node).await {
            Err(error) if is_nobody_there(&error) && node.chosen_port()?.is_none() => {
                // What is said about the usual port helps more when the tracker is not there either.
                let tracker = Session::connect_to(node, &node.address_with(TRACKER_PORT_DEFAULT)?).await;
                tracker.map_err(|second| if is_nobody_there(&second) { error } else { second })
            }
            session => session,
        }
    }

    /// Connects to an address in the way that the command line says.
    pub(super) async fn connect_to(node: &Target, address: &str) -> anyhow::Result<Session> {
        let token = node.access_token(address)?;
        let client = match node.connect_as(address)? {
            Some(folder) => {
                Client::connect_as(address, &folder).await.map_err(|error| with_hint(error, address, &folder))?
            }
            // Whoever shows a token says by that whose node it may be.
            None if token.is_some() => Client::connect_to_any_account(address).await?,
            None => Client::connect(address).await?,
        };
        let session = Session { client: Arc::new(client), json: node.json };
        if let Some(token) = token {
            session.ask(&Authenticate { token: token.into() }).await.context("the access token was not accepted")?;
        }
        Ok(session)
    }

    /// Sends a message that a node answers at once.
    pub(super) async fn ask<T: Serialize>(&self, request: &T) -> anyhow::Result<Response> {
        self.ask_json(&message::to_json(request)).await
    }

    /// As [`Session::ask`], with the message's text.
    pub(super) async fn ask_json(&self, json: &str) -> anyhow::Result<Response> {
        self.ask_within(ANSWER_TIMEOUT, json).await
    }

    /// As [`Session::ask_json`], for a message that a node may take longer to answer.
    pub(super) async fn ask_within(&self, limit: Duration, json: &str) -> anyhow::Result<Response> {
        match tokio::time::timeout(limit, self.client.request(json, &[])).await {
            Ok(reply) => Ok(reply?),
            Err(_) => bail!("the node has not answered within {} s; is it stopped or overloaded?", limit.as_secs()),
        }
    }
}

/// Says what to do when there is no identity to connect with.
fn with_hint(error: ClientError, address: &str, folder: &Path) -> anyhow::Error {
    match error {
        ClientError::Identity(reason) => {
            let folder = folder.display();
            anyhow::anyhow!(
                "cannot ask {address} as the node of {folder} ({reason}); name a node's data folder with --identity"
            )
        }
        error => error.into(),
    }
}

/// Whether an error means that no node runs where one was asked.
pub(super) fn is_nobody_there(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ClientError::Connect(_, error)) if error.kind() == ErrorKind::ConnectionRefused)
}

/// Whether an address is one of this machine alone.
pub(super) fn is_loopback(address: &str) -> bool {
    let addresses = address.to_socket_addrs().into_iter().flatten().collect::<Vec<_>>();
    !addresses.is_empty() && addresses.iter().all(|address| address.ip().is_loopback())
}

/// A port from a variable of the environment.
pub(super) fn environment_port(name: &str) -> Result<Option<u16>, UsageError> {
    environment(name)
        .map(|text| {
            text.trim().parse().map_err(|_| {
                UsageError(format!("the variable {name} is {text:?}, which is no port; set it to a number"))
            })
        })
        .transpose()
}

/// A variable of the environment; an empty one counts as missing.
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

/// Reads a reply.
pub(super) fn parse<'a, T: Deserialize<'a>>(reply: &'a Response) -> anyhow::Result<T> {
    serde_json::from_str(&reply.json)
        .context("the node's reply has another form than this version expects; use the same version on both sides")
}

/// Whether nobody on the node answers that type of message.
pub(super) fn is_no_provider(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ProviderError>().is_some_and(|error| error.code == ProviderError::NO_PROVIDER)
}

/// A new random UUID.
pub(super) fn new_uuid() -> anyhow::Result<uuid::Uuid> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).ok().context("the system has no random numbers")?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(host: &str) -> Target {
        Target { host: Some(host.to_owned()), port: Some(9001), ..Target::default() }
    }

    #[test]
    fn this_machine_is_told_from_others() {
        assert!(is_loopback("127.0.0.1:9000") && is_loopback("[::1]:9000"));
        assert!(!is_loopback("192.0.2.1:9000") && !is_loopback("nowhere"));
    }

    #[test]
    fn only_a_refused_connection_means_that_nobody_is_there() {
        let error = |kind: ErrorKind| ClientError::Connect("127.0.0.1:9000".to_owned(), kind.into()).into();
        assert!(is_nobody_there(&error(ErrorKind::ConnectionRefused)));
        assert!(!is_nobody_there(&error(ErrorKind::TimedOut)));
        assert!(!is_nobody_there(&ClientError::Address("x".to_owned()).into()));
    }

    #[test]
    fn another_machine_is_asked_inside_tls_and_this_one_when_somebody_says_so() {
        let here = target("127.0.0.1");
        assert_eq!(here.connect_as("127.0.0.1:9001").unwrap(), None);
        assert!(target("192.0.2.1").connect_as("192.0.2.1:9001").unwrap().is_some());
        assert!(Target { tls: true, ..here }.connect_as("127.0.0.1:9001").unwrap().is_some());
        let named = Target { identity: Some("folder".into()), ..Target::default() };
        assert_eq!(named.connect_as("127.0.0.1:9000").unwrap(), Some("folder".into()));
    }

    #[test]
    fn an_access_token_is_for_this_machine_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let node = Target { token_file: Some(path.clone()), ..Target::default() };
        assert!(node.access_token("127.0.0.1:9000").is_err());
        std::fs::write(&path, "\n").unwrap();
        assert!(node.access_token("127.0.0.1:9000").is_err());
        std::fs::write(&path, " secret\n").unwrap();
        assert_eq!(node.access_token("127.0.0.1:9000").unwrap().as_deref(), Some("secret"));
        assert!(node.access_token("192.0.2.1:9000").unwrap_err().is::<UsageError>());
    }

    #[test]
    fn a_data_folder_is_of_this_machine() {
        assert!(target("192.0.2.1").data_dir(None).unwrap_err().is::<UsageError>());
        assert_eq!(target("192.0.2.1").data_dir(Some(Path::new("d"))).unwrap(), Path::new("d"));
    }
}
