//! `cargo xtask dist`: the tree that is run, tested and shipped. Nothing in it is absolute; it can be moved as a whole.
//!
//! ```text
//! bin/potluck
//! lib/plugins/libprovider_memory.so ...
//! lib/workers/python/potluck_worker.abi3.so
//! lib/workers/wasm/potluck-worker-wasm
//! lib/sandbox/python/                      image of the sandbox, with its compiled code
//! share/plugins.toml
//! share/guest-examples/
//! share/guest-examples/wasm/               the guests of those that every machine can build
//! ```
//!
//! A running node maps the libraries of this tree, and to write into a mapped file is to pull the code from under it.
//! So a file is written beside its place under another name and renamed over it: the node keeps the old one.

use crate::artifacts::{self, Artifacts};
use crate::guests;
use crate::prerequisites;
use crate::python;
use crate::sandbox;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::env::consts::EXE_SUFFIX;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

const HOST: &str = "potluck-host";
const WORKER: &str = "potluck-worker-python";
const WASM_WORKER: &str = "potluck-worker-wasm";

/// A tree that is complete.
pub(crate) struct Dist {
    root: PathBuf,
}

impl Dist {
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The node and its command line.
    pub(crate) fn potluck(&self) -> PathBuf {
        self.root.join(format!("bin/potluck{EXE_SUFFIX}"))
    }

    /// The text of a task in `guest-examples/python`.
    pub(crate) fn python_example(&self, name: &str) -> Result<String> {
        let path = self.root.join("share/guest-examples/python").join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// The file of a task in `guest-examples/system_calls`.
    pub(crate) fn system_call_example(&self, name: &str) -> PathBuf {
        self.root.join("share/guest-examples/system_calls").join(name)
    }

    /// The file of a guest that was built from `guest-examples`.
    pub(crate) fn guest(&self, name: &str) -> PathBuf {
        self.root.join("share/guest-examples/wasm").join(name)
    }
}

/// Builds what belongs into the tree, and brings the tree up to date.
pub(crate) fn build(workspace: &Workspace) -> Result<Dist> {
    let providers: Vec<&str> = workspace.providers().map(|package| package.name.as_str()).collect();
    if providers.is_empty() {
        bail!("there is no provider under plugins/");
    }
    let arguments: Vec<&str> =
        [HOST, WORKER, WASM_WORKER].iter().chain(&providers).flat_map(|name| ["-p", name]).collect();
    let artifacts = artifacts::build(workspace, &arguments)?;

    let interpreter = prerequisites::python()?;
    let venv = python::virtual_environment(workspace, &interpreter)?;
    let image = sandbox::build(workspace, &venv, artifacts.program(WASM_WORKER, WASM_WORKER)?)?;

    let mut content = built_files(&artifacts, &providers)?;
    add_folder(&mut content, &image, Path::new("lib/sandbox/python"))?;
    content.insert("share/plugins.toml".into(), workspace.root.join("plugins.toml"));
    add_folder(&mut content, &workspace.root.join("guest-examples"), Path::new("share/guest-examples"))?;
    for guest in guests::build_portable(workspace, &venv)? {
        let name = guest.file_name().context("a guest without a name")?;
        content.insert(Path::new("share/guest-examples/wasm").join(name), guest);
    }

    let root = workspace.target.join("dist");
    // Two commands at once would take each other's new files for stale ones.
    let lock = File::create(workspace.target.join("dist.lock")).context("cannot create the lock of target/dist")?;
    lock.lock().context("cannot lock target/dist")?;
    update(&root, &content)?;
    Ok(Dist { root })
}

/// What goes where: place in the tree to source.
type Content = BTreeMap<PathBuf, PathBuf>;

fn built_files(artifacts: &Artifacts, providers: &[&str]) -> Result<Content> {
    let mut content = Content::new();
    content.insert(format!("bin/potluck{EXE_SUFFIX}").into(), artifacts.program(HOST, "potluck")?.to_owned());
    // The name under which every CPython from 3.10 on finds it.
    content.insert("lib/workers/python/potluck_worker.abi3.so".into(), artifacts.library(WORKER)?.to_owned());
    let place = format!("lib/workers/wasm/{WASM_WORKER}{EXE_SUFFIX}");
    content.insert(place.into(), artifacts.program(WASM_WORKER, WASM_WORKER)?.to_owned());
    for provider in providers {
        let library = artifacts.library(provider)?;
        let name = library.file_name().context("a library without a name")?;
        content.insert(Path::new("lib/plugins").join(name), library.to_owned());
    }
    Ok(content)
}

fn add_folder(content: &mut Content, folder: &Path, place: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let place = place.join(&name);
        if entry.file_type()?.is_dir() {
            // What building or running the examples leaves behind.
            if name != "__pycache__" && name != "target" {
                add_folder(content, &entry.path(), &place)?;
            }
        } else {
            content.insert(place, entry.path());
        }
    }
    Ok(())
}

