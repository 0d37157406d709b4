//! Images: a folder with a description, the WebAssembly, its compiled code, and for some an installation of Python.

use crate::engine;
use crate::progress::Functions;
use crate::science;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wasmparser::{Parser, Payload};
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

const DESCRIPTION: &str = "image.json";
const WEBASSEMBLY: &str = "image.wasm";
const COMPILED_EXTENSION: &str = "cwasm";
/// A file that is being written is called `NAME.PROCESS.new`.
const UNFINISHED_EXTENSION: &str = "new";
/// Compiled code that is kept of one image in a folder of many: that of the newest versions, for nodes that are still of an
/// older one.
const VERSIONS_MAX: usize = 2;
/// Bits of a mode that let others than the owner write.
const OTHERS_WRITE: u32 = 0o022;

/// What `image.json` says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Image {
    /// What it is, in one line.
    pub(crate) description: String,
    /// What its WebAssembly is.
    pub(crate) kind: Kind,
    /// Packages beside the standard library, with their versions.
    pub(crate) packages: Vec<String>,
    /// SHA-256 of the WebAssembly.
    pub(crate) sha256: String,
    /// Stands for what it was made of, when this program made it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) recipe: String,
}

/// The two kinds of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// A component of the world in `wit/image.wit`, which has everything in its memory.
    Component,
    /// A module of WASI preview 1 with an installation of Python beside it.
    Module,
}

/// The compiled code of an image.
pub(crate) enum Code {
    Component(Component),
    Module(Module),
}

impl Image {
    pub(crate) fn read(folder: &Path) -> Result<Image> {
        let path = folder.join(DESCRIPTION);
        let text = fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is not the description of an image", path.display()))
    }

    /// Names the compiled code: `SHA256-SETTINGS`, where another wasmtime, processor or setting has another name.
    fn key(&self, engine: &Engine) -> String {
        let mut settings = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut settings);
        engine::UNCHECKED.hash(&mut settings);
        format!("{}-{:016x}", self.sha256, settings.finish())
    }
}

/// Writes the files of an image, and its compiled code beside them. The description comes last: what has none is no
/// image yet.
pub(crate) fn write(folder: &Path, image: &Image, webassembly: &[u8], engine: &Engine) -> Result<()> {
    remove_unfinished(folder)?;
    let code = compile_bytes(engine, image.kind, webassembly)?;
    write_whole(&folder.join(WEBASSEMBLY), webassembly)?;
    write_whole(&compiled_path(folder, &image.key(engine)), &code)?;
    write_whole(&folder.join(DESCRIPTION), &serde_json::to_vec_pretty(image)?)?;
    Ok(())
}

/// The WebAssembly of an image, as its description says it is.
pub(crate) fn webassembly(folder: &Path, image: &Image) -> Result<Vec<u8>> {
    let path = folder.join(WEBASSEMBLY);
    let bytes = fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    if sha256(&bytes) != image.sha256 {
        bail!("{} is not the file that {DESCRIPTION} describes; install the image again", path.display());
    }
    Ok(bytes)
}

/// The compiled code of an image, in its own folder or in another one.
pub(crate) fn find_compiled(folder: &Path, other: Option<&Path>) -> Result<Option<PathBuf>> {
    let image = Image::read(folder)?;
    if image.kind == Kind::Module && image.recipe != science::recipe() {
        bail!("the image in {} was made by another version of this program; install it again", folder.display());
    }
    let key = image.key(&engine::for_compiling(None)?);
    let own = Some(compiled_path(folder, &key));
    let other = other.map(|other| shared_path(other, &key, folder));
    Ok([own, other].into_iter().flatten().find(|path| path.exists()))
}

fn compiled_path(folder: &Path, key: &str) -> PathBuf {
    folder.join(format!("{key}.{COMPILED_EXTENSION}"))
}

/// In a folder with the code of many images, the name tells which one it is of.
fn shared_path(place: &Path, key: &str, image: &Path) -> PathBuf {
    place.join(format!("{key}{}", shared_suffix(image)))
}

