//! The source tree, and what the tests build from it.

use crate::output;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the workspace's Cargo.toml.
///
/// # Panics
/// When the tests do not run in their source tree.
pub fn workspace_root() -> PathBuf {
    // Asked at run time: a build folder may be shared by several clones.
    let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let root = Path::new(&manifest).parent().expect("the tests have a folder above their own");
    root.canonicalize().unwrap_or_else(|error| panic!("the source tree {} is not there: {error}", root.display()))
}

/// A file below `tests/fixtures`.
pub fn fixture_source(name: &str) -> PathBuf {
    workspace_root().join("tests/fixtures").join(name)
}

/// Builds a library from `tests/fixtures/c/<name>.c` in `folder`, as a user with a C compiler and the header would.
///
/// # Panics
/// When the compiler complains.
pub fn c_library(name: &str, folder: &Path) -> PathBuf {
    c_library_as(name, name, folder, &[])
}

/// As [`c_library`], under another file name and with more flags.
pub fn c_library_as(name: &str, built_name: &str, folder: &Path, flags: &[&str]) -> PathBuf {
    let library = folder.join(format!("lib{built_name}.so"));
    let mut command = Command::new("cc");
    command.args(["-shared", "-fPIC", "-pthread", "-Wall", "-Wextra", "-Werror"]).args(flags);
    command.arg("-I").arg(workspace_root().join("sdk/include")).arg("-o").arg(&library);
    output::run(command.arg(fixture_source("c").join(format!("{name}.c"))), "").success();
    library
}
