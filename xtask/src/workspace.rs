//! What cargo knows about the workspace: where it is, where its output goes, and which packages it has.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

/// The workspace that this program belongs to.
pub(crate) struct Workspace {
    /// Folder of the workspace's Cargo.toml.
    pub(crate) root: PathBuf,
    /// Where build output goes.
    pub(crate) target: PathBuf,
    /// Its members.
    pub(crate) packages: Vec<Package>,
}

/// A member of the workspace.
pub(crate) struct Package {
    /// Cargo's name for this very package, as in its messages.
    pub(crate) id: String,
    pub(crate) name: String,
    /// Its folder, relative to the root.
    pub(crate) folder: PathBuf,
    /// Whether it has a library that is built as a shared one.
    pub(crate) has_shared_library: bool,
    /// Names of its examples that are built as shared libraries.
    pub(crate) shared_examples: Vec<String>,
}

impl Workspace {
    /// Asks cargo. The folder that this program was compiled in says nothing: a build folder may be shared by several
    /// clones, so the answer comes from the cargo that runs us, or from the current folder.
    pub(crate) fn load() -> Result<Workspace> {
        let mut command = Command::new(cargo_program());
        command.args(["metadata", "--no-deps", "--format-version", "1"]);
        if let Some(folder) = env::var_os("CARGO_MANIFEST_DIR") {
            command.arg("--manifest-path").arg(Path::new(&folder).join("Cargo.toml"));
        }
        let output = command.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
        if !output.status.success() {
            bail!("cargo metadata failed: {}", output.status);
        }
        Workspace::from_metadata(&serde_json::from_slice(&output.stdout).context("cargo metadata wrote no JSON")?)
    }

    fn from_metadata(metadata: &Value) -> Result<Workspace> {
        let path = |name: &str| {
            let text = metadata[name].as_str().with_context(|| format!("cargo metadata has no {name}"))?;
            anyhow::Ok(PathBuf::from(text))
        };
        let root = path("workspace_root")?;
        let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
        Ok(Workspace {
            target: path("target_directory")?,
            packages: packages.iter().map(|package| Package::from_metadata(package, &root)).collect::<Result<_>>()?,
            root,
        })
    }

    /// The providers: the members right under `plugins/` that are built as shared libraries. A new one needs no change
    /// here.
    pub(crate) fn providers(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.is_right_under("plugins") && package.has_shared_library)
    }

    /// The libraries that only the tests load: the members right under `tests/fixtures/`.
    pub(crate) fn fixtures(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.is_right_under("tests/fixtures") && package.has_shared_library)
    }

    /// Cargo, in the workspace's root, with the build folder that this program was told of.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(cargo_program());
        // A relative CARGO_TARGET_DIR means another folder once the current folder has changed.
        command.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        command
    }

    /// Any other program, with the library path of the user: `cargo run` puts its build folders in front of it, and a
    /// node that finds its libraries only there would not work anywhere else.
    pub(crate) fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        if let Some(path) = env::var_os("LD_LIBRARY_PATH") {
            let cleaned = without_cargo_folders(&path, &self.target);
            if cleaned.is_empty() {
                command.env_remove("LD_LIBRARY_PATH");
            } else {
                command.env("LD_LIBRARY_PATH", cleaned);
            }
        }
        command
    }
}

impl Package {
    fn from_metadata(package: &Value, root: &Path) -> Result<Package> {
        let text = |name: &str| {
            let text = package[name].as_str().with_context(|| format!("cargo metadata: a package has no {name}"))?;
            anyhow::Ok(text.to_owned())
        };
        let manifest = PathBuf::from(text("manifest_path")?);
        let folder = manifest.parent().unwrap_or(root);
        let targets = package["targets"].as_array().map_or(&[][..], Vec::as_slice);
        let has = |target: &Value, list: &str, word: &str| {
            target[list].as_array().is_some_and(|words| words.iter().any(|entry| entry == word))
        };
        let is_shared = |target: &&Value| has(target, "crate_types", "cdylib");
        Ok(Package {
            id: text("id")?,
            name: text("name")?,
            folder: folder.strip_prefix(root).unwrap_or(folder).to_owned(),
            has_shared_library: targets.iter().filter(is_shared).any(|target| !has(target, "kind", "example")),
            shared_examples: targets
                .iter()
                .filter(is_shared)
                .filter(|target| has(target, "kind", "example"))
                .filter_map(|target| target["name"].as_str().map(str::to_owned))
                .collect(),
        })
    }

    fn is_right_under(&self, folder: &str) -> bool {
        self.folder.parent() == Some(Path::new(folder))
    }
}

fn cargo_program() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn without_cargo_folders(path: &OsStr, target: &Path) -> OsString {
    let is_cargo_folder = |folder: &Path| {
        folder.starts_with(target) || folder.components().any(|part| part == Component::Normal("rustlib".as_ref()))
    };
    // Joining what was split cannot meet a separator.
    env::join_paths(env::split_paths(path).filter(|folder| !is_cargo_folder(folder))).unwrap_or_default()
}

/// A workspace for unit tests.
#[cfg(test)]
pub(crate) fn sample() -> Workspace {
    Workspace::from_metadata(&serde_json::json!({
        "workspace_root": "/w",
        "target_directory": "/w/target",
        "packages": [
            {"id": "a", "name": "provider-memory", "manifest_path": "/w/plugins/memory/Cargo.toml",
             "targets": [{"name": "provider_memory", "kind": ["cdylib", "rlib"], "crate_types": ["cdylib", "rlib"]}]},
            {"id": "b", "name": "potluck-worker-python", "manifest_path": "/w/plugins/cpu/workers/python/Cargo.toml",
             "targets": [{"name": "potluck_worker", "kind": ["cdylib"], "crate_types": ["cdylib"]}]},
            {"id": "c", "name": "potluck-sdk", "manifest_path": "/w/sdk/Cargo.toml",
             "targets": [{"name": "potluck_sdk", "kind": ["lib"], "crate_types": ["lib"]},
                         {"name": "echo", "kind": ["example"], "crate_types": ["cdylib"]}]},
            {"id": "d", "name": "fixture-panicker", "manifest_path": "/w/tests/fixtures/panicker/Cargo.toml",
             "targets": [{"name": "fixture_panicker", "kind": ["cdylib"], "crate_types": ["cdylib"]}]},
        ],
    }))
    .unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_and_fixtures_are_found_by_their_place() {
        let workspace = sample();
        let names = |packages: Vec<&Package>| packages.iter().map(|package| package.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(workspace.providers().collect()), ["provider-memory"]);
        assert_eq!(names(workspace.fixtures().collect()), ["fixture-panicker"]);
    }

    #[test]
    fn examples_that_are_shared_libraries_are_told_from_libraries() {
        let workspace = sample();
        let sdk = workspace.packages.iter().find(|package| package.name == "potluck-sdk").unwrap();
        assert!(!sdk.has_shared_library);
        assert_eq!(sdk.shared_examples, ["echo"]);
    }

    #[test]
    fn only_the_folders_of_the_user_stay_in_the_library_path() {
        let path = "/w/target/debug/deps:/opt/lib:/r/lib/rustlib/x86_64-unknown-linux-gnu/lib:/w/target/debug";
        assert_eq!(without_cargo_folders(path.as_ref(), Path::new("/w/target")), "/opt/lib");
        assert_eq!(without_cargo_folders("/w/target/debug".as_ref(), Path::new("/w/target")), "");
    }
}