fn shared_suffix(image: &Path) -> String {
    let name = image.file_name().unwrap_or_default().to_string_lossy();
    format!(".{name}.{COMPILED_EXTENSION}")
}

/// Removes all but the newest of an image's compiled code in a folder of many.
fn remove_old_versions(place: &Path, image: &Path) -> Result<()> {
    let suffix = shared_suffix(image);
    let mut versions = Vec::new();
    for entry in fs::read_dir(place)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(&suffix) {
            versions.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    versions.sort();
    for (_, path) in versions.iter().rev().skip(VERSIONS_MAX) {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Removes what a process was writing when it was killed.
fn remove_unfinished(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_unfinished = path.extension().is_some_and(|extension| extension == UNFINISHED_EXTENSION);
        let process = path.file_stem().and_then(|stem| Path::new(stem).extension());
        if is_unfinished && process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Removes compiled code beside an image that is not its own.
pub(crate) fn remove_other_code(folder: &Path) -> Result<()> {
    let own = find_compiled(folder, None)?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_code = path.extension().is_some_and(|extension| extension == COMPILED_EXTENSION);
        if is_code && own.as_ref() != Some(&path) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Compiles an image, unless that has been done, and returns where the code is.
pub(crate) fn compile(folder: &Path, into: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = find_compiled(folder, into)? {
        if into.is_none() {
            remove_other_code(folder)?;
        }
        return Ok(path);
    }
    let image = Image::read(folder)?;
    let bytes = webassembly(folder, &image)?;
    let functions = Functions::new("compile", count_functions(&bytes)?);
    let engine = engine::for_compiling(Some(Arc::new(functions)))?;
    let code = compile_bytes(&engine, image.kind, &bytes)?;
    let key = image.key(&engine);
    let write = |place: &Path, path: &Path| {
        fs::create_dir_all(place)?;
        remove_unfinished(place)?;
        write_whole(path, &code).with_context(|| format!("{} cannot be written", path.display()))
    };
    let Some(into) = into else {
        let path = compiled_path(folder, &key);
        write(folder, &path)?;
        remove_other_code(folder)?;
        return Ok(path);
    };
    let path = shared_path(into, &key, folder);
    write(into, &path)?;
    remove_old_versions(into, folder)?;
    Ok(path)
}

fn compile_bytes(engine: &Engine, kind: Kind, bytes: &[u8]) -> Result<Vec<u8>> {
    Ok(match kind {
        Kind::Component => engine.precompile_component(bytes)?,
        Kind::Module => engine.precompile_module(bytes)?,
    })
}

/// The functions of a module, or of all modules of a component.
pub(crate) fn count_functions(bytes: &[u8]) -> Result<usize> {
    let mut count = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        if let Payload::CodeSectionStart { count: functions, .. } = payload? {
            count += functions as usize;
        }
    }
    Ok(count)
}

/// A file that is there either whole or not at all, whatever happens meanwhile.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension(format!("{}.{UNFINISHED_EXTENSION}", std::process::id()));
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

/// Loads the compiled code of an image.
pub(crate) fn load(engine: &Engine, folder: &Path, other: Option<&Path>) -> Result<Code> {
    let path = find_compiled(folder, other)?
        .with_context(|| format!("the image in {} has not been compiled for this program", folder.display()))?;
    // What is looked at is what is loaded, whatever the path leads to by then.
    let file = File::open(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    check_ownership(&file.metadata()?, &path)?;
    let place = path.parent().context("a file without a folder")?;
    check_ownership(&fs::metadata(place)?, place)?;
    let opened = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(match Image::read(folder)?.kind {
        // SAFETY: compiled code is machine code that runs with the rights of this process. It was written by `compile` or
        // `write`, into a file and a folder that nobody but root and this user can write, so it is as trustworthy as this
        // program.
        Kind::Component => Code::Component(unsafe { Component::deserialize_file(engine, opened)? }),
        // SAFETY: as above.
        Kind::Module => Code::Module(unsafe { Module::deserialize_file(engine, opened)? }),
    })
}

/// Refuses code that somebody else could have put there.
fn check_ownership(metadata: &Metadata, path: &Path) -> Result<()> {
    let own = rustix::process::geteuid().as_raw();
    if ![0, own].contains(&metadata.uid()) || metadata.mode() & OTHERS_WRITE != 0 {
        bail!(
            "{} can be written by others, so the machine code in it is not loaded; run `chmod go-w` on it, or remove it",
            path.display()
        );
    }
    Ok(())
}

/// The SHA-256 of bytes in hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn machine_code_that_others_could_have_written_is_not_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let image = Image {
            description: "nothing".to_owned(),
            kind: Kind::Module,
            packages: Vec::new(),
            sha256: sha256(&wat::parse_str("(module)").unwrap()),
            recipe: science::recipe(),
        };
        let engine = engine::for_compiling(None).unwrap();
        write(folder.path(), &image, &wat::parse_str("(module)").unwrap(), &engine).unwrap();
        assert!(load(&engine, folder.path(), None).is_ok());
        for mode in [0o777, 0o775] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            let error = load(&engine, folder.path(), None).err().unwrap().to_string();
            assert!(error.contains("can be written by others"), "{error}");
        }
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let path = find_compiled(folder.path(), None).unwrap().unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(load(&engine, folder.path(), None).is_err());
    }

    #[test]
    fn another_file_in_place_of_the_image_is_found_out() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(WEBASSEMBLY), wat::parse_str("(module)").unwrap()).unwrap();
        let description = r#"{"description":"x","kind":"component","packages":[],"sha256":"00"}"#;
        fs::write(folder.path().join(DESCRIPTION), description).unwrap();
        assert!(compile(folder.path(), None).unwrap_err().to_string().contains("install the image again"));
    }

    #[test]
    fn what_is_left_of_older_versions_and_killed_processes_goes() {
        let top = tempfile::tempdir().unwrap();
        let (folder, place) = (top.path().join("python"), top.path().join("compiled"));
        fs::create_dir(&folder).unwrap();
        fs::create_dir(&place).unwrap();
        let alive = format!("x.{}.new", std::process::id());
        // No process has this number: it is above the kernel's limit.
        for name in ["x.99999999.new", &alive, "other.science.cwasm"] {
            fs::write(place.join(name), "").unwrap();
        }
        let module = wat::parse_str("(module)").unwrap();
        fs::write(folder.join(WEBASSEMBLY), &module).unwrap();
        let image = Image {
            description: "nothing".to_owned(),
            kind: Kind::Module,
            packages: Vec::new(),
            sha256: sha256(&module),
            recipe: science::recipe(),
        };
        fs::write(folder.join(DESCRIPTION), serde_json::to_vec(&image).unwrap()).unwrap();
        for name in ["old", "older"] {
            let file = File::create(place.join(format!("{name}.python.cwasm"))).unwrap();
            let age = std::time::Duration::from_secs(if name == "old" { 100 } else { 200 });
            file.set_modified(std::time::SystemTime::now() - age).unwrap();
        }
        let path = compile(&folder, Some(&place)).unwrap();
        assert_eq!(find_compiled(&folder, Some(&place)).unwrap(), Some(path.clone()));
        assert!(load(&engine::for_compiling(None).unwrap(), &folder, Some(&place)).is_ok());
        let mut names: Vec<_> = fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        let mut left = [path, place.join(alive), place.join("old.python.cwasm"), place.join("other.science.cwasm")];
        left.sort();
        assert_eq!(names, left);
    }

    #[test]
    fn functions_of_all_modules_are_counted() {
        let component = wat::parse_str("(component (core module (func) (func)) (core module (func)))").unwrap();
        assert_eq!(count_functions(&component).unwrap(), 3);
    }
}
