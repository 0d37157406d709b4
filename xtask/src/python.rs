//! The machine's `python3`, and the virtual environments that tests and benchmarks use.

use crate::prerequisites;
use crate::process;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Turns a Python program into a WebAssembly component. Pinned: it carries the CPython that the sandbox runs.
pub(crate) const COMPONENTIZE: &str = "componentize-py==0.25.1";
/// What tests and benchmarks import, and the compilers for WebAssembly.
const TOOLS: Environment = Environment {
    name: "venv",
    packages: &["numpy", COMPONENTIZE, "ziglang==0.17.1"],
    modules: "numpy, componentize_py, ziglang",
};
/// Another sandbox for Python, and what builds its tasks. Pinned: the benchmarks' figures are about this version.
const COMPETITORS: Environment = Environment {
    name: "venv-competitors",
    packages: &["capsule-run==0.8.10", COMPONENTIZE],
    modules: "capsule, componentize_py",
};

/// What a virtual environment is for.
struct Environment {
    /// Of its folder below `target`.
    name: &'static str,
    packages: &'static [&'static str],
    /// The modules that show that it works.
    modules: &'static str,
}

/// A Python interpreter.
pub(crate) struct Interpreter {
    path: PathBuf,
    version: (u32, u32, u32),
}

/// The `python3` of the search path, which is also what a node uses unless it is told otherwise.
pub(crate) fn find() -> Option<Interpreter> {
    const ASK: &str = "import os, sys; print(*sys.version_info[:3], os.path.realpath(sys.executable))";
    Interpreter::from_answer(&process::output_if_ok(quiet(Command::new("python3").args(["-c", ASK])))?)
}

impl Interpreter {
    fn from_answer(answer: &str) -> Option<Interpreter> {
        let mut words = answer.splitn(4, ' ');
        let mut number = || words.next()?.parse().ok();
        let version = (number()?, number()?, number()?);
        Some(Interpreter { path: words.next()?.into(), version })
    }

    /// The real file, behind links and version managers.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn version(&self) -> String {
        let (major, minor, patch) = self.version;
        format!("{major}.{minor}.{patch}")
    }

    /// The worker is built for the stable interface of 3.10.
    pub(crate) fn is_supported(&self) -> bool {
        self.version >= (3, 10, 0)
    }

    /// Folder of the standard library.
    pub(crate) fn standard_library(&self) -> Result<PathBuf> {
        let mut command = Command::new("python3");
        command.args(["-c", "import sysconfig; print(sysconfig.get_paths()['stdlib'])"]);
        let path = process::output_if_ok(&mut command).context("python3 does not say where its library is")?;
        Ok(path.into())
    }

    /// What a virtual environment was made from and for; another text asks for a new one.
    fn recipe(&self, environment: &Environment) -> String {
        format!("{} {}\n{}\n", self.version(), self.path.display(), environment.packages.join(" "))
    }
}

/// The virtual environment that tests, benchmarks and builds use.
pub(crate) fn virtual_environment(workspace: &Workspace, interpreter: &Interpreter) -> Result<PathBuf> {
    environment(workspace, interpreter, &TOOLS)
}

/// The virtual environment with what benchmarks compare the sandbox with.
pub(crate) fn competitors(workspace: &Workspace, interpreter: &Interpreter) -> Result<PathBuf> {
    environment(workspace, interpreter, &COMPETITORS)
}

/// A virtual environment, made once and again when the interpreter has changed or it does not work.
fn environment(workspace: &Workspace, interpreter: &Interpreter, environment: &Environment) -> Result<PathBuf> {
    let Environment { name, packages, modules } = environment;
    let folder = workspace.target.join(name);
    fs::create_dir_all(&workspace.target)?;
    let lock = File::create(workspace.target.join(format!("{name}.lock")));
    let lock = lock.with_context(|| format!("cannot create the lock of target/{name}"))?;
    lock.lock().with_context(|| format!("cannot lock target/{name}"))?;
    if is_usable(&folder, interpreter, environment) {
        return Ok(folder);
    }
    println!("  making {} with {}", folder.display(), packages.join(", "));
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    create(&folder).or_else(|error| {
        // Debian splits the module that puts pip into the environment off; elsewhere it is there, and the error is
        // another one.
        if imports(Command::new("python3"), "ensurepip, venv") {
            return Err(error);
        }
        prerequisites::install_or_explain("the venv module of Python", &["python3-venv"])?;
        create(&folder)
    })?;
    let mut pip = Command::new(python_of(&folder));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    // Compiling numpy takes longer than everything else together; where there is no wheel, say so.
    process::run(pip.args(["--only-binary", ":all:"]).args(*packages).stdin(Stdio::null()))?;
    if !imports(Command::new(python_of(&folder)), modules) {
        bail!("{} was made, but {} cannot be imported in it", folder.display(), packages.join(", "));
    }
    // Last, so that an interrupted run leaves no environment that looks complete.
    fs::write(folder.join("recipe.txt"), interpreter.recipe(environment))?;
    Ok(folder)
}

/// The interpreter of a virtual environment.
pub(crate) fn python_of(environment: &Path) -> PathBuf {
    environment.join("bin/python3")
}

fn is_usable(folder: &Path, interpreter: &Interpreter, environment: &Environment) -> bool {
    fs::read_to_string(folder.join("recipe.txt")).is_ok_and(|recipe| recipe == interpreter.recipe(environment))
        && imports(Command::new(python_of(folder)), environment.modules)
}

fn create(folder: &Path) -> Result<()> {
    process::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder).stdin(Stdio::null()))
}

fn imports(mut python: Command, modules: &str) -> bool {
    process::output_if_ok(quiet(python.args(["-c", &format!("import {modules}")]))).is_some()
}

/// For questions whose failure is an answer.
fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stderr(Stdio::null())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreter_tells_its_version_and_place() {
        let interpreter = Interpreter::from_answer("3 11 2 /usr/bin/python3.11").unwrap();
        assert_eq!((interpreter.version().as_str(), interpreter.path()), ("3.11.2", Path::new("/usr/bin/python3.11")));
        assert!(interpreter.is_supported());
        assert!(!Interpreter::from_answer("3 9 2 /usr/bin/my python").unwrap().is_supported());
        assert!(Interpreter::from_answer("pyenv: python3: command not found").is_none());
    }

    #[test]
    fn an_environment_without_its_recipe_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let interpreter = Interpreter::from_answer("3 11 2 /usr/bin/python3.11").unwrap();
        assert!(!is_usable(folder.path(), &interpreter, &TOOLS));
        fs::write(folder.path().join("recipe.txt"), interpreter.recipe(&TOOLS)).unwrap();
        assert!(!is_usable(folder.path(), &interpreter, &TOOLS));
    }
}
