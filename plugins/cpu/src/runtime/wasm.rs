//! The two runtimes of `potluck-worker-wasm`: programs in an image of the sandbox, and guests.

use super::Runtime;
use crate::config::Config;
use crate::images::Images;
use crate::tools::Tools;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// The runtime `sandbox`.
pub(crate) struct Sandbox {
    image: Arc<str>,
    images: Arc<Images>,
    tools: Arc<Tools>,
    spares: usize,
    memory_limit_bytes: u64,
    file_bytes_max: u64,
}

impl Sandbox {
    pub(crate) fn new(image: &Arc<str>, images: Arc<Images>, tools: Arc<Tools>, config: &Config) -> Sandbox {
        Sandbox {
            image: Arc::clone(image),
            images,
            tools,
            spares: config.sandbox_spare_instances,
            memory_limit_bytes: config.memory_limit_bytes,
            file_bytes_max: config.scratch_limit_bytes,
        }
    }
}

impl Runtime for Sandbox {
    fn prepare(&self) -> Result<(), String> {
        self.images.prepare(&self.image, &self.tools.begin())
    }

    fn command(&self, _: &Path) -> Result<Command, String> {
        let mut command = self.images.worker();
        command.args(["serve", "sandbox", "--image"]).arg(self.images.folder(&self.image)?);
        command.arg("--compiled").arg(self.images.compiled_dir());
        command.args(["--spares", &self.spares.to_string()]);
        command.args(["--memory-max", &self.memory_limit_bytes.to_string()]);
        command.args(["--file-bytes-max", &self.file_bytes_max.to_string()]);
        Ok(command)
    }

    fn is_shared(&self) -> bool {
        true
    }
}

/// The runtime `wasm`.
pub(crate) struct Wasm {
    images: Arc<Images>,
    modules_dir: PathBuf,
    memory_limit_bytes: u64,
    file_bytes_max: u64,
    cache_bytes: u64,
}

impl Wasm {
    pub(crate) fn new(images: Arc<Images>, modules_dir: &Path, config: &Config) -> Wasm {
        Wasm {
            images,
            modules_dir: modules_dir.to_owned(),
            memory_limit_bytes: config.memory_limit_bytes,
            file_bytes_max: config.scratch_limit_bytes,
            cache_bytes: config.module_cache_bytes,
        }
    }
}

impl Runtime for Wasm {
    fn prepare(&self) -> Result<(), String> {
        Ok(())
    }

    fn command(&self, _: &Path) -> Result<Command, String> {
        let mut command = self.images.worker();
        command.args(["serve", "wasm", "--modules"]).arg(&self.modules_dir);
        command.args(["--memory-max", &self.memory_limit_bytes.to_string()]);
        command.args(["--file-bytes-max", &self.file_bytes_max.to_string()]);
        command.args(["--cache-bytes", &self.cache_bytes.to_string()]);
        Ok(command)
    }

    fn is_shared(&self) -> bool {
        true
    }
}
