//! A task: what a CPU_TASK message asks for, checked.

use crate::config::Config;
use crate::estimates::{Estimates, FunctionKey};
use crate::images;
use crate::modules::{self, Module};
use crate::runtime::RuntimeKey;
use potluck_sdk::message::RawValue;
use potluck_sdk::message::cpu::{CachePolicy, CpuTask, outcome};
use potluck_sdk::{Caller, ProviderError};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Longest `task_id`, in bytes.
const TASK_ID_BYTES_MAX: usize = 256;
/// What is shown of the name of a runtime.
const RUNTIME_CHARACTERS_MAX: usize = 32;
/// Longest name of a function, in bytes.
const FUNCTION_BYTES_MAX: usize = 1024;
/// Most retries that a task may ask for.
const RETRIES_MAX: i64 = 1000;
/// Longest name of a process or group that another provider gives, in bytes.
const PROCESS_BYTES_MAX: usize = 128;

/// A task that can be run, here or elsewhere.
#[derive(Debug)]
pub(crate) struct Task {
    /// What the submitter calls it.
    pub task_id: String,
    /// What must run it.
    pub runtime: RuntimeKey,
    /// Comes from somebody else than this machine's user.
    pub others_work: bool,
    /// The source text, as a JSON string; empty for a guest.
    pub program: Box<RawValue>,
    /// The SHA-256 of the guest, if the submitter has named it.
    pub module_named: Option<String>,
    /// The guest, once it is known to be here.
    pub module: Option<Module>,
    /// The function to call.
    pub function: String,
    /// A JSON array.
    pub args: Box<RawValue>,
    /// Must not leave this node.
    pub confidential: bool,
    /// Has come from another peer, so it is not forwarded again.
    pub forwarded: bool,
    /// Higher first.
    pub priority: i64,
    /// Runs after the first.
    pub max_retries: u32,
    /// Wall time, queue included.
    pub timeout: Duration,
    /// What the submitter expects, in seconds.
    pub estimated_time: Option<f64>,
    /// Names the function among those whose durations are known.
    pub function_key: FunctionKey,
    /// What it may use.
    pub limits: Limits,
    /// Gets an interpreter of its own.
    pub isolated: bool,
    /// The other node that has submitted it, if it was one.
    pub peer: Option<Box<str>>,
    /// Whether another task has submitted it.
    pub for_task: bool,
    /// Whose interpreters it may use: only a submitter's own tasks meet in one.
    pub submitter: Arc<str>,
    /// The submitter, whatever the task is like.
    pub owner: Arc<str>,
    /// Whether the result of an earlier run will do.
    pub cache: CachePolicy,
    /// The process that it is to be; empty when that is this provider's to say.
    pub pid: Arc<str>,
    /// The process that has made it; empty when none has.
    pub parent_pid: Box<str>,
    /// The group of its process; empty when there is none.
    pub group_id: Box<str>,
}

/// What a task may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Processor time.
    pub cpu_seconds: Option<f64>,
    /// Address space of its process.
    pub memory_bytes: u64,
    /// Output on each stream.
    pub output_bytes: u64,
}

/// Why a message is no task: the code and the sentence of its CPU_RESULT.
pub(crate) struct InvalidTask {
    /// The task's name, so that the submitter recognises the refusal.
    pub task_id: String,
    /// The runtime that it asked for, cut off.
    pub runtime: String,
    pub code: &'static str,
    pub text: String,
}

