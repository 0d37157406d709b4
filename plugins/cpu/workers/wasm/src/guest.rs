//! The runtime `wasm`: guests of others, each call in an instance of its own.
//!
//! A guest is a component of the world in `sdk/wit/guest.wit`, or a command of WASI 0.2 or preview 1, which reads its
//! arguments on standard input and prints its result. It comes from whoever sends a task, so nothing about it is believed:
//! it is checked before it is compiled, and compiled here, where that can do no harm.

mod check;
mod compile;
mod cost;

use crate::cache::Cache;
use crate::engine;
use crate::instance::{self, ComponentState, Meter, Metered, ModuleState};
use crate::link::Link;
use crate::serve::{self, Finished, Process, Runtime, explain, failure, memory_limit};
use crate::{Common, ServeWasm};
use anyhow::{Result, anyhow};
use compile::{Code, Compiler, Uncompiled};
use potluck_worker_protocol::{Failure, Order};
use serde::Deserialize;
use std::borrow::Cow;
use std::path::PathBuf;
use wasmtime::component::{self, ComponentExportIndex};
use wasmtime::{Engine, ExternType, InstancePre, Store, StoreContextMut};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::bindings::CommandPre;

/// Instances at a time: the one that runs, and the last one that is being dropped.
const INSTANCES: usize = 2;
/// The function that a component of the guests' world exports.
const RUN: &str = "run";
/// What a component imports that calls the node.
const NODE: &str = "potluck:guest/node@0.1.0";
/// What a preview 1 command exports.
const START: &str = "_start";
/// What the program is called, in its own arguments.
const PROGRAM: &str = "guest";

/// Serves until the provider hangs up.
pub(crate) fn serve(options: &ServeWasm) -> Result<()> {
    serve::serve(|link| {
        let guests = Guests::start(&options.common, options.modules.clone(), options.cache_bytes, link)?;
        let process = Process {
            description: format!("wasmtime {}", engine::version()),
            readable: vec![options.modules.clone()],
            file_bytes_max: options.common.file_bytes_max,
        };
        Ok((guests, process))
    })
}

struct Guests {
    engine: Engine,
    components: component::Linker<ComponentState>,
    modules: wasmtime::Linker<ModuleState>,
    folder: PathBuf,
    memory_bytes_max: u64,
    compiler: Compiler,
    cache: Cache<Guest>,
    link: Link,
    /// The store of the order that runs, or has run.
    used: Option<Used>,
}

/// A guest that can be instantiated.
#[derive(Clone)]
enum Guest {
    World { pre: component::InstancePre<ComponentState>, run: ComponentExportIndex },
    Command(CommandPre<ComponentState>),
    Module(InstancePre<ModuleState>),
}

enum Used {
    Component(Store<ComponentState>),
    Module(Store<ModuleState>),
}

impl Used {
    fn meter(&mut self) -> &mut Meter {
        match self {
            Used::Component(store) => store.data_mut().meter(),
            Used::Module(store) => store.data_mut().meter(),
        }
    }
}

