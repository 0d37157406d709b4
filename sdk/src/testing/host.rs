//! The fake host: the functions of [`HostTable`], and what they have collected.

use super::WAIT_LIMIT;
use super::clock::{ManualClock, Timers};
use super::job::Job;
use crate::abi::{ABI_VERSION, CallDone, Hook, HostTable, PluginTable, REPLY_ERROR, REPLY_OK, Slice};
use crate::envelope::Envelope;
use crate::{Level, NodeFacts, ProviderError, signature};
use parking_lot::{Condvar, Mutex, RwLock};
use ring::digest::{SHA256, digest};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::Value;
use std::collections::HashMap;
use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// An event that the provider published.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// What it is about, such as `task.finished`.
    pub topic: String,
    /// The details.
    pub body: Value,
}

/// A message that the provider sent through [`crate::Host::call`].
#[derive(Clone, Debug)]
pub struct SentMessage {
    /// The text, as it was sent.
    pub json: String,
    /// The raw bytes behind it.
    pub attachment: Vec<u8>,
}

/// The provider while it may be called.
pub(super) struct Live {
    pub(super) table: &'static PluginTable,
    pub(super) instance: *mut c_void,
}

// SAFETY: the ABI lets an instance be called from any thread, several at once.
unsafe impl Send for Live {}
// SAFETY: as above.
unsafe impl Sync for Live {}

/// The answer, and the raw bytes behind it.
type Script = Arc<dyn Fn(&Value) -> (Value, Vec<u8>) + Send + Sync>;

/// While code of the provider runs, no lock is held but `live` (for reading). `collected` may be held when `live` is
/// read, never when it is written.
pub(super) struct FakeHost {
    table: std::sync::OnceLock<HostTable>,
    node_json: Vec<u8>,
    clock: ManualClock,
    timers: Mutex<Timers>,
    /// Held for reading during every call into the provider, so that `destroy` finds none running. Readers are
    /// recursive: a provider that publishes an event may be its own subscriber.
    live: RwLock<Option<Live>>,
    stopped: AtomicBool,
    scripts: Mutex<HashMap<String, Script>>,
    subscriptions: Mutex<Vec<String>>,
    collected: Mutex<Collected>,
    /// Notified when something was collected or a blocking job has ended.
    activity: Condvar,
}

#[derive(Default)]
struct Collected {
    sent: Vec<SentMessage>,
    events: Vec<Published>,
    logs: Vec<(Level, String)>,
    /// Events that were published before `start` had returned.
    early: Vec<(String, String)>,
    blocking_jobs: usize,
}

