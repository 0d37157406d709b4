//! The runtime `sandbox`: programs in an image, each in an instance that was started before it was needed.

pub(crate) mod component;
mod module;

use crate::ServeSandbox;
use crate::engine;
use crate::image::{self, Code, Image};
use crate::instance::Meter;
use crate::link::Link;
use crate::reactor::Places;
use crate::serve::{self, Finished, Process, Runtime, memory_limit};
use anyhow::{Result, bail};
use potluck_worker_protocol::{Failure, Order};
use std::collections::VecDeque;
use wasmtime::Engine;

/// Serves until the provider hangs up.
pub(crate) fn serve(options: &ServeSandbox) -> Result<()> {
    serve::serve(|link| {
        let folder = &options.image.image;
        let description = Image::read(folder)?.description;
        let places = Places::of(folder);
        let sandbox = Sandbox::start(options, link)?;
        let readable = vec![places.library, places.plot_data];
        Ok((sandbox, Process { description, readable, file_bytes_max: options.common.file_bytes_max }))
    })
}

struct Sandbox {
    engine: Engine,
    image: Loaded,
    memory_bytes_max: u64,
    spares_wanted: usize,
    spares: VecDeque<Instance>,
    /// The one that runs, or has run.
    used: Option<Instance>,
}

/// An image that can be instantiated.
enum Loaded {
    Component(component::Image),
    Module(module::Image),
}

/// An instance that runs one order.
enum Instance {
    Component(component::Instance),
    Module(module::Instance),
}

/// What the image's Python says of a failure.
struct PythonFailure {
    code: String,
    error: String,
    error_type: Option<String>,
    traceback: Option<String>,
}

impl PythonFailure {
    fn explain(self, meter: &Meter) -> Failure<'static> {
        // Some parts of the library say it in their own words; others raise the same for another reason.
        let is_memory = self.error_type.as_deref() == Some("MemoryError") && meter.memory_refused;
        if self.code == "memory_limit" || is_memory {
            return Failure { traceback: self.traceback.map(Into::into), ..memory_limit(meter) };
        }
        // A program may have replaced what the image says.
        let code = if self.code == "result_unusable" { "result_unusable" } else { "task_failed" };
        Failure {
            code: code.into(),
            error: self.error.into(),
            error_type: self.error_type.map(Into::into),
            traceback: self.traceback.map(Into::into),
        }
    }
}

impl Sandbox {
    fn start(options: &ServeSandbox, link: &Link) -> Result<Sandbox> {
        let memory_bytes_max = options.common.memory_max;
        // The spares, the one that runs, and one that is being made.
        let engine = engine::for_running(options.spares + 2, memory_bytes_max)?;
        let folder = &options.image.image;
        let memory = usize::try_from(memory_bytes_max)?;
        let image = match image::load(&engine, folder, options.image.compiled.as_deref())? {
            Code::Component(code) => Loaded::Component(component::Image::new(&engine, &code, memory, link)?),
            Code::Module(code) => Loaded::Module(module::Image::new(&engine, &code, folder, memory, link)?),
        };
        let spares_wanted = options.spares.max(1);
        Ok(Sandbox { engine, image, memory_bytes_max, spares_wanted, spares: VecDeque::new(), used: None })
    }

    async fn make(&self) -> Result<Instance> {
        Ok(match &self.image {
            Loaded::Component(image) => Instance::Component(image.make().await?),
            Loaded::Module(image) => Instance::Module(image.make().await?),
        })
    }
}

impl Instance {
    fn meter(&mut self) -> &mut Meter {
        match self {
            Instance::Component(instance) => instance.meter(),
            Instance::Module(instance) => instance.meter(),
        }
    }

    async fn run(&mut self, order: &Order<'_>) -> Finished {
        match self {
            Instance::Component(instance) => instance.run(order).await,
            Instance::Module(instance) => instance.run(order).await,
        }
    }
}

impl Runtime for Sandbox {
    fn engine(&self) -> &Engine {
        &self.engine
    }

    async fn run(&mut self, order: &Order<'_>) -> Finished {
        let instance = match self.spares.pop_front() {
            Some(spare) => spare,
            None => match self.make().await {
                Ok(instance) => instance,
                Err(error) => return Finished::refused("runtime_unavailable", format!("{error:#}")),
            },
        };
        let instance = self.used.insert(instance);
        let limit = match order.memory_limit_bytes {
            0 => self.memory_bytes_max,
            limit => limit.min(self.memory_bytes_max),
        };
        let meter = instance.meter();
        meter.begin(usize::try_from(limit).unwrap_or(usize::MAX), order.output_limit_bytes);
        if meter.memory_bytes > meter.memory_bytes_max {
            let (needed, limit) = (meter.memory_bytes, meter.memory_bytes_max);
            let text = format!("the interpreter alone needs {needed} bytes, more than the limit of {limit}");
            return Finished::refused("memory_limit", text);
        }
        instance.run(order).await
    }

    fn discard(&mut self) -> Result<()> {
        if let Some(Instance::Module(instance)) = self.used.take()
            && !instance.remove()
        {
            // The next ones must not pay for what this one has left.
            bail!("a task's folder cannot be removed");
        }
        Ok(())
    }

    async fn prepare(&mut self) -> Result<bool> {
        if self.spares.len() >= self.spares_wanted {
            return Ok(false);
        }
        let spare = self.make().await?;
        self.spares.push_back(spare);
        Ok(true)
    }
}
