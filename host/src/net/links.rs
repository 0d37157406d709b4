//! The links to other nodes: opened when needed, shared, and opened again when lost.

use super::link::{Credentials, Link, Target};
use crate::call::{Response, Sink};
use parking_lot::Mutex;
use potluck_sdk::ProviderError;
use std::collections::HashMap;
use std::sync::Arc;

/// Most links at a time. A pool that places tasks reaches at most 64 candidates; the rest is room for `to`.
const LINKS_MAX: usize = 1024;

/// The links of a node.
pub struct Links {
    credentials: Credentials,
    /// Held while a link is looked up or opened, never while something is sent.
    open: Mutex<HashMap<Target, Arc<Link>>>,
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
    /// None yet; `credentials` are shown on the encrypted ones.
    pub fn new(credentials: Credentials) -> Links {
        Links { credentials, open: Mutex::default() }
    }

    /// Sends a message without `id` to a node; the sink gets the reply, or the error that says why there is none. Returns
    /// how to tell the node that nobody waits any more.
    pub fn send(
        &self,
        target: Target,
        json: &str,
        attachment: &[u8],
        mut sink: Sink,
        runtime: &tokio::runtime::Handle,
    ) -> Option<Sent> {
        // A link may close between look-up and use; a second look opens a new one.
        for _ in 0..3 {
            let Some(link) = self.link(target, runtime) else { break };
            match link.send(json, attachment, sink) {
                Ok(id) => return Some(Sent { link, id }),
                Err(unused) => sink = unused,
            }
        }
        let text = format!("no connection to {} can be opened now; try again later", target.address);
        sink(Response::error(&ProviderError::new(ProviderError::PEER_UNREACHABLE, text)));
        None
    }

    fn link(&self, target: Target, runtime: &tokio::runtime::Handle) -> Option<Arc<Link>> {
        let mut open = self.open.lock();
        if let Some(link) = open.get(&target).filter(|link| !link.is_closed()) {
            return Some(Arc::clone(link));
        }
        open.retain(|_, link| !link.is_closed());
        if open.len() >= LINKS_MAX {
            return None;
        }
        let (link, _connected) = Link::open(target, self.credentials.clone(), runtime);
        open.insert(target, Arc::clone(&link));
        Some(link)
    }
}
