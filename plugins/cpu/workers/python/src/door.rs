//! `import potluck`: how a task reaches the node that runs it. The module is made when the first task asks for it.

use potluck_worker_protocol::{Link, Unanswered};
use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use std::sync::{Arc, Mutex, PoisonError};

/// What tasks import.
const NAME: &str = "potluck";
/// Where its code is said to be, in tracebacks.
const ORIGIN: &str = "<potluck>";
/// The same for all images.
const SOURCE: &str = include_str!("../potluck.py");

/// The program that runs now.
#[derive(Default)]
pub(crate) struct Running(Mutex<Option<Py<PyString>>>);

impl Running {
    /// It begins, or has ended.
    pub(crate) fn set(&self, program: Option<Py<PyString>>) {
        // Dropped after the lock: it may be the last to have the text.
        let _before = std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), program);
    }

    fn get(&self, py: Python<'_>) -> Option<Py<PyString>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|program| program.clone_ref(py))
    }
}

/// Sends a message, and waits for its reply while other threads run.
#[pyclass(frozen)]
struct Door {
    link: Arc<Link>,
}

#[pymethods]
impl Door {
    fn __call__(&self, py: Python<'_>, message: &str) -> PyResult<String> {
        let mut answered = py.detach(|| self.link.answer(self.link.call(message)?));
        loop {
            match answered {
                Ok(reply) => return Ok(reply.into()),
                Err(Unanswered::Refused(reply)) => return Ok(reply),
                Err(Unanswered::Memory) => return Err(PyMemoryError::new_err(())),
                Err(Unanswered::Interrupted(call)) => {
                    py.check_signals().inspect_err(|_| self.link.forget(call))?;
                    answered = py.detach(|| self.link.answer(call));
                }
            }
        }
    }
}

/// Finds the module, and makes it.
#[pyclass(frozen)]
struct Finder {
    link: Arc<Link>,
    running: Arc<Running>,
    spec: Py<PyAny>,
}

#[pymethods]
impl Finder {
    #[pyo3(signature = (name, path=None, target=None))]
    fn find_spec<'py>(
        slf: Bound<'py, Self>,
        name: &Bound<'py, PyAny>,
        path: Option<&Bound<'py, PyAny>>,
        target: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let _ = (path, target);
        if !name.cast::<PyString>().is_ok_and(|name| name.to_str().is_ok_and(|name| name == NAME)) {
            return Ok(None);
        }
        let options = PyDict::new(slf.py());
        options.set_item("origin", ORIGIN)?;
        slf.get().spec.bind(slf.py()).call((NAME, &slf), Some(&options)).map(Some)
    }

    fn create_module(&self, spec: &Bound<'_, PyAny>) -> Option<Py<PyAny>> {
        let _ = spec;
        None
    }

    fn exec_module(&self, module: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = module.py();
        let names = module.getattr("__dict__")?.cast_into::<PyDict>()?;
        names.set_item("_send", Door { link: Arc::clone(&self.link) }.into_pyobject(py)?)?;
        names.set_item("_program", Program { running: Arc::clone(&self.running) }.into_pyobject(py)?)?;
        names.set_item("__file__", ORIGIN)?;
        let builtins = py.import("builtins")?;
        let code = builtins.getattr("compile")?.call1((SOURCE, ORIGIN, "exec"))?;
        builtins.getattr("exec")?.call1((code, names))?;
        Ok(())
    }

    /// For tracebacks.
    fn get_source(&self, name: &Bound<'_, PyAny>) -> &'static str {
        let _ = name;
        SOURCE
    }
}

/// Tells the source of the program that runs.
#[pyclass(frozen)]
struct Program {
    running: Arc<Running>,
}

#[pymethods]
impl Program {
    fn __call__(&self, py: Python<'_>) -> Option<Py<PyString>> {
        self.running.get(py)
    }
}

/// Lets programs import the module.
pub(crate) fn install(py: Python<'_>, link: &Arc<Link>, running: &Arc<Running>) -> PyResult<()> {
    let spec = py.import("importlib.machinery")?.getattr("ModuleSpec")?.unbind();
    let finder = Finder { link: Arc::clone(link), running: Arc::clone(running), spec };
    // First: a package of that name on Python's path is another one.
    py.import("sys")?.getattr("meta_path")?.call_method1("insert", (0, finder.into_pyobject(py)?))?;
    Ok(())
}
