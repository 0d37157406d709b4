//! `[plugins.cpu]` in plugins.toml.

use crate::scheduler::{Algorithm, Options};
use potluck_sdk::ProviderError;
use serde::Deserialize;
use std::time::Duration;

/// Most worker processes: each has a socket, and takes some 10 MiB.
pub(crate) const WORKER_PROCESSES_LIMIT: usize = 1024;

/// The settings, each with its default.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Tasks that run at once; 0 for one per core.
    pub workers: usize,
    /// Worker processes that wait, started, for a submitter who has none yet.
    pub spare_workers: Option<usize>,
    /// Most worker processes, busy, warm and spare together.
    pub worker_processes_max: Option<usize>,
    /// Order of the queue: `PRIORITY`, `FCFS`, `SJF` or `RR`.
    pub algorithm: String,
    /// How long a turn is under Round Robin, in milliseconds.
    pub quantum_ms: u64,
    /// Under `PRIORITY` and `SJF`: whether a more urgent task stops one that runs.
    pub preemptive: bool,
    /// Under `PRIORITY`: seconds of waiting that count as one step of priority; 0 when waiting does not count.
    pub ageing_seconds: f64,
    /// Tasks that may have begun and wait for a slot, each in a process of its own: no further one is begun then.
    pub suspended_max: usize,
    /// Tasks that may have begun and wait for something else, or are paused: one more is ended. From the machine when nothing
    /// is said.
    pub waiting_max: Option<usize>,
    /// The interpreter of `python` tasks: a name on PATH or an absolute path, such as that of a virtual environment.
    pub python: String,
    /// Seconds that a task has when it does not say, time in the queue included.
    pub timeout_seconds: f64,
    /// Seconds that a task may ask for.
    pub timeout_seconds_max: f64,
    /// Address space that a task may use when it does not say, and at most, in bytes.
    pub memory_limit_bytes: u64,
    /// What a task may print when it does not say, and at most, on each stream, in bytes.
    pub output_limit_bytes: u64,
    /// Tasks that may wait.
    pub queue_tasks_max: usize,
    /// Bytes of programs and arguments that may wait.
    pub queue_bytes_max: usize,
    /// Seconds that running tasks have to end when the node stops.
    pub drain_seconds: f64,
    /// Whether tasks that need not stay here may go to other peers.
    pub forward: bool,
    /// With `sandbox`, work that comes from other peers and asks for `python`, or for no runtime, runs in the sandbox's
    /// standard image instead; what asks for `sandbox` or `wasm` stays there. Nothing changes nothing.
    pub remote_runtime: String,
    /// Whether Python tasks of this machine's user run without the protections.
    pub trusted: bool,
    /// Whether work of others is taken in a runtime whose workers lack protections that this kernel does not have.
    pub remote_unprotected: bool,
    /// Files that a task's process may write, in bytes, each and all together.
    pub scratch_limit_bytes: u64,
    /// Folder of installed images of the sandbox; the user's own one when empty.
    pub images_dir: String,
    /// Packages that are added to the sandbox's standard image: absolute paths of wheels, folders or files.
    pub sandbox_packages: Vec<String>,
    /// Instances of the sandbox that each of its workers keeps ready.
    pub sandbox_spare_instances: usize,
    /// Bytes of guests that are kept.
    pub modules_bytes_max: u64,
    /// Bytes of guests' machine code that each worker keeps.
    pub module_cache_bytes: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            workers: 0,
            spare_workers: None,
            worker_processes_max: None,
            algorithm: "PRIORITY".to_owned(),
            quantum_ms: 50,
            preemptive: false,
            ageing_seconds: 0.0,
            suspended_max: 64,
            waiting_max: None,
            python: "python3".to_owned(),
            timeout_seconds: 60.0,
            timeout_seconds_max: 7.0 * 86_400.0,
            memory_limit_bytes: 2 << 30,
            output_limit_bytes: 16 << 20,
            queue_tasks_max: 100_000,
            queue_bytes_max: 256 << 20,
            drain_seconds: 5.0,
            forward: true,
            remote_runtime: String::new(),
            trusted: false,
            remote_unprotected: false,
            scratch_limit_bytes: 1 << 30,
            images_dir: String::new(),
            sandbox_packages: Vec::new(),
            sandbox_spare_instances: 4,
            modules_bytes_max: 256 << 20,
            module_cache_bytes: 64 << 20,
        }
    }
}

/// What a worker process that waits is taken to need: an interpreter takes 10 to 20 MiB, and what its task has is beside that.
const WAITING_BYTES: u64 = 16 << 20;
/// Descriptors that the node has for a worker process, with some to spare for connections.
const WAITING_DESCRIPTORS: u64 = 16;
/// Tasks that may wait at least, also on a small machine.
const WAITING_LEAST: usize = 128;

/// Tasks that may wait on this machine: as many as fit into half of its memory, and as the node can have files for.
pub(crate) fn waiting_default() -> usize {
    let system = rustix::system::sysinfo();
    let memory_bytes = system.totalram.saturating_mul(system.mem_unit.into());
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let count = (memory_bytes / 2 / WAITING_BYTES).min(descriptors / WAITING_DESCRIPTORS);
    usize::try_from(count).unwrap_or(usize::MAX).clamp(WAITING_LEAST, WORKER_PROCESSES_LIMIT)
}

