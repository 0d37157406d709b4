//! The messages, defined once for host, plugins, command line and web page.
//!
//! A request or reply is a struct; `type` is written by serde and ignored when read, since the router has looked at it.
//! Values that belong to users are [`RawValue`]s: their text passes through unchanged, whatever the size of an integer.

use serde::Serialize;
pub use serde_json::value::RawValue;

pub mod cache;
pub mod cpu;
pub mod deadlock;
pub mod disk;
pub mod history;
pub mod ipc;
pub mod memory;
pub mod memory_manager;
pub mod node;
pub mod owned_files;
pub mod pool;
pub mod process;
pub mod quota;
pub mod resources;
pub mod scheduler;
pub mod tracker;

/// Largest JSON frame, in bytes.
pub const FRAME_BYTES_MAX: usize = 16 << 20;
/// Largest JSON frame of a type whose member `data` goes into a file, from the node's own user, and largest reply with a
/// part of a file to it.
pub const SPOOLED_FRAME_BYTES_MAX: usize = 140 << 20;
/// Largest attachment, in bytes; larger data goes in chunks.
pub const ATTACHMENT_BYTES_MAX: u64 = 8 << 20;
/// Version of the messages.
///
/// * 1: the messages of the original system, with `id`, `to` and `attachment`.
pub const PROTOCOL_VERSION: u32 = 1;

/// The `status` of a reply that says no more than that it worked.
pub const STATUS_OK: &str = "OK";

/// The text of a message or reply.
pub fn to_json<T: Serialize + ?Sized>(message: &T) -> String {
    // serde_json writes UTF-8 only.
    String::from_utf8(crate::error::to_json(message)).unwrap_or_default()
}
