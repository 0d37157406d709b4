//! Instances of a module of WASI preview 1, each with an empty folder of its own whose files come back with the result.

use super::PythonFailure;
use crate::instance::{self, Meter};
use crate::link::Link;
use crate::reactor::{self, Interpreter, Places, State};
use crate::science::{PREPARE, SERVE};
use crate::serve::{File, Finished, explain, failure};
use anyhow::{Context, Result};
use potluck_worker_protocol::{FILES_BYTES_MAX, FILES_MAX, Failure, Order, is_file_name, remove_folder};
use serde::Deserialize;
use serde_json::json;
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use wasmtime::{Engine, InstancePre, Module, Store};

/// For what is not to come back.
const TEMPORARY: &str = "tmp";
/// How deep folders may be nested that hold files to come back.
const DEPTH_MAX: usize = 16;

pub(super) struct Image {
    engine: Engine,
    image: InstancePre<State>,
    places: Places,
    /// Where the folders of the instances are.
    scratch: PathBuf,
    next: Cell<u64>,
    memory_bytes_max: usize,
    link: Link,
}

pub(super) struct Instance {
    // Dropped first: it has the folder open.
    store: Store<State>,
    interpreter: Interpreter,
    root: Root,
}

impl Image {
    pub(super) fn new(
        engine: &Engine,
        module: &Module,
        folder: &Path,
        memory_bytes_max: usize,
        link: &Link,
    ) -> Result<Image> {
        Ok(Image {
            image: reactor::linker(engine)?.instantiate_pre(module)?,
            engine: engine.clone(),
            places: Places::of(folder),
            scratch: std::env::current_dir().context("the scratch folder")?,
            next: Cell::new(0),
            memory_bytes_max,
            link: link.clone(),
        })
    }

    pub(super) async fn make(&self) -> Result<Instance> {
        let root = Root::make(&self.scratch, self.next.replace(self.next.get() + 1))?;
        let mut state = State::new(self.memory_bytes_max, &self.places, &root.0)?;
        state.meter.link = Some(self.link.clone());
        let mut store = instance::store(&self.engine, state);
        let instance = self.image.instantiate_async(&mut store).await?;
        let interpreter = Interpreter::of(&mut store, &instance)?;
        interpreter.run(&mut store, PREPARE).await?;
        Ok(Instance { store, interpreter, root })
    }
}

impl Instance {
    /// Drops it; false when its folder could not be removed, because a task has made it so.
    pub(super) fn remove(self) -> bool {
        let folder = self.root.0.clone();
        drop(self);
        !folder.exists()
    }

    pub(super) fn meter(&mut self) -> &mut Meter {
        &mut self.store.data_mut().meter
    }

    pub(super) async fn run(&mut self, order: &Order<'_>) -> Finished {
        let message = json!({ "program": order.program, "function": order.function, "args": order.args.get() });
        self.store.data_mut().order = message.to_string().into_bytes();
        self.store.set_epoch_deadline(1);
        let called = self.interpreter.run(&mut self.store, SERVE).await;
        let answer = self.store.data_mut().answer.take();
        let meter = &self.store.data().meter;
        let outcome = match called {
            Ok(_) => read_answer(answer, meter),
            Err(error) => Err(explain(&error, meter)),
        };
        let succeeded = outcome.is_ok();
        let mut finished = Finished::observed(outcome, meter);
        match self.root.files() {
            Ok((files, untouched)) => {
                // The times of files and the order of folders depend on more than the program.
                finished.deterministic = finished.deterministic.map(|deterministic| deterministic && untouched);
                if succeeded {
                    finished.files = files;
                }
            }
            Err(error) if succeeded => finished.outcome = Err(failure("result_unusable", error)),
            Err(_) => {}
        }
        finished
    }
}

/// `+` and a result, or `-` and why there is none.
fn read_answer(answer: Option<Vec<u8>>, meter: &Meter) -> Result<String, Failure<'static>> {
    #[derive(Deserialize)]
    struct Said(String, String, Option<String>, Option<String>);
    let silent = || failure("task_failed", "the task ended its interpreter without a result");
    let answer = String::from_utf8(answer.ok_or_else(silent)?).map_err(|_| silent())?;
    if let Some(result) = answer.strip_prefix('+') {
        return Ok(result.to_owned());
    }
    let Some(reason) = answer.strip_prefix('-') else { return Err(silent()) };
    let Said(code, error, error_type, traceback) = serde_json::from_str(reason).map_err(|_| silent())?;
    Err(PythonFailure { code, error, error_type, traceback }.explain(meter))
}

