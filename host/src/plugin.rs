//! Plugins: their libraries and their life.

mod elf;
mod loader;

pub use loader::Declared;

use crate::account::Account;
use crate::call::{Body, Incoming, PendingCall, Response};
use crate::config::PluginConfig;
use parking_lot::Mutex;
use potluck_sdk::abi::{
    ANSWERED, Buffer, CREATE_REFUSED_CONFIG, CREATED, Call, CallReply, Completion, DEFERRED, HEALTH_OK, HostTable,
    PANICKED, PluginTable, REPLY_DROPPED, REPLY_OK, Slice,
};
use potluck_sdk::message::node::{PluginReport, PluginState};
use potluck_sdk::{LeastCaller, ProviderError};
use std::ffi::c_void;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::time::Instant;

/// A provider of this node, from the moment that plugins.toml names it.
pub struct Plugin {
    /// The provider's id.
    pub id: String,
    path: PathBuf,
    /// Null until `create` has succeeded and after `destroy`.
    instance: AtomicPtr<c_void>,
    table: Option<&'static PluginTable>,
    account: Arc<Account>,
    /// State and reason; a leaf lock.
    life: Mutex<(PluginState, Option<String>)>,
}

/// Makes the table of host functions for a plugin.
pub type HostTableMaker<'a> = &'a dyn Fn(&Arc<Plugin>) -> anyhow::Result<&'static HostTable>;

/// Why a provider did not start.
pub enum StartError {
    /// Its table in plugins.toml is wrong: the node must not start.
    Config(String),
    /// Anything else: the node starts without it.
    Failed(String),
}

impl Plugin {
    /// Opens the library at `path` and starts the provider in it, with the table that `host_table` makes for it. Blocks for
    /// as long as `create` takes.
    pub fn start(
        config: &PluginConfig,
        path: PathBuf,
        host_table: HostTableMaker<'_>,
    ) -> (Arc<Plugin>, Result<(), StartError>) {
        let loaded = loader::open(&path).and_then(|table| match loader::id(table) {
            id if id == config.id => Ok(table),
            id => Err(format!("the library is the plugin `{id}`, not `{}`", config.id)),
        });
        let (table, failure) = match loaded {
            Ok(table) => (Some(table), None),
            Err(reason) => (None, Some(reason)),
        };
        let plugin = Arc::new(Plugin {
            id: config.id.clone(),
            path,
            instance: AtomicPtr::default(),
            table,
            account: Arc::new(Account::new(&config.id)),
            life: Mutex::new((if table.is_some() { PluginState::Loaded } else { PluginState::Declared }, None)),
        });
        let result = match failure {
            Some(reason) => Err(StartError::Failed(reason)),
            None => plugin.create(config, host_table),
        };
        match &result {
            Ok(()) => *plugin.life.lock() = (PluginState::Started, None),
            Err(StartError::Config(reason) | StartError::Failed(reason)) => {
                *plugin.life.lock() = (PluginState::Failed, Some(reason.clone()));
            }
        }
        (plugin, result)
    }

    fn create(self: &Arc<Plugin>, config: &PluginConfig, host_table: HostTableMaker<'_>) -> Result<(), StartError> {
        let Some(table) = self.table else { return Ok(()) };
        let host = host_table(self).map_err(|error| StartError::Failed(format!("{error:#}")))?;
        let mut instance = std::ptr::null_mut();
        let mut error = Buffer::EMPTY;
        let settings = Slice::new(config.settings_json.as_bytes());
        // SAFETY: the loader has checked the table; the host table is leaked, the slice outlives the call.
        let status = unsafe { (table.create)(host, settings, &mut instance, &mut error) };
        match status {
            CREATED => {
                self.instance.store(instance, Ordering::Release);
                Ok(())
            }
            CREATE_REFUSED_CONFIG => Err(StartError::Config(error.to_text())),
            _ => Err(StartError::Failed(error.to_text())),
        }
    }