impl FakeHost {
    /// Made for ever: the ABI lets a provider call its host until the process ends.
    pub(super) fn leak(clock: ManualClock, data_dir: &Path) -> &'static FakeHost {
        let public_key = public_key();
        let facts = NodeFacts {
            peer_id: signature::peer_id(&public_key),
            ip: "127.0.0.1".to_owned(),
            port: 9000,
            data_dir: data_dir.to_owned(),
            node_dir: data_dir.to_owned(),
            public_key,
            lib_dir: build_folder(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        };
        let host: &'static FakeHost = Box::leak(Box::new(FakeHost {
            table: std::sync::OnceLock::new(),
            node_json: crate::error::to_json(&facts),
            clock,
            timers: Mutex::default(),
            live: RwLock::new(None),
            stopped: AtomicBool::new(false),
            scripts: Mutex::default(),
            subscriptions: Mutex::default(),
            collected: Mutex::default(),
            activity: Condvar::new(),
        }));
        host.table.get_or_init(|| HostTable {
            struct_size: size_of::<HostTable>() as u32,
            abi_version: ABI_VERSION,
            context: std::ptr::from_ref(host).cast_mut().cast(),
            node_json: Slice::new(&host.node_json),
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
        });
        host
    }

    pub(super) fn table(&'static self) -> *const HostTable {
        self.table.get().map_or(std::ptr::null(), std::ptr::from_ref)
    }

    /// The provider has started: events that came too early are delivered now.
    pub(super) fn attach(&self, live: Live) {
        *self.live.write() = Some(live);
        let early = std::mem::take(&mut self.collected.lock().early);
        for (topic, json) in early {
            self.deliver(&topic, &json);
        }
    }

    /// Runs `body` with the provider; nothing when it is stopped.
    pub(super) fn with_provider<T>(&self, body: impl FnOnce(&Live) -> T) -> Option<T> {
        let live = self.live.read_recursive();
        live.as_ref().filter(|_| !self.stopped.load(Ordering::SeqCst)).map(body)
    }

    pub(super) fn stop(&self) {
        if !self.stopped.swap(true, Ordering::SeqCst) {
            if let Some(live) = self.live.read_recursive().as_ref() {
                // SAFETY: the instance is live, and `swap` makes this the only call.
                unsafe { (live.table.stop)(live.instance) }
            }
            let released = self.timers.lock().close();
            drop(released);
        }
    }

    /// Stops the provider and frees it, when its blocking jobs have ended.
    pub(super) fn destroy(&self) {
        self.stop();
        let deadline = Instant::now() + WAIT_LIMIT;
        let mut collected = self.collected.lock();
        while collected.blocking_jobs > 0 && !self.activity.wait_until(&mut collected, deadline).timed_out() {}
        drop(collected);
        if let Some(live) = self.live.write().take() {
            // SAFETY: the provider is stopped, and the write lock says that no call is running.
            unsafe { (live.table.destroy)(live.instance) }
        }
    }

    pub(super) fn advance(&self, step: Duration) {
        let target = self.clock.elapsed() + step;
        loop {
            let due = self.timers.lock().take_due(target);
            let Some((due, job)) = due else { break };
            self.clock.forward_to(due);
            job.run();
        }
        self.clock.forward_to(target);
    }

    pub(super) fn timer_count(&self) -> usize {
        self.timers.lock().count()
    }

    pub(super) fn set_script(
        &self,
        message_type: &str,
        script: impl Fn(&Value) -> (Value, Vec<u8>) + Send + Sync + 'static,
    ) {
        self.scripts.lock().insert(message_type.to_owned(), Arc::new(script));
    }

    pub(super) fn sent(&self) -> Vec<SentMessage> {
        self.collected.lock().sent.clone()
    }

    pub(super) fn events(&self) -> Vec<Published> {
        self.collected.lock().events.clone()
    }

    pub(super) fn logs(&self) -> Vec<(Level, String)> {
        self.collected.lock().logs.clone()
    }

    /// Calls `event` of the provider if it has subscribed to the topic.
    pub(super) fn deliver(&self, topic: &str, json: &str) -> bool {
        let subscribed = self.subscriptions.lock().iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(beginning) => topic.starts_with(beginning),
            None => topic == pattern,
        });
        subscribed
            && self
                .with_provider(|live| {
                    let (topic, json) = (Slice::new(topic.as_bytes()), Slice::new(json.as_bytes()));
                    // SAFETY: the instance is live while `with_provider` runs this.
                    unsafe { (live.table.event)(live.instance, topic, json) }
                })
                .is_some()
    }

    /// Waits until something was collected, or a moment: what the test waits for may be something else.
    pub(super) fn wait_for_activity(&self) {
        self.activity.wait_for(&mut self.collected.lock(), Duration::from_millis(5));
    }

    fn collect(&self, add: impl FnOnce(&mut Collected)) {
        add(&mut self.collected.lock());
        self.activity.notify_all();
    }

    /// The scripted answer to a message of the provider's.
    fn answer_to(&self, json: &str) -> Result<(Vec<u8>, Vec<u8>), ProviderError> {
        let envelope = Envelope::scan(json).map_err(|error| ProviderError::invalid(error.to_string()))?;
        let script = self.scripts.lock().get(envelope.message_type).cloned();
        let Some(script) = script else {
            let text = format!("no provider answers {} on this node", envelope.message_type);
            return Err(ProviderError::new(ProviderError::NO_PROVIDER, text));
        };
        let message = serde_json::from_str(json).map_err(|error| ProviderError::invalid(error.to_string()))?;
        let (answer, attachment) = script(&message);
        let text = answer.to_string();
        if answer["type"] == "ERROR" {
            return Err(ProviderError::from_json(&text));
        }
        Ok((text.into_bytes(), attachment))
    }
}

/// Where the build puts libraries and programs: test programs lie in its folder `deps`.
fn build_folder() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    program.parent().and_then(Path::parent).unwrap_or(Path::new(".")).to_owned()
}

/// # Safety
/// `context` is that of a table made by [`FakeHost::leak`].
unsafe fn fake_host(context: *mut c_void) -> &'static FakeHost {
    // SAFETY: promised by the caller; the host is leaked.
    unsafe { &*context.cast_const().cast() }
}