impl Guests {
    fn start(common: &Common, folder: PathBuf, cache_bytes: usize, link: &Link) -> Result<Guests> {
        let engine = engine::for_running(INSTANCES, common.memory_max)?;
        let mut components = component::Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut components)?;
        add_node(&mut components)?;
        let mut modules = wasmtime::Linker::new(&engine);
        wasmtime_wasi::p1::add_to_linker_async(&mut modules, |state: &mut ModuleState| &mut state.wasi)?;
        Ok(Guests {
            compiler: Compiler::new(&engine),
            engine,
            components,
            modules,
            folder,
            memory_bytes_max: common.memory_max,
            cache: Cache::new(cache_bytes),
            link: link.clone(),
            used: None,
        })
    }

    async fn guest(&mut self, sha256: &str) -> Result<Guest, Failure<'static>> {
        if let Some(guest) = self.cache.get(sha256) {
            return Ok(guest);
        }
        let unknown =
            |error: std::io::Error| failure("module_unknown", format!("the guest is not on this node: {error}"));
        let invalid = |error: anyhow::Error| failure("module_invalid", format!("{error:#}"));
        // The provider has checked that the name is a hash; the kernel lets no other folder be read.
        let bytes = std::fs::read(self.folder.join(sha256).with_extension("wasm")).map_err(unknown)?;
        let form = check::check(&bytes).map_err(invalid)?;
        let code = self.compiler.compile(form, bytes).await.map_err(|uncompiled| match uncompiled {
            Uncompiled::Invalid(error) => invalid(error),
            Uncompiled::TooSlow => {
                let seconds = compile::TIME_MAX.as_secs();
                failure(
                    "module_invalid",
                    format!("it takes longer than the {seconds} s that a guest may take to compile"),
                )
            }
            Uncompiled::Failed => failure("module_invalid", "the compiler failed"),
        })?;
        let guest = self.link(&code).map_err(invalid)?;
        self.cache.put(sha256, guest.clone(), code.bytes());
        Ok(guest)
    }

    /// Gives code what it imports.
    fn link(&self, code: &Code) -> Result<Guest> {
        let component = match code {
            Code::Module(module) => {
                let is_start = |export: ExternType| matches!(export, ExternType::Func(f) if f.params().len() + f.results().len() == 0);
                if !module.get_export(START).is_some_and(is_start) {
                    return Err(anyhow!(
                        "the module exports no function `{START}` without parameters and results: build it as a WASI command, or as a component"
                    ));
                }
                return Ok(Guest::Module(self.modules.instantiate_pre(module)?));
            }
            Code::Component(component) => component,
        };
        let pre = self.components.instantiate_pre(component)?;
        if let Some(run) = component.get_export_index(None, RUN) {
            return Ok(Guest::World { pre, run });
        }
        let command = CommandPre::new(pre).map_err(|_| {
            anyhow!("the component exports neither `{RUN}` of the world potluck:guest nor `wasi:cli/run`")
        })?;
        Ok(Guest::Command(command))
    }

    fn component_store(&mut self, mut state: ComponentState, order: &Order<'_>) -> &mut Store<ComponentState> {
        state.meter.begin(state.meter.memory_bytes_max, order.output_limit_bytes);
        state.meter.link = Some(self.link.clone());
        self.used = Some(Used::Component(instance::store(&self.engine, state)));
        match &mut self.used {
            Some(Used::Component(store)) => store,
            _ => unreachable!("it was put there above"),
        }
    }

    async fn run_world(
        &mut self,
        pre: &component::InstancePre<ComponentState>,
        run: &ComponentExportIndex,
        order: &Order<'_>,
    ) -> Finished {
        let state = ComponentState::new(instance::memory_bytes_max(order, self.memory_bytes_max));
        let store = self.component_store(state, order);
        let called = async {
            let instance = pre.instantiate_async(&mut *store).await?;
            match instance.get_typed_func::<(&str, &str), (Result<String, String>,)>(&mut *store, run) {
                Ok(run) => run.call_async(&mut *store, (&order.function, order.args.get())).await.map(Ok),
                Err(error) => Ok(Err(error)),
            }
        };
        let called = called.await;
        let meter = &store.data().meter;
        let outcome = match called {
            Ok(Err(error)) => {
                let text = format!("its `{RUN}` is not that of the world potluck:guest: {error:#}");
                Err(failure("module_invalid", text))
            }
            Ok(Ok((Ok(json),))) => Ok(json),
            Ok(Ok((Err(text),))) => Err(failure("task_failed", text.chars().take(16 << 10).collect::<String>())),
            Err(error) => Err(explain(&error, meter)),
        };
        Finished::observed(outcome, meter)
    }

    async fn run_command(&mut self, pre: &CommandPre<ComponentState>, order: &Order<'_>) -> Finished {
        let arguments = [PROGRAM, &order.function];
        let memory_bytes_max = instance::memory_bytes_max(order, self.memory_bytes_max);
        let state = ComponentState::command(memory_bytes_max, order.args.get(), &arguments);
        let store = self.component_store(state, order);
        let called = async {
            let command = pre.instantiate_async(&mut *store).await?;
            command.wasi_cli_run().call_run(&mut *store).await
        };
        let exit = match called.await {
            Ok(Ok(())) => Ok(0),
            Ok(Err(())) => Ok(1),
            Err(error) => exit_code(error),
        };
        printed(exit, &store.data().meter)
    }

    async fn run_module(&mut self, pre: &InstancePre<ModuleState>, order: &Order<'_>) -> Finished {
        let memory_bytes_max = instance::memory_bytes_max(order, self.memory_bytes_max);
        let mut state = ModuleState::command(memory_bytes_max, order.args.get(), &[PROGRAM, &order.function]);
        state.meter.begin(memory_bytes_max, order.output_limit_bytes);
        let Used::Module(store) = self.used.insert(Used::Module(instance::store(&self.engine, state))) else {
            unreachable!("it was put there above");
        };
        let called = async {
            let instance = pre.instantiate_async(&mut *store).await?;
            let start = instance.get_typed_func::<(), ()>(&mut *store, START)?;
            start.call_async(&mut *store, ()).await
        };
        let exit = match called.await {
            Ok(()) => Ok(0),
            Err(error) => exit_code(error),
        };
        printed(exit, &store.data().meter)
    }
}

