//! Builds the standard image of the sandbox: CPython as a WebAssembly component, snapshotted, merged into one module, frozen
//! once more and compiled. A minute from nothing; afterwards only what has changed.

mod flatten;

use crate::process;
use crate::python;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the image's source is, below the root of the workspace.
const SOURCE: &str = "plugins/cpu/workers/wasm/image";
/// The module `potluck`, which native workers have as well.
const POTLUCK: &str = "plugins/cpu/workers/python/potluck.py";
const WIT: &str = "plugins/cpu/workers/wasm/wit";
const WORLD: &str = "image";
/// What the post-link step does, for the cache: raise it when `flatten` changes what it writes.
const FLATTEN_VERSION: u32 = 1;

/// Makes the image and returns its folder. `worker` is the program that will run it: only that can compile it.
pub(crate) fn build(workspace: &Workspace, venv: &Path, worker: &Path) -> Result<PathBuf> {
    let folder = workspace.target.join("sandbox");
    let (raw, image) = (folder.join("raw"), folder.join("python"));
    let recipe = recipe(workspace)?;
    let recipe_file = folder.join("recipe.txt");
    if fs::read_to_string(&recipe_file).ok().as_ref() != Some(&recipe) {
        println!("  building the sandbox's Python");
        let _ = fs::remove_file(&recipe_file);
        fs::create_dir_all(&raw)?;
        make_component(workspace, venv, &folder, &raw)?;
        // Last, so that an interrupted run is repeated.
        fs::write(&recipe_file, recipe)?;
    }
    // Frozen once more by the program that will run it, without packages; it finds out whether there is anything to do.
    let mut bake = Command::new(worker);
    bake.arg("bake").arg("--image").arg(&raw).arg("--into").arg(&image);
    process::run(bake.stdin(Stdio::null()).stdout(Stdio::null()))?;
    Ok(image)
}

fn make_component(workspace: &Workspace, venv: &Path, folder: &Path, raw: &Path) -> Result<()> {
    // A copy, because the interpreter writes its cache beside the source.
    let source = folder.join("source");
    if source.exists() {
        fs::remove_dir_all(&source)?;
    }
    fs::create_dir_all(&source)?;
    for file in python_files(workspace)? {
        fs::copy(&file, source.join(file.file_name().context("a file without a name")?))?;
    }
    let linked = folder.join("linked.wasm");
    let mut componentize = Command::new(venv.join("bin/componentize-py"));
    componentize.arg("-d").arg(workspace.root.join(WIT)).args(["-w", WORLD, "componentize", "-p"]).arg(&source);
    componentize.arg("-o").arg(&linked).arg("app").stdin(Stdio::null()).stdout(Stdio::null());
    process::run(&mut componentize)?;
    let component = flatten::flatten(&fs::read(&linked)?).context("the post-link step of the sandbox's Python")?;
    fs::remove_file(&linked)?;
    fs::write(raw.join("image.wasm"), &component)?;
    let description = json!({
        "kind": "component",
        "description": "CPython 3.14 with its standard library",
        "packages": [],
        "sha256": hex(&Sha256::digest(&component)),
    });
    fs::write(raw.join("image.json"), format!("{description:#}\n"))?;
    Ok(())
}

/// Everything that the component is made from; another text asks for a new one.
fn recipe(workspace: &Workspace) -> Result<String> {
    let mut digest = Sha256::new();
    for file in python_files(workspace)?.iter().chain(&files(&workspace.root.join(WIT), "wit")?) {
        digest.update(fs::read(file)?);
    }
    Ok(format!("{}\nflatten {FLATTEN_VERSION}\nsource {}\n", python::COMPONENTIZE, hex(&digest.finalize())))
}

fn python_files(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let mut files = files(&workspace.root.join(SOURCE), "py")?;
    files.push(workspace.root.join(POTLUCK));
    Ok(files)
}

fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files.sort();
    Ok(files)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
