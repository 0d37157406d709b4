//! The guests in Rust: a component, and a WASI command.
//!
//! Rust needs its standard library for WebAssembly. With rustup that is one more target of the toolchain that builds
//! everything else. Where there is none, Debian has a compiler and the library's source, from which cargo builds it.

mod debian;
mod environment;

use super::Place;
use super::recipe::Recipe;
use crate::process;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use environment::Toolchain;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use wit_component::{ComponentEncoder, DecodedWasm};

/// A package below `guest-examples/rust`, by its name.
struct Package {
    name: &'static str,
    target: Target,
}

/// What a guest is compiled for.
#[derive(Clone, Copy)]
enum Target {
    /// A module that imports nothing but what its world names, to be wrapped into a component.
    Unknown,
    /// WASI's preview 1, for commands.
    Wasip1,
}

const PACKAGES: [Package; 3] = [
    Package { name: "nbody", target: Target::Unknown },
    Package { name: "visits", target: Target::Unknown },
    Package { name: "mandelbrot", target: Target::Wasip1 },
];
/// What the names of the interfaces begin with that a guest may import beside WASI's.
const OWN_INTERFACES: &str = "potluck:guest/";

/// The interface of guests, and the copy that the examples have so that they can stand alone.
const WIT: &str = "sdk/wit/guest.wit";
const WIT_COPY: &str = "rust/wit/guest.wit";

impl Target {
    fn triple(self) -> &'static str {
        match self {
            Target::Unknown => "wasm32-unknown-unknown",
            Target::Wasip1 => "wasm32-wasip1",
        }
    }
}

/// Builds them all.
pub(super) fn build(place: &Place, workspace: &Workspace, venv: &Path) -> Result<()> {
    let source = place.source.join("rust");
    check_wit(&fs::read(workspace.root.join(WIT))?, &fs::read(place.source.join(WIT_COPY))?)?;
    let toolchain = if has_targets() {
        Toolchain::Own
    } else {
        debian::prepare()?;
        Toolchain::Other
    };
    let recipe = Recipe::new().text(&version(toolchain)?).file(&venv.join("recipe.txt"))?.folder(&source)?;
    for package in &PACKAGES {
        place.make(&place.guest_of(package.name), &recipe, |made| {
            println!("  compiling guest-examples/rust/{}", package.name);
            let module = compile(place, workspace, venv, toolchain, package)?;
            let bytes = fs::read(&module).with_context(|| format!("cannot read {}", module.display()))?;
            let guest = match package.target {
                Target::Unknown => component(&bytes)?,
                Target::Wasip1 => bytes,
            };
            fs::write(made, guest).with_context(|| format!("cannot write {}", made.display()))
        })?;
    }
    Ok(())
}

/// Runs cargo, and returns the module that it makes.
fn compile(
    place: &Place,
    workspace: &Workspace,
    venv: &Path,
    toolchain: Toolchain,
    package: &Package,
) -> Result<PathBuf> {
    let mut cargo = match toolchain {
        Toolchain::Own => {
            let mut cargo = environment::cleaned(workspace.cargo(), toolchain);
            cargo.arg("build");
            cargo
        }
        Toolchain::Other => debian::cargo_build(place, venv, package.target)?,
    };
    let triple = package.target.triple();
    let folder = place.folder.join("rust");
    cargo.args(["--quiet", "--release", "--locked", "-p", package.name, "--target", triple]);
    cargo.arg("--target-dir").arg(&folder);
    process::run(cargo.current_dir(place.source.join("rust")).stdin(Stdio::null()))?;
    Ok(folder.join(triple).join("release").join(package.name).with_extension("wasm"))
}

/// Wraps a module into a component of the world that it was compiled for. Built like this it imports nothing else.
fn component(module: &[u8]) -> Result<Vec<u8>> {
    let component = ComponentEncoder::default().validate(true).module(module).and_then(|mut encoder| encoder.encode());
    let component = component.context("the module cannot become a component")?;
    if let DecodedWasm::Component(resolve, world) = wit_component::decode(&component)? {
        let mut imports: Vec<String> =
            resolve.worlds[world].imports.keys().map(|key| resolve.name_world_key(key)).collect();
        imports.retain(|name| !name.starts_with(OWN_INTERFACES));
        if !imports.is_empty() {
            bail!("the component should import nothing of others, but does import {}", imports.join(", "));
        }
    }
    Ok(component)
}

/// Whether the compiler that builds everything else has its library for both targets.
fn has_targets() -> bool {
    [Target::Unknown, Target::Wasip1].iter().all(|target| {
        let mut rustc = own_rustc();
        rustc.args(["--print", "target-libdir", "--target", target.triple()]);
        let folder = process::output_if_ok(rustc.stdin(Stdio::null()).stderr(Stdio::null()));
        // It is named whether or not it is there.
        folder.is_some_and(|folder| fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some()))
    })
}

fn own_rustc() -> Command {
    Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// What the compiler says of itself; another version makes other guests.
fn version(toolchain: Toolchain) -> Result<String> {
    let rustc = match toolchain {
        Toolchain::Own => own_rustc(),
        Toolchain::Other => Command::new(debian::RUSTC),
    };
    let mut rustc = environment::cleaned(rustc, toolchain);
    process::output_if_ok(rustc.arg("-vV").stdin(Stdio::null())).context("rustc does not tell its version")
}

fn check_wit(contract: &[u8], copy: &[u8]) -> Result<()> {
    if contract != copy {
        bail!("guest-examples/{WIT_COPY} is out of date; copy {WIT} to it");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_have_the_interface_of_the_sdk() {
        // Asked at run time: a build folder may be shared by several clones.
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&manifest).parent().unwrap();
        let copy = root.join(super::super::SOURCE).join(WIT_COPY);
        check_wit(&fs::read(root.join(WIT)).unwrap(), &fs::read(copy).unwrap()).unwrap();
        assert!(check_wit(b"world", b"another world").unwrap_err().to_string().contains(WIT));
    }

    #[test]
    fn what_is_no_module_of_a_world_is_no_component() {
        assert!(component(b"nothing").is_err());
        assert!(component(&wat::parse_str(r#"(module (import "env" "f" (func)))"#).unwrap()).is_err());
    }
}
