//! The Potluck node: it loads providers, routes messages, speaks the wire, holds the node's identity and passes events
//! around. It knows no resource; see ARCHITECTURE.md for the map.

pub mod access;
pub mod call;
pub mod commands;
pub mod config;
pub mod key;
pub mod lifecycle;
pub mod net;
pub mod node;
pub mod plugin;
pub mod pool;
pub mod router;
pub mod routes;
pub mod services;

mod access_token;
mod account;
mod addresses;
mod announcement;
mod audit;
mod cli;
mod data_dir;
mod descriptors;
mod destination;
mod discovery;
mod events;
mod host_messages;
mod identity;
mod logging;
mod membership;
mod output;
mod peers;
mod pool_messages;
