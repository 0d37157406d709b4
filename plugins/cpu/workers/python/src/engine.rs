//! Runs a program in this interpreter: fresh globals for each task, compiled code kept, Python's own JSON on both ends.

use crate::door::Running;
use crate::process;
use potluck_worker_protocol::{ERROR_BYTES_MAX, Failure, Order, RESULT_BYTES_MAX, TRACEBACK_BYTES_MAX};
use pyo3::exceptions::{PyMemoryError, PySystemExit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};
use std::sync::Arc;

/// How programs are called in tracebacks and syntax errors; old clients know this name.
const FILE_NAME: &str = "<string>";
/// The standard streams of the interpreter, with their descriptors.
const STREAMS: [(&str, i32); 2] = [("stdout", 1), ("stderr", 2)];
/// Compiled programs that are kept; when there are more, all are forgotten.
const CODE_KEPT_MAX: usize = 128;
/// Bytes of program text behind them.
const CODE_BYTES_KEPT_MAX: usize = 8 << 20;

/// Everything that is looked up once. Tasks of the same submitter share the interpreter and may replace functions of its
/// modules; what is held here is theirs only as far as they change the objects themselves.
pub(crate) struct Engine {
    /// `(text, index) -> (value, end)`, in C.
    scan: Py<PyAny>,
    make_encoder: Py<PyAny>,
    /// Refuses what JSON has no form for.
    refuse: Py<PyAny>,
    encode_text: Py<PyAny>,
    compile: Py<PyAny>,
    exec: Py<PyAny>,
    builtins: Py<PyAny>,
    module_type: Py<PyAny>,
    modules: Py<PyDict>,
    sys: Py<PyModule>,
    /// Standard output and standard error.
    streams: [Py<PyAny>; 2],
    open: Py<PyAny>,
    thread_count: Py<PyAny>,
    timer: Py<PyAny>,
    format_exception: Py<PyAny>,
    line_cache: Py<PyAny>,
    /// Program text to code object.
    code: Py<PyDict>,
    code_bytes: usize,
    running: Arc<Running>,
}

/// A failure that has not been put into words yet: that may take memory that the task does not have.
pub(crate) enum Raised {
    /// The program raised an exception.
    Task(PyErr),
    /// The program has no such function.
    Function(String),
    /// The result cannot be sent.
    Result(String),
}

impl Engine {
    pub(crate) fn new(py: Python<'_>, running: &Arc<Running>) -> PyResult<Engine> {
        let sys = py.import("sys")?;
        // Results may have integers of any size; a task that makes them too long is stopped by its time limit.
        if let Ok(set_limit) = sys.getattr("set_int_max_str_digits") {
            set_limit.call1((0,))?;
        }
        let path = sys.getattr("path")?;
        // The working directory is the task's own folder: nothing in it may stand in for a module.
        let _ = path.call_method1("remove", ("",));
        let open = py.import("io")?.getattr("open")?.unbind();
        let streams = [open_stream(py, &open, 1)?, open_stream(py, &open, 2)?];
        for ((name, _), stream) in STREAMS.iter().zip(&streams) {
            sys.setattr(name, stream)?;
        }
        let json = py.import("json")?;
        let encoder = py.import("json.encoder")?;
        let builtins = py.import("builtins")?;
        Ok(Engine {
            scan: json.getattr("JSONDecoder")?.call0()?.getattr("scan_once")?.unbind(),
            make_encoder: encoder.getattr("c_make_encoder")?.unbind(),
            refuse: json.getattr("JSONEncoder")?.call0()?.getattr("default")?.unbind(),
            encode_text: encoder.getattr("encode_basestring_ascii")?.unbind(),
            compile: builtins.getattr("compile")?.unbind(),
            exec: builtins.getattr("exec")?.unbind(),
            builtins: builtins.into_any().unbind(),
            module_type: py.import("types")?.getattr("ModuleType")?.unbind(),
            modules: sys.getattr("modules")?.cast_into::<PyDict>()?.unbind(),
            streams,
            open,
            sys: sys.unbind(),
            thread_count: py.import("_thread")?.getattr("_count")?.unbind(),
            timer: py.import("signal")?.getattr("getitimer")?.unbind(),
            format_exception: py.import("traceback")?.getattr("format_exception")?.unbind(),
            line_cache: py.import("linecache")?.getattr("cache")?.unbind(),
            code: PyDict::new(py).unbind(),
            code_bytes: 0,
            running: Arc::clone(running),
        })
    }

