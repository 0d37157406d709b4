//! Builds the C table of a Rust provider. Panics stop here.

use super::*;
use crate::provider::{Config, Provider};
use crate::reply::Slot;
use crate::{Caller, Health, Host, ProviderError, Reply, Request};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Exports a [`Provider`] as the plugin of this library.
///
/// ```ignore
/// potluck_sdk::export_plugin!(Echo);
/// ```
#[macro_export]
macro_rules! export_plugin {
    ($provider:ty) => {
        /// The one symbol that the host looks for; see `potluck_sdk::abi`.
        #[unsafe(no_mangle)]
        pub extern "C" fn potluck_plugin() -> *const $crate::abi::PluginTable {
            static TABLE: $crate::abi::PluginTable = $crate::plugin_table::<$provider>();
            &TABLE
        }
    };
}

/// The table of `P`. [`crate::export_plugin`] exports it; the test harness calls through it.
pub const fn plugin_table<P: Provider>() -> PluginTable {
    PluginTable {
        magic: MAGIC,
        abi_version: ABI_VERSION,
        struct_size: size_of::<PluginTable>() as u32,
        id: Slice::new(P::INFO.id.as_bytes()),
        version: Slice::new(P::INFO.version.as_bytes()),
        messages: P::INFO.messages.as_ptr().cast(),
        message_count: P::INFO.messages.len(),
        create: create::<P>,
        handle: handle::<P>,
        status: status::<P>,
        event: event::<P>,
        health: health::<P>,
        stop: stop::<P>,
        destroy: destroy::<P>,
        schema_json: Slice::EMPTY,
        reserved: [std::ptr::null(); 8],
    }
}

fn panic_text(panic: Box<dyn std::any::Any + Send>) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic without a text".to_owned())
}

unsafe extern "C" fn create<P: Provider>(
    host: *const HostTable,
    config_json: Slice,
    instance: *mut *mut c_void,
    error: *mut Buffer,
) -> u32 {
    let started = catch_unwind(|| {
        // SAFETY: the host's table lives until the process ends, and the slice until this function returns.
        let (host, config) = unsafe { (Host::from_table(&*host), Config::new(config_json.bytes())) };
        P::start(host, config)
    });
    let (status, text) = match started {
        Ok(Ok(provider)) => {
            // SAFETY: the host passes a place for the pointer.
            unsafe { *instance = Box::into_raw(Box::new(provider)).cast() };
            return CREATED;
        }
        Ok(Err(failure)) if failure.code == ProviderError::INVALID_CONFIG => (CREATE_REFUSED_CONFIG, failure.message),
        Ok(Err(failure)) => (CREATE_FAILED, failure.message),
        Err(panic) => (CREATE_FAILED, format!("it panicked while starting: {}", panic_text(panic))),
    };
    // SAFETY: the host passes a place for the text.
    unsafe { *error = text.into_bytes().into() };
    status
}

unsafe extern "C" fn handle<P: Provider>(instance: *mut c_void, call: *mut Call, out: *mut CallReply) -> u32 {
    // SAFETY: `instance` came from `create::<P>` and is not destroyed while a call runs; call and reply are the host's,
    // valid until this function returns.
    let (provider, out) = unsafe { (&*instance.cast::<P>(), &mut *out) };
    let mut slot = Slot::new(call);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: as above; the host promises UTF-8 for type and JSON.
        let request = unsafe {
            Request {
                message_type: (*call).message_type.text(),
                json: std::str::from_utf8_unchecked((*call).json.bytes()),
                attachment: (*call).attachment.bytes(),
                caller: Caller::from_abi((*call).caller, (*call).caller_id.text()),
                source_ip: source_ip(call),
                spooled: spooled(call),
                process: process(call),
            }
        };
        provider.handle(request, Reply::new(&mut slot));
    }));
    match (outcome, slot.into_answer()) {
        (Err(panic), _) => {
            out.json = panic_text(panic).into_bytes().into();
            PANICKED
        }
        (Ok(()), None) => DEFERRED,
        (Ok(()), Some(answer)) => {
            *out = answer;
            ANSWERED
        }
    }
}

/// # Safety
/// `call` is the host's, valid until `handle` returns, with at least `struct_size` bytes.
unsafe fn source_ip<'a>(call: *const Call) -> &'a str {
    // SAFETY: the field is read only when the host's struct has it.
    unsafe {
        if (*call).struct_size as usize >= std::mem::offset_of!(Call, spooled) { (*call).source_ip.text() } else { "" }
    }
}

/// # Safety
/// As for [`source_ip`].
unsafe fn spooled<'a>(call: *const Call) -> Option<&'a Path> {
    // SAFETY: as above.
    let path = unsafe {
        ((*call).struct_size as usize >= std::mem::offset_of!(Call, process)).then(|| (*call).spooled.bytes())
    }?;
    (!path.is_empty()).then(|| Path::new(OsStr::from_bytes(path)))
}

/// # Safety
/// As for [`source_ip`].
unsafe fn process<'a>(call: *const Call) -> &'a str {
    // SAFETY: as above.
    unsafe { if (*call).struct_size as usize >= size_of::<Call>() { (*call).process.text() } else { "" } }
}

/// Runs `body` on the provider and swallows a panic: the host cannot do more about it than the log line that the panic
/// hook has written.
unsafe fn guarded<P: Provider, T>(instance: *mut c_void, otherwise: T, body: impl FnOnce(&P) -> T) -> T {
    // SAFETY: `instance` came from `create::<P>` and is not destroyed while a call runs.
    let provider = unsafe { &*instance.cast::<P>() };
    catch_unwind(AssertUnwindSafe(|| body(provider))).unwrap_or(otherwise)
}

unsafe extern "C" fn status<P: Provider>(instance: *mut c_void, json: *mut Buffer) {
    // SAFETY: the host passes its instance and a place for the bytes.
    unsafe { *json = guarded::<P, _>(instance, Vec::new(), |provider| provider.status().into_json()).into() }
}

unsafe extern "C" fn event<P: Provider>(instance: *mut c_void, topic: Slice, json: Slice) {
    // SAFETY: the host passes its instance; the slices live until this function returns.
    unsafe { guarded::<P, _>(instance, (), |provider| provider.event(topic.text(), json.text())) }
}

unsafe extern "C" fn health<P: Provider>(instance: *mut c_void, reason: *mut Buffer) -> u32 {
    let panicked = Health::Degraded("its health check panicked".to_owned());
    // SAFETY: the host passes its instance.
    match unsafe { guarded::<P, _>(instance, panicked, Provider::health) } {
        Health::Ok => HEALTH_OK,
        Health::Degraded(text) => {
            // SAFETY: the host passes a place for the text.
            unsafe { *reason = text.into_bytes().into() };
            HEALTH_DEGRADED
        }
    }
}

unsafe extern "C" fn stop<P: Provider>(instance: *mut c_void) {
    // SAFETY: the host passes its instance.
    unsafe { guarded::<P, _>(instance, (), Provider::stop) }
}

unsafe extern "C" fn destroy<P: Provider>(instance: *mut c_void) {
    // SAFETY: `instance` came from `create::<P>`; the host calls this once, when no other call is running.
    let provider = unsafe { Box::from_raw(instance.cast::<P>()) };
    let _ = catch_unwind(AssertUnwindSafe(|| drop(provider)));
}
