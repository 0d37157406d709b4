//! The images of the sandbox: where they are, and what they are.

use crate::config::Config;
use crate::tools::Run;
use parking_lot::{Mutex, MutexGuard};
use potluck_sdk::ProviderError;
use potluck_sdk::message::cpu::SandboxImage;
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The image that a task gets when it does not say.
pub(crate) const STANDARD: &str = "python";
/// The image that can be installed.
pub(crate) const SCIENCE: &str = "science";
const DESCRIPTION: &str = "image.json";
const COMPILED_EXTENSION: &str = ".cwasm";
/// With this code the worker's `check` tells that an image has to be compiled first.
const NOT_COMPILED: i32 = 3;
/// How long an install that was called off may take to end.
const CALLED_OFF_WITHIN: Duration = Duration::from_secs(2);
/// How deep the folders of an image are nested, at most.
const FOLDERS_DEPTH_MAX: usize = 8;
/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 32;

/// What `image.json` says.
#[derive(Deserialize)]
struct Description {
    description: String,
    sha256: String,
    #[serde(default)]
    packages: Vec<String>,
}

/// Finds images by name: the node's own, then those that it came with, then those that were installed.
pub(crate) struct Images {
    worker: PathBuf,
    shipped: PathBuf,
    installed: PathBuf,
    own: Option<Own>,
    /// Held by whoever installs or removes one.
    changing: Mutex<()>,
}

/// Whether there is compiled code for an image that can be used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compiled {
    Yes,
    No,
}

/// The standard image with packages that plugins.toml names, made when it is first needed.
struct Own {
    folder: PathBuf,
    packages: Vec<String>,
}

impl Images {
    /// `data_dir` is the node's own folder; the packages and the folder of installed images are what plugins.toml says.
    pub(crate) fn new(lib_dir: &Path, data_dir: &Path, config: &Config) -> Images {
        let installed = if config.images_dir.is_empty() { user_folder() } else { PathBuf::from(&config.images_dir) };
        let packages = config.sandbox_packages.clone();
        Images {
            worker: lib_dir.join("workers/wasm/potluck-worker-wasm"),
            shipped: lib_dir.join("sandbox"),
            installed,
            own: (!packages.is_empty()).then(|| Own { folder: data_dir.join("sandbox"), packages }),
            changing: Mutex::new(()),
        }
    }

    /// The program that makes images and runs what is in them, with nothing of the node's environment.
    pub(crate) fn worker(&self) -> Command {
        let mut command = Command::new(&self.worker);
        command.env_clear().env("LANG", "C.UTF-8");
        command
    }

    /// Where installed images are.
    pub(crate) fn installed_dir(&self) -> &Path {
        &self.installed
    }

    /// Where compiled code goes that cannot be beside its image.
    pub(crate) fn compiled_dir(&self) -> PathBuf {
        self.installed.join("compiled")
    }

    /// Makes an image's folder what it should be. May block for as long as it takes to compile it.
    pub(crate) fn prepare(&self, name: &str, run: &Run) -> Result<(), String> {
        let folder = self.folder(name)?;
        if let Some(own) = self.own.as_ref().filter(|_| name == STANDARD) {
            let _lock = run.lock_folder(&own.folder)?;
            let mut bake = self.worker();
            bake.arg("bake").arg("--image").arg(self.shipped.join(STANDARD)).arg("--into").arg(&own.folder);
            for package in &own.packages {
                bake.arg("--package").arg(package);
            }
            return run.success(&mut bake, |_| {}).map_err(|text| {
                format!("the packages in `sandbox_packages` of [plugins.cpu] cannot be added: {text}")
            });
        }
        if self.check(&folder, run)? == Compiled::Yes {
            return Ok(());
        }
        let compiled = self.compiled_dir();
        // Beside an image that was shipped there may be no room for anything: the installation may belong to root.
        let _lock = run.lock_folder(&compiled)?;
        let mut compile = self.worker();
        compile.arg("compile").arg("--image").arg(&folder).arg("--into").arg(&compiled);
        run.success(&mut compile, |_| {}).map_err(|text| format!("the image {name} cannot be compiled: {text}"))
    }

