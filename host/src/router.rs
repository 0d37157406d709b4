//! Decides who answers a message: the host itself, a provider of this node, or another peer; and whether the caller may
//! send it.

use crate::audit::{AuditEvent, AuditTopic};
use crate::call::{CancelHook, Dispatch, Incoming, PendingCall, Response, Sink};
use crate::net::frame;
use crate::node::Node;
use crate::{destination, host_messages};
use potluck_sdk::envelope::Envelope;
use potluck_sdk::message::FRAME_BYTES_MAX;
use potluck_sdk::message::node::host_message;
use potluck_sdk::{Caller, LeastCaller, ProviderError};
use std::cell::Cell;
use std::sync::Arc;

/// How deep providers may call each other within one message; deeper is a circle.
const CALL_DEPTH_MAX: u32 = 32;

thread_local! {
    static CALL_DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Finds out who answers a message, and asks; the answer has no [`crate::call::Body`]. `sink` is called at most once, when the answer will come later.
pub fn dispatch(node: &Arc<Node>, incoming: Incoming<'_>, sink: &mut dyn FnMut() -> Sink) -> Dispatch {
    let dispatched = match Envelope::scan(incoming.json) {
        Ok(envelope) => route(node, &envelope, incoming, &mut || inlining(node, sink())),
        Err(error) => Dispatch::Ready(Response::error(&frame::invalid(&error))),
    };
    match dispatched {
        Dispatch::Ready(response) if response.body.is_some() => {
            let pending = PendingCall::new(inlining(node, sink()), None);
            pending.answer(response);
            Dispatch::Pending(pending)
        }
        dispatched => dispatched,
    }
}

/// A sink for those who take no part of a file piece by piece.
fn inlining(node: &Node, sink: Sink) -> Sink {
    let runtime = node.runtime.clone();
    Box::new(move |response| {
        if response.body.is_some() {
            runtime.spawn_blocking(move || sink(response.inlined()));
        } else {
            sink(response);
        }
    })
}

/// As [`dispatch`], for a message whose envelope has been read.
pub fn route(
    node: &Arc<Node>,
    envelope: &Envelope<'_>,
    incoming: Incoming<'_>,
    sink: &mut dyn FnMut() -> Sink,
) -> Dispatch {
    let incoming = on_behalf(node, envelope, incoming);
    if let Some(to) = envelope.to.as_deref()
        && !node.is_own_address(to)
    {
        if incoming.spooled.is_some() {
            return Dispatch::Ready(not_spooled(envelope.message_type));
        }
        return forward(node, envelope, to, incoming, sink);
    }
    if let Some(least_caller) = host_message(envelope.message_type) {
        if let Err(refusal) = check(node, envelope.message_type, least_caller, &incoming.caller) {
            return Dispatch::Ready(refusal);
        }
        return host_messages::answer(node, envelope.message_type, incoming, sink)
            .unwrap_or_else(|| Dispatch::Ready(no_provider(envelope.message_type)));
    }
    let routes = node.routes.load();
    let Some(route) = routes.get(envelope.message_type) else {
        return Dispatch::Ready(no_provider(envelope.message_type));
    };
    let route = route.of_message(incoming.json);
    if incoming.spooled.is_some() && !route.is_spooled {
        return Dispatch::Ready(not_spooled(envelope.message_type));
    }
    if let Err(refusal) = check(node, envelope.message_type, route.least_caller, &incoming.caller) {
        return Dispatch::Ready(refusal);
    }
    let Some(_depth) = Depth::enter() else {
        let text = format!("providers call each other in a circle; the last message was {}", envelope.message_type);
        return Dispatch::Ready(Response::error(&ProviderError::new("call_depth", text)));
    };
    let mut defer = |account, started| PendingCall::new(sink(), Some((account, started)));
    match route.plugin.handle(envelope.message_type, incoming, &mut defer) {
        Ok(response) => Dispatch::Ready(response),
        Err(pending) => Dispatch::Pending(pending),
    }
}

/// A provider that speaks for a task has the rights of that task, and nothing of its own.
fn on_behalf<'a>(node: &'a Node, envelope: &Envelope<'a>, incoming: Incoming<'a>) -> Incoming<'a> {
    if !matches!(incoming.caller, Caller::Plugin(_)) || !envelope.for_task {
        return incoming;
    }
    let caller = Caller::Task(envelope.works_for.unwrap_or(&node.id_text));
    Incoming { caller, process: envelope.process, ..incoming }
}

/// Whether the caller may send the message, by the rules of whoever answers it and of `[access]`.
fn check(node: &Node, message_type: &str, least_caller: LeastCaller, caller: &Caller<'_>) -> Result<(), Response> {
    node.access
        .check(message_type, least_caller, caller)
        .map_err(|refusal| refuse(node, message_type, caller, &ProviderError::from(refusal)))
}

/// Refuses a message, and notes it.
fn refuse(node: &Node, message_type: &str, caller: &Caller<'_>, error: &ProviderError) -> Response {
    node.audit(&AuditEvent {
        topic: AuditTopic::Refused,
        action: "refused",
        caller: Some(*caller),
        message_type,
        address: None,
        reason: &error.message,
    });
    Response::error(error)
}

/// One hop, for this machine's user, its tasks and its providers; never on another peer's behalf.
fn forward(
    node: &Arc<Node>,
    envelope: &Envelope<'_>,
    to: &str,
    incoming: Incoming<'_>,
    sink: &mut dyn FnMut() -> Sink,
) -> Dispatch {
    if is_for_another_node(node, &incoming.caller) {
        let text = "a peer may not send messages on through this node; send it to the other peer directly";
        let error = ProviderError::new(ProviderError::FORBIDDEN, text);
        return Dispatch::Ready(refuse(node, envelope.message_type, &incoming.caller, &error));
    }
    let target = match destination::resolve(node, to) {
        Ok(target) => target,
        Err(error) => return Dispatch::Ready(Response::error(&error)),
    };
    let pending = PendingCall::new(sink(), None);
    let answer = Arc::clone(&pending);
    // What a task may not do here it may not do there; and a provider says itself when a task stands behind it.
    let for_task = envelope.for_task || matches!(incoming.caller, Caller::Task(_));
    let behalf = match (for_task, incoming.process) {
        (false, _) => String::new(),
        (true, "") => r#""behalf":"task""#.to_owned(),
        (true, process) => format!(r#""behalf":"task:{process}""#),
    };
    let json = envelope.rewrite(&behalf);
    let sink = Box::new(move |response| answer.answer(response));
    if let Some(sent) = node.links.send(target, &json, incoming.attachment, sink, &node.runtime) {
        pending.on_cancel(CancelHook::host(move || sent.cancel()));
    }
    Dispatch::Pending(pending)
}

/// Whether a message comes from another node, or from a task that works for one.
fn is_for_another_node(node: &Node, caller: &Caller<'_>) -> bool {
    match caller {
        Caller::Member(_) => true,
        Caller::Task(peer_id) => *peer_id != node.id_text,
        Caller::Local | Caller::Plugin(_) | Caller::Web(_) => false,
    }
}

fn not_spooled(message_type: &str) -> Response {
    let text = format!("{message_type} is larger than a frame of {FRAME_BYTES_MAX} bytes; send the data in chunks");
    Response::error(&ProviderError::new("frame_too_large", text))
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
