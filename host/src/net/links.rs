//! The links to other nodes: opened when needed, shared, and opened again when lost.

use super::link::Link;
use crate::call::{Response, Sink};
use parking_lot::Mutex;
use potluck_sdk::ProviderError;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// Most links at a time. A pool that places tasks reaches at most 64 candidates; the rest is room for `to`.
const LINKS_MAX: usize = 1024;

/// The links of a node.
#[derive(Default)]
pub struct Links {
    /// Held while a link is looked up or opened, never while something is sent.
    open: Mutex<HashMap<SocketAddr, Arc<Link>>>,
}

/// A message on its way to a node.
pub struct Sent {
    link: Arc<Link>,
    id: u64,
}

impl Sent {
    /// Tells the node that nobody waits for the answer any more.
    pub fn cancel(&self) {
        self.link.cancel(self.id);
    }
}

impl Links {
    /// Sends a message without `id` to a node; the sink gets the reply, or the error that says why there is none. Returns
    /// how to tell the node that nobody waits any more.
    pub fn send(
        &self,
        address: SocketAddr,
        json: &str,
        attachment: &[u8],
        mut sink: Sink,
        runtime: &tokio::runtime::Handle,
    ) -> Option<Sent> {
        // A link may close between look-up and use; a second look opens a new one.
        for _ in 0..3 {
            let Some(link) = self.link(address, runtime) else { break };
            match link.send(json, attachment, sink) {
                Ok(id) => return Some(Sent { link, id }),
                Err(unused) => sink = unused,
            }
        }
        let text = format!("no connection to {address} can be opened now; try again later");
        sink(Response::error(&ProviderError::new(ProviderError::PEER_UNREACHABLE, text)));
        None
    }

    fn link(&self, address: SocketAddr, runtime: &tokio::runtime::Handle) -> Option<Arc<Link>> {
        let mut open = self.open.lock();
        if let Some(link) = open.get(&address).filter(|link| !link.is_closed()) {
            return Some(Arc::clone(link));
        }
        open.retain(|_, link| !link.is_closed());
        if open.len() >= LINKS_MAX {
            return None;
        }
        let (link, _connected) = Link::open(address, runtime);
        open.insert(address, Arc::clone(&link));
        Some(link)
    }
}