/// Names tasks whose submitter did not.
pub(crate) fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Task {
    /// Checks what a message asks for.
    pub(crate) fn read(
        message: CpuTask<'_>,
        caller: Caller<'_>,
        own_id: &str,
        config: &Config,
        estimates: &Estimates,
    ) -> Result<Task, InvalidTask> {
        Task::read_child(message, None, caller, own_id, config, estimates)
    }

    /// Checks what a message asks for that `parent` has begun, if it is a task that has. It belongs to the parent's
    /// submitter, and has no right that the parent has not.
    pub(crate) fn read_child(
        mut message: CpuTask<'_>,
        parent: Option<&Task>,
        caller: Caller<'_>,
        own_id: &str,
        config: &Config,
        estimates: &Estimates,
    ) -> Result<Task, InvalidTask> {
        let task_id = match message.task_id.take() {
            Some(task_id) if !task_id.is_empty() => task_id.into_owned(),
            _ => format!("task-{}", next_number()),
        };
        if let Some(parent) = parent {
            parent.lend_runtime(&mut message);
        }
        let asked = message.runtime.as_deref().filter(|runtime| !runtime.is_empty()).unwrap_or("python");
        let runtime: String = asked.chars().take(RUNTIME_CHARACTERS_MAX).collect();
        let check = Check { message, parent, caller, own_id, config, estimates };
        check.run(&task_id).map_err(|(code, text)| InvalidTask { task_id: cut(&task_id), runtime, code, text })
    }

    /// A child that asks for no runtime gets its parent's, as far as the child is a program.
    fn lend_runtime(&self, message: &mut CpuTask<'_>) {
        if message.runtime.as_deref().is_some_and(|runtime| !runtime.is_empty()) {
            return;
        }
        match &self.runtime {
            RuntimeKey::Python { .. } => {}
            RuntimeKey::Sandbox(image) => {
                message.runtime = Some(Cow::Borrowed("sandbox"));
                if message.image.as_deref().is_none_or(str::is_empty) {
                    message.image = Some(Cow::Owned(image.to_string()));
                }
            }
            RuntimeKey::Wasm => message.runtime = Some(Cow::Borrowed("sandbox")),
        }
    }

    /// Who it works for: `local`, or the id of a peer.
    pub(crate) fn requested_by(&self) -> &str {
        self.peer.as_deref().unwrap_or("local")
    }

    /// What the task is expected to need, in seconds.
    pub(crate) fn estimate_seconds(&self, estimates: &Estimates) -> f64 {
        self.estimated_time.unwrap_or_else(|| estimates.seconds(self.function_key))
    }
}

struct Check<'a> {
    message: CpuTask<'a>,
    /// The task that has begun it.
    parent: Option<&'a Task>,
    caller: Caller<'a>,
    own_id: &'a str,
    config: &'a Config,
    estimates: &'a Estimates,
}