    /// The messages that the provider answers, and who may send them; none when it is not loaded.
    pub fn messages(&self) -> Vec<(&'static str, LeastCaller)> {
        self.declared().iter().map(|message| (message.name, message.least_caller)).collect()
    }

    /// The same with all that it declares of them.
    pub fn declared(&self) -> Vec<Declared> {
        self.table.map(loader::messages).unwrap_or_default()
    }

    /// Hands a message to the provider. `defer` makes the pending call if the provider answers later.
    pub fn handle(
        self: &Arc<Plugin>,
        message_type: &str,
        incoming: Incoming<'_>,
        defer: &mut dyn FnMut(Arc<Account>, Instant) -> Arc<PendingCall>,
    ) -> Result<Response, Arc<PendingCall>> {
        let Some((table, guard)) = self.enter() else {
            let text = format!("the provider {} is stopped", self.id);
            return Ok(Response::error(&ProviderError::new(ProviderError::NODE_STOPPING, text)));
        };
        let started = Account::is_sampled().then(Instant::now);
        let mut frame = Frame {
            call: Call {
                struct_size: size_of::<Call>() as u32,
                caller: incoming.caller.abi_kind(),
                caller_id: Slice::new(incoming.caller.id().as_bytes()),
                message_type: Slice::new(message_type.as_bytes()),
                json: Slice::new(incoming.json.as_bytes()),
                attachment: Slice::new(incoming.attachment),
                defer: defer_call,
                source_ip: Slice::new(incoming.source_ip.as_bytes()),
                spooled: Slice::new(incoming.spooled.map_or(&b""[..], |path| path.as_os_str().as_bytes())),
                process: Slice::new(incoming.process.as_bytes()),
            },
            account: &self.account,
            defer,
            pending: None,
        };
        let mut out = CallReply::EMPTY;
        // SAFETY: the instance is alive while `guard` is; frame and reply live until the call returns. `call` is the first
        // field of `Frame`, which is `repr(C)`.
        let outcome = unsafe { (table.handle)(guard.instance, (&raw mut frame).cast(), &mut out) };
        let pending = frame.pending;
        match (outcome, pending) {
            (DEFERRED, Some(pending)) => Err(pending),
            (_, Some(pending)) => {
                // It deferred and then panicked or answered as well: whoever holds the completion still answers.
                if outcome == PANICKED {
                    let text = out.json.to_text();
                    self.degrade(&format!("it panicked in {message_type} after it had taken its reply along: {text}"));
                } else {
                    self.degrade(&format!("it deferred {message_type} and returned {outcome}"));
                }
                Err(pending)
            }
            (ANSWERED, None) if out.reply != REPLY_DROPPED => {
                self.answered(started, out.reply == REPLY_OK);
                let body = Body::from_abi(out.file);
                Ok(Response { reply: out.reply, json: out.json, attachment: out.attachment, body })
            }
            (ANSWERED | DEFERRED, None) => {
                self.answered(started, false);
                Ok(Response::dropped_by(&self.id))
            }
            (_, None) => {
                let text = out.json.to_text();
                self.degrade(&format!("it panicked in {message_type}: {text}"));
                self.answered(started, false);
                let text = format!("the provider {} panicked in {message_type}: {text}", self.id);
                Ok(Response::error(&ProviderError::new(ProviderError::PROVIDER_PANICKED, text)))
            }
        }
    }

    fn answered(&self, started: Option<Instant>, ok: bool) {
        match started {
            Some(started) => self.account.record(started.elapsed(), ok),
            None => self.account.count(ok),
        }
    }

    /// Where its library stands.
    pub fn path(&self) -> String {
        self.path.display().to_string()
    }

    /// Notes that the provider answers nothing, and why.
    pub fn fail(&self, reason: &str) {
        self.stop();
        *self.life.lock() = (PluginState::Failed, Some(reason.to_owned()));
    }

