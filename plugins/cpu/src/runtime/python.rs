//! The user's own CPython, with our extension module in it.

use super::Runtime;
use crate::config::Config;
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Oldest version that has everything the worker uses.
const VERSION_MIN: (u32, u32) = (3, 10);
/// Prints what the runtime must know of an interpreter, a line each.
const PROBE: &str = "import sys; print(sys.executable); print(sys.implementation.name); print(*sys.version_info[:2])";
/// Imports the worker from the folder in the first argument, which no task needs on its path.
const START: &str =
    "import sys; sys.path.insert(0, sys.argv.pop()); import potluck_worker; del sys.path[0]; potluck_worker.serve()";
/// The settings of the node's own environment that a task's process may know.
const ENVIRONMENT_KEPT: [&str; 6] =
    ["PATH", "TZ", "LD_LIBRARY_PATH", "PYTHONUSERBASE", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// The runtime `python`.
pub(crate) struct Python {
    configured: String,
    module_dir: PathBuf,
    /// Without the protections.
    trusted: bool,
    file_bytes_max: u64,
    /// The interpreter itself, once found: what is on PATH may be a script that costs 100 ms each time.
    interpreter: Mutex<Option<PathBuf>>,
}

impl Python {
    pub(crate) fn new(config: &Config, lib_dir: &Path, trusted: bool) -> Python {
        Python {
            configured: config.python.clone(),
            module_dir: lib_dir.join("workers").join("python"),
            trusted,
            file_bytes_max: config.scratch_limit_bytes,
            interpreter: Mutex::new(None),
        }
    }

    fn interpreter(&self) -> Result<PathBuf, String> {
        let mut known = self.interpreter.lock();
        if let Some(path) = known.as_ref().filter(|path| path.exists()) {
            return Ok(path.clone());
        }
        let path = self.find()?;
        *known = Some(path.clone());
        Ok(path)
    }

    fn find(&self) -> Result<PathBuf, String> {
        let advice = "set `python` in [plugins.cpu] to a CPython 3.10 or newer";
        let probe = Command::new(&self.configured).args(["-c", PROBE]).stdin(Stdio::null()).output();
        let output = probe.map_err(|error| format!("{} cannot be started: {error}; {advice}", self.configured))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mut lines = text.lines();
        let (Some(path), Some(implementation), Some(version)) = (lines.next(), lines.next(), lines.next()) else {
            let complaint = String::from_utf8_lossy(&output.stderr);
            let complaint = complaint.lines().last().unwrap_or("it printed nothing").to_owned();
            return Err(format!("{} is not a Python interpreter: {complaint}; {advice}", self.configured));
        };
        let numbers: Vec<u32> = version.split(' ').filter_map(|number| number.parse().ok()).collect();
        let new_enough = matches!(numbers[..], [major, minor] if (major, minor) >= VERSION_MIN);
        if implementation != "cpython" || !new_enough {
            return Err(format!("{} is {implementation} {}; {advice}", self.configured, version.replace(' ', ".")));
        }
        Ok(PathBuf::from(path))
    }
}

impl Runtime for Python {
    fn prepare(&self) -> Result<(), String> {
        Ok(())
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn is_hardened(&self) -> bool {
        !self.trusted
    }

    fn command(&self, scratch: &Path) -> Result<Command, String> {
        let module = self.module_dir.join("potluck_worker.abi3.so");
        if !module.exists() {
            return Err(format!("{} is missing; build it with `cargo xtask dist`", module.display()));
        }
        let mut command = Command::new(self.interpreter()?);
        command.args(["-X", "utf8", "-B", "-c", START]).arg(&self.module_dir).env_clear();
        for name in ENVIRONMENT_KEPT {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        // Packages that the user installed for themself stay importable although HOME is another.
        if let (None, Some(home)) = (std::env::var_os("PYTHONUSERBASE"), std::env::var_os("HOME")) {
            command.env("PYTHONUSERBASE", Path::new(&home).join(".local"));
        }
        if let Some(home) = std::env::var_os("HOME") {
            command.env("POTLUCK_WORKER_USER_HOME", home);
        }
        if self.trusted {
            command.env("POTLUCK_WORKER_UNHARDENED", "1");
        }
        command.env("POTLUCK_WORKER_FILE_BYTES_MAX", self.file_bytes_max.to_string());
        command.env("HOME", scratch).env("TMPDIR", scratch).env("LANG", "C.UTF-8");
        // One task has one core; libraries that start a thread per core would only fight over it.
        for name in ["OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"] {
            command.env(name, "1");
        }
        Ok(command)
    }
}