type Refusal = (&'static str, String);

impl Check<'_> {
    fn run(self, task_id: &str) -> Result<Task, Refusal> {
        let invalid = |text: &str| (outcome::INVALID_TASK, text.to_owned());
        let Check { message, parent, caller, own_id, config, estimates } = self;
        // What only providers of this node may say is not even read otherwise.
        let is_told = matches!(caller, Caller::Plugin(_)) && parent.is_none();
        let (pid, parent_pid) = (told(is_told, &message.pid), told(is_told, &message.parent_pid));
        let (group_id, requested_by) = (told(is_told, &message.group_id), told(is_told, &message.requested_by));
        if [pid, parent_pid, group_id, requested_by]
            .into_iter()
            .any(|name| name.len() > PROCESS_BYTES_MAX || name.chars().any(char::is_control))
        {
            return Err(invalid("names of processes and groups have at most 128 bytes, and no control characters"));
        }
        // Another provider hands on what another node has asked it for.
        let caller = match requested_by {
            "" => caller,
            peer if peer == own_id => caller,
            peer => Caller::Member(peer),
        };
        if task_id.len() > TASK_ID_BYTES_MAX {
            return Err(invalid("`task_id` may have at most 256 bytes"));
        }
        let program = message.program.map(RawValue::get).unwrap_or_default();
        let is_guest = message.runtime.as_deref() == Some("wasm");
        let program = match program {
            "" | "null" | "\"\"" if is_guest => "\"\"",
            "" | "null" | "\"\"" => return Err(invalid("No program code provided")),
            _ if is_guest => return Err(invalid("a guest is not a `program`; send it as the attachment")),
            program => program,
        };
        // Half of a pair of surrogates is a text in JSON, and nowhere else.
        let is_text = !program.contains("\\u") || serde_json::from_str::<Cow<'_, str>>(program).is_ok();
        if !program.starts_with('"') || !is_text {
            return Err(invalid("`program` must be a text"));
        }
        let args = match message.args.map(RawValue::get) {
            None | Some("null") => "[]",
            Some(args) if args.starts_with('[') => args,
            Some(_) => return Err(invalid("`args` must be an array of positional arguments, such as [5]")),
        };
        let source_peer = message.source_peer.filter(|source| !source.is_empty()).map(|source| cut(&source));
        let others_work = match parent {
            Some(parent) => parent.others_work,
            None => source_peer.is_some() || !matches!(caller, Caller::Local | Caller::Web(_) | Caller::Plugin(_)),
        };
        let peer = match caller {
            _ if parent.is_some() => parent.and_then(|parent| parent.peer.as_deref()),
            Caller::Member(peer_id) => Some(peer_id),
            Caller::Task(peer_id) if peer_id != own_id => Some(peer_id),
            _ => None,
        };
        let runtime = choose_runtime(message.runtime.as_deref(), message.image.as_deref(), others_work, config)?;
        let runtime = match (parent.map(|parent| &parent.runtime), runtime) {
            // Whoever sandboxes a program does not trust it, nor what it begins.
            (Some(RuntimeKey::Sandbox(_) | RuntimeKey::Wasm), RuntimeKey::Python { .. }) => {
                return Err(invalid("what runs in the sandbox may begin tasks for \"sandbox\" and \"wasm\" only"));
            }
            (Some(RuntimeKey::Python { trusted: false }), RuntimeKey::Python { .. }) => {
                RuntimeKey::Python { trusted: false }
            }
            (_, runtime) => runtime,
        };
        let module_named = message.module_sha256.filter(|sha256| !sha256.is_empty()).map(|sha256| sha256.into_owned());
        if module_named.is_some() && !is_guest {
            return Err(invalid("`module_sha256` goes with the runtime \"wasm\""));
        }
        if module_named.as_deref().is_some_and(|name| !modules::is_name(name)) {
            return Err(invalid("`module_sha256` must be 64 hexadecimal digits, in lower case"));
        }
        let function = match message.function {
            Some(function) if !function.is_empty() => function.into_owned(),
            _ => "main".to_owned(),
        };
        if function.len() > FUNCTION_BYTES_MAX {
            return Err(invalid("`function` may have at most 1024 bytes"));
        }
        let max_retries = message.max_retries.unwrap_or(0);
        if !(0..=RETRIES_MAX).contains(&max_retries) {
            return Err(invalid("`max_retries` must be from 0 to 1000"));
        }
        let timeout = message.timeout.unwrap_or(config.timeout_seconds);
        if !(timeout > 0.0 && timeout <= config.timeout_seconds_max) {
            let text = format!("`timeout` must be more than 0 and at most {} seconds", config.timeout_seconds_max);
            return Err((outcome::INVALID_TASK, text));
        }
        let positive = |name: &str, value: Option<f64>| match value {
            Some(value) if !(value > 0.0 && value <= 3e7) => {
                Err((outcome::INVALID_TASK, format!("`{name}` must be more than 0 seconds and at most 30000000")))
            }
            other => Ok(other),
        };
        let limits = Limits {
            cpu_seconds: positive("cpu_limit_seconds", message.cpu_limit_seconds)?,
            memory_bytes: at_most("memory_limit_bytes", message.memory_limit_bytes, config.memory_limit_bytes)?,
            output_bytes: at_most("output_limit_bytes", message.output_limit_bytes, config.output_limit_bytes)?,
        };
        let estimated_time = positive("estimated_time", message.estimated_time.filter(|seconds| *seconds != 0.0))?;
        let confidential = message.confidential.unwrap_or(false) || parent.is_some_and(|parent| parent.confidential);
        let isolated = message.isolated.unwrap_or(false);
        // A source is a claim; it can only keep submitters further apart.
        let owner: Arc<str> = match parent {
            Some(parent) => Arc::clone(&parent.owner),
            None => {
                let source = source_peer.as_deref().unwrap_or_default();
                format!("{}:{}:{source}", caller.word(), caller.id()).into()
            }
        };
        let submitter = match (confidential, isolated) {
            (false, false) => Arc::clone(&owner),
            (true, false) => format!("confidential:{owner}").into(),
            (_, true) => format!("isolated:{}:{owner}", next_number()).into(),
        };
        let owned = |text: &str| {
            RawValue::from_string(text.to_owned())
                .map_err(|error| (ProviderError::INVALID_MESSAGE, format!("Invalid message format: {error}")))
        };
        Ok(Task {
            task_id: task_id.to_owned(),
            function_key: estimates.key(program, &function),
            runtime,
            others_work,
            program: owned(program)?,
            module_named,
            module: None,
            function,
            args: owned(args)?,
            confidential,
            // What comes from another node was placed there.
            forwarded: match parent {
                Some(parent) => parent.forwarded,
                None => source_peer.is_some() || peer.is_some(),
            },
            for_task: parent.map_or(matches!(caller, Caller::Task(_)), |parent| parent.for_task),
            peer: peer.map(Into::into),
            priority: message.priority.unwrap_or(0),
            max_retries: max_retries as u32,
            timeout: Duration::from_secs_f64(timeout),
            estimated_time,
            limits,
            isolated,
            submitter,
            owner,
            cache: message.cache.unwrap_or_default(),
            pid: pid.into(),
            parent_pid: parent_pid.into(),
            group_id: group_id.into(),
        })
    }
}

