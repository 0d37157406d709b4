//! Decides who answers a message: the host itself, a provider of this node, or another peer.

use crate::call::{CancelHook, Dispatch, Incoming, PendingCall, Response, Sink};
use crate::net::frame;
use crate::node::Node;
use crate::{host_messages, peers};
use potluck_sdk::envelope::Envelope;
use potluck_sdk::{Caller, ProviderError};
use std::cell::Cell;
use std::sync::Arc;

/// How deep providers may call each other within one message; deeper is a circle.
const CALL_DEPTH_MAX: u32 = 32;

thread_local! {
    static CALL_DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Finds out who answers a message, and asks. `sink` is called at most once, when the answer will come later.
pub fn dispatch(node: &Arc<Node>, incoming: Incoming<'_>, sink: &mut dyn FnMut() -> Sink) -> Dispatch {
    match Envelope::scan(incoming.json) {
        Ok(envelope) => route(node, &envelope, incoming, sink),
        Err(error) => Dispatch::Ready(Response::error(&frame::invalid(&error))),
    }
}

/// As [`dispatch`], for a message whose envelope has been read.
pub fn route(
    node: &Arc<Node>,
    envelope: &Envelope<'_>,
    incoming: Incoming<'_>,
    sink: &mut dyn FnMut() -> Sink,
) -> Dispatch {
    if let Some(to) = envelope.to.as_deref()
        && !node.is_own_address(to)
    {
        return forward(node, envelope, to, incoming, sink);
    }
    let routes = node.routes.load();
    let Some(route) = routes.get(envelope.message_type) else {
        return host_messages::answer(node, envelope.message_type, incoming, sink)
            .unwrap_or_else(|| Dispatch::Ready(no_provider(envelope.message_type)));
    };
    if !route.least_caller.admits(&incoming.caller) {
        let text = format!(
            "{} may be sent by callers from `{}` up; this one is `{}`",
            envelope.message_type,
            route.least_caller.word(),
            incoming.caller.word()
        );
        return Dispatch::Ready(Response::error(&ProviderError::new(ProviderError::FORBIDDEN, text)));
    }
    let Some(_depth) = Depth::enter() else {
        let text = format!("providers call each other in a circle; the last message was {}", envelope.message_type);
        return Dispatch::Ready(Response::error(&ProviderError::new("call_depth", text)));
    };
    let mut defer = |account, started| PendingCall::new(sink(), Some((account, started)));
    let Incoming { json, attachment, caller } = incoming;
    match route.plugin.handle(envelope.message_type, json, attachment, &caller, &mut defer) {
        Ok(response) => Dispatch::Ready(response),
        Err(pending) => Dispatch::Pending(pending),
    }
}

/// One hop, for this machine's user, its tasks and its providers; never on another peer's behalf.
fn forward(
    node: &Arc<Node>,
    envelope: &Envelope<'_>,
    to: &str,
    incoming: Incoming<'_>,
    sink: &mut dyn FnMut() -> Sink,
) -> Dispatch {
    if matches!(incoming.caller, Caller::Member(_)) {
        let text = "a peer may not send messages on through this node; send it to the other peer directly";
        return Dispatch::Ready(Response::error(&ProviderError::new(ProviderError::FORBIDDEN, text)));
    }
    let address = match peers::resolve(&node.peers, to) {
        Ok(address) => address,
        Err(error) => return Dispatch::Ready(Response::error(&error)),
    };
    let pending = PendingCall::new(sink(), None);
    let answer = Arc::clone(&pending);
    let json = envelope.rewrite("");
    let sink = Box::new(move |response| answer.answer(response));
    if let Some(sent) = node.links.send(address, &json, incoming.attachment, sink, &node.runtime) {
        pending.on_cancel(CancelHook::host(move || sent.cancel()));
    }
    Dispatch::Pending(pending)
}

fn no_provider(message_type: &str) -> Response {
    let shown: String = message_type.chars().take(64).collect();
    let text = if shown.is_empty() {
        "Unknown message type: None; every message needs a `type`".to_owned()
    } else {
        format!("no provider answers {shown} on this node; see `potluck plugins` for what it answers")
    };
    Response::error(&ProviderError::new(ProviderError::NO_PROVIDER, text))
}

/// One level of providers calling each other on this thread.
struct Depth;

impl Depth {
    fn enter() -> Option<Depth> {
        let depth = CALL_DEPTH.get();
        (depth < CALL_DEPTH_MAX).then(|| {
            CALL_DEPTH.set(depth + 1);
            Depth
        })
    }
}

impl Drop for Depth {
    fn drop(&mut self) {
        CALL_DEPTH.set(CALL_DEPTH.get() - 1);
    }
}
