//! The text of every message and reply, frozen: a change here is a change of the protocol.
//!
//! `golden` writes a filled example and reads it back. `minimal` reads what the original system's clients and peers
//! send, which is the least that must be understood for ever.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use potluck_sdk::message::cpu::{
    BatchResult, BatchTask, CachePolicy, CancelTask, CpuResult, CpuTask, ResultFile, SandboxImage, SandboxImageList,
    SandboxImages, SandboxInstall, SandboxInstallProgress, SandboxInstalled, SandboxRemove, SandboxRemoved,
    TaskCancelled,
};
use potluck_sdk::message::memory::{
    DeleteMem, GetMem, ListMem, MemDeleted, MemEntry, MemList, MemResponse, MemStored, SetMem,
};
use potluck_sdk::message::node::{
    Event, Events, ListPeers, ListPlugins, NodeStatus, PeerList, PluginList, PluginReport, PluginState, WatchEvents,
};
use potluck_sdk::message::scheduler::{SchedulerChoice, SchedulerSet, SetScheduler};
use potluck_sdk::message::tracker::{
    CpuResponse, Done, Load, LoadReport, PeerEntry, PeerStatus, PeerTable, Register, Registered, RequestCpu,
    Unregister, UpdateLoad, WatchPeers,
};
use potluck_sdk::message::{RawValue, to_json};
use potluck_sdk::{PeerId, ProviderError};
use serde::{Deserialize, Serialize};

/// The example is written as `text`, and `text` is read and written again unchanged.
#[track_caller]
fn golden<'a, T: Serialize + Deserialize<'a>>(example: T, text: &'a str) {
    assert_eq!(to_json(&example), text);
    assert_eq!(to_json(&minimal::<T>(text)), text, "after reading it back");
}

