//! `cargo xtask guests`: the WebAssembly guests of `guest-examples/`, each built from its source as its author would.
//!
//! What is made lies in `target/guests`, and is made again only when what it is made from has changed. WAT and C are
//! built everywhere, in seconds, and belong to the tree that is shipped. Rust needs its library for WebAssembly, which
//! not every machine has, and a minute or two: those guests are built for the tests, and by this command.

mod recipe;
mod rust;

use crate::prerequisites;
use crate::process;
use crate::python;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use recipe::Recipe;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The source of all guests, below the root of the workspace.
const SOURCE: &str = "guest-examples";
/// How C is compiled: small, and with every complaint an error.
const C_FLAGS: &[&str] = &["-target", "wasm32-wasi", "-O2", "-s", "-Wall", "-Wextra", "-Werror"];

/// Builds all guests, and first what that needs.
pub(crate) fn run(workspace: &Workspace) -> Result<PathBuf> {
    let venv = python::virtual_environment(workspace, &prerequisites::python()?)?;
    build(workspace, &venv)
}

/// Builds all guests and returns the folder with them.
pub(crate) fn build(workspace: &Workspace, venv: &Path) -> Result<PathBuf> {
    let place = Place::lock(workspace)?;
    place.build_portable(venv)?;
    rust::build(&place, workspace, venv)?;
    Ok(place.folder)
}

/// Builds the guests that every machine can build, and returns their files.
pub(crate) fn build_portable(workspace: &Workspace, venv: &Path) -> Result<Vec<PathBuf>> {
    Place::lock(workspace)?.build_portable(venv)
}

/// Where guests come from and go to, for one command at a time.
struct Place {
    source: PathBuf,
    folder: PathBuf,
    /// Open as long as this command has the folder.
    _lock: File,
}

impl Place {
    fn lock(workspace: &Workspace) -> Result<Place> {
        let folder = workspace.target.join("guests");
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let lock =
            File::create(workspace.target.join("guests.lock")).context("cannot create the lock of the guests")?;
        lock.lock().context("cannot lock the guests")?;
        Ok(Place { source: workspace.root.join(SOURCE), folder, _lock: lock })
    }

    fn build_portable(&self, venv: &Path) -> Result<Vec<PathBuf>> {
        let mut guests = Vec::new();
        for source in files(&self.source.join("wat"), "wat")? {
            guests.push(self.assemble(&source)?);
        }
        for source in files(&self.source.join("c"), "c")? {
            guests.push(self.compile(&source, venv)?);
        }
        Ok(guests)
    }

    /// WAT is WebAssembly already, written for people.
    fn assemble(&self, source: &Path) -> Result<PathBuf> {
        let guest = self.guest_of(source);
        let bytes = wat::parse_file(source)?;
        // A file that nothing has changed in keeps its date.
        if fs::read(&guest).ok().as_ref() != Some(&bytes) {
            self.put(&guest, &bytes)?;
        }
        Ok(guest)
    }

    fn compile(&self, source: &Path, venv: &Path) -> Result<PathBuf> {
        let guest = self.guest_of(source);
        let recipe = Recipe::new().text(&C_FLAGS.join(" ")).file(&venv.join("recipe.txt"))?.file(source)?;
        self.make(&guest, &recipe, |made| {
            println!("  compiling {SOURCE}/c/{}", file_name(source));
            let mut compiler = c_compiler(venv, &self.folder);
            process::run(compiler.args(C_FLAGS).arg("-o").arg(made).arg(source))
        })?;
        Ok(guest)
    }

    /// Runs `make`, which is to write the guest to the path that it is given, unless the guest is there and made from
    /// the same.
    fn make(&self, guest: &Path, recipe: &Recipe, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let note = self.recipe_of(guest);
        if guest.is_file() && recipe.is_noted_in(&note) {
            return Ok(());
        }
        let made = self.new_name(guest);
        make(&made)?;
        // It is run by nodes alone, whatever a linker thinks.
        fs::set_permissions(&made, fs::Permissions::from_mode(0o644))?;
        fs::rename(&made, guest).with_context(|| format!("cannot make {}", guest.display()))?;
        // Last, so that an interrupted run is repeated.
        recipe.note_in(&note)
    }

    /// Replaces a file as a whole: somebody may be reading it.
    fn put(&self, guest: &Path, bytes: &[u8]) -> Result<()> {
        let made = self.new_name(guest);
        fs::write(&made, bytes).with_context(|| format!("cannot write {}", made.display()))?;
        fs::rename(&made, guest).with_context(|| format!("cannot make {}", guest.display()))
    }

    /// The guest that is made from a source, which is called like it.
    fn guest_of(&self, source: impl AsRef<Path>) -> PathBuf {
        self.folder.join(source.as_ref().file_stem().unwrap_or_default()).with_extension("wasm")
    }

    fn recipe_of(&self, guest: &Path) -> PathBuf {
        guest.with_extension("recipe.txt")
    }

    /// A name that nobody else uses, since one command at a time has the folder.
    fn new_name(&self, guest: &Path) -> PathBuf {
        guest.with_extension("new.wasm")
    }
}

/// Zig's C compiler. It comes with a C library for WASI, which it compiles once.
fn c_compiler(venv: &Path, folder: &Path) -> Command {
    let mut command = Command::new(python::python_of(venv));
    let cache = folder.join("zig-cache");
    command.args(["-m", "ziglang", "cc"]).env("ZIG_GLOBAL_CACHE_DIR", &cache).env("ZIG_LOCAL_CACHE_DIR", &cache);
    command.stdin(Stdio::null());
    command
}

/// The files of one kind in a folder, by name.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files.sort();
    Ok(files)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn place(folder: &Path) -> Place {
        let lock = File::create(folder.join("lock")).unwrap();
        Place { source: folder.to_owned(), folder: folder.to_owned(), _lock: lock }
    }

    #[test]
    fn a_guest_is_made_when_it_is_missing_or_made_from_something_else_and_not_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path());
        let guest = place.guest_of("/somewhere/primes.c");
        let made = Cell::new(0);
        let make = |text: &str, fails: bool| {
            place.make(&guest, &Recipe::new().text(text), |path| {
                made.set(made.get() + 1);
                fs::write(path, text)?;
                if fails { Err(anyhow::anyhow!("it does not compile")) } else { Ok(()) }
            })
        };
        make("one", false).unwrap();
        make("one", false).unwrap();
        assert_eq!((fs::read_to_string(&guest).unwrap().as_str(), made.get()), ("one", 1));
        make("two", true).unwrap_err();
        assert_eq!(fs::read_to_string(&guest).unwrap(), "one");
        make("two", false).unwrap();
        assert_eq!((fs::read_to_string(&guest).unwrap().as_str(), made.get()), ("two", 3));
        fs::remove_file(&guest).unwrap();
        make("two", false).unwrap();
        assert_eq!((guest.is_file(), made.get()), (true, 4));
    }

    #[test]
    fn text_becomes_a_module_and_one_that_has_not_changed_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path());
        let source = folder.path().join("empty.wat");
        fs::write(&source, "(module)").unwrap();
        let guest = place.assemble(&source).unwrap();
        assert_eq!(fs::read(&guest).unwrap(), b"\0asm\x01\0\0\0");
        let date = fs::metadata(&guest).unwrap().modified().unwrap();
        place.assemble(&source).unwrap();
        assert_eq!(fs::metadata(&guest).unwrap().modified().unwrap(), date);
        fs::write(&source, "(module").unwrap();
        assert!(place.assemble(&source).unwrap_err().to_string().contains("empty.wat"));
    }
}
