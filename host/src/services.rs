//! The host's side of the ABI: what it does for a plugin.

use crate::call::{Incoming, Response, Sink};
use crate::node::Node;
use crate::plugin::Plugin;
use crate::router;
use anyhow::Context;
use potluck_sdk::abi::{ABI_VERSION, CallDone, Hook, HostTable, Slice};
use potluck_sdk::message::node::ADDRESS_TOPIC;
use potluck_sdk::message::tracker::{PEERS_TOPIC, REVOKED_TOPIC, SESSION_TOPIC};
use potluck_sdk::signature::signed_bytes;
use potluck_sdk::{Caller, NodeFacts};
use std::ffi::c_void;
use std::sync::Arc;
use std::time::Duration;

/// Topics of the audit, which no provider may publish.
const AUDIT_TOPICS: &str = "audit.";
/// Others on which only the host tells something.
const HOST_TOPICS: [&str; 4] = [PEERS_TOPIC, REVOKED_TOPIC, SESSION_TOPIC, ADDRESS_TOPIC];

/// What the functions of a host table refer to. Leaked, since a plugin may use its table until the process ends.
struct PluginContext {
    node: Arc<Node>,
    plugin: Arc<Plugin>,
}

/// Makes the table for one plugin.
pub fn host_table(node: &Arc<Node>, plugin: &Arc<Plugin>) -> anyhow::Result<&'static HostTable> {
    let facts = NodeFacts {
        peer_id: node.identity.peer_id,
        ip: node.address().ip().to_string(),
        port: node.addresses.port(),
        data_dir: node.data_dir.provider(&plugin.id)?,
        node_dir: node.data_dir.path().to_owned(),
        public_key: node.identity.key.public().0,
        lib_dir: node.lib_dir.clone(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let node_json = serde_json::to_vec(&facts).context("the node's facts cannot be written as JSON")?;
    let context = PluginContext { node: Arc::clone(node), plugin: Arc::clone(plugin) };
    Ok(Box::leak(Box::new(HostTable {
        struct_size: size_of::<HostTable>() as u32,
        abi_version: ABI_VERSION,
        context: std::ptr::from_mut(Box::leak(Box::new(context))).cast(),
        node_json: Slice::new(node_json.leak()),
        call,
        publish,
        subscribe,
        log,
        log_enabled,
        spawn_blocking,
        run_after,
        secret,
        sign,
        reserved: [std::ptr::null(); 6],
    })))
}

/// # Safety
/// `context` is that of a table made by [`host_table`].
unsafe fn context<'a>(context: *mut c_void) -> &'a PluginContext {
    // SAFETY: promised by the caller; contexts are leaked.
    unsafe { &*context.cast::<PluginContext>() }
}

unsafe extern "C" fn call(this: *mut c_void, json: Slice, attachment: Slice, done: CallDone) {
    // SAFETY: a plugin passes its own context; the slices live until this returns.
    let (this, json, attachment) = unsafe { (context(this), json.text(), attachment.bytes()) };
    let done = Done(Some(done));
    let incoming = Incoming {
        json,
        attachment,
        caller: Caller::Plugin(&this.plugin.id),
        process: "",
        source_ip: "",
        spooled: None,
    };
    // The completion is needed by whichever way the answer takes, and only one is taken.
    let mut slot = Some(done);
    let response = router::dispatch(&this.node, incoming, &mut || -> Sink {
        let mut done = slot.take();
        Box::new(move |response| {
            if let Some(done) = done.take() {
                done.answer(response);
            }
        })
    });
    if let (Some(response), Some(done)) = (response.into_ready(), slot) {
        done.answer(response);
    }
}

/// A completion that is used exactly once.
struct Done(Option<CallDone>);

impl Done {
    fn answer(mut self, response: Response) {
        self.complete(response);
    }

    fn complete(&mut self, response: Response) {
        if let Some(done) = self.0.take() {
            // SAFETY: `take` makes this the only call.
            unsafe { (done.done)(done.context, response.reply, response.json, response.attachment) }
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        let dropped = potluck_sdk::ProviderError::new(
            potluck_sdk::ProviderError::NODE_STOPPING,
            "the node stopped before there was an answer",
        );
        self.complete(Response::error(&dropped));
    }
}

unsafe extern "C" fn publish(this: *mut c_void, topic: Slice, json: Slice) {
    // SAFETY: as in `call`.
    let (this, topic, json) = unsafe { (context(this), topic.text(), json.text()) };
    if topic.starts_with(AUDIT_TOPICS) || HOST_TOPICS.contains(&topic) {
        tracing::warn!(provider = this.plugin.id, topic, "an event was dropped: these topics are the host's own");
        return;
    }
    this.node.publish(topic, json);
}

unsafe extern "C" fn subscribe(this: *mut c_void, pattern: Slice) {
    // SAFETY: as in `call`.
    let (this, pattern) = unsafe { (context(this), pattern.text()) };
    this.node.subscribe(&this.plugin, pattern);
}

unsafe extern "C" fn log(this: *mut c_void, level: u32, message: Slice) {
    // SAFETY: as in `call`.
    let (this, message) = unsafe { (context(this), message.text()) };
    let provider = this.plugin.id.as_str();
    match level {
        1 => tracing::error!(target: "plugin", provider, "{message}"),
        2 => tracing::warn!(target: "plugin", provider, "{message}"),
        3 => tracing::info!(target: "plugin", provider, "{message}"),
        4 => tracing::debug!(target: "plugin", provider, "{message}"),
        _ => tracing::trace!(target: "plugin", provider, "{message}"),
    }
}

unsafe extern "C" fn log_enabled(_this: *mut c_void, level: u32) -> u32 {
    let enabled = match level {
        1 => tracing::enabled!(target: "plugin", tracing::Level::ERROR),
        2 => tracing::enabled!(target: "plugin", tracing::Level::WARN),
        3 => tracing::enabled!(target: "plugin", tracing::Level::INFO),
        4 => tracing::enabled!(target: "plugin", tracing::Level::DEBUG),
        _ => tracing::enabled!(target: "plugin", tracing::Level::TRACE),
    };
    enabled.into()
}

unsafe extern "C" fn spawn_blocking(this: *mut c_void, job: Hook) {
    let job = Job(Some(job));
    // SAFETY: as in `call`.
    unsafe { context(this) }.node.runtime.spawn_blocking(move || job.run());
}

unsafe extern "C" fn run_after(this: *mut c_void, delay_milliseconds: u64, job: Hook) {
    let job = Job(Some(job));
    // SAFETY: as in `call`.
    unsafe { context(this) }.node.runtime.spawn(async move {
        tokio::time::sleep(Duration::from_millis(delay_milliseconds)).await;
        job.run();
    });
}

unsafe extern "C" fn secret(this: *mut c_void, label: Slice, secret: *mut u8) {
    // SAFETY: as in `call`.
    let (this, label) = unsafe { (context(this), label.text()) };
    let bytes = this.node.identity.key.secret(&this.plugin.id, label);
    // SAFETY: the plugin gives room for 32 bytes.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), secret, bytes.len()) }
}

unsafe extern "C" fn sign(this: *mut c_void, label: Slice, message: Slice, signature: *mut u8) {
    // SAFETY: as in `call`.
    let (this, label, message) = unsafe { (context(this), label.text(), message.bytes()) };
    let bytes = this.node.identity.key.sign(b"", &signed_bytes(label, message));
    // SAFETY: the plugin gives room for 64 bytes.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), signature, bytes.len()) }
}

/// A job of a plugin's: run once, or released when the runtime drops it.
struct Job(Option<Hook>);

impl Job {
    fn run(mut self) {
        if let Some(hook) = self.0.take() {
            // SAFETY: `take` makes this the only use of the hook.
            unsafe { (hook.run)(hook.context) }
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if let Some(hook) = self.0.take() {
            // SAFETY: as above.
            unsafe { (hook.release)(hook.context) }
        }
    }
}
