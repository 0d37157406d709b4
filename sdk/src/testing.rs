//! A harness that drives any provider through its real ABI table, with a fake host.
//!
//! A test passes through the same C boundary as a node: the table of [`crate::plugin_table`] (or that of a loaded
//! library), buffers with an owner, replies that come later from other threads. Only the host behind it is made up:
//! messages that the provider sends are answered by the test, events are collected, and time stands still until the
//! test moves it.
//!
//! ```
//! use potluck_sdk::testing::Harness;
//! use potluck_sdk::{Config, Host, LeastCaller, MessageInfo, Provider, ProviderError, ProviderInfo, Reply, Request};
//! use serde_json::json;
//!
//! struct Greeter;
//!
//! impl Provider for Greeter {
//!     const INFO: ProviderInfo = ProviderInfo {
//!         id: "greeter",
//!         version: "1.0.0",
//!         messages: &[MessageInfo::new("GREET", LeastCaller::Task)],
//!     };
//!     fn start(_host: Host, _config: Config<'_>) -> Result<Greeter, ProviderError> {
//!         Ok(Greeter)
//!     }
//!     fn handle(&self, _request: Request<'_>, reply: Reply<'_>) {
//!         reply.send(&json!({"type": "GREETING", "text": "hello"}));
//!     }
//! }
//!
//! let node = Harness::start::<Greeter>(json!({})).unwrap();
//! assert_eq!(node.call(json!({"type": "GREET"})).unwrap()["text"], "hello");
//! ```

mod call;
mod clock;
mod folder;
mod host;
mod job;
#[cfg(test)]
mod tests;

pub use call::PendingCall;
pub use clock::ManualClock;
pub use host::{Published, SentMessage};

use crate::abi::{ABI_VERSION, Buffer, CREATE_REFUSED_CONFIG, CREATED, HEALTH_OK, MAGIC, PluginTable, Slice};
use crate::envelope::Envelope;
use crate::{
    Caller, Config, Health, Host, LeastCaller, Level, Provider, ProviderError, ProviderInfo, Reply, Request, Status,
};
use folder::DataFolder;
use host::{FakeHost, Live};
use serde_json::Value;
use std::cell::RefCell;
use std::fmt::Display;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the harness waits before it calls a test failed: long enough for a machine that is busy with other tests.
const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// One running provider, and the fake host that it talks to.
///
/// Dropping it stops and destroys the provider and removes its data folder.
pub struct Harness {
    /// Leaked: a provider may call its host until the process ends.
    host: &'static FakeHost,
    folder: DataFolder,
}

impl Harness {
    /// Starts a provider with its table of `plugins.toml`, given as JSON.
    ///
    /// # Errors
    /// What `start` of the provider returned: [`ProviderError::INVALID_CONFIG`] when it refused its configuration, else
    /// [`ProviderError::INTERNAL`].
    pub fn start<P: Provider>(config: Value) -> Result<Harness, ProviderError> {
        Harness::create(const { &crate::plugin_table::<P>() }, config, ManualClock::new())
    }

