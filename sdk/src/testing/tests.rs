//! What the harness promises, and what the export code promises behind it.

use super::Harness;
use crate::abi::{
    ABI_VERSION, ANSWERED, Buffer, CREATE_FAILED, CREATED, Call, CallReply, HEALTH_DEGRADED, MAGIC, PluginTable,
    REPLY_OK, Slice,
};
use crate::{
    Caller, Config, Health, Host, LeastCaller, Level, MessageInfo, PendingReply, Provider, ProviderError, ProviderInfo,
    Reply, Request, Status,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Does whatever its messages ask for.
struct Probe {
    host: Host,
    kept: Mutex<Vec<PendingReply>>,
    cancelled: Arc<AtomicUsize>,
    events: Mutex<Vec<Value>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ProbeConfig {
    #[serde(default)]
    publish_at_start: bool,
}

impl Probe {
    fn new(host: Host, config: Config<'_>) -> Result<Probe, ProviderError> {
        let config: ProbeConfig = config.parse()?;
        host.subscribe("probe.*");
        if config.publish_at_start {
            host.publish("probe.started", &json!({}));
        }
        Ok(Probe { host, kept: Mutex::default(), cancelled: Arc::default(), events: Mutex::default() })
    }
}

impl Provider for Probe {
    const INFO: ProviderInfo = ProviderInfo {
        id: "probe",
        version: "0",
        messages: &[
            MessageInfo::new("ECHO", LeastCaller::Task),
            MessageInfo::new("PANIC", LeastCaller::Member),
            MessageInfo::new("DEFER_AND_PANIC", LeastCaller::Member),
            MessageInfo::new("DROP", LeastCaller::Member),
            MessageInfo::new("DEFER_AND_DROP", LeastCaller::Member),
            MessageInfo::new("KEEP", LeastCaller::Member),
            MessageInfo::new("HOOK_KEPT", LeastCaller::Member),
            MessageInfo::new("ANSWER_KEPT", LeastCaller::Member),
            MessageInfo::new("THREAD", LeastCaller::Member),
            MessageInfo::new("ASK", LeastCaller::Member),
            MessageInfo::new("TIMER", LeastCaller::Member),
            MessageInfo::new("PUBLISH", LeastCaller::Member),
            MessageInfo::new("NO_TYPE", LeastCaller::Member),
        ],
    };

    fn start(host: Host, config: Config<'_>) -> Result<Probe, ProviderError> {
        Probe::new(host, config)
    }

    fn handle(&self, request: Request<'_>, reply: Reply<'_>) {
        let ok = json!({"type": "OK"});
        match request.message_type {
            "ECHO" => {
                let json = json!({"type": "ECHO", "caller": request.caller.word(), "id": request.caller.id()});
                reply.send_with_attachment(json.to_string().into_bytes(), request.attachment.to_vec());
            }
            "PANIC" => panic!("as asked"),
            "DEFER_AND_PANIC" => {
                self.kept.lock().push(reply.later());
                panic!("after deferring");
            }
            "DROP" => drop(reply),
            "DEFER_AND_DROP" => drop(reply.later()),
            "KEEP" => self.kept.lock().push(reply.later()),
            "HOOK_KEPT" => {
                let kept = self.kept.lock();
                for _ in 0..2 {
                    let cancelled = Arc::clone(&self.cancelled);
                    kept[0].on_cancel(move || {
                        cancelled.fetch_add(1, Ordering::SeqCst);
                    });
                }
                reply.send(&json!({"type": "OK", "is_cancelled": kept[0].is_cancelled()}));
            }
            "ANSWER_KEPT" => {
                let kept = self.kept.lock().pop().unwrap();
                kept.send(&ok);
                reply.send(&ok);
            }
            "THREAD" => {
                let later = reply.later();
                self.host.spawn_blocking(move || later.send(&ok));
            }
            "ASK" => {
                let later = reply.later();
                self.host.call_with(r#"{"type":"QUESTION","n":1}"#, b"raw", move |result| match result {
                    Ok(response) if response.attachment.is_empty() => later.send_json(response.json.into_bytes()),
                    Ok(response) => later.send_with_attachment(response.json.into_bytes(), response.attachment),
                    Err(error) => later.error(&error),
                });
            }
            "TIMER" => {
                let later = reply.later();
                let host = self.host;
                host.run_after(Duration::from_secs(2), move || {
                    host.run_after(Duration::from_secs(3), move || later.send(&json!({"type": "OK"})));
                });
            }
            "PUBLISH" => {
                self.host.publish("probe.own", &json!({"n": 1}));
                reply.send(&ok);
            }
            _ => reply.send(&json!({"no": "type"})),
        }
    }

    fn status(&self) -> Status {
        Status::default().with("events", &*self.events.lock()).with("cancelled", self.cancelled.load(Ordering::SeqCst))
    }

    fn event(&self, topic: &str, json: &str) {
        self.events.lock().push(json!([topic, serde_json::from_str::<Value>(json).unwrap()]));
    }

    fn health(&self) -> Health {
        Health::Degraded("probes are never well".to_owned())
    }

    fn stop(&self) {
        self.host.log(Level::Info, "stopped");
    }
}

fn probe() -> Harness {
    Harness::start::<Probe>(json!({})).unwrap()
}

fn code(result: Result<Value, ProviderError>) -> String {
    result.unwrap_err().code.into_owned()
}

#[test]
fn a_misspelt_key_refuses_the_start() {
    let error = Harness::start::<Probe>(json!({"publish_at_strat": true})).err().unwrap();
    assert_eq!(error.code, ProviderError::INVALID_CONFIG);
    assert!(error.message.contains("publish_at_strat"), "{error}");
}

#[test]
fn caller_and_attachment_pass_through() {
    let node = probe();
    let pending = node.message(r#"{"type":"ECHO"}"#).caller(Caller::Task("t1")).attachment(b"bytes").begin();
    let response = pending.wait_response().unwrap();
    assert_eq!(response.json, r#"{"caller":"task","id":"t1","type":"ECHO"}"#);
    assert_eq!(response.attachment, b"bytes");
}

#[test]
fn what_a_router_refuses_is_refused() {
    let node = probe();
    assert_eq!(code(node.call(json!({"type": "UNKNOWN"}))), ProviderError::NO_PROVIDER);
    assert_eq!(code(node.call("[1]")), ProviderError::INVALID_MESSAGE);
    let as_task = node.message(json!({"type": "KEEP"})).caller(Caller::Task("t1"));
    assert_eq!(code(as_task.call()), ProviderError::FORBIDDEN);
}

#[test]
fn a_panic_in_handle_becomes_an_error() {
    let node = probe();
    for (message, text) in [("PANIC", "as asked"), ("DEFER_AND_PANIC", "after deferring")] {
        let error = node.call(json!({"type": message})).unwrap_err();
        assert_eq!(error.code, ProviderError::PROVIDER_PANICKED);
        assert!(error.message.contains(text), "{error}");
    }
    assert!(node.call(json!({"type": "ECHO"})).is_ok(), "the provider goes on");
}

#[test]
fn a_dropped_reply_becomes_an_error() {
    let node = probe();
    assert_eq!(code(node.call(json!({"type": "DROP"}))), ProviderError::PROVIDER_DROPPED);
    assert_eq!(code(node.call(json!({"type": "DEFER_AND_DROP"}))), ProviderError::PROVIDER_DROPPED);
    let kept = node.begin(json!({"type": "KEEP"}));
    assert!(kept.try_answer().is_none());
    drop(node);
    assert_eq!(code(kept.wait()), ProviderError::PROVIDER_DROPPED, "destroying the provider drops what it holds");
}

#[test]
fn the_cancel_hook_fires_once() {
    let node = probe();
    let kept = node.begin(json!({"type": "KEEP"}));
    assert_eq!(node.call(json!({"type": "HOOK_KEPT"})).unwrap()["is_cancelled"], false);
    kept.cancel();
    kept.cancel();
    assert_eq!(node.status()["cancelled"], 1);
    node.call(json!({"type": "ANSWER_KEPT"})).unwrap();
    drop(kept);
    assert_eq!(node.status()["cancelled"], 1);
}

#[test]
fn a_hook_that_comes_after_the_cancel_fires_at_once() {
    let node = probe();
    node.begin(json!({"type": "KEEP"})).cancel();
    assert_eq!(node.call(json!({"type": "HOOK_KEPT"})).unwrap()["is_cancelled"], true);
    assert_eq!(node.status()["cancelled"], 1);
}

#[test]
fn a_hook_does_not_fire_after_the_answer() {
    let node = probe();
    let kept = node.begin(json!({"type": "KEEP"}));
    node.call(json!({"type": "HOOK_KEPT"})).unwrap();
    node.call(json!({"type": "ANSWER_KEPT"})).unwrap();
    kept.wait().unwrap();
    kept.cancel();
    assert_eq!(node.status()["cancelled"], 0);
}

#[test]
fn an_answer_may_come_from_another_thread() {
    let node = probe();
    assert_eq!(node.call(json!({"type": "THREAD"})).unwrap()["type"], "OK");
}

#[test]
fn messages_of_the_provider_meet_the_script() {
    let node = probe();
    assert_eq!(code(node.call(json!({"type": "ASK"}))), ProviderError::NO_PROVIDER);
    node.answer("QUESTION", |message| json!({"type": "ANSWER", "n": message["n"]}));
    assert_eq!(node.call_raw(json!({"type": "ASK"})), r#"{"n":1,"type":"ANSWER"}"#);
    node.answer("QUESTION", |_| json!({"type": "ERROR", "code": "busy", "error": "try later"}));
    assert_eq!(code(node.call(json!({"type": "ASK"}))), "busy");
    assert_eq!(node.sent().len(), 3);
    assert_eq!(node.sent()[0].attachment, b"raw");
    node.answer_with_attachment("QUESTION", |_| (json!({"type": "ANSWER"}), b"bytes".to_vec()));
    assert_eq!(node.begin(json!({"type": "ASK"})).wait_response().unwrap().attachment, b"bytes");
}

#[test]
fn timers_run_when_the_clock_is_moved_and_each_at_its_time() {
    let node = probe();
    let pending = node.begin(json!({"type": "TIMER"}));
    node.advance(Duration::from_millis(4999));
    assert_eq!(node.timers(), 1);
    assert!(pending.try_answer().is_none());
    node.advance(Duration::from_millis(1));
    pending.wait().unwrap();
    assert_eq!(node.timers(), 0);
}

#[test]
fn a_stopped_provider_is_asked_no_more_and_its_timers_are_released() {
    let node = probe();
    let timer = node.begin(json!({"type": "TIMER"}));
    node.stop();
    node.stop();
    assert_eq!(node.logs(), [(Level::Info, "stopped".to_owned())]);
    assert_eq!(code(timer.wait()), ProviderError::PROVIDER_DROPPED);
    assert_eq!(code(node.call(json!({"type": "ECHO"}))), ProviderError::NODE_STOPPING);
}

#[test]
fn events_reach_those_who_subscribed() {
    let node = Harness::start::<Probe>(json!({"publish_at_start": true})).unwrap();
    assert!(node.emit("probe.test", r#"{"n":0}"#));
    assert!(!node.emit("other.test", "{}"));
    node.call(json!({"type": "PUBLISH"})).unwrap();
    let seen = json!([["probe.started", {}], ["probe.test", {"n": 0}], ["probe.own", {"n": 1}]]);
    assert_eq!(node.status()["events"], seen);
    let topics: Vec<String> = node.events().into_iter().map(|event| event.topic).collect();
    assert_eq!(topics, ["probe.started", "probe.own"]);
}

#[test]
fn health_and_the_data_folder() {
    let node = probe();
    assert_eq!(node.health(), Health::Degraded("probes are never well".to_owned()));
    let folder = node.data_dir().to_owned();
    std::fs::write(folder.join("file"), "x").unwrap();
    drop(node);
    assert!(!folder.exists());
}

#[test]
fn a_provider_can_be_made_with_the_clock_of_the_test() {
    let seen = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&seen);
    let node = Harness::start_with_clock(json!({}), move |host, config, clock| {
        *keep.lock() = Some(clock);
        Probe::new(host, config)
    })
    .unwrap();
    let clock = seen.lock().take().unwrap();
    let before = clock.now();
    node.advance(Duration::from_secs(7));
    assert_eq!(clock.now() - before, Duration::from_secs(7));
}

#[test]
#[should_panic(expected = "has no type")]
fn an_answer_without_a_type_fails_the_test() {
    let _ = probe().call(json!({"type": "NO_TYPE"}));
}

/// A plugin as C would write it: every buffer is counted when it is made and when it is freed.
mod by_hand {
    use super::*;

    static MADE: AtomicUsize = AtomicUsize::new(0);
    static FREED: AtomicUsize = AtomicUsize::new(0);
    static DESTROYED: AtomicBool = AtomicBool::new(false);

    unsafe extern "C" fn free(data: *mut u8, length: usize, capacity: usize) {
        assert_eq!(capacity, length + 1, "the parts come back as they were made");
        FREED.fetch_add(1, Ordering::SeqCst);
        // SAFETY: `buffer` below gave exactly this away.
        drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(data, capacity)) });
    }

    fn buffer(text: &str) -> Buffer {
        MADE.fetch_add(1, Ordering::SeqCst);
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        let capacity = bytes.len();
        let data = Box::into_raw(bytes.into_boxed_slice()).cast::<u8>();
        Buffer { data, length: text.len(), capacity, free: Some(free) }
    }

    unsafe extern "C" fn create(
        _host: *const crate::abi::HostTable,
        config: Slice,
        instance: *mut *mut c_void,
        error: *mut Buffer,
    ) -> u32 {
        // SAFETY: the host passes its configuration and two places.
        unsafe {
            if config.text() != "{}" {
                *error = buffer("no");
                return CREATE_FAILED;
            }
            *instance = std::ptr::null_mut();
        }
        CREATED
    }

    unsafe extern "C" fn handle(_instance: *mut c_void, _call: *mut Call, reply: *mut CallReply) -> u32 {
        let answer = CallReply {
            reply: REPLY_OK,
            json: buffer(r#"{"type":"OK"}"#),
            attachment: buffer("attached"),
            ..CallReply::EMPTY
        };
        // SAFETY: the host passes a place for the reply.
        unsafe { *reply = answer };
        ANSWERED
    }

    unsafe extern "C" fn status(_instance: *mut c_void, json: *mut Buffer) {
        // SAFETY: the host passes a place.
        unsafe { *json = buffer("{}") }
    }

    unsafe extern "C" fn event(_instance: *mut c_void, _topic: Slice, _json: Slice) {}

    unsafe extern "C" fn health(_instance: *mut c_void, reason: *mut Buffer) -> u32 {
        // SAFETY: the host passes a place.
        unsafe { *reason = buffer("tired") };
        HEALTH_DEGRADED
    }

    unsafe extern "C" fn stop(_instance: *mut c_void) {}

    unsafe extern "C" fn destroy(_instance: *mut c_void) {
        assert!(!DESTROYED.swap(true, Ordering::SeqCst));
    }

    const MESSAGES: &[MessageInfo] = &[MessageInfo::new("DO", LeastCaller::Member)];

    static TABLE: PluginTable = PluginTable {
        magic: MAGIC,
        abi_version: ABI_VERSION,
        struct_size: size_of::<PluginTable>() as u32,
        id: Slice::new(b"by-hand"),
        version: Slice::new(b"0"),
        messages: MESSAGES.as_ptr().cast(),
        message_count: MESSAGES.len(),
        create,
        handle,
        status,
        event,
        health,
        stop,
        destroy,
        schema_json: Slice::EMPTY,
        reserved: [std::ptr::null(); 8],
    };

    #[test]
    fn buffers_are_freed_by_their_maker() {
        // SAFETY: the table is static and its functions keep the rules of the ABI.
        let start = |config| unsafe { Harness::from_table(&raw const TABLE, config) };
        assert_eq!(start(json!({"a": 1})).err().unwrap(), ProviderError::new(ProviderError::INTERNAL, "no"));
        let node = start(json!({})).unwrap();
        let response = node.begin(json!({"type": "DO"})).wait_response().unwrap();
        assert_eq!(response.attachment, b"attached");
        assert_eq!(node.status(), json!({}));
        assert_eq!(node.health(), Health::Degraded("tired".to_owned()));
        drop(node);
        assert!(DESTROYED.load(Ordering::SeqCst));
        assert_eq!((MADE.load(Ordering::SeqCst), FREED.load(Ordering::SeqCst)), (5, 5));
    }

    #[test]
    fn a_table_of_another_version_is_not_read() {
        let head: &'static [u64; 2] = &[MAGIC, 99];
        // SAFETY: the first three fields are there, and the harness reads no more of another version.
        let result = unsafe { Harness::from_table(head.as_ptr().cast(), json!({})) };
        assert!(result.err().unwrap().message.contains("version 99"));
    }
}