/// What only some may say.
fn told<'a>(is_told: bool, said: &'a Option<Cow<'_, str>>) -> &'a str {
    said.as_deref().filter(|_| is_told).unwrap_or_default()
}

/// What must run a task, by what it asks for and what the node's owner wants.
fn choose_runtime(
    asked: Option<&str>,
    image: Option<&str>,
    others_work: bool,
    config: &Config,
) -> Result<RuntimeKey, Refusal> {
    let image = image.filter(|image| !image.is_empty());
    let invalid = |text: String| Err((outcome::INVALID_TASK, text));
    if image.is_some() && asked != Some("sandbox") {
        return invalid("`image` goes with the runtime \"sandbox\"".to_owned());
    }
    if let Some(name) = image.filter(|name| !images::is_name(name)) {
        let shown: String = name.chars().take(32).collect();
        return invalid(format!("{shown:?} is no name of an image; `potluck sandbox list` shows what there is"));
    }
    match asked {
        None | Some("" | "python") if others_work && !config.remote_runtime.is_empty() => {
            Ok(RuntimeKey::Sandbox(images::STANDARD.into()))
        }
        None | Some("" | "python") => Ok(RuntimeKey::Python { trusted: config.trusted && !others_work }),
        Some("sandbox") => Ok(RuntimeKey::Sandbox(image.unwrap_or(images::STANDARD).into())),
        Some("wasm") => Ok(RuntimeKey::Wasm),
        Some(other) => {
            let shown: String = other.chars().take(RUNTIME_CHARACTERS_MAX).collect();
            let text = format!("the runtime {shown:?} is not on this node; it has: python, sandbox, wasm");
            Err((outcome::RUNTIME_UNAVAILABLE, text))
        }
    }
}