    /// Starts a provider that reads the time from a clock of its maker's choice. `make` stands for
    /// [`Provider::start`] and gets the clock that [`Harness::advance`] moves.
    ///
    /// # Errors
    /// As for [`Harness::start`].
    pub fn start_with_clock<P: Provider>(
        config: Value,
        make: impl FnOnce(Host, Config<'_>, ManualClock) -> Result<P, ProviderError> + 'static,
    ) -> Result<Harness, ProviderError> {
        let clock = ManualClock::new();
        let given = clock.clone();
        let make: Make<P> = Box::new(move |host, config| make(host, config, given));
        MAKE.set(Some(Box::new(make)));
        Harness::create(const { &crate::plugin_table::<Made<P>>() }, config, clock)
    }

    /// Starts the provider of a table that came from elsewhere, such as a loaded library.
    ///
    /// # Errors
    /// When the table is of another ABI version, and as for [`Harness::start`].
    ///
    /// # Safety
    /// `table` points to a [`PluginTable`] that stays valid until the process ends and whose functions keep what
    /// [`crate::abi`] asks of them. Of a table with another magic number, version or size nothing else is read.
    pub unsafe fn from_table(table: *const PluginTable, config: Value) -> Result<Harness, ProviderError> {
        // SAFETY: promised by the caller; the first three fields have the same place in every version.
        let (magic, version, size) = unsafe { ((*table).magic, (*table).abi_version, (*table).struct_size) };
        if magic != MAGIC || version != ABI_VERSION || (size as usize) < size_of::<PluginTable>() {
            return Err(ProviderError::new(
                ProviderError::INTERNAL,
                format!("the table has ABI version {version} and {size} bytes; rebuild the plugin with this SDK"),
            ));
        }
        // SAFETY: promised by the caller.
        Harness::create(unsafe { &*table }, config, ManualClock::new())
    }

    fn create(table: &'static PluginTable, config: Value, clock: ManualClock) -> Result<Harness, ProviderError> {
        let folder = DataFolder::create();
        let host = FakeHost::leak(clock, folder.path());
        let config = config.to_string();
        let mut instance = std::ptr::null_mut();
        let mut error = Buffer::EMPTY;
        // SAFETY: the host's table is leaked; the two places are written by the plugin before the function returns.
        let status = unsafe { (table.create)(host.table(), Slice::new(config.as_bytes()), &mut instance, &mut error) };
        match status {
            CREATED => {
                host.attach(Live { table, instance });
                Ok(Harness { host, folder })
            }
            refused => {
                host.destroy();
                let code = match refused {
                    CREATE_REFUSED_CONFIG => ProviderError::INVALID_CONFIG,
                    _ => ProviderError::INTERNAL,
                };
                Err(ProviderError::new(code, error.to_text()))
            }
        }
    }

    /// Sends a message (JSON text, or a [`Value`]) as the local user and waits for the answer.
    ///
    /// # Errors
    /// The provider's error, and what the host adds to it: `no_provider` for a type that the provider does not
    /// declare, `provider_dropped`, `provider_panicked`.
    ///
    /// # Panics
    /// When there is no answer within 30 seconds, or the answer is no JSON object with a `type`.
    pub fn call(&self, json: impl Display) -> Result<Value, ProviderError> {
        self.begin(json).wait()
    }

    /// As [`Harness::call`], with the text of the answer or of the `ERROR` object, digit for digit.
    ///
    /// # Panics
    /// As [`Harness::call`].
    pub fn call_raw(&self, json: impl Display) -> String {
        self.begin(json).wait_raw()
    }

    /// Sends a message as the local user; the answer may come later.
    pub fn begin(&self, json: impl Display) -> PendingCall {
        self.message(json).begin()
    }

    /// A message to be sent as somebody else, or with raw bytes behind it.
    pub fn message<'a>(&'a self, json: impl Display) -> Message<'a> {
        Message { host: self.host, json: json.to_string(), attachment: &[], spooled: None, caller: Caller::Local }
    }

    /// Scripts the answer to messages of one type that the provider sends through [`Host::call`]. An object of type
    /// `ERROR` arrives as an error; without a script the answer is `no_provider`. The function runs inside the
    /// provider's call, so that a provider which holds a lock meanwhile is found out.
    pub fn answer(&self, message_type: &str, script: impl Fn(&Value) -> Value + Send + Sync + 'static) {
        self.host.set_script(message_type, move |message| (script(message), Vec::new()));
    }

    /// As [`Harness::answer`], for answers with raw bytes behind them.
    pub fn answer_with_attachment(
        &self,
        message_type: &str,
        script: impl Fn(&Value) -> (Value, Vec<u8>) + Send + Sync + 'static,
    ) {
        self.host.set_script(message_type, script);
    }

    /// The messages that the provider has sent through [`Host::call`], oldest first.
    pub fn sent(&self) -> Vec<SentMessage> {
        self.host.sent()
    }

    /// The events that the provider has published, oldest first.
    pub fn events(&self) -> Vec<Published> {
        self.host.events()
    }

    /// Delivers an event to the provider; returns whether it had subscribed to the topic.
    pub fn emit(&self, topic: &str, json: impl Display) -> bool {
        self.host.deliver(topic, &json.to_string())
    }

    /// What the provider has logged, oldest first.
    pub fn logs(&self) -> Vec<(Level, String)> {
        self.host.logs()
    }

    /// The provider's members of the node's STATUS reply; an empty object after [`Harness::stop`].
    ///
    /// # Panics
    /// When they are no JSON object.
    pub fn status(&self) -> Value {
        let text = self.host.with_provider(|live| {
            let mut json = Buffer::EMPTY;
            // SAFETY: the instance is live while `with_provider` runs this.
            unsafe { (live.table.status)(live.instance, &mut json) };
            json.to_text()
        });
        let text = text.unwrap_or_else(|| "{}".to_owned());
        match serde_json::from_str(&text) {
            Ok(value @ Value::Object(_)) => value,
            _ => panic!("the provider's status is no JSON object: {text}"),
        }
    }

    /// Whether the provider says that it can do its work.
    pub fn health(&self) -> Health {
        let health = self.host.with_provider(|live| {
            let mut reason = Buffer::EMPTY;
            // SAFETY: as in `status`.
            match unsafe { (live.table.health)(live.instance, &mut reason) } {
                HEALTH_OK => Health::Ok,
                _ => Health::Degraded(reason.to_text()),
            }
        });
        health.unwrap_or_else(|| Health::Degraded("it is stopped".to_owned()))
    }

    /// Moves the clock and runs, on this thread, the [`Host::run_after`] jobs that fall due, in order; each sees the
    /// clock at its own time.
    pub fn advance(&self, step: Duration) {
        self.host.advance(step);
    }

    /// Number of [`Host::run_after`] jobs that wait: 0 means that the provider causes no wake-ups.
    pub fn timers(&self) -> usize {
        self.host.timer_count()
    }

    /// The provider's data folder; it is removed with the harness.
    pub fn data_dir(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until `condition` holds, for work that the provider does on other threads.
    ///
    /// # Panics
    /// When it does not hold within 30 seconds; `what` says what was waited for.
    pub fn wait_until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + WAIT_LIMIT;
        while !condition() {
            assert!(Instant::now() < deadline, "waited {WAIT_LIMIT:?} in vain until {what}");
            self.host.wait_for_activity();
        }
    }

    /// Stops the provider, as the node does before it ends: jobs that wait are released, later messages are refused
    /// with `node_stopping`. A second call does nothing.
    pub fn stop(&self) {
        self.host.stop();
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.host.destroy();
    }
}

