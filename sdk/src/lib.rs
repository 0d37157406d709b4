//! The contract of a Potluck node: what a plugin is, which messages there are, and how they cross the C boundary.
//!
//! A plugin is a shared library with one provider in it. This is a whole one:
//!
//! ```
//! use potluck_sdk::{Config, Host, LeastCaller, MessageInfo, Provider, ProviderError, ProviderInfo, Reply, Request};
//! use serde::{Deserialize, Serialize};
//!
//! struct Echo;
//!
//! #[derive(Deserialize)]
//! struct Shout {
//!     text: String,
//! }
//!
//! #[derive(Serialize)]
//! #[serde(tag = "type", rename = "SHOUTED")]
//! struct Shouted {
//!     text: String,
//! }
//!
//! impl Provider for Echo {
//!     const INFO: ProviderInfo = ProviderInfo {
//!         id: "echo",
//!         version: env!("CARGO_PKG_VERSION"),
//!         messages: &[MessageInfo::new("SHOUT", LeastCaller::Member)],
//!     };
//!
//!     fn start(_host: Host, _config: Config<'_>) -> Result<Echo, ProviderError> {
//!         Ok(Echo)
//!     }
//!
//!     fn handle(&self, request: Request<'_>, reply: Reply<'_>) {
//!         reply.result(request.parse::<Shout>().map(|shout| Shouted { text: shout.text.to_uppercase() }));
//!     }
//! }
//!
//! potluck_sdk::export_plugin!(Echo);
//! # fn main() {}
//! ```
//!
//! Build it as a `cdylib`, name it in `plugins.toml`, and every client, peer and task of the pool can send `SHOUT`:
//!
//! ```toml
//! [plugins.echo]
//! path = "libecho.so"
//! ```
#![warn(missing_docs)]

pub mod abi;
mod alarm;
pub mod allowance;
mod caller;
pub mod envelope;
mod error;
#[cfg(feature = "files")]
pub mod files;
mod host;
mod ids;
pub mod message;
mod provider;
mod reply;
mod request;
pub mod shares;
#[cfg(feature = "files")]
pub mod signature;
#[cfg(feature = "testing")]
pub mod testing;

pub use abi::export::plugin_table;
pub use alarm::Alarm;
pub use caller::{Caller, LeastCaller};
pub use error::ProviderError;
pub use host::{CallFuture, Host, Level, NodeFacts, Response};
pub use ids::{InvalidPeerId, PeerId};
pub use provider::{Config, Health, MessageInfo, Provider, ProviderInfo, Status};
pub use reply::{PendingReply, Reply};
pub use request::Request;