    fn degrade(&self, reason: &str) {
        let mut life = self.life.lock();
        if life.0 == PluginState::Started {
            tracing::error!(provider = self.id, reason, "a provider is degraded");
            *life = (PluginState::Degraded, Some(reason.to_owned()));
        }
    }

    /// The provider's members of STATUS: the text of a JSON object, or nothing.
    pub fn status(&self) -> String {
        let Some((table, guard)) = self.enter() else { return String::new() };
        let mut json = Buffer::EMPTY;
        // SAFETY: the instance is alive while `guard` is.
        unsafe { (table.status)(guard.instance, &mut json) };
        if json.as_bytes().is_empty() {
            self.degrade("it gave no status, so it has panicked there");
        }
        json.to_text()
    }

    /// Delivers an event.
    pub fn event(&self, topic: &str, json: &str) {
        if let Some((table, guard)) = self.enter() {
            // SAFETY: the instance is alive while `guard` is; the slices outlive the call.
            unsafe { (table.event)(guard.instance, Slice::new(topic.as_bytes()), Slice::new(json.as_bytes())) }
        }
    }

    /// How the provider fares.
    pub fn report(&self) -> PluginReport {
        let (mut state, mut reason) = self.life.lock().clone();
        if state == PluginState::Started
            && let Some((table, guard)) = self.enter()
        {
            let mut text = Buffer::EMPTY;
            // SAFETY: the instance is alive while `guard` is.
            if unsafe { (table.health)(guard.instance, &mut text) } != HEALTH_OK {
                (state, reason) = (PluginState::Degraded, Some(text.to_text()));
            }
        }
        let (p50, p99) = self.account.percentiles();
        PluginReport {
            id: self.id.clone(),
            state,
            version: self.table.map(loader::version).unwrap_or_default().to_owned(),
            isolation: "in-process".to_owned(),
            path: self.path.display().to_string(),
            messages: self.declared().iter().map(|message| message.name.to_owned()).collect(),
            calls: self.account.calls(),
            errors: self.account.errors(),
            p50_microseconds: p50,
            p99_microseconds: p99,
            reason,
        }
    }

    /// Stops the provider: it answers what is open. Blocks for as long as that takes. Its instance is freed if no call is
    /// inside it any more; its library stays mapped.
    pub fn stop(&self) {
        let Some(table) = self.table else { return };
        let instance = self.instance.load(Ordering::Acquire);
        if instance.is_null() {
            return;
        }
        // SAFETY: the instance is alive: only this function, called once, takes it away.
        unsafe { (table.stop)(instance) };
        self.instance.store(std::ptr::null_mut(), Ordering::SeqCst);
        *self.life.lock() = (PluginState::Stopped, None);
        if self.account.inside() == 0 {
            // SAFETY: `enter` counts itself in before it looks at the instance, so nobody has it any more.
            unsafe { (table.destroy)(instance) };
        }
    }

    fn enter(&self) -> Option<(&'static PluginTable, Inside<'_>)> {
        let table = self.table?;
        let inside = self.account.enter();
        let guard = Inside { inside, instance: self.instance.load(Ordering::SeqCst) };
        (!guard.instance.is_null()).then_some((table, guard))
    }
}

/// A call inside the library, which is not destroyed under it.
struct Inside<'a> {
    inside: &'a AtomicUsize,
    instance: *mut c_void,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A call as the provider sees it, and what the host needs when it defers.
#[repr(C)]
struct Frame<'a> {
    call: Call,
    account: &'a Arc<Account>,
    defer: &'a mut dyn FnMut(Arc<Account>, Instant) -> Arc<PendingCall>,
    pending: Option<Arc<PendingCall>>,
}

unsafe extern "C" fn defer_call(call: *mut Call) -> Completion {
    // SAFETY: the call is the first field of a `Frame` that lives until `handle` returns.
    let frame = unsafe { &mut *call.cast::<Frame<'_>>() };
    let pending = (frame.defer)(Arc::clone(frame.account), Instant::now());
    frame.pending = Some(Arc::clone(&pending));
    pending.into_completion()
}
