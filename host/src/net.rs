//! The wire: frames over TCP, plain or inside TLS, to clients and to other peers.

pub mod admission;
pub mod caller;

pub mod channel;
pub mod client;
mod connection;
pub mod dial;
pub mod frame;
mod greeting;
mod link;
mod links;
mod outbound;
pub mod present;
mod replies;
mod server;
mod socket_owner;
mod spool;
pub mod tls;
mod trust;
mod unknown;

pub use link::{Credentials, Target};
pub use links::Links;
pub use server::{Server, any_address};
pub use unknown::source_of;