/// A message on its way to the provider, with the sender and the bytes behind it.
pub struct Message<'a> {
    host: &'static FakeHost,
    json: String,
    attachment: &'a [u8],
    spooled: Option<&'a Path>,
    caller: Caller<'a>,
}

impl<'a> Message<'a> {
    /// Sends it as `caller` instead of the local user.
    #[must_use]
    pub fn caller(self, caller: Caller<'a>) -> Message<'a> {
        Message { caller, ..self }
    }

    /// Sends raw bytes behind it.
    #[must_use]
    pub fn attachment(self, attachment: &'a [u8]) -> Message<'a> {
        Message { attachment, ..self }
    }

    /// Sends it with a file in place of its member `data`, as a node does with large messages. The file is not removed.
    #[must_use]
    pub fn spooled(self, path: &'a Path) -> Message<'a> {
        Message { spooled: Some(path), ..self }
    }

    /// Sends it. What the router of a node refuses is refused here too: text that is no message, types that the
    /// provider does not declare, callers with too few rights.
    pub fn begin(self) -> PendingCall {
        let envelope = match Envelope::scan(&self.json) {
            Ok(envelope) => envelope,
            Err(error) => return PendingCall::refused("", &ProviderError::invalid(error.to_string())),
        };
        let message_type = envelope.message_type;
        let sent = self.host.with_provider(|live| match live.least_caller(message_type) {
            None => PendingCall::refused(
                message_type,
                &ProviderError::new(ProviderError::NO_PROVIDER, format!("no provider answers {message_type}")),
            ),
            Some(least) if !least.admits(&self.caller) => PendingCall::refused(
                message_type,
                &ProviderError::new(
                    ProviderError::FORBIDDEN,
                    format!("{message_type} needs {}, not {}", least.word(), self.caller.word()),
                ),
            ),
            Some(_) => call::send(live, message_type, &self.json, self.attachment, self.spooled, self.caller),
        });
        sent.unwrap_or_else(|| {
            PendingCall::refused(
                message_type,
                &ProviderError::new(ProviderError::NODE_STOPPING, "the provider is stopped"),
            )
        })
    }

    /// Sends it and waits, as [`Harness::call`].
    ///
    /// # Errors
    /// As [`Harness::call`].
    ///
    /// # Panics
    /// As [`Harness::call`].
    pub fn call(self) -> Result<Value, ProviderError> {
        self.begin().wait()
    }
}

impl Live {
    /// Who may send a message, when the provider answers it at all.
    fn least_caller(&self, message_type: &str) -> Option<LeastCaller> {
        // SAFETY: the plugin's declarations are valid until the process ends.
        let declared = unsafe { std::slice::from_raw_parts(self.table.messages, self.table.message_count) };
        // SAFETY: as above.
        let found = declared.iter().find(|declared| unsafe { declared.message_type.text() } == message_type);
        found.map(|declared| LeastCaller::from_abi(declared.least_caller))
    }
}

type Make<P> = Box<dyn FnOnce(Host, Config<'_>) -> Result<P, ProviderError>>;

thread_local! {
    /// A C table has no room for a closure, so `start_with_clock` leaves its `Make<P>` here; `create` runs on the
    /// same thread before it returns.
    static MAKE: RefCell<Option<Box<dyn std::any::Any>>> = const { RefCell::new(None) };
}

/// A provider that was made by the function in [`MAKE`]; all else is the provider's own.
struct Made<P>(P);

impl<P: Provider> Provider for Made<P> {
    const INFO: ProviderInfo = P::INFO;

    fn start(host: Host, config: Config<'_>) -> Result<Made<P>, ProviderError> {
        let make = MAKE.take().and_then(|make| make.downcast::<Make<P>>().ok());
        make.expect("start_with_clock has put it there")(host, config).map(Made)
    }

    fn handle(&self, request: Request<'_>, reply: Reply<'_>) {
        self.0.handle(request, reply);
    }

    fn status(&self) -> Status {
        self.0.status()
    }

    fn event(&self, topic: &str, json: &str) {
        self.0.event(topic, json);
    }

    fn health(&self) -> Health {
        self.0.health()
    }

    fn stop(&self) {
        self.0.stop();
    }
}