unsafe extern "C" fn call(context: *mut c_void, json: Slice, attachment: Slice, done: CallDone) {
    // SAFETY: the plugin passes the context of its table, and slices that live until this function returns.
    let (host, json, attachment) = unsafe { (fake_host(context), json.text(), attachment.bytes()) };
    host.collect(|all| all.sent.push(SentMessage { json: json.to_owned(), attachment: attachment.to_vec() }));
    let (reply, json, attachment) = match host.answer_to(json) {
        Ok((json, attachment)) => (REPLY_OK, json, attachment),
        Err(error) => (REPLY_ERROR, error.to_json(), Vec::new()),
    };
    // SAFETY: `done` is called once.
    unsafe { (done.done)(done.context, reply, json.into(), attachment.into()) }
}

unsafe extern "C" fn publish(context: *mut c_void, topic: Slice, json: Slice) {
    // SAFETY: as in `call`.
    let (host, topic, json) = unsafe { (fake_host(context), topic.text(), json.text()) };
    let body = serde_json::from_str(json).unwrap_or_else(|_| Value::String(json.to_owned()));
    let mut early = false;
    host.collect(|all| {
        all.events.push(Published { topic: topic.to_owned(), body });
        // Asked under the lock that `attach` takes to fetch the early ones, so that none is delivered twice or never.
        early = host.live.read_recursive().is_none();
        if early {
            all.early.push((topic.to_owned(), json.to_owned()));
        }
    });
    if !early {
        host.deliver(topic, json);
    }
}

unsafe extern "C" fn subscribe(context: *mut c_void, pattern: Slice) {
    // SAFETY: as in `call`.
    let (host, pattern) = unsafe { (fake_host(context), pattern.text()) };
    host.subscriptions.lock().push(pattern.to_owned());
}

unsafe extern "C" fn log(context: *mut c_void, level: u32, message: Slice) {
    // SAFETY: as in `call`.
    let (host, message) = unsafe { (fake_host(context), message.text()) };
    let level = match level {
        1 => Level::Error,
        2 => Level::Warn,
        3 => Level::Info,
        4 => Level::Debug,
        _ => Level::Trace,
    };
    host.collect(|all| all.logs.push((level, message.to_owned())));
}

unsafe extern "C" fn log_enabled(_context: *mut c_void, _level: u32) -> u32 {
    1
}

unsafe extern "C" fn spawn_blocking(context: *mut c_void, job: Hook) {
    // SAFETY: as in `call`.
    let host = unsafe { fake_host(context) };
    let job = Job::new(job);
    host.collect(|all| all.blocking_jobs += 1);
    std::thread::spawn(move || {
        job.run();
        host.collect(|all| all.blocking_jobs -= 1);
    });
}

unsafe extern "C" fn run_after(context: *mut c_void, delay_milliseconds: u64, job: Hook) {
    // SAFETY: as in `call`.
    let host = unsafe { fake_host(context) };
    let due = host.clock.elapsed().saturating_add(Duration::from_millis(delay_milliseconds));
    let refused = host.timers.lock().add(due, Job::new(job));
    drop(refused);
}

/// The key of the fake node: the same in every test, so that a provider which is started again finds what it has signed.
fn key_pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[0x11; 32]).expect("any 32 bytes are a private key")
}

pub(super) fn public_key() -> [u8; 32] {
    let mut key = [0; 32];
    key.copy_from_slice(key_pair().public_key().as_ref());
    key
}

unsafe extern "C" fn secret(_this: *mut c_void, label: Slice, secret: *mut u8) {
    // SAFETY: the slice lives until this returns.
    let label = unsafe { label.bytes() };
    let hash = digest(&SHA256, &[b"secret of the fake node\0", label].concat());
    // SAFETY: the plugin gives room for 32 bytes.
    unsafe { std::ptr::copy_nonoverlapping(hash.as_ref().as_ptr(), secret, 32) }
}

unsafe extern "C" fn sign(_this: *mut c_void, label: Slice, message: Slice, place: *mut u8) {
    // SAFETY: the slices live until this returns.
    let (label, message) = unsafe { (label.text(), message.bytes()) };
    let signed = key_pair().sign(&signature::signed_bytes(label, message));
    // SAFETY: the plugin gives room for 64 bytes, which is what a signature has.
    unsafe { std::ptr::copy_nonoverlapping(signed.as_ref().as_ptr(), place, 64) }
}
