//! The Potluck node: it loads providers, routes messages, speaks the wire, holds the node's identity and passes events
//! around. It knows no resource; see ARCHITECTURE.md for the map.

pub mod call;
pub mod commands;
pub mod lifecycle;
pub mod net;
pub mod node;
pub mod plugin;
pub mod router;
pub mod routes;
pub mod services;

mod account;
mod cli;
mod config;
mod data_dir;
mod descriptors;
mod events;
mod host_messages;
mod identity;
mod logging;
mod membership;
mod output;
mod peers;
