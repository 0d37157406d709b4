//! A conversation with a node.

use super::{UsageError, values::join_host_port};
use crate::cli::PEER_PORT_DEFAULT;
use crate::net::client::Client;
use anyhow::{Context, bail};
use potluck_sdk::{ProviderError, Response, message};
use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;
use serde::de::Deserialize;
use std::sync::Arc;
use std::time::Duration;

/// How long a node may take to answer what it should answer at once; the original client waits as long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The node to ask, as the command line says, and how to print what it answers.
pub(super) struct Target {
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    /// Print JSON for programs.
    pub(super) json: bool,
}

impl Target {
    /// What the command line says, else the environment, else a peer on this machine.
    pub(super) fn address(&self) -> Result<String, UsageError> {
        let host = self.host.clone().or_else(|| environment("POTLUCK_HOST"));
        let port = match self.port {
            Some(port) => port,
            None => environment_port("POTLUCK_PORT")?.unwrap_or(PEER_PORT_DEFAULT),
        };
        Ok(join_host_port(host.as_deref().unwrap_or("127.0.0.1"), port))
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
    pub(super) async fn connect(node: &Target) -> anyhow::Result<Session> {
        Ok(Session { client: Arc::new(Client::connect(&node.address()?).await?), json: node.json })
    }

    /// Sends a message that a node answers at once.
    pub(super) async fn ask<T: Serialize>(&self, request: &T) -> anyhow::Result<Response> {
        self.ask_json(&message::to_json(request)).await
    }

    /// As [`Session::ask`], with the message's text.
    pub(super) async fn ask_json(&self, json: &str) -> anyhow::Result<Response> {
        match tokio::time::timeout(ANSWER_TIMEOUT, self.client.request(json, &[])).await {
            Ok(reply) => Ok(reply?),
            Err(_) => {
                bail!("the node has not answered within {} s; is it stopped or overloaded?", ANSWER_TIMEOUT.as_secs())
            }
        }
    }
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