    /// Whether the worker program can use an image.
    ///
    /// # Errors
    /// When it cannot, why.
    pub(crate) fn check(&self, folder: &Path, run: &Run) -> Result<Compiled, String> {
        let mut check = self.worker();
        check.arg("check").arg("--image").arg(folder).arg("--compiled").arg(self.compiled_dir());
        let checked = run.output(&mut check, |_| {})?;
        match checked.code {
            Some(0) => Ok(Compiled::Yes),
            Some(NOT_COMPILED) => Ok(Compiled::No),
            _ => Err(checked.complaint),
        }
    }

    /// The folder of an image.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, String> {
        if let Some(own) = self.own.as_ref().filter(|_| name == STANDARD) {
            return Ok(own.folder.clone());
        }
        let places = [self.shipped.join(name), self.installed.join(name)];
        let found = places.into_iter().find(|folder| is_name(name) && folder.join(DESCRIPTION).exists());
        found.ok_or_else(|| {
            let advice = if name == SCIENCE { "; `potluck sandbox install science` installs it" } else { "" };
            format!("the sandbox has no image {name:?} on this node; it has: {}{advice}", self.names().join(", "))
        })
    }

    /// The names of all images. Looks at nothing in them: others wait while the sender of an unknown one is told.
    fn names(&self) -> Vec<String> {
        let own = self.own.as_ref().map(|_| STANDARD.to_owned());
        let entries = [&self.shipped, &self.installed].into_iter().flat_map(|place| fs::read_dir(place).into_iter());
        let found = entries.flatten().flatten().filter(|entry| entry.path().join(DESCRIPTION).exists());
        let names = found.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = own.into_iter().chain(names.filter(|name| is_name(name))).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Lets one install or remove at a time. Whoever comes meanwhile waits for one that was just called off, and for no
    /// other: the threads that may block are few.
    ///
    /// # Errors
    /// When somebody does already.
    pub(crate) fn change(&self) -> Result<MutexGuard<'_, ()>, ProviderError> {
        self.changing.try_lock_for(CALLED_OFF_WITHIN).ok_or_else(|| {
            let text = "this node is installing or removing an image already; try again when it has done that";
            ProviderError::new("image_busy", text)
        })
    }

    /// An image by name.
    pub(crate) fn find(&self, name: &str) -> Option<SandboxImage> {
        self.list().into_iter().find(|image| image.name == name)
    }

    /// All images, by name.
    pub(crate) fn list(&self) -> Vec<SandboxImage> {
        let own = self.own.as_ref().and_then(|own| self.describe(STANDARD, "own", &own.folder));
        let mut images: Vec<SandboxImage> = own.into_iter().collect();
        for (place, source) in [(&self.shipped, "shipped"), (&self.installed, "installed")] {
            let entries = fs::read_dir(place).into_iter().flatten().flatten();
            for entry in entries {
                let name = entry.file_name().to_string_lossy().into_owned();
                if is_name(&name) && !images.iter().any(|image| image.name == name) {
                    images.extend(self.describe(&name, source, &entry.path()));
                }
            }
        }
        images.sort_by(|left, right| left.name.cmp(&right.name));
        images
    }

    fn describe(&self, name: &str, source: &str, folder: &Path) -> Option<SandboxImage> {
        let description: Description = serde_json::from_slice(&fs::read(folder.join(DESCRIPTION)).ok()?).ok()?;
        let sizes = |place: &Path, is_wanted: &dyn Fn(&str) -> bool| {
            let entries = fs::read_dir(place).into_iter().flatten().flatten();
            let wanted = entries.filter(|entry| is_wanted(&entry.file_name().to_string_lossy()));
            wanted.map(|entry| size(&entry.path(), 0)).sum::<u64>()
        };
        let is_own_code = |name: &str| is_code_of(name, &description.sha256);
        let compiled_bytes = sizes(folder, &is_own_code) + sizes(&self.compiled_dir(), &is_own_code);
        let bytes = sizes(folder, &|name| !name.ends_with(COMPILED_EXTENSION));
        Some(SandboxImage {
            name: name.to_owned(),
            source: source.to_owned(),
            description: description.description,
            packages: description.packages,
            sha256: description.sha256,
            bytes,
            compiled_bytes,
        })
    }

    /// Deletes an installed image, with the code that was compiled of it. Waits for other nodes that change the folder.
    pub(crate) fn remove(&self, name: &str, run: &Run) -> Result<(), ProviderError> {
        let unknown = |text: String| ProviderError::new("image_unknown", text);
        // It becomes part of paths.
        if is_name(name) && self.shipped.join(name).join(DESCRIPTION).exists() {
            return Err(ProviderError::invalid(format!("the image {name} came with the node and cannot be removed")));
        }
        self.folder(name).map_err(unknown)?;
        let failed = |error: String| {
            ProviderError::new(ProviderError::INTERNAL, format!("the image {name} cannot be removed: {error}"))
        };
        let _changing = self.change()?;
        let _lock = run.lock_folder(&self.installed).map_err(failed)?;
        let image = self.find(name).filter(|image| image.source == "installed").ok_or_else(|| {
            ProviderError::invalid(format!("the image {name} was not installed, so it cannot be removed"))
        })?;
        fs::remove_dir_all(self.installed.join(name)).map_err(|error| failed(error.to_string()))?;
        for entry in fs::read_dir(self.compiled_dir()).into_iter().flatten().flatten() {
            if is_code_of(&entry.file_name().to_string_lossy(), &image.sha256) {
                // What stays is found by its name when the same image is installed again.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }
}

/// Whether a file is the compiled code of an image, as the worker names it.
fn is_code_of(name: &str, sha256: &str) -> bool {
    name.starts_with(sha256) && name.ends_with(COMPILED_EXTENSION)
}

/// Bytes of a file, or of all files in a folder.
fn size(path: &Path, depth: usize) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    if !metadata.is_dir() || depth == FOLDERS_DEPTH_MAX {
        return metadata.len();
    }
    fs::read_dir(path).into_iter().flatten().flatten().map(|entry| size(&entry.path(), depth + 1)).sum()
}

/// Whether a text can name an image: lower case, digits and hyphens, so that it is also a folder's name and no path.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= NAME_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// One folder for all nodes of a user: images are large.
fn user_folder() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(home) = variable("POTLUCK_HOME") {
        return home.join("images");
    }
    let data = variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share")));
    data.unwrap_or_else(|| PathBuf::from("/var/lib")).join("potluck/images")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::Tools;

    fn images(folder: &Path) -> Images {
        let config =
            Config { images_dir: folder.join("installed").to_string_lossy().into_owned(), ..Config::default() };
        Images::new(&folder.join("lib"), &folder.join("data"), &config)
    }

    fn put(folder: &Path, sha256: &str) {
        fs::create_dir_all(folder).unwrap();
        let json = format!(r#"{{"description":"","sha256":"{sha256}"}}"#);
        fs::write(folder.join(DESCRIPTION), json).unwrap();
    }

    #[test]
    fn an_unknown_image_is_told_with_those_that_there_are() {
        let folder = tempfile::tempdir().unwrap();
        let images = images(folder.path());
        put(&folder.path().join("lib/sandbox/python"), "aa");
        put(&folder.path().join("installed/science"), "bb");
        put(&folder.path().join("installed/.unfinished"), "cc");
        fs::create_dir_all(folder.path().join("installed/empty")).unwrap();
        assert!(images.folder("nothing").unwrap_err().ends_with("it has: python, science"));
        assert!(images.folder("science").is_ok() && images.folder("../installed/science").is_err());
    }

    #[test]
    fn only_what_was_installed_is_removed_and_by_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let images = images(folder.path());
        let run = Tools::default().begin();
        put(&folder.path().join("lib/sandbox/python"), "aa");
        put(&folder.path().join("lib/elsewhere"), "dd");
        put(&folder.path().join("installed/science"), "bb");
        let compiled = images.compiled_dir();
        fs::create_dir_all(&compiled).unwrap();
        fs::write(compiled.join("aa-1.cwasm"), "").unwrap();
        fs::write(compiled.join("bb-1.cwasm"), "").unwrap();
        for (name, expected) in [
            ("python", "came with the node"),
            ("../elsewhere", "no image"),
            ("/etc", "no image"),
            ("other", "no image"),
        ] {
            let error = images.remove(name, &run).unwrap_err();
            assert!(error.message.contains(expected), "{name}: {}", error.message);
        }
        let changing = images.change().unwrap();
        assert_eq!(images.remove("science", &run).unwrap_err().code, "image_busy");
        drop(changing);
        images.remove("science", &run).unwrap();
        assert!(images.folder("science").is_err());
        assert!(compiled.join("aa-1.cwasm").exists() && !compiled.join("bb-1.cwasm").exists());
    }
}
