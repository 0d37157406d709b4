//! Instances of a component of the world in `wit/image.wit`.

use super::PythonFailure;
use crate::instance::{ComponentState, Meter};
use crate::serve::{Finished, explain};
use anyhow::{Context, Result};
use potluck_worker_protocol::Order;
use wasmtime::component::{Component, ComponentExportIndex, ComponentType, InstancePre, Lift, Linker, TypedFunc};
use wasmtime::{Engine, Store};

/// `run` of the world; its arguments are borrowed for the time of a call.
type Run<'a> = TypedFunc<(&'a str, &'a str, &'a str), (Result<String, ImageFailure>,)>;

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
    run: ComponentExportIndex,
    memory_bytes_max: usize,
}

pub(super) struct Instance {
    store: Store<ComponentState>,
    run: Run<'static>,
}

impl Image {
    pub(super) fn new(engine: &Engine, component: &Component, memory_bytes_max: usize) -> Result<Image> {
        let mut linker = Linker::new(engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        let export = |name: &str| component.get_export_index(None, name).with_context(|| format!("no export {name}"));
        Ok(Image {
            prepare: export("prepare")?,
            run: export("run")?,
            image: linker.instantiate_pre(component)?,
            engine: engine.clone(),
            memory_bytes_max,
        })
    }

    pub(super) async fn make(&self) -> Result<Instance> {
        let mut store = Store::new(&self.engine, ComponentState::new(self.memory_bytes_max));
        store.limiter(|state| &mut state.meter);
        // It gives way at the first tick, and then at each.
        store.epoch_deadline_async_yield_and_update(1);
        store.set_epoch_deadline(1);
        let instance = self.image.instantiate_async(&mut store).await?;
        let prepare = instance.get_typed_func::<(), ()>(&mut store, self.prepare)?;
        prepare.call_async(&mut store, ()).await?;
        let run = instance.get_typed_func(&mut store, self.run)?;
        Ok(Instance { store, run })
    }
}

impl Instance {
    pub(super) fn meter(&mut self) -> &mut Meter {
        &mut self.store.data_mut().meter
    }

    pub(super) async fn run(&mut self, order: &Order<'_>) -> Finished {
        self.store.set_epoch_deadline(1);
        let run: &Run<'_> = &self.run;
        let arguments = (order.program.as_ref(), order.function.as_ref(), order.args.get());
        let called = run.call_async(&mut self.store, arguments).await;
        let meter = &self.store.data().meter;
        let outcome = match called {
            Ok((Ok(json),)) => Ok(json),
            Ok((Err(ImageFailure { code, error, error_type, traceback }),)) => {
                Err(PythonFailure { code, error, error_type, traceback }.explain(meter))
            }
            Err(error) => Err(explain(&error, meter)),
        };
        Finished::observed(outcome, meter)
    }
}
