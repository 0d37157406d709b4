//! What this process keeps: the Python installation with its packages, to read, and its scratch folder.

use potluck_worker_hardening::{Kind, Policy, harden, unhardened};
use potluck_worker_protocol::Protection;
use pyo3::prelude::*;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Set by the provider for work of somebody whom the node's owner trusts.
const UNHARDENED: &str = "POTLUCK_WORKER_UNHARDENED";
/// Set by the provider: largest file that a task may write, in bytes.
const FILE_BYTES_MAX: &str = "POTLUCK_WORKER_FILE_BYTES_MAX";
/// The home folder of whoever runs the node. The task's own `HOME` is its scratch folder.
const USER_HOME: &str = "POTLUCK_WORKER_USER_HOME";
/// Lists of folders, and files, that the environment adds for libraries.
const ENVIRONMENT: [&str; 3] = ["LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"];
/// What interpreters and libraries read of the system, beside themselves.
const SYSTEM: [&str; 44] = [
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/nix/store",
    "/gnu/store",
    "/etc/ld.so.cache",
    "/etc/os-release",
    // Places and languages.
    "/usr/share/zoneinfo",
    "/usr/share/locale",
    "/usr/share/terminfo",
    "/etc/localtime",
    "/etc/locale.alias",
    // Kinds of files: `mimetypes` opens every one that is there.
    "/etc/mime.types",
    "/etc/apache/mime.types",
    "/etc/apache2/mime.types",
    "/etc/httpd/mime.types",
    "/etc/httpd/conf/mime.types",
    "/usr/share/mime",
    // Fonts.
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "/usr/share/fontconfig",
    "/etc/fonts",
    // Certificates, and the settings without which OpenSSL does not start.
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/openssl.cnf",
    "/etc/pki/ca-trust/extracted",
    "/etc/crypto-policies",
    // How many processors and how much memory there are, by which libraries size themselves.
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/fs/cgroup",
    "/sys/kernel/mm/transparent_hugepage",
];
/// The process's own properties. Not all of them: some are memory.
const OWN: [&str; 7] = [
    "/proc/self/cgroup",
    "/proc/self/cmdline",
    "/proc/self/limits",
    "/proc/self/maps",
    "/proc/self/stat",
    "/proc/self/statm",
    "/proc/self/status",
];
/// Prefixes that hold more than an interpreter.
const SHARED_PREFIXES: [&str; 3] = ["/usr", "/usr/local", "/opt"];
/// What belongs to the interpreter in those.
const PARTS_OF_PREFIX: [&str; 7] = ["bin", "include", "lib", "lib64", "libexec", "pyvenv.cfg", "share"];

/// Gives up everything else.
pub(crate) fn give_up(py: Python<'_>) -> PyResult<Vec<Protection>> {
    let environ = py.import("os")?.getattr("environ")?;
    let take = |name: &str| -> PyResult<Option<String>> { environ.call_method1("pop", (name, py.None()))?.extract() };
    let (trusted, file_bytes_max, home) = (take(UNHARDENED)?, take(FILE_BYTES_MAX)?, take(USER_HOME)?);
    if trusted.is_some() {
        return Ok(unhardened("`trusted = true` in [plugins.cpu]"));
    }
    let private = Private { scratch: std::env::current_dir()?, home: home.and_then(|home| real(Path::new(&home))) };
    let mut readable: BTreeSet<PathBuf> = SYSTEM.iter().chain(&OWN).map(PathBuf::from).collect();
    let mut left_out = BTreeSet::new();
    for path in installation(py, &private)?.iter().filter_map(|path| real(path)) {
        if private.is_in(&path) {
            left_out.insert(path)
        } else {
            readable.insert(path)
        };
    }
    let readable: Vec<PathBuf> = readable.into_iter().collect();
    let file_bytes_max = file_bytes_max.and_then(|bytes| bytes.parse().ok()).unwrap_or(u64::MAX);
    let mut protections =
        harden(&Policy { kind: Kind::Python, readable: &readable, scratch: &private.scratch, file_bytes_max });
    if let Some(files) = protections.iter_mut().find(|protection| protection.name == "landlock") {
        for folder in left_out {
            let separator = if files.reason.is_empty() { "" } else { "; " };
            let text = "is on Python's path, but stays closed: there is more in it than modules";
            files.reason += &format!("{separator}{} {text}", folder.display());
        }
    }
    Ok(protections)
}

/// What no path of modules may open.
struct Private {
    /// The process's own folder, which is in the node's data.
    scratch: PathBuf,
    /// Home of whoever runs the node.
    home: Option<PathBuf>,
}

impl Private {
    /// Whether somebody's home or the node's data is somewhere in this folder.
    fn is_in(&self, folder: &Path) -> bool {
        self.scratch.starts_with(folder) || self.home.as_ref().is_some_and(|home| home.starts_with(folder))
    }

    /// Whether an installation shares its prefix with others.
    fn is_shared(&self, prefix: &Path) -> bool {
        SHARED_PREFIXES.iter().any(|shared| prefix == Path::new(shared))
            || self.home.as_ref().is_some_and(|home| prefix == home.join(".local"))
            || self.is_in(prefix)
    }
}

/// Where the interpreter's modules and libraries are. What of it is not there does no harm.
fn installation(py: Python<'_>, private: &Private) -> PyResult<Vec<PathBuf>> {
    let sys = py.import("sys")?;
    let mut found: Vec<PathBuf> = Vec::new();
    for name in ["prefix", "base_prefix", "exec_prefix", "base_exec_prefix"] {
        let prefix: PathBuf = sys.getattr(name)?.extract()?;
        match real(&prefix) {
            Some(real) if !private.is_shared(&real) => found.push(real),
            _ => found.extend(PARTS_OF_PREFIX.map(|part| prefix.join(part))),
        }
    }
    let path: Vec<Bound<'_, PyAny>> = sys.getattr("path")?.extract()?;
    // What is not a text is not a folder either.
    found.extend(path.iter().filter_map(|entry| entry.extract::<PathBuf>().ok()));
    for list in ENVIRONMENT.iter().filter_map(std::env::var_os) {
        found.extend(std::env::split_paths(&list));
    }
    // An empty entry is the working directory, which is the process's own already.
    found.retain(|path| path.is_absolute());
    Ok(found)
}

/// Without links, so that it can be compared.
fn real(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}
