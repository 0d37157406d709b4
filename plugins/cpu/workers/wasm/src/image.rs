//! Images: a folder with a description, the WebAssembly, its compiled code, and for some an installation of Python.

use crate::engine;
use crate::progress::Functions;
use crate::science;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wasmparser::{Parser, Payload};
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

const DESCRIPTION: &str = "image.json";
const WEBASSEMBLY: &str = "image.wasm";
const COMPILED_EXTENSION: &str = "cwasm";
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
    let places = [Some(folder), other].into_iter().flatten();
    Ok(places.map(|place| compiled_path(place, &key)).find(|path| path.exists()))
}

fn compiled_path(folder: &Path, key: &str) -> PathBuf {
    folder.join(format!("{key}.{COMPILED_EXTENSION}"))
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
    let place = into.unwrap_or(folder);
    fs::create_dir_all(place)?;
    let path = compiled_path(place, &image.key(&engine));
    write_whole(&path, &code).with_context(|| format!("{} cannot be written", path.display()))?;
    if into.is_none() {
        remove_other_code(folder)?;
    }
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
    let temporary = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

/// Loads the compiled code of an image.
pub(crate) fn load(engine: &Engine, folder: &Path, other: Option<&Path>) -> Result<Code> {
    let path = find_compiled(folder, other)?
        .with_context(|| format!("the image in {} has not been compiled for this program", folder.display()))?;
    check_ownership(&path)?;
    Ok(match Image::read(folder)?.kind {
        // SAFETY: compiled code is machine code that runs with the rights of this process. It was written by `compile` or
        // `write`, into a file and a folder that nobody but root and this user can write, so it is as trustworthy as this
        // program.
        Kind::Component => Code::Component(unsafe { Component::deserialize_file(engine, &path)? }),
        // SAFETY: as above.
        Kind::Module => Code::Module(unsafe { Module::deserialize_file(engine, &path)? }),
    })
}

/// Refuses code that somebody else could have put there.
fn check_ownership(file: &Path) -> Result<()> {
    let own = rustix::process::geteuid().as_raw();
    let folder = file.parent().context("a file without a folder")?;
    for path in [file, folder] {
        let metadata = fs::metadata(path).with_context(|| format!("{} cannot be looked at", path.display()))?;
        if ![0, own].contains(&metadata.uid()) || metadata.mode() & OTHERS_WRITE != 0 {
            bail!(
                "{} can be written by others, so the machine code in it is not loaded; run `chmod go-w` on it, or remove it",
                path.display()
            );
        }
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
    fn functions_of_all_modules_are_counted() {
        let component = wat::parse_str("(component (core module (func) (func)) (core module (func)))").unwrap();
        assert_eq!(count_functions(&component).unwrap(), 3);
    }
}
