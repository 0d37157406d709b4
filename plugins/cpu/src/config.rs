//! `[plugins.cpu]` in plugins.toml.

use crate::scheduler::Algorithm;
use potluck_sdk::ProviderError;
use serde::Deserialize;

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
    /// Order of the queue: `PRIORITY` or `FCFS`.
    pub algorithm: String,
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

impl Config {
    /// Refuses values that cannot work.
    pub(crate) fn check(&self) -> Result<(), ProviderError> {
        let refuse = |text: String| Err(ProviderError::new(ProviderError::INVALID_CONFIG, text));
        if let Err(text) = self.algorithm.parse::<Algorithm>() {
            return refuse(format!("key `algorithm`: {text}"));
        }
        if self.workers > 1024 || self.spare_workers.is_some_and(|count| count > 1024) {
            return refuse("key `workers`, `spare_workers`: expected at most 1024".to_owned());
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
