//! What runs programs: each runtime knows how to start one of its worker processes. All speak the frames of
//! `potluck-worker-protocol`, so the pool does not care which it is.

mod python;

pub(crate) use python::Python;

use std::path::Path;
use std::process::Command;

/// A kind of worker.
pub(crate) trait Runtime: Send + Sync {
    /// The program that serves frames on its standard input. The pool adds the three standard streams, the process group
    /// and the working directory `scratch`. May block for as long as it takes to find an interpreter.
    ///
    /// # Errors
    /// One sentence that says what is missing and what to do.
    fn command(&self, scratch: &Path) -> Result<Command, String>;
}