/// Lets components call the node, those that ask for it.
fn add_node(linker: &mut component::Linker<ComponentState>) -> Result<()> {
    linker.instance(NODE)?.func_wrap_async(
        "call",
        |store: StoreContextMut<'_, ComponentState>, (message,): (String,)| {
            let reply = store.data().meter.call(message);
            Box::new(async move {
                let reply = reply.await?;
                Ok((if is_error(&reply) { Err(reply) } else { Ok(reply) },))
            })
        },
    )?;
    Ok(())
}

fn is_error(reply: &str) -> bool {
    #[derive(Deserialize)]
    struct Reply<'a> {
        #[serde(borrow, rename = "type")]
        message_type: Option<Cow<'a, str>>,
    }
    serde_json::from_str::<Reply<'_>>(reply)
        .is_ok_and(|reply| reply.message_type.is_some_and(|message_type| message_type == "ERROR"))
}

/// The code with which a command called `exit`, or what else ended it.
fn exit_code(error: wasmtime::Error) -> Result<i32, wasmtime::Error> {
    match error.downcast_ref() {
        Some(I32Exit(code)) => Ok(*code),
        None => Err(error),
    }
}

/// The result of a command is what it printed.
fn printed(exit: Result<i32, wasmtime::Error>, meter: &Meter) -> Finished {
    let printed = meter.stdout.bytes();
    let mut finished = Finished::observed(Ok(String::new()), meter);
    finished.outcome = match exit {
        Err(error) => Err(explain(&error, meter)),
        Ok(code) if code != 0 => {
            let complaint = finished.stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
            let complaint: String = complaint.chars().take(4 << 10).collect();
            Err(failure("task_failed", format!("the guest ended with exit code {code}: {complaint}")))
        }
        Ok(_) if printed == 0 => Err(failure(
            "result_unusable",
            "the guest printed nothing; what a command prints on standard output is its result, as JSON",
        )),
        Ok(_) if printed > finished.stdout.len() as u64 => Err(failure(
            "result_unusable",
            format!(
                "the guest printed {printed} bytes as its result; a command may print 256 KiB, a component return more"
            ),
        )),
        Ok(_) => Ok(std::mem::take(&mut finished.stdout)),
    };
    finished
}

impl Runtime for Guests {
    fn engine(&self) -> &Engine {
        &self.engine
    }

    async fn run(&mut self, order: &Order<'_>) -> Finished {
        let Some(sha256) = &order.module_sha256 else {
            return Finished::refused("invalid_task", "the task names no guest");
        };
        let guest = match self.guest(sha256).await {
            Ok(guest) => guest,
            Err(failure) => return Finished::failed(failure),
        };
        let mut finished = match &guest {
            Guest::World { pre, run } => self.run_world(pre, run, order).await,
            Guest::Command(pre) => self.run_command(pre, order).await,
            Guest::Module(pre) => self.run_module(pre, order).await,
        };
        if let Err(failure) = &mut finished.outcome
            && let Some(meter) = self.used.as_mut().map(Used::meter)
            && meter.memory_refused
            && meter.memory_bytes == 0
        {
            // It did not even get the memory that it starts with.
            *failure = memory_limit(meter);
        }
        finished
    }

    fn discard(&mut self) -> Result<()> {
        self.used = None;
        Ok(())
    }

    async fn prepare(&mut self) -> Result<bool> {
        // A guest starts in less time than it takes to guess which one is needed next.
        Ok(false)
    }

    fn must_end(&self) -> bool {
        self.compiler.is_busy()
    }
}
