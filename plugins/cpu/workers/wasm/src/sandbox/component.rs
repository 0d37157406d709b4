//! Instances of a component of the world in `wit/image.wit`.

use super::PythonFailure;
use crate::cache::Cache;
use crate::instance::{ComponentState, Meter};
use crate::link::Link;
use crate::serve::{Finished, explain};
use anyhow::{Context, Result};
use potluck_worker_protocol::{Failure, Order};
use std::cell::RefCell;
use std::rc::Rc;
use wasmtime::component::{Component, ComponentExportIndex, ComponentType, InstancePre, Lift, Linker, TypedFunc};
use wasmtime::{Engine, Store, StoreContextMut};

/// Texts of programs and their code that are kept, in bytes.
const PROGRAMS_BYTES_MAX: usize = 32 << 20;
/// A program longer than this is not worth its place: compiling it takes no larger part of its time.
const PROGRAM_BYTES_MAX: usize = 1 << 20;

/// `compile` and `run` of the world; the arguments are borrowed for the time of a call.
type Compile<'a> = TypedFunc<(&'a str,), (Result<Vec<u8>, ImageFailure>,)>;
type Run<'a> = TypedFunc<(&'a str, &'a [u8], &'a str, &'a str), (Result<String, ImageFailure>,)>;

/// Everything that an image imports.
pub(crate) fn linker(engine: &Engine) -> Result<Linker<ComponentState>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    linker.root().func_wrap_async("call", |store: StoreContextMut<'_, ComponentState>, (message,): (String,)| {
        let reply = store.data().meter.call(message);
        Box::new(async move { Ok((reply.await?,)) })
    })?;
    Ok(linker)
}

/// Programs as the image's interpreter has compiled them, by their text. An instance compiles before it runs anything of
/// a program, so what is kept comes from the image alone.
type Programs = Rc<RefCell<Cache<Rc<[u8]>>>>;

/// `failure` of the world.
#[derive(ComponentType, Lift)]
#[component(record)]
struct ImageFailure {
    code: String,
    error: String,
    #[component(name = "error-type")]
    error_type: Option<String>,
    traceback: Option<String>,
}

pub(super) struct Image {
    engine: Engine,
    image: InstancePre<ComponentState>,
    prepare: ComponentExportIndex,
    compile: ComponentExportIndex,
    run: ComponentExportIndex,
    memory_bytes_max: usize,
    programs: Programs,
    link: Link,
}

pub(super) struct Instance {
    store: Store<ComponentState>,
    compile: Compile<'static>,
    run: Run<'static>,
    programs: Programs,
}

impl Image {
    pub(super) fn new(engine: &Engine, component: &Component, memory_bytes_max: usize, link: &Link) -> Result<Image> {
        let export = |name: &str| component.get_export_index(None, name).with_context(|| format!("no export {name}"));
        Ok(Image {
            prepare: export("prepare")?,
            compile: export("compile")?,
            run: export("run")?,
            programs: Rc::new(RefCell::new(Cache::new(PROGRAMS_BYTES_MAX))),
            image: linker(engine)?.instantiate_pre(component)?,
            link: link.clone(),
            engine: engine.clone(),
            memory_bytes_max,
        })
    }

    pub(super) async fn make(&self) -> Result<Instance> {
        let mut state = ComponentState::new(self.memory_bytes_max);
        state.meter.link = Some(self.link.clone());
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.meter);
        // It gives way at the first tick, and then at each.
        store.epoch_deadline_async_yield_and_update(1);
        store.set_epoch_deadline(1);
        let instance = self.image.instantiate_async(&mut store).await?;
        let prepare = instance.get_typed_func::<(), ()>(&mut store, self.prepare)?;
        prepare.call_async(&mut store, ()).await?;
        let compile = instance.get_typed_func(&mut store, self.compile)?;
        let run = instance.get_typed_func(&mut store, self.run)?;
        Ok(Instance { store, compile, run, programs: Rc::clone(&self.programs) })
    }
}

impl Instance {
    pub(super) fn meter(&mut self) -> &mut Meter {
        &mut self.store.data_mut().meter
    }

    pub(super) async fn run(&mut self, order: &Order<'_>) -> Finished {
        self.store.set_epoch_deadline(1);
        let outcome = match self.code(&order.program).await {
            Ok(code) => self.call(order, &code).await,
            Err(failure) => Err(failure),
        };
        Finished::observed(outcome, &self.store.data().meter)
    }

    /// The program, compiled.
    async fn code(&mut self, program: &str) -> Result<Rc<[u8]>, Failure<'static>> {
        if let Some(code) = self.programs.borrow_mut().get(program) {
            return Ok(code);
        }
        let compile: &Compile<'_> = &self.compile;
        let compiled = compile.call_async(&mut self.store, (program,)).await;
        let code: Rc<[u8]> = self.answer(compiled.map(|(result,)| result))?.into();
        if program.len() <= PROGRAM_BYTES_MAX {
            self.programs.borrow_mut().put(program, Rc::clone(&code), program.len() + code.len());
        }
        Ok(code)
    }

    async fn call(&mut self, order: &Order<'_>, code: &[u8]) -> Result<String, Failure<'static>> {
        let run: &Run<'_> = &self.run;
        let arguments = (order.program.as_ref(), code, order.function.as_ref(), order.args.get());
        let called = run.call_async(&mut self.store, arguments).await;
        self.answer(called.map(|(result,)| result))
    }

    fn answer<T>(&self, called: wasmtime::Result<Result<T, ImageFailure>>) -> Result<T, Failure<'static>> {
        let meter = &self.store.data().meter;
        match called {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(ImageFailure { code, error, error_type, traceback })) => {
                Err(PythonFailure { code, error, error_type, traceback }.explain(meter))
            }
            Err(error) => Err(explain(&error, meter)),
        }
    }
}
