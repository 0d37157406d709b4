//! Debian's compiler for WebAssembly. It comes without a linker and without the library for our targets: cargo builds
//! the library from its source, and zig, which the C guests need anyway, has the linker.

use super::Target;
use super::environment::{self, Toolchain};
use crate::guests::Place;
use crate::prerequisites;
use crate::process;
use crate::python;
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

pub(super) const RUSTC: &str = "/usr/bin/rustc";
const CARGO: &str = "/usr/bin/cargo";
/// The C library that Rust's own is built upon for WASI.
const WASI_FOLDER: &str = "/usr/lib/wasm32-wasi";
/// What runs before a command's `main`.
const WASI_START: &str = "/usr/lib/wasm32-wasi/crt1-command.o";
const LIBRARY: &str = "/usr/lib/rustlib/src/rust/library/std/Cargo.toml";

const PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "wasi-libc"];
/// What the packages bring; without any of these no guest can be built.
const FILES: [&str; 4] = [RUSTC, CARGO, LIBRARY, WASI_START];

/// Makes sure that the packages are there.
pub(super) fn prepare() -> Result<()> {
    if missing().is_some() {
        prerequisites::install_or_explain("Rust's library for WebAssembly", &PACKAGES)
            .context("with rustup this is enough: rustup target add wasm32-unknown-unknown wasm32-wasip1")?;
    }
    match missing() {
        Some(file) => bail!("{} were installed, but {file} is missing", PACKAGES.join(", ")),
        None => Ok(()),
    }
}

fn missing() -> Option<&'static str> {
    FILES.into_iter().find(|file| !Path::new(file).exists())
}

/// `cargo build` for a target, with nothing of the toolchain that runs us.
pub(super) fn cargo_build(place: &Place, venv: &Path, target: Target) -> Result<Command> {
    let mut cargo = environment::cleaned(Command::new(CARGO), Toolchain::Other);
    // To build the library is not yet something that a released cargo does without being asked like this.
    cargo.env("RUSTC", RUSTC).env("RUSTC_BOOTSTRAP", "1");
    cargo.args(["build", "-Zbuild-std=std,panic_abort"]);
    cargo.arg("--config").arg(setting(target, "linker", &quoted(&linker(place, venv)?)));
    if let Target::Wasip1 = target {
        let flags = [
            "-Clink-self-contained=no".to_owned(),
            format!("-Clink-arg={WASI_START}"),
            format!("-Lnative={WASI_FOLDER}"),
        ];
        let flags: Vec<String> = flags.iter().map(|flag| quoted(flag)).collect();
        cargo.arg("--config").arg(setting(target, "rustflags", &format!("[{}]", flags.join(", "))));
    }
    Ok(cargo)
}

/// A setting of cargo's, in TOML.
fn setting(target: Target, key: &str, value: &str) -> String {
    format!("target.{}.{key}={value}", target.triple())
}

/// A text in TOML. Serialized as JSON, which differs only for characters that no path of a build folder has.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Writes a script that rustc can call as it calls its own linker, and that calls zig's.
fn linker(place: &Place, venv: &Path) -> Result<String> {
    let path = place.folder.join("wasm-ld");
    fs::write(&path, linker_script(&python::python_of(venv)))
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot write {}", path.display()))?;
    path.into_os_string().into_string().ok().context("the path of the build folder is not UTF-8")
}

fn linker_script(python: &Path) -> String {
    let python = process::quoted(&python.to_string_lossy());
    // The first two words say which linker a program that is several should be.
    format!("#!/bin/sh\nshift 2\nexec {python} -m ziglang wasm-ld \"$@\"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_toml_whatever_the_build_folder_is_called() {
        let setting = setting(Target::Unknown, "linker", &quoted(r#"/my "own"/wasm-ld"#));
        assert_eq!(setting, r#"target.wasm32-unknown-unknown.linker="/my \"own\"/wasm-ld""#);
    }

    #[test]
    fn the_linker_is_called_without_the_words_that_are_not_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("wasm-ld");
        // In the place of Python, a program that shows its arguments.
        fs::write(&script, linker_script(Path::new("/bin/echo"))).unwrap();
        let output = Command::new("/bin/sh").arg(&script).args(["-flavor", "wasm", "a b", "-o", "c"]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "-m ziglang wasm-ld a b -o c\n");
    }
}
