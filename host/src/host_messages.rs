//! The messages that every host answers itself.

use crate::call::{Dispatch, Incoming, PendingCall, Response, Sink};
use crate::events::Watcher;
use crate::node::Node;
use crate::pool_messages;
use potluck_sdk::ProviderError;
use potluck_sdk::message::node::{Events, NodeStatus, PeerList, PluginList, WatchEvents};
use potluck_sdk::message::to_json;
use std::sync::Arc;

/// Answers a message that is one of [`potluck_sdk::message::node::HOST_MESSAGES`].
pub fn answer(
    node: &Arc<Node>,
    message_type: &str,
    incoming: Incoming<'_>,
    sink: &mut dyn FnMut() -> Sink,
) -> Option<Dispatch> {
    let response = match message_type {
        "PING" => Response::ok(&br#"{"type":"PONG"}"#[..]),
        "STATUS" => Response::ok(status(node)),
        "LIST_PLUGINS" => {
            let plugins = node.plugins().iter().map(|plugin| plugin.report()).collect();
            Response::ok(to_json(&PluginList { plugins }))
        }
        "LIST_PEERS" => {
            let (peers, tracker_connected) = (node.peers.entries(), node.peers.is_connected());
            Response::ok(to_json(&PeerList { peers, tracker_connected }))
        }
        "WATCH_EVENTS" => return Some(watch_events(node, incoming, sink)),
        _ => return pool_messages::answer(node, message_type, incoming, sink),
    };
    Some(Dispatch::Ready(response))
}

/// The host's members, and beside them those of every provider. Where two give the same name, the first one's counts.
fn status(node: &Arc<Node>) -> String {
    let own = NodeStatus {
        status: "OK".to_owned(),
        peer_ip: node.address().ip().to_string(),
        peer_port: node.addresses.port(),
        peer_id: node.identity.peer_id,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: node.started.elapsed().as_secs_f64(),
        tracker_address: node.tracker.lock().clone(),
        tracker_connected: node.peers.is_connected(),
    };
    let mut merged = match serde_json::to_value(&own) {
        Ok(serde_json::Value::Object(members)) => members,
        _ => serde_json::Map::new(),
    };
    for plugin in node.plugins() {
        let text = plugin.status();
        if text.is_empty() {
            continue;
        }
        match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text) {
            Ok(members) => {
                for (name, value) in members {
                    merged.entry(name).or_insert(value);
                }
            }
            Err(error) => tracing::warn!(provider = plugin.id, %error, "a status that is no JSON object was left out"),
        }
    }
    to_json(&merged)
}

/// Events tell who runs what, so they are for this machine's user alone, as declared in the sdk.
fn watch_events(node: &Arc<Node>, incoming: Incoming<'_>, sink: &mut dyn FnMut() -> Sink) -> Dispatch {
    let refuse = |code, text: &str| Dispatch::Ready(Response::error(&ProviderError::new(code, text)));
    let request: WatchEvents = match serde_json::from_str(incoming.json) {
        Ok(request) => request,
        Err(error) => return refuse(ProviderError::INVALID_MESSAGE, &format!("WATCH_EVENTS: {error}")),
    };
    if request.topics.len() > 64 {
        return refuse(
            ProviderError::INVALID_MESSAGE,
            "WATCH_EVENTS takes at most 64 topics; use a star at the end of one",
        );
    }
    let pending = PendingCall::new(sink(), None);
    let watcher = Box::new(WaitingCall(Arc::clone(&pending)));
    if node.events.watch(request.topics, request.after, watcher).is_err() {
        let text = "too many clients wait for events; try again later";
        pending.answer(Response::error(&ProviderError::new(ProviderError::LIMIT_REACHED, text)));
    }
    Dispatch::Pending(pending)
}

struct WaitingCall(Arc<PendingCall>);

impl Watcher for WaitingCall {
    fn is_gone(&self) -> bool {
        self.0.is_cancelled()
    }

    fn answer(self: Box<Self>, events: Events) {
        self.0.answer(Response::ok(to_json(&events)));
    }
}