#[track_caller]
fn minimal<'a, T: Deserialize<'a>>(text: &'a str) -> T {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

/// The name of a guest.
const SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// More digits than any number type of Rust's holds.
const LONG: &str = "123456789012345678901234567890123456789012345678901234567890";

fn peer_id() -> PeerId {
    PeerId::from_hash([0xab; 16])
}

fn load() -> Load {
    Load { cpu_load: 1.5, workers: 2, running: 2, queued: 1, backlog_seconds: 0.25 }
}

fn peer() -> PeerEntry {
    PeerEntry { peer_id: Some(peer_id()), ip: "10.0.0.7".to_owned(), port: 9000, load: load() }
}

mod errors {
    use super::*;

    #[test]
    fn error() {
        let error = ProviderError::new(ProviderError::NO_PROVIDER, "no provider answers \"X\"");
        let text = r#"{"type":"ERROR","code":"no_provider","error":"no provider answers \"X\""}"#;
        assert_eq!(String::from_utf8(error.to_json()).unwrap(), text);
        assert_eq!(ProviderError::from_json(text), error);
    }

    #[test]
    fn error_is_never_empty() {
        let json = ProviderError::new(ProviderError::INTERNAL, "").to_json();
        assert_eq!(String::from_utf8(json).unwrap(), r#"{"type":"ERROR","code":"internal","error":"internal"}"#);
    }

    #[test]
    fn an_error_of_the_original_system_has_no_code() {
        let error = ProviderError::from_json(r#"{"type":"ERROR","error":"Peer not found"}"#);
        assert_eq!(error, ProviderError::new(ProviderError::INTERNAL, "Peer not found"));
    }
}

mod cpu {
    use super::*;

    #[test]
    fn cpu_task() {
        let (program, args) = (raw(r#""def main(n):\n return n""#), raw(&format!("[{LONG}]")));
        let task = CpuTask {
            task_id: Some("T1".into()),
            program: Some(&program),
            function: Some("main".into()),
            args: Some(&args),
            confidential: Some(true),
            priority: Some(-3),
            max_retries: Some(2),
            timeout: Some(1.5),
            source_peer: Some("10.0.0.7:9000".into()),
            estimated_time: Some(0.5),
            runtime: Some("sandbox".into()),
            image: Some("science".into()),
            module_sha256: Some(SHA256.into()),
            cpu_limit_seconds: Some(2.0),
            memory_limit_bytes: Some(1 << 30),
            output_limit_bytes: Some(65536),
            isolated: Some(true),
            cache: Some(CachePolicy::Auto),
            pid: Some("P7".into()),
            parent_pid: Some("P3".into()),
            group_id: Some("g".into()),
            requested_by: Some(peer_id().to_string().into()),
        };
        let text = r#"{"type":"CPU_TASK","task_id":"T1","program":"def main(n):\n return n","function":"main","args":[LONG],"confidential":true,"priority":-3,"max_retries":2,"timeout":1.5,"source_peer":"10.0.0.7:9000","estimated_time":0.5,"runtime":"sandbox","image":"science","module_sha256":"SHA256","cpu_limit_seconds":2.0,"memory_limit_bytes":1073741824,"output_limit_bytes":65536,"isolated":true,"cache":"auto","pid":"P7","parent_pid":"P3","group_id":"g","requested_by":"PEER"}"#;
        let text = text.replace("LONG", LONG).replace("SHA256", SHA256).replace("PEER", &peer_id().to_string());
        golden(task, &text);
    }

    #[test]
    fn cpu_task_of_the_original_client() {
        let task: CpuTask<'_> = minimal(
            r#"{"type": "CPU_TASK", "task_id": "CLIENT_1", "program": "def main(): pass", "function": "main", "args": [5], "confidential": false, "priority": 0, "max_retries": 0}"#,
        );
        assert_eq!(task.args.map(RawValue::get), Some("[5]"));
        let bare: CpuTask<'_> = minimal(r#"{"type":"CPU_TASK"}"#);
        assert!(bare.program.is_none() && bare.timeout.is_none());
        let nulls: CpuTask<'_> = minimal(r#"{"task_id":null,"program":null,"args":null,"timeout":null}"#);
        assert!(nulls.task_id.is_none() && nulls.args.is_none());
    }

    #[test]
    fn cpu_result() {
        let value = raw(LONG);
        let result = CpuResult {
            task_id: "T1".into(),
            result: Some(&value),
            error: None,
            code: None,
            error_type: None,
            traceback: None,
            executed_by: "10.0.0.7:9000".into(),
            runtime: "python".into(),
            execution_time: 0.5,
            waiting_time: 0.25,
            turnaround_time: 0.75,
            attempts: 1,
            cached: false,
            stdout: "hello\n".into(),
            stderr: "".into(),
            deterministic: None,
            files: Vec::new(),
            module_sha256: None,
            pid: None,
        };
        let text = r#"{"type":"CPU_RESULT","task_id":"T1","result":LONG,"error":null,"executed_by":"10.0.0.7:9000","runtime":"python","execution_time":0.5,"waiting_time":0.25,"turnaround_time":0.75,"attempts":1,"cached":false,"stdout":"hello\n","stderr":""}"#;
        golden(result, &text.replace("LONG", LONG));
    }

    #[test]
    fn cpu_result_of_a_failure() {
        let result = CpuResult {
            task_id: "T1".into(),
            result: None,
            error: Some("division by zero".into()),
            code: Some("task_failed".into()),
            error_type: Some("ZeroDivisionError".into()),
            traceback: Some("Traceback".into()),
            executed_by: "10.0.0.7:9000".into(),
            runtime: "python".into(),
            execution_time: 0.0,
            waiting_time: 0.0,
            turnaround_time: 0.0,
            attempts: 3,
            cached: false,
            stdout: "".into(),
            stderr: "oops".into(),
            deterministic: None,
            files: Vec::new(),
            module_sha256: None,
            pid: None,
        };
        golden(
            result,
            r#"{"type":"CPU_RESULT","task_id":"T1","result":null,"error":"division by zero","code":"task_failed","error_type":"ZeroDivisionError","traceback":"Traceback","executed_by":"10.0.0.7:9000","runtime":"python","execution_time":0.0,"waiting_time":0.0,"turnaround_time":0.0,"attempts":3,"cached":false,"stdout":"","stderr":"oops"}"#,
        );
    }

    #[test]
    fn cpu_result_of_a_sandboxed_run() {
        let value = raw("[1,2]");
        let file = |name: &'static str, bytes| ResultFile { name: name.into(), bytes };
        let result = CpuResult {
            task_id: "T1".into(),
            result: Some(&value),
            error: None,
            code: None,
            error_type: None,
            traceback: None,
            executed_by: "10.0.0.7:9000".into(),
            runtime: "wasm".into(),
            execution_time: 0.5,
            waiting_time: 0.25,
            turnaround_time: 0.75,
            attempts: 1,
            cached: false,
            stdout: "".into(),
            stderr: "".into(),
            deterministic: Some(false),
            files: vec![file("figure.png", 20480), file("data/a.csv", 0)],
            module_sha256: Some(SHA256.into()),
            pid: Some("P7".into()),
        };
        let text = r#"{"type":"CPU_RESULT","task_id":"T1","result":[1,2],"error":null,"executed_by":"10.0.0.7:9000","runtime":"wasm","execution_time":0.5,"waiting_time":0.25,"turnaround_time":0.75,"attempts":1,"cached":false,"stdout":"","stderr":"","deterministic":false,"files":[{"name":"figure.png","bytes":20480},{"name":"data/a.csv","bytes":0}],"module_sha256":"SHA256","pid":"P7"}"#;
        golden(result, &text.replace("SHA256", SHA256));
    }

    #[test]
    fn the_codes_of_a_failed_task() {
        use potluck_sdk::message::cpu::outcome;
        let codes = [
            outcome::TASK_FAILED,
            outcome::TIMEOUT,
            outcome::CANCELLED,
            outcome::CPU_LIMIT,
            outcome::MEMORY_LIMIT,
            outcome::OUTPUT_LIMIT,
            outcome::SCRATCH_LIMIT,
            outcome::RESULT_UNUSABLE,
            outcome::WORKER_DIED,
            outcome::MODULE_UNKNOWN,
            outcome::MODULE_INVALID,
            outcome::INVALID_TASK,
            outcome::QUEUE_FULL,
            outcome::RUNTIME_UNAVAILABLE,
            outcome::QUOTA_EXCEEDED,
        ];
        assert_eq!(
            codes.join(" "),
            "task_failed timeout cancelled cpu_limit memory_limit output_limit scratch_limit result_unusable worker_died module_unknown module_invalid invalid_task queue_full runtime_unavailable quota_exceeded"
        );
    }

    #[test]
    fn cancel_task() {
        golden(CancelTask { task_id: Some("T1".into()) }, r#"{"type":"CANCEL_TASK","task_id":"T1"}"#);
        assert!(minimal::<CancelTask<'_>>(r#"{"type":"CANCEL_TASK"}"#).task_id.is_none());
    }

    #[test]
    fn task_cancelled() {
        golden(
            TaskCancelled { status: "CANCELLED", task_id: "T1" },
            r#"{"type":"STATUS","status":"CANCELLED","task_id":"T1"}"#,
        );
    }

    #[test]
    fn batch_task() {
        let task = raw(r#"{"program":"p","args":[1]}"#);
        golden(
            BatchTask { tasks: vec![&task, &task] },
            r#"{"type":"BATCH_TASK","tasks":[{"program":"p","args":[1]},{"program":"p","args":[1]}]}"#,
        );
        assert!(minimal::<BatchTask<'_>>(r#"{"type":"BATCH_TASK"}"#).tasks.is_empty());
    }

    #[test]
    fn batch_result() {
        let result = raw(r#"{"type":"CPU_RESULT","task_id":"T1","result":25}"#);
        golden(
            BatchResult { results: vec![&result] },
            r#"{"type":"BATCH_RESULT","results":[{"type":"CPU_RESULT","task_id":"T1","result":25}]}"#,
        );
    }

    #[test]
    fn set_scheduler() {
        golden(
            SetScheduler { algorithm: Some("PRIORITY".into()), ..SetScheduler::default() },
            r#"{"type":"SET_SCHEDULER","algorithm":"PRIORITY"}"#,
        );
        golden(
            SetScheduler {
                algorithm: Some("RR".into()),
                quantum_ms: Some(20.5),
                preemptive: Some(true),
                ageing_seconds: Some(2.0),
            },
            r#"{"type":"SET_SCHEDULER","algorithm":"RR","quantum_ms":20.5,"preemptive":true,"ageing_seconds":2.0}"#,
        );
        golden(
            SchedulerSet {
                status: "OK".into(),
                scheduler: SchedulerChoice {
                    algorithm: "PRIORITY".to_owned(),
                    preemptive: Some(false),
                    ..SchedulerChoice::default()
                },
            },
            r#"{"type":"STATUS","status":"OK","algorithm":"PRIORITY","preemptive":false}"#,
        );
        assert!(minimal::<SetScheduler<'_>>(r#"{"type":"SET_SCHEDULER"}"#).algorithm.is_none());
    }

    fn image() -> SandboxImage {
        SandboxImage {
            name: "science".to_owned(),
            source: "installed".to_owned(),
            description: "CPython 3.15 with numpy".to_owned(),
            packages: vec!["numpy 2.4".to_owned()],
            sha256: SHA256.to_owned(),
            bytes: 98_000_000,
            compiled_bytes: 249_000_000,
        }
    }

    const IMAGE: &str = r#"{"name":"science","source":"installed","description":"CPython 3.15 with numpy","packages":["numpy 2.4"],"sha256":"SHA256","bytes":98000000,"compiled_bytes":249000000}"#;

    #[test]
    fn sandbox_images() {
        golden(SandboxImages {}, r#"{"type":"SANDBOX_IMAGES"}"#);
        let text = format!(r#"{{"type":"SANDBOX_IMAGES","images":[{IMAGE}]}}"#).replace("SHA256", SHA256);
        golden(SandboxImageList { images: vec![image()] }, &text);
    }

    #[test]
    fn sandbox_install() {
        golden(
            SandboxInstall { image: Some("science".into()), wheel: Some("/tmp/wasi.whl".into()) },
            r#"{"type":"SANDBOX_INSTALL","image":"science","wheel":"/tmp/wasi.whl"}"#,
        );
        let least: SandboxInstall<'_> = minimal(r#"{"type":"SANDBOX_INSTALL"}"#);
        assert!(least.image.is_none() && least.wheel.is_none());
        let text = format!(r#"{{"type":"SANDBOX_INSTALLED","image":{IMAGE}}}"#).replace("SHA256", SHA256);
        golden(SandboxInstalled { image: image() }, &text);
    }

    #[test]
    fn sandbox_install_progress() {
        let progress = |phase: &str, fraction| SandboxInstallProgress {
            image: "science".to_owned(),
            phase: phase.to_owned(),
            fraction,
        };
        golden(progress("download", None), r#"{"image":"science","phase":"download"}"#);
        golden(progress("compile", Some(0.5)), r#"{"image":"science","phase":"compile","fraction":0.5}"#);
    }

    #[test]
    fn sandbox_remove() {
        golden(SandboxRemove { image: Some("science".into()) }, r#"{"type":"SANDBOX_REMOVE","image":"science"}"#);
        assert!(minimal::<SandboxRemove<'_>>(r#"{"type":"SANDBOX_REMOVE"}"#).image.is_none());
        golden(
            SandboxRemoved { status: "REMOVED", image: "science" },
            r#"{"type":"STATUS","status":"REMOVED","image":"science"}"#,
        );
    }
}

mod memory {
    use super::*;

    #[test]
    fn set_mem() {
        let (key, value) = (raw(r#""k""#), raw(LONG));
        golden(
            SetMem { key: Some(&key), value: Some(&value), ttl_seconds: Some(1.5), if_version: Some(3) },
            &format!(r#"{{"type":"SET_MEM","key":"k","value":{LONG},"ttl_seconds":1.5,"if_version":3}}"#),
        );
        let original: SetMem<'_> = minimal(r#"{"type": "SET_MEM", "key": "k", "value": "v"}"#);
        assert_eq!(original.value.map(RawValue::get), Some(r#""v""#));
        assert!(minimal::<SetMem<'_>>(r#"{"type":"SET_MEM_REMOTE","key":null}"#).key.is_none());
    }

    #[test]
    fn mem_stored() {
        golden(
            MemStored { status: "OK", operation: "SET_MEM", key: &raw(r#""k""#), version: 4 },
            r#"{"type":"STATUS","status":"OK","operation":"SET_MEM","key":"k","version":4}"#,
        );
    }

    #[test]
    fn get_mem() {
        golden(GetMem { key: Some(&raw("7")) }, r#"{"type":"GET_MEM","key":7}"#);
        assert!(minimal::<GetMem<'_>>(r#"{"type":"GET_MEM"}"#).key.is_none());
    }

    #[test]
    fn mem_response() {
        let (key, value) = (raw(r#""k""#), raw(r#"{"a":[1,2]}"#));
        golden(
            MemResponse {
                key: &key,
                value: Some(&value),
                found: true,
                version: Some(4),
                expires_in_seconds: Some(0.5),
            },
            r#"{"type":"MEM_RESPONSE","key":"k","value":{"a":[1,2]},"found":true,"version":4,"expires_in_seconds":0.5}"#,
        );
        golden(
            MemResponse { key: &key, value: None, found: false, version: None, expires_in_seconds: None },
            r#"{"type":"MEM_RESPONSE","key":"k","value":null,"found":false}"#,
        );
    }

    #[test]
    fn delete_mem() {
        let key = raw(r#""k""#);
        golden(DeleteMem { key: Some(&key), if_version: Some(4) }, r#"{"type":"DELETE_MEM","key":"k","if_version":4}"#);
        golden(
            MemDeleted { status: "OK", operation: "DELETE_MEM", key: &key, deleted: true },
            r#"{"type":"STATUS","status":"OK","operation":"DELETE_MEM","key":"k","deleted":true}"#,
        );
        assert!(minimal::<DeleteMem<'_>>(r#"{"type":"DELETE_MEM"}"#).key.is_none());
    }

    #[test]
    fn list_mem() {
        golden(
            ListMem { prefix: "a".to_owned(), after: Some(raw(r#""ab""#)), limit: Some(10) },
            r#"{"type":"LIST_MEM","prefix":"a","after":"ab","limit":10}"#,
        );
        assert_eq!(minimal::<ListMem>(r#"{"type":"LIST_MEM"}"#).prefix, "");
    }

    #[test]
    fn mem_list() {
        let entry = MemEntry { key: raw(r#""ab""#), value_bytes: 12, version: 4, expires_in_seconds: None };
        golden(
            MemList { entries: vec![entry], next: Some(raw(r#""ab""#)), key_count: 9 },
            r#"{"type":"MEM_LIST","entries":[{"key":"ab","value_bytes":12,"version":4,"expires_in_seconds":null}],"next":"ab","key_count":9}"#,
        );
    }
}

mod node {
    use super::*;

    #[test]
    fn node_status() {
        golden(
            NodeStatus {
                status: "OK".to_owned(),
                peer_ip: "127.0.0.1".to_owned(),
                peer_port: 9000,
                peer_id: peer_id(),
                version: "0.1.0".to_owned(),
                uptime_seconds: 1.5,
                tracker_address: Some("10.0.0.1:8888".to_owned()),
                tracker_connected: true,
            },
            r#"{"type":"STATUS","status":"OK","peer_ip":"127.0.0.1","peer_port":9000,"peer_id":"abababab-abab-8bab-abab-abababababab","version":"0.1.0","uptime_seconds":1.5,"tracker_address":"10.0.0.1:8888","tracker_connected":true}"#,
        );
    }

    #[test]
    fn list_plugins() {
        golden(ListPlugins {}, r#"{"type":"LIST_PLUGINS"}"#);
        golden(
            PluginList {
                plugins: vec![PluginReport {
                    id: "memory".to_owned(),
                    state: PluginState::Started,
                    version: "0.1.0".to_owned(),
                    isolation: "in-process".to_owned(),
                    path: "libprovider_memory.so".to_owned(),
                    messages: vec!["SET_MEM".to_owned()],
                    calls: 7,
                    errors: 1,
                    p50_microseconds: 0.5,
                    p99_microseconds: 2.5,
                    reason: None,
                }],
            },
            r#"{"type":"PLUGIN_LIST","plugins":[{"id":"memory","state":"started","version":"0.1.0","isolation":"in-process","path":"libprovider_memory.so","messages":["SET_MEM"],"calls":7,"errors":1,"p50_microseconds":0.5,"p99_microseconds":2.5,"reason":null}]}"#,
        );
    }

    #[test]
    fn the_states_of_a_plugin() {
        use PluginState::{Declared, Degraded, Failed, Loaded, Started, Stopped};
        for state in [Declared, Loaded, Started, Degraded, Failed, Stopped] {
            golden(state, &format!("\"{}\"", state.word()));
        }
        let states = to_json(&[Declared, Loaded, Started, Degraded, Failed, Stopped]);
        assert_eq!(states, r#"["declared","loaded","started","degraded","failed","stopped"]"#);
    }

    #[test]
    fn list_peers() {
        golden(ListPeers {}, r#"{"type":"LIST_PEERS"}"#);
        golden(
            PeerList { peers: vec![peer()], tracker_connected: false },
            r#"{"type":"PEER_LIST","peers":[{"peer_id":"abababab-abab-8bab-abab-abababababab","ip":"10.0.0.7","port":9000,"cpu_load":1.5,"workers":2,"running":2,"queued":1,"backlog_seconds":0.25}],"tracker_connected":false}"#,
        );
    }

    #[test]
    fn watch_events() {
        golden(
            WatchEvents { topics: vec!["task.*".to_owned()], after: Some(12) },
            r#"{"type":"WATCH_EVENTS","topics":["task.*"],"after":12}"#,
        );
        assert!(minimal::<WatchEvents>(r#"{"type":"WATCH_EVENTS"}"#).after.is_none());
    }

    #[test]
    fn events() {
        let event = Event {
            sequence: 13,
            unix_milliseconds: 1_700_000_000_000,
            topic: "task.finished".to_owned(),
            body: raw(r#"{"task_id":"T1"}"#),
        };
        golden(
            Events { events: vec![event], next: 13, lost: 2 },
            r#"{"type":"EVENTS","events":[{"sequence":13,"unix_milliseconds":1700000000000,"topic":"task.finished","body":{"task_id":"T1"}}],"next":13,"lost":2}"#,
        );
    }
}

mod tracker {
    use super::*;

    #[test]
    fn load_report() {
        golden(
            LoadReport { load: load(), announce: true },
            r#"{"cpu_load":1.5,"workers":2,"running":2,"queued":1,"backlog_seconds":0.25,"announce":true}"#,
        );
        assert_eq!(minimal::<LoadReport>("{}"), LoadReport::default());
    }

    #[test]
    fn register() {
        golden(
            Register { port: Some(9000), ip: Some("10.0.0.7".to_owned()), peer_id: Some(peer_id()), load: load() },
            r#"{"type":"REGISTER","port":9000,"ip":"10.0.0.7","peer_id":"abababab-abab-8bab-abab-abababababab","cpu_load":1.5,"workers":2,"running":2,"queued":1,"backlog_seconds":0.25}"#,
        );
        let original: Register = minimal(
            r#"{"type": "REGISTER", "ip": "10.0.0.7", "port": 9000, "cpu_load": 0.0, "peer_id": "16fd2706-8baf-433b-82eb-8c7fada847da", "old_ip": null}"#,
        );
        assert_eq!(original.load, Load::default());
        assert!(original.peer_id.is_some());
        let whole_number: Register = minimal(r#"{"type":"REGISTER","port":9000,"cpu_load":0}"#);
        assert_eq!((whole_number.port, whole_number.ip), (Some(9000), None));
    }

    #[test]
    fn registered() {
        golden(
            Registered { status: "REGISTERED".to_owned(), peer_count: 3 },
            r#"{"type":"STATUS","status":"REGISTERED","peer_count":3}"#,
        );
    }

    #[test]
    fn unregister() {
        golden(
            Unregister { port: Some(9000), ip: Some("10.0.0.7".to_owned()) },
            r#"{"type":"UNREGISTER","port":9000,"ip":"10.0.0.7"}"#,
        );
        assert_eq!(minimal::<Unregister>(r#"{"type":"UNREGISTER","port":9000}"#).port, Some(9000));
    }

    #[test]
    fn update_load() {
        golden(
            UpdateLoad { port: Some(9000), ip: None, peer_id: None, load: load() },
            r#"{"type":"UPDATE_LOAD","port":9000,"cpu_load":1.5,"workers":2,"running":2,"queued":1,"backlog_seconds":0.25}"#,
        );
        let original: UpdateLoad =
            minimal(r#"{"type": "UPDATE_LOAD", "ip": "10.0.0.7", "port": 9000, "cpu_load": 0.95}"#);
        assert_eq!(original.load.cpu_load, 0.95);
    }

    #[test]
    fn done() {
        golden(Done { status: "LOAD_UPDATED".to_owned() }, r#"{"type":"STATUS","status":"LOAD_UPDATED"}"#);
    }

    #[test]
    fn request_cpu() {
        golden(RequestCpu {}, r#"{"type":"REQUEST_CPU"}"#);
        golden(
            CpuResponse { ip: "10.0.0.7".to_owned(), port: 9000, cpu_load: 0.5 },
            r#"{"type":"CPU_RESPONSE","ip":"10.0.0.7","port":9000,"cpu_load":0.5}"#,
        );
    }

    #[test]
    fn watch_peers() {
        golden(WatchPeers { epoch: 5, version: 6 }, r#"{"type":"WATCH_PEERS","epoch":5,"version":6}"#);
        assert_eq!(minimal::<WatchPeers>(r#"{"type":"WATCH_PEERS"}"#).version, 0);
    }

    #[test]
    fn peer_table() {
        let stranger = PeerEntry { peer_id: None, load: Load::default(), ..peer() };
        golden(
            PeerTable {
                epoch: 5,
                version: 7,
                full: false,
                peers: vec![stranger],
                removed: vec!["10.0.0.8:9000".to_owned()],
            },
            r#"{"type":"PEER_TABLE","epoch":5,"version":7,"full":false,"peers":[{"peer_id":null,"ip":"10.0.0.7","port":9000,"cpu_load":0.0,"workers":0,"running":0,"queued":0,"backlog_seconds":0.0}],"removed":["10.0.0.8:9000"]}"#,
        );
    }

    #[test]
    fn peer_status() {
        golden(
            PeerStatus {
                entry: peer(),
                last_update: "2024-05-01T12:00:10.000001".to_owned(),
                registered_at: "2024-05-01T12:00:00.000000".to_owned(),
            },
            r#"{"peer_id":"abababab-abab-8bab-abab-abababababab","ip":"10.0.0.7","port":9000,"cpu_load":1.5,"workers":2,"running":2,"queued":1,"backlog_seconds":0.25,"last_update":"2024-05-01T12:00:10.000001","registered_at":"2024-05-01T12:00:00.000000"}"#,
        );
    }
}
