//! The wire: frames over TCP, to clients and to other peers.

pub mod client;
mod connection;
pub mod frame;
mod link;
mod links;
mod outbound;
mod server;

pub use links::Links;
pub use server::{Server, resolve_loopback};
