//! What a node tells meanwhile of something that takes long.

use crate::net::client::Client;
use potluck_sdk::ProviderError;
use potluck_sdk::message::node::{Events, WatchEvents};
use potluck_sdk::message::to_json;
use serde::de::DeserializeOwned;
use std::pin::Pin;
use std::sync::Arc;

type Watch = Pin<Box<dyn Future<Output = Result<Events, ProviderError>>>>;

/// The events of a topic.
pub(in crate::commands) struct Watching {
    client: Arc<Client>,
    topic: &'static str,
    /// The wait for the next ones; nothing when the node tells none.
    waiting: Option<Watch>,
}

impl Watching {
    pub(in crate::commands) fn new(client: &Arc<Client>, topic: &'static str) -> Watching {
        Watching { client: Arc::clone(client), topic, waiting: Some(watch(Arc::clone(client), topic, None)) }
    }

    /// Waits for the next events; those of another form are left out. Waits for ever when the node tells none: whatever it
    /// does it does all the same.
    pub(in crate::commands) async fn next<T: DeserializeOwned>(&mut self) -> Vec<T> {
        let Some(waiting) = &mut self.waiting else { return std::future::pending().await };
        let Ok(fetched) = waiting.await else {
            self.waiting = None;
            return Vec::new();
        };
        self.waiting = Some(watch(Arc::clone(&self.client), self.topic, Some(fetched.next)));
        fetched.events.iter().filter_map(|event| serde_json::from_str(event.body.get()).ok()).collect()
    }
}

fn watch(client: Arc<Client>, topic: &'static str, after: Option<u64>) -> Watch {
    Box::pin(async move {
        let message = WatchEvents { topics: vec![topic.to_owned()], after };
        let reply = client.request(&to_json(&message), &[]).await?;
        serde_json::from_str(&reply.json).map_err(|error| ProviderError::invalid(error.to_string()))
    })
}