/// The folder of one instance. It goes with it.
struct Root(PathBuf);

impl Root {
    fn make(scratch: &Path, number: u64) -> std::io::Result<Root> {
        let root = Root(scratch.join(format!("files-{number}")));
        fs::create_dir_all(root.0.join(TEMPORARY))?;
        Ok(root)
    }

    /// The files in it, by name, and whether the task has left nothing at all in it.
    fn files(&self) -> Result<(Vec<File>, bool), String> {
        let mut found = Vec::new();
        let unreadable = |error: std::io::Error| format!("the task's files cannot be read: {error}");
        let mut untouched = fs::read_dir(self.0.join(TEMPORARY)).is_ok_and(|mut entries| entries.next().is_none());
        let mut unvisited = vec![(self.0.clone(), String::new(), 0)];
        let mut bytes_left = FILES_BYTES_MAX as u64;
        while let Some((folder, prefix, depth)) = unvisited.pop() {
            for entry in fs::read_dir(folder).map_err(unreadable)? {
                let entry = entry.map_err(unreadable)?;
                let name = entry.file_name().into_string().map_err(|_| "the task made a file whose name is no text")?;
                if depth == 0 && name == TEMPORARY {
                    continue;
                }
                untouched = false;
                let kind = entry.file_type().map_err(unreadable)?;
                let name = format!("{prefix}{name}");
                if kind.is_dir() {
                    if depth == DEPTH_MAX {
                        return Err(format!(
                            "the task nested folders deeper than {DEPTH_MAX}; nothing of them can come back"
                        ));
                    }
                    unvisited.push((entry.path(), format!("{name}/"), depth + 1));
                } else if kind.is_file() {
                    let bytes = entry.metadata().map_err(unreadable)?.len();
                    let left = bytes_left.checked_sub(bytes).filter(|_| found.len() < FILES_MAX);
                    if !is_file_name(&name) {
                        return Err(format!("the task made a file that cannot come back under its name: {name:?}"));
                    }
                    bytes_left = left.ok_or_else(|| {
                        format!(
                            "the task left more than the {FILES_MAX} files or {FILES_BYTES_MAX} bytes that can come back; what is not to come back belongs into /tmp"
                        )
                    })?;
                    found.push((name, entry.path()));
                }
            }
        }
        found.sort();
        let read = |(name, path)| Ok(File { name, bytes: fs::read(path).map_err(unreadable)? });
        Ok((found.into_iter().map(read).collect::<Result<_, String>>()?, untouched))
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // What cannot be removed goes with the worker's folder.
        remove_folder(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_back_by_name_and_the_folder_goes() {
        let scratch = tempfile::tempdir().unwrap();
        let root = Root::make(scratch.path(), 1).unwrap();
        assert!(matches!(root.files(), Ok((files, true)) if files.is_empty()));
        fs::write(root.0.join("tmp/x"), "x").unwrap();
        assert!(matches!(root.files(), Ok((files, false)) if files.is_empty()));
        fs::create_dir(root.0.join("plots")).unwrap();
        fs::write(root.0.join("plots/b.png"), "bb").unwrap();
        fs::write(root.0.join("a.csv"), "a").unwrap();
        // What a link leads to is not the task's.
        std::os::unix::fs::symlink("/etc/passwd", root.0.join("link")).unwrap();
        let (files, untouched) = root.files().unwrap();
        let files: Vec<_> = files.iter().map(|file| (file.name.as_str(), file.bytes.as_slice())).collect();
        assert_eq!(files, [("a.csv", &b"a"[..]), ("plots/b.png", b"bb")]);
        assert!(!untouched);
        let path = root.0.clone();
        drop(root);
        assert!(!path.exists());
    }

    #[test]
    fn too_much_to_come_back_is_an_error() {
        let scratch = tempfile::tempdir().unwrap();
        let root = Root::make(scratch.path(), 1).unwrap();
        fs::write(root.0.join("large"), vec![0; FILES_BYTES_MAX + 1]).unwrap();
        assert!(root.files().unwrap_err().contains("bytes that can come back"));
        fs::remove_file(root.0.join("large")).unwrap();
        for number in 0..=FILES_MAX {
            fs::write(root.0.join(number.to_string()), "").unwrap();
        }
        assert!(root.files().is_err());
    }
}
