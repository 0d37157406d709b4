//! Freezes an image once more: with packages added, for an image of the node's own, or without, as the last step in the
//! making of the standard image.

use crate::engine;
use crate::image::{self, Image, Kind};
use crate::instance::ComponentState;
use crate::progress::{self, Functions};
use crate::sandbox::component::linker;
use crate::snapshot;
use anyhow::{Context, Result, anyhow, bail};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wasmtime::component::{Component, ComponentType, Lift, Lower};
use wasmtime::{Engine, Store};
use wasmtime_wizer::Wizer;

/// Memory for the packages and their imports.
const MEMORY_BYTES_MAX: usize = 1 << 30;
/// Files of all packages together.
const FILES_MAX: usize = 20_000;
const FILES_BYTES_MAX: u64 = 256 << 20;
/// How deep folders of a package may be nested.
const DEPTH_MAX: usize = 32;

/// `python-package` of the world.
#[derive(ComponentType, Lower)]
#[component(record)]
struct Package {
    name: String,
    files: Vec<(String, Vec<u8>)>,
}

/// `installation` of the world.
#[derive(ComponentType, Lift)]
#[component(record)]
struct Installation {
    packages: Vec<String>,
    #[component(name = "on-demand")]
    on_demand: Vec<String>,
}

/// Adds packages to an image and makes that an image in another folder, which has its compiled code as well. A package is
/// a wheel, a folder as Python has it on its path (the package's own folder, or one module), or a file with one module.
pub(crate) fn bake(folder: &Path, packages: &[PathBuf], into: &Path) -> Result<()> {
    let base = Image::read(folder)?;
    if base.kind != Kind::Component {
        bail!("packages cannot be added to this kind of image");
    }
    let bytes = image::webassembly(folder, &base)?;
    let mut left = Left { files: FILES_MAX, bytes: FILES_BYTES_MAX };
    let packages = packages.iter().map(|path| read(path, &mut left)).collect::<Result<Vec<_>>>()?;

    let recipe = recipe(&base, &packages);
    let is_made = Image::read(into).is_ok_and(|image| image.recipe == recipe);
    if is_made && image::find_compiled(into, None)?.is_some() {
        return Ok(());
    }
    let functions = Functions::new("compile", image::count_functions(&bytes)?);
    let engine = engine::for_compiling(Some(Arc::new(functions)))?;
    let (frozen, installation) = freeze(&engine, &bytes, packages)?;
    for module in &installation.on_demand {
        eprintln!("not imported in advance: {module}");
    }
    fs::create_dir_all(into)?;
    let added = if installation.packages.is_empty() { "" } else { " and packages of this node's own" };
    let image = Image {
        description: format!("{}{added}", base.description),
        kind: Kind::Component,
        packages: [base.packages, installation.packages].concat(),
        sha256: image::sha256(&frozen),
        recipe,
    };
    image::write(into, &image, &frozen, &engine)?;
    image::remove_other_code(into)
}

/// Stands for everything that the image is made of.
fn recipe(base: &Image, packages: &[Package]) -> String {
    let mut digest = Sha256::new();
    let mut add = |part: &[u8]| {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    };
    add(base.sha256.as_bytes());
    for package in packages {
        add(package.name.as_bytes());
        for (name, content) in &package.files {
            add(name.as_bytes());
            add(content);
        }
    }
    image::hex(&digest.finalize())
}

fn freeze(engine: &Engine, bytes: &[u8], packages: Vec<Package>) -> Result<(Vec<u8>, Installation)> {
    let wizer = Wizer::new();
    let (context, instrumented) = wizer.instrument_component(bytes)?;
    let component = Component::new(engine, &instrumented)?;
    progress::begin("snapshot");
    let linker = linker(engine)?;
    snapshot::executor()?.block_on(async {
        let mut store = Store::new(engine, ComponentState::new(MEMORY_BYTES_MAX));
        store.limiter(|state| &mut state.meter);
        store.set_epoch_deadline(u64::MAX / 2);
        let instance = linker.instantiate_async(&mut store, &component).await?;
        let install =
            instance.get_typed_func::<(Vec<Package>,), (Result<Installation, String>,)>(&mut store, "install")?;
        let (installed,) = install.call_async(&mut store, (packages,)).await?;
        let installation = installed.map_err(|text| anyhow!(text))?;
        let mut state = snapshot::ComponentInstance { store: &mut store, instance };
        Ok((wizer.snapshot_component(&context, &mut state).await?, installation))
    })
}

/// What may still be read.
struct Left {
    files: usize,
    bytes: u64,
}

fn read(path: &Path, left: &mut Left) -> Result<Package> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("{} is no path of a package", path.display()))?.to_owned();
    let mut files = Vec::new();
    // The package's own folder is part of its modules' names.
    collect(path, &name, 0, &mut files, left)?;
    Ok(Package { name, files })
}

fn collect(path: &Path, name: &str, depth: usize, files: &mut Vec<(String, Vec<u8>)>, left: &mut Left) -> Result<()> {
    let unreadable = || format!("{} cannot be read", path.display());
    let metadata = fs::metadata(path).with_context(unreadable)?;
    if metadata.is_file() {
        let taken = (left.files.checked_sub(1), left.bytes.checked_sub(metadata.len()));
        let (Some(file_count), Some(bytes)) = taken else {
            bail!("the packages have more than {FILES_MAX} files or {FILES_BYTES_MAX} bytes");
        };
        *left = Left { files: file_count, bytes };
        files.push((name.to_owned(), fs::read(path).with_context(unreadable)?));
        return Ok(());
    }
    if depth == DEPTH_MAX {
        bail!("{} is nested too deeply", path.display());
    }
    let mut entries =
        fs::read_dir(path).and_then(Iterator::collect::<std::io::Result<Vec<_>>>).with_context(unreadable)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let Ok(part) = entry.file_name().into_string() else { continue };
        if part != "__pycache__" {
            collect(&entry.path(), &format!("{name}/{part}"), depth + 1, files, left)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_a_folder_a_module_or_a_wheel() {
        let folder = tempfile::tempdir().unwrap();
        let package = folder.path().join("shapes");
        fs::create_dir_all(package.join("__pycache__")).unwrap();
        fs::create_dir_all(package.join("round")).unwrap();
        fs::write(package.join("__init__.py"), "").unwrap();
        fs::write(package.join("round/circle.py"), "PI = 3").unwrap();
        fs::write(package.join("__pycache__/x.pyc"), "").unwrap();
        let mut left = Left { files: 3, bytes: 100 };
        let names: Vec<_> = read(&package, &mut left).unwrap().files.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["shapes/__init__.py", "shapes/round/circle.py"]);
        let module = folder.path().join("one.py");
        fs::write(&module, "x").unwrap();
        assert_eq!(read(&module, &mut left).unwrap().files, [("one.py".to_owned(), b"x".to_vec())]);
        assert!(read(&module, &mut left).err().unwrap().to_string().contains("more than"));
        assert!(read(&folder.path().join("none.whl"), &mut left).is_err());
    }
}