impl Config {
    /// An algorithm by its name; what is not said of it is as it is set here.
    pub(crate) fn choose(&self, name: &str, said: Options) -> Result<Algorithm, String> {
        let named = name.parse::<Algorithm>()?;
        let mut options = said;
        match named {
            Algorithm::RoundRobin { .. } => {
                options.quantum = said.quantum.or(Some(Duration::from_millis(self.quantum_ms)));
            }
            Algorithm::Priority { .. } if self.ageing_seconds > 0.0 => {
                options.ageing_seconds = said.ageing_seconds.or(Some(self.ageing_seconds));
            }
            _ => {}
        }
        if self.preemptive && !matches!(named, Algorithm::Fcfs) {
            options.preemptive = said.preemptive.or(Some(true));
        }
        Algorithm::chosen(name, options)?.check_real()
    }

    /// The algorithm that the node begins with.
    pub(crate) fn first_algorithm(&self) -> Result<Algorithm, String> {
        self.choose(&self.algorithm, Options::default())
    }

    /// Refuses values that cannot work.
    pub(crate) fn check(&self) -> Result<(), ProviderError> {
        let refuse = |text: String| Err(ProviderError::new(ProviderError::INVALID_CONFIG, text));
        if let Err(text) = self.algorithm.parse::<Algorithm>() {
            return refuse(format!("key `algorithm`: {text}"));
        }
        // Also when another one is in force at first: it may be switched to.
        for (keys, name) in [("quantum_ms", "RR"), ("ageing_seconds", "PRIORITY")] {
            if let Err(text) = self.choose(name, Options::default()) {
                return refuse(format!("key `{keys}`: {text}"));
            }
        }
        if self.ageing_seconds.is_nan() || self.ageing_seconds < 0.0 {
            return refuse(format!("key `ageing_seconds`: expected 0 or more, found {}", self.ageing_seconds));
        }
        if !(1..=1024).contains(&self.suspended_max) {
            return refuse(format!("key `suspended_max`: expected from 1 to 1024, found {}", self.suspended_max));
        }
        if let Some(max) = self.waiting_max.filter(|max| !(1..=WORKER_PROCESSES_LIMIT).contains(max)) {
            return refuse(format!("key `waiting_max`: expected from 1 to {WORKER_PROCESSES_LIMIT}, found {max}"));
        }
        if self.workers > 1024 || self.spare_workers.is_some_and(|count| count > 1024) {
            return refuse("key `workers`, `spare_workers`: expected at most 1024".to_owned());
        }
        if self.worker_processes_max.is_some_and(|count| count > WORKER_PROCESSES_LIMIT) {
            return refuse(format!("key `worker_processes_max`: expected at most {WORKER_PROCESSES_LIMIT}"));
        }
        for (key, value, least) in
            [("timeout_seconds", self.timeout_seconds, 0.001), ("timeout_seconds_max", self.timeout_seconds_max, 0.001)]
        {
            if !(least..=3e7).contains(&value) {
                return refuse(format!("key `{key}`: expected seconds from {least} to 30000000, found {value}"));
            }
        }
        // The host gives providers 90 seconds to stop.
        if !(0.0..=60.0).contains(&self.drain_seconds) {
            return refuse(format!("key `drain_seconds`: expected seconds from 0 to 60, found {}", self.drain_seconds));
        }
        // An interpreter alone needs some 30 MiB of address space.
        if self.memory_limit_bytes < 64 << 20 {
            return refuse("key `memory_limit_bytes`: expected at least 67108864 (64 MiB)".to_owned());
        }
        if self.output_limit_bytes < 1024 {
            return refuse("key `output_limit_bytes`: expected at least 1024".to_owned());
        }
        if self.queue_tasks_max == 0 || self.queue_bytes_max < 1 << 20 {
            return refuse(
                "key `queue_tasks_max`, `queue_bytes_max`: expected at least 1 task and 1048576 bytes".to_owned(),
            );
        }
        if !["", "sandbox"].contains(&self.remote_runtime.as_str()) {
            return refuse(format!(
                "key `remote_runtime`: expected \"sandbox\" or \"\", found {:?}",
                self.remote_runtime
            ));
        }
        // The largest memory of WebAssembly, and what its workers reserve addresses for.
        if self.memory_limit_bytes > 1 << 40 {
            return refuse("key `memory_limit_bytes`: expected at most 1099511627776 (1 TiB)".to_owned());
        }
        if self.scratch_limit_bytes < 1 << 20 {
            return refuse("key `scratch_limit_bytes`: expected at least 1048576 (1 MiB)".to_owned());
        }
        if !(1..=64).contains(&self.sandbox_spare_instances) {
            return refuse("key `sandbox_spare_instances`: expected from 1 to 64".to_owned());
        }
        if self.modules_bytes_max < 8 << 20 {
            return refuse("key `modules_bytes_max`: expected at least 8388608 (8 MiB)".to_owned());
        }
        if let Some(path) = self.sandbox_packages.iter().find(|path| !path.starts_with('/')) {
            return refuse(format!("key `sandbox_packages`: expected absolute paths, found {path:?}"));
        }
        if !self.images_dir.is_empty() && !self.images_dir.starts_with('/') {
            return refuse(format!("key `images_dir`: expected an absolute path, found {:?}", self.images_dir));
        }
        if self.python.is_empty() || (self.python.contains('/') && !self.python.starts_with('/')) {
            return refuse(format!(
                "key `python`: expected a name on PATH or an absolute path, found {:?}",
                self.python
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worker_processes_have_an_upper_bound() {
        let check = |count| Config { worker_processes_max: Some(count), ..Config::default() }.check();
        assert!(check(1024).is_ok());
        let waiting = |count| Config { waiting_max: Some(count), ..Config::default() }.check();
        assert!(waiting(1).is_ok() && waiting(1024).is_ok() && waiting(0).is_err() && waiting(1025).is_err());
        assert!(waiting(waiting_default()).is_ok());
        let error = check(1025).unwrap_err();
        assert_eq!(
            (&*error.code, &*error.message),
            ("invalid_config", "key `worker_processes_max`: expected at most 1024")
        );
    }
}
