//! What runs programs: each runtime knows how to start one of its worker processes. All speak the frames of
//! `potluck-worker-protocol`, so the pool does not care which it is.

mod python;
mod wasm;

pub(crate) use python::Python;
pub(crate) use wasm::{Sandbox, Wasm};

use crate::config::Config;
use crate::images::Images;
use crate::tools::Tools;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// Names a runtime, and the variety of it that an attempt needs. Workers of one never run attempts of another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum RuntimeKey {
    /// The user's own CPython.
    Python {
        /// Without the protections, for work of this machine's user on a node whose owner wants it so.
        trusted: bool,
    },
    /// CPython in WebAssembly, in the image with that name.
    Sandbox(Arc<str>),
    /// Guests in WebAssembly.
    Wasm,
}

impl RuntimeKey {
    /// What a task calls it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            RuntimeKey::Python { .. } => "python",
            RuntimeKey::Sandbox(_) => "sandbox",
            RuntimeKey::Wasm => "wasm",
        }
    }
}

/// A kind of worker.
pub(crate) trait Runtime: Send + Sync {
    /// Makes everything ready that workers need. May block for as long as it takes to compile an image.
    ///
    /// # Errors
    /// One sentence that says what is missing and what to do.
    fn prepare(&self) -> Result<(), String>;

    /// The program that serves frames on its standard input. The pool adds the three standard streams, the process group
    /// and the working directory `scratch`. May block for as long as it takes to find an interpreter.
    ///
    /// # Errors
    /// One sentence that says what is missing and what to do.
    fn command(&self, scratch: &Path) -> Result<Command, String>;

    /// Whether a worker serves all submitters, because nothing of one task can meet another in it.
    fn is_shared(&self) -> bool;

    /// Whether workers are kept from doing harm by the kernel, as far as it has what that takes.
    fn is_hardened(&self) -> bool {
        true
    }
}

/// Finds the runtime for a key.
pub(crate) struct Runtimes {
    config: Config,
    lib_dir: PathBuf,
    modules_dir: PathBuf,
    images: Arc<Images>,
    tools: Arc<Tools>,
}

impl Runtimes {
    /// `modules_dir` is the folder of the guests.
    pub(crate) fn new(
        config: &Config,
        lib_dir: &Path,
        modules_dir: &Path,
        images: Arc<Images>,
        tools: Arc<Tools>,
    ) -> Runtimes {
        Runtimes {
            config: config.clone(),
            lib_dir: lib_dir.to_owned(),
            modules_dir: modules_dir.to_owned(),
            images,
            tools,
        }
    }

    /// A runtime; it may turn out later that it cannot be used here.
    pub(crate) fn get(&self, key: &RuntimeKey) -> Arc<dyn Runtime> {
        match key {
            RuntimeKey::Python { trusted } => Arc::new(Python::new(&self.config, &self.lib_dir, *trusted)),
            RuntimeKey::Sandbox(image) => {
                Arc::new(Sandbox::new(image, Arc::clone(&self.images), Arc::clone(&self.tools), &self.config))
            }
            RuntimeKey::Wasm => Arc::new(Wasm::new(Arc::clone(&self.images), &self.modules_dir, &self.config)),
        }
    }
}
