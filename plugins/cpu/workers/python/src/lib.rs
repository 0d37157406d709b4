//! The extension module that makes a `python3` process a Potluck worker.
//!
//! The provider starts the user's own interpreter with a line that imports this module and calls `serve()`. Any CPython
//! from 3.10 on works, in any virtual environment, and nothing of it ever enters the host process.

mod door;
mod engine;
mod output;
mod process;
mod rights;
mod serve;

use pyo3::prelude::*;

#[pymodule]
mod potluck_worker {
    use super::*;

    /// Serves tasks over standard input until it is closed.
    #[pyfunction]
    fn serve(py: Python<'_>) -> PyResult<()> {
        crate::serve::serve(py)
    }
}