fn at_most(name: &str, wanted: Option<u64>, most: u64) -> Result<u64, Refusal> {
    match wanted {
        None | Some(0) => Ok(most),
        Some(bytes) if bytes <= most => Ok(bytes),
        Some(_) => Err((outcome::INVALID_TASK, format!("`{name}` may be at most {most} on this node"))),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(TASK_ID_BYTES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Task, String> {
        let message: CpuTask = serde_json::from_str(json).unwrap();
        Task::read(message, Caller::Local, "", &Config::default(), &Estimates::default())
            .map_err(|refusal| refusal.text)
    }

    #[test]
    fn what_is_missing_has_the_defaults_of_the_protocol() {
        let task = read(r#"{"program":"def main(): pass"}"#).unwrap();
        assert_eq!((task.function.as_str(), task.args.get(), task.priority, task.max_retries), ("main", "[]", 0, 0));
        assert_eq!(task.timeout, Duration::from_secs(60));
        assert!(!task.confidential && !task.forwarded && !task.task_id.is_empty());
    }

    #[test]
    fn integers_of_any_size_pass_through() {
        let digits = "9".repeat(300);
        let task = read(&format!(r#"{{"program":"p","args":[{digits}]}}"#)).unwrap();
        assert_eq!(task.args.get(), format!("[{digits}]"));
    }

    #[test]
    fn submitters_are_kept_apart() {
        let submitter = |extra: &str| read(&format!(r#"{{"program":"p"{extra}}}"#)).unwrap().submitter;
        assert_eq!(submitter(""), submitter(""));
        assert_ne!(submitter(""), submitter(r#","confidential":true"#));
        assert_ne!(submitter(""), submitter(r#","source_peer":"127.0.0.1:9001""#));
        assert_ne!(submitter(r#","isolated":true"#), submitter(r#","isolated":true"#));
    }

    #[test]
    fn the_owner_of_the_node_decides_what_runs_the_work_of_others() {
        let config = Config { remote_runtime: "sandbox".to_owned(), trusted: true, ..Config::default() };
        let runtime = |json: &str| {
            let message: CpuTask = serde_json::from_str(json).unwrap();
            Task::read(message, Caller::Local, "", &config, &Estimates::default())
                .map_err(|refusal| refusal.text)
                .unwrap()
                .runtime
        };
        let sandbox = RuntimeKey::Sandbox(images::STANDARD.into());
        assert_eq!(runtime(r#"{"program":"p"}"#), RuntimeKey::Python { trusted: true });
        assert_eq!(runtime(r#"{"program":"p","source_peer":"127.0.0.1:9001"}"#), sandbox);
        assert_eq!(runtime(r#"{"program":"p","runtime":"sandbox"}"#), sandbox);
        assert_eq!(runtime(r#"{"runtime":"wasm","source_peer":"127.0.0.1:9001"}"#), RuntimeKey::Wasm);
    }

    #[test]
    fn what_cannot_be_run_is_refused_in_one_sentence() {
        for (json, expected) in [
            (r#"{}"#, "No program code provided"),
            (r#"{"program":""}"#, "No program code provided"),
            (r#"{"program":5}"#, "must be a text"),
            (r#"{"program":"p","args":"abc"}"#, "must be an array"),
            (r#"{"program":"p","max_retries":-1}"#, "max_retries"),
            (r#"{"program":"p","timeout":0}"#, "timeout"),
            (r#"{"program":"p","timeout":1e300}"#, "timeout"),
            (r#"{"program":"p","runtime":"perl"}"#, "perl"),
            (r#"{"program":"p = '\ud800'"}"#, "must be a text"),
            (r#"{"program":"p","image":"science"}"#, "goes with"),
            (r#"{"program":"p","runtime":"sandbox","image":"../x"}"#, "no name of an image"),
            (r#"{"program":"p","runtime":"wasm"}"#, "not a `program`"),
            (r#"{"program":"p","module_sha256":"00"}"#, "goes with"),
            (r#"{"runtime":"wasm","module_sha256":"XY"}"#, "64 hexadecimal"),
            (r#"{"program":"p","memory_limit_bytes":99999999999999}"#, "memory_limit_bytes"),
            (r#"{"program":"p","cpu_limit_seconds":-3}"#, "cpu_limit_seconds"),
        ] {
            let text = read(json).unwrap_err();
            assert!(text.contains(expected), "{json}: {text}");
        }
    }
}