    /// What runs the programs.
    pub(crate) fn description(&self, py: Python<'_>) -> String {
        let version = self.sys.bind(py).getattr("version").and_then(|version| version.extract::<String>());
        let version = version.unwrap_or_default();
        format!("CPython {}", version.split(' ').next().unwrap_or_default())
    }

    /// Calls the function and returns its result as JSON text.
    pub(crate) fn run(&mut self, py: Python<'_>, order: &Order<'_>) -> Result<String, Raised> {
        let program = PyString::new(py, &order.program);
        self.running.set(Some(program.clone().unbind()));
        let code = self.code(py, &program).map_err(Raised::Task)?;
        let function = self.define(py, &code, &order.function)?;
        let scanned = self.scan.bind(py).call1((order.args.get(), 0)).map_err(Raised::Task)?;
        let args = scanned.get_item(0).map_err(Raised::Task)?;
        let args = args.cast_into::<PyList>().map_err(|error| Raised::Task(error.into()))?;
        let result = function.call1(PyTuple::new(py, args.iter()).map_err(Raised::Task)?).map_err(Raised::Task)?;
        let text = self.write(py, &result).map_err(|error| unusable(py, error))?;
        if text.len() > RESULT_BYTES_MAX {
            return Err(Raised::Result(format!(
                "the result has {} bytes as JSON, over the limit of {RESULT_BYTES_MAX}; return less, or store it and return its name",
                text.len()
            )));
        }
        Ok(text)
    }

    /// The result as JSON, by Python's own encoder; of its parts only those in C, which nobody can replace.
    fn write(&self, py: Python<'_>, result: &Bound<'_, PyAny>) -> PyResult<String> {
        let (indent, sort_keys, skip_keys, allow_nan) = (py.None(), false, false, false);
        // Remembers which containers it is in, to find circles; a new one each time, since a failure leaves some behind.
        let markers = PyDict::new(py);
        let settings = (markers, &self.refuse, &self.encode_text, indent, ": ", ", ", sort_keys, skip_keys, allow_nan);
        let parts = self.make_encoder.bind(py).call1(settings)?.call1((result, 0))?;
        let mut text = String::new();
        for part in parts.try_iter()? {
            text.push_str(part?.cast::<PyString>()?.to_str()?);
        }
        Ok(text)
    }

    /// The program's code object, compiled once.
    fn code<'py>(&mut self, py: Python<'py>, program: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        let kept = self.code.bind(py);
        if let Some(code) = kept.get_item(program)? {
            return Ok(code);
        }
        let options = PyDict::new(py);
        options.set_item("dont_inherit", true)?;
        let code = self.compile.bind(py).call((program, FILE_NAME, "exec"), Some(&options))?;
        let bytes = program.len()?;
        if kept.len() >= CODE_KEPT_MAX || self.code_bytes + bytes > CODE_BYTES_KEPT_MAX {
            kept.clear();
            self.code_bytes = 0;
        }
        kept.set_item(program, &code)?;
        self.code_bytes += bytes;
        Ok(code)
    }

    /// Runs the program's body in a new `__main__` and finds the function in it.
    fn define<'py>(&self, py: Python<'py>, code: &Bound<'py, PyAny>, name: &str) -> Result<Bound<'py, PyAny>, Raised> {
        let prepare = || -> PyResult<Bound<'py, PyAny>> {
            let module = self.module_type.bind(py).call1(("__main__",))?;
            self.modules.bind(py).set_item("__main__", &module)?;
            let globals = module.getattr("__dict__")?;
            globals.set_item("__builtins__", self.builtins.bind(py))?;
            self.exec.bind(py).call1((code, &globals))?;
            Ok(globals)
        };
        let globals = prepare().map_err(Raised::Task)?;
        let function =
            globals.get_item(name).map_err(|_| Raised::Function(format!("Function '{name}' not found in program")))?;
        if !function.is_callable() {
            return Err(Raised::Function(format!("'{name}' is not callable")));
        }
        Ok(function)
    }

    /// Writes out what the interpreter still holds back, and gives tasks that come later the real streams again.
    pub(crate) fn flush(&mut self, py: Python<'_>) {
        let sys = self.sys.bind(py);
        for ((name, descriptor), stream) in STREAMS.iter().zip(&mut self.streams) {
            let current = sys.getattr(name);
            // A task may have put a stream of its own there, which may hold text and may fail.
            if let Ok(current) = &current
                && !current.is(&*stream)
            {
                let _ = current.call_method0("flush");
            }
            let flushed = stream.bind(py).call_method0("flush");
            if flushed.is_err()
                && let Ok(new) = open_stream(py, &self.open, *descriptor)
            {
                // It was closed.
                *stream = new;
            }
            if flushed.is_err()
                || current.is_ok_and(|current| !current.is(&*stream))
                || !sys.hasattr(name).unwrap_or(false)
            {
                let _ = sys.setattr(name, &*stream);
            }
        }
    }

    /// Whether the task left threads behind, those that Python does not know included.
    pub(crate) fn has_other_threads(&self, py: Python<'_>) -> bool {
        process::threads() > 1
            || self.thread_count.bind(py).call0().and_then(|count| count.extract::<usize>()).unwrap_or(1) > 0
    }

    /// Whether a timer runs on, whose signal would end the next task.
    pub(crate) fn has_timers(&self, py: Python<'_>) -> bool {
        let timer = self.timer.bind(py);
        // ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF.
        (0..3).any(|kind| {
            timer.call1((kind,)).and_then(|left| left.extract::<(f64, f64)>()).is_ok_and(|left| left.0 > 0.0)
        })
    }

    fn traceback(&self, py: Python<'_>, error: &PyErr, program: &str) -> Option<String> {
        // A last line without an end would put the carets under the wrong column.
        let lines: Vec<String> = program.lines().map(|line| format!("{line}\n")).collect();
        let entry = (program.len(), py.None(), lines, FILE_NAME);
        let _ = self.line_cache.bind(py).set_item(FILE_NAME, entry);
        let parts = self.format_exception.bind(py).call1((error.get_type(py), error.value(py), error.traceback(py)));
        let text = parts.and_then(|parts| PyString::new(py, "").call_method1("join", (parts,))?.extract::<String>());
        let _ = self.line_cache.bind(py).del_item(FILE_NAME);
        text.ok().map(|text| shorten(text, TRACEBACK_BYTES_MAX))
    }
}

