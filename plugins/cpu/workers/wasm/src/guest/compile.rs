//! Compiles guests, each on a thread of its own: it may take long, and nothing stops the compiler but the end of the
//! process. So whoever waits can be told to give up, and then the process must end.

use super::check::Form;
use anyhow::Result;
use std::cell::Cell;
use std::ops::Range;
use std::time::Duration;
use tokio::sync::oneshot;
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

/// How long it may take to compile a guest. One with 8 MiB of code takes 5 s on a processor that is not busy.
pub(super) const TIME_MAX: Duration = Duration::from_secs(20);
/// Stack of the thread: as much as the first one of a process has.
const STACK_BYTES: usize = 8 << 20;

/// A compiled guest.
pub(super) enum Code {
    Component(Component),
    Module(Module),
}

impl Code {
    /// Bytes of the machine code.
    pub(super) fn bytes(&self) -> usize {
        let Range { start, end } = match self {
            Code::Component(component) => component.image_range(),
            Code::Module(module) => module.image_range(),
        };
        end as usize - start as usize
    }
}

/// Why there is no code.
pub(super) enum Uncompiled {
    Invalid(anyhow::Error),
    /// It took longer than [`TIME_MAX`].
    TooSlow,
    /// The compiler has panicked, or there was no thread to be had.
    Failed,
}

/// Compiles one guest at a time.
pub(super) struct Compiler {
    engine: Engine,
    time_max: Duration,
    is_busy: Cell<bool>,
}

impl Compiler {
    pub(super) fn new(engine: &Engine) -> Compiler {
        Compiler { engine: engine.clone(), time_max: TIME_MAX, is_busy: Cell::new(false) }
    }

    /// Whether it was given up while it compiled, and goes on.
    pub(super) fn is_busy(&self) -> bool {
        self.is_busy.get()
    }

    /// Compiles a guest that was checked.
    pub(super) async fn compile(&self, form: Form, bytes: Vec<u8>) -> Result<Code, Uncompiled> {
        let engine = self.engine.clone();
        let (sender, receiver) = oneshot::channel();
        let work = move || {
            let code = match form {
                Form::Module => Module::new(&engine, bytes).map(Code::Module),
                Form::Component => Component::new(&engine, bytes).map(Code::Component),
            };
            // Nobody may wait for it any more.
            let _ = sender.send(code);
        };
        let thread = std::thread::Builder::new().name("compiler".to_owned()).stack_size(STACK_BYTES);
        thread.spawn(work).map_err(|_| Uncompiled::Failed)?;
        self.is_busy.set(true);
        let compiled = tokio::time::timeout(self.time_max, receiver).await.map_err(|_| Uncompiled::TooSlow)?;
        self.is_busy.set(false);
        compiled.map_err(|_| Uncompiled::Failed)?.map_err(|error| Uncompiled::Invalid(error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(compiler: &Compiler, text: &str) -> Result<Code, Uncompiled> {
        let executor = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        executor.block_on(compiler.compile(Form::Module, wat::parse_str(text).unwrap()))
    }

    #[test]
    fn a_guest_that_takes_too_long_is_given_up_and_the_compiler_is_busy_with_it() {
        let engine = crate::engine::for_compiling(None).unwrap();
        let mut compiler = Compiler::new(&engine);
        assert!(matches!(compile(&compiler, "(module (func))"), Ok(Code::Module(_))));
        assert!(matches!(compile(&compiler, "(module (func) (memory 1) (memory 1))"), Err(Uncompiled::Invalid(_))));
        assert!(!compiler.is_busy());
        compiler.time_max = Duration::from_millis(1);
        let long = "(func (param i64) (result i64) (loop (br_if 0 (i64.eqz (local.get 0)))) local.get 0)".repeat(5_000);
        assert!(matches!(compile(&compiler, &format!("(module {long})")), Err(Uncompiled::TooSlow)));
        assert!(compiler.is_busy());
    }
}