/// Makes the tree hold exactly this.
fn update(root: &Path, content: &Content) -> Result<()> {
    fs::create_dir_all(root).with_context(|| format!("cannot create {}", root.display()))?;
    remove_stale(root, Path::new(""), content)?;
    for (place, source) in content {
        let place = root.join(place);
        put(source, &place).with_context(|| format!("cannot copy {} to {}", source.display(), place.display()))?;
    }
    Ok(())
}

fn remove_stale(root: &Path, folder: &Path, content: &Content) -> Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let place = folder.join(entry.file_name());
        let is_folder = entry.file_type()?.is_dir();
        let is_wanted = if is_folder {
            content.keys().any(|wanted| wanted != &place && wanted.starts_with(&place))
        } else {
            content.contains_key(&place)
        };
        let removed = match (is_wanted, is_folder) {
            (true, true) => remove_stale(root, &place, content),
            (true, false) => Ok(()),
            (false, true) => fs::remove_dir_all(entry.path()).map_err(Into::into),
            (false, false) => fs::remove_file(entry.path()).map_err(Into::into),
        };
        removed.with_context(|| format!("cannot remove {}", entry.path().display()))?;
    }
    Ok(())
}

/// Puts a copy of `source` at `place`, unless it is there already.
pub(crate) fn put(source: &Path, place: &Path) -> Result<()> {
    if is_same(source, place)? {
        return Ok(());
    }
    let folder = place.parent().context("a place without a folder")?;
    fs::create_dir_all(folder)?;
    let temporary = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?.into_temp_path();
    // Copies the permissions too.
    fs::copy(source, &temporary)?;
    temporary.persist(place)?;
    Ok(())
}

fn is_same(source: &Path, place: &Path) -> Result<bool> {
    let (Ok(wanted), Ok(present)) = (fs::metadata(source), fs::metadata(place)) else { return Ok(false) };
    // Libraries of some megabytes: reading both is quicker than thinking about dates.
    Ok(wanted.len() == present.len()
        && wanted.permissions() == present.permissions()
        && fs::read(source)? == fs::read(place)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn write(path: &Path, text: &str) -> PathBuf {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        path.to_owned()
    }

    #[test]
    fn the_tree_holds_exactly_what_it_should_and_mapped_files_are_replaced_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        let root = folder.path().join("dist");
        let library = write(&source.join("libx.so"), "one");
        let constant = write(&source.join("plugins.toml"), "same");
        let content =
            Content::from([("lib/plugins/libx.so".into(), library.clone()), ("share/plugins.toml".into(), constant)]);
        update(&root, &content).unwrap();

        write(&root.join("lib/plugins/libold.so"), "stale");
        write(&root.join("lib/old/libold.so"), "stale");
        let inode = |name: &str| fs::metadata(root.join(name)).unwrap().ino();
        let kept = inode("share/plugins.toml");
        let mapped = File::open(root.join("lib/plugins/libx.so")).unwrap();
        write(&library, "two");
        update(&root, &content).unwrap();

        assert_eq!(std::io::read_to_string(mapped).unwrap(), "one");
        assert_eq!(fs::read_to_string(root.join("lib/plugins/libx.so")).unwrap(), "two");
        assert_eq!(inode("share/plugins.toml"), kept);
        assert!(!root.join("lib/old").exists());
        let names: Vec<_> = fs::read_dir(root.join("lib/plugins")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["libx.so"]);
    }

    #[test]
    fn what_running_the_examples_leaves_behind_is_not_shipped() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("python/count.py"), "");
        write(&folder.path().join("python/__pycache__/count.pyc"), "");
        let mut content = Content::new();
        add_folder(&mut content, folder.path(), Path::new("share")).unwrap();
        assert_eq!(content.keys().collect::<Vec<_>>(), [Path::new("share/python/count.py")]);
    }
}