impl Raised {
    /// Puts the failure into words. May run code of the task's (`__str__` of its exceptions).
    pub(crate) fn explain(self, py: Python<'_>, engine: &Engine, order: &Order<'_>) -> Failure<'static> {
        let plain = |code: &'static str, error: String| Failure {
            code: code.into(),
            error: error.into(),
            ..Failure::default()
        };
        let error = match self {
            Raised::Function(text) => return plain("task_failed", text),
            Raised::Result(text) => return plain("result_unusable", text),
            Raised::Task(error) => error,
        };
        let class = error.get_type(py).name().map_or_else(|_| "Exception".to_owned(), |name| name.to_string());
        let mut text = error.value(py).str().map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
        let mut code = "task_failed";
        if error.is_instance_of::<PyMemoryError>(py) {
            code = "memory_limit";
            text = match order.memory_limit_bytes {
                0 => "the machine has no more memory for the task".to_owned(),
                limit => format!("the task used more memory than its limit of {limit} bytes"),
            };
        } else if error.is_instance_of::<PySystemExit>(py) {
            text = format!("the task called sys.exit({text}); return a value instead");
        } else if text.is_empty() {
            text.clone_from(&class);
        }
        Failure {
            code: code.into(),
            error: shorten(text, ERROR_BYTES_MAX).into(),
            error_type: Some(class.into()),
            traceback: engine.traceback(py, &error, &order.program).map(Into::into),
        }
    }
}

/// A stream on a standard descriptor that does not close it.
fn open_stream(py: Python<'_>, open: &Py<PyAny>, descriptor: i32) -> PyResult<Py<PyAny>> {
    let options = PyDict::new(py);
    // Lines reach the file at once, so that they are there when the task is killed.
    options.set_item("buffering", 1)?;
    options.set_item("encoding", "utf-8")?;
    options.set_item("errors", "backslashreplace")?;
    options.set_item("closefd", false)?;
    open.call(py, (descriptor, "w"), Some(&options))
}

fn unusable(py: Python<'_>, error: PyErr) -> Raised {
    if error.is_instance_of::<PyMemoryError>(py) {
        return Raised::Task(error);
    }
    let text = error.value(py).str().map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
    Raised::Result(if text.contains("Out of range float") {
        "the result contains NaN or infinity, which JSON cannot carry".to_owned()
    } else {
        shorten(text, 4 << 10)
    })
}

fn shorten(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let mut end = bytes_max;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str("\n[shortened]");
    }
    text
}
