//! CPython as one module of WASI preview 1 that keeps its interpreter from call to call: what images of the kind `module`
//! are made of.
//!
//! | export | what it does |
//! |---|---|
//! | `turn(code, length) -> status` | runs Python code in the interpreter's `__main__`; 0 when it raised nothing |
//! | `host_alloc(length) -> address` | memory for the code |
//! | `memory` | |
//!
//! It imports WASI and `host.call(request, length, &answer, &answer_length) -> 0, or less than 0`: nothing asks for the
//! order, `?` and a message calls the node, anything else answers the order.

mod files;

use crate::instance::{Meter, Metered};
use anyhow::{Context, Result, bail};
use potluck_worker_protocol::RESULT_BYTES_MAX;
use std::path::{Path, PathBuf};
use wasmtime::{Caller, Extern, Instance, Linker, Memory, Store, TypedFunc};
use wasmtime_wasi::FsPerms;
use wasmtime_wasi::p1::WasiP1Ctx;

/// Where the interpreter finds its library.
const LIBRARY: &str = "/usr/local/lib";
/// Where matplotlib finds its data: beside its own code, which is in an archive.
const PLOT_DATA: &str = "/usr/local/lib/python315.zip/matplotlib/mpl-data";
/// Its environment is part of the snapshot, so it is the same for all instances. The time zones are those of the archive.
const ENVIRONMENT: [(&str, &str); 4] =
    [("HOME", "/tmp"), ("TMPDIR", "/tmp"), ("PYTHONTZPATH", ""), ("MPLBACKEND", "Agg")];
/// Longest answer that an instance may hand over: a result, and what surrounds it.
const ANSWER_BYTES_MAX: usize = RESULT_BYTES_MAX + (1 << 20);
/// `host.call` could not do it.
const REFUSED: i32 = -2;

/// What the store of an instance carries.
pub(crate) struct State {
    pub(crate) meter: Meter,
    wasi: WasiP1Ctx,
    told: files::Told,
    /// What it gets when it asks for its order.
    pub(crate) order: Vec<u8>,
    /// The last answer that it gave.
    pub(crate) answer: Option<Vec<u8>>,
}

/// The folders on this machine that an instance sees.
pub(crate) struct Places {
    /// The interpreter's library, to read.
    pub(crate) library: PathBuf,
    /// Data of matplotlib, to read.
    pub(crate) plot_data: PathBuf,
}

impl Places {
    /// Those of an image.
    pub(crate) fn of(image: &Path) -> Places {
        Places { library: image.join("lib"), plot_data: image.join("mpl-data") }
    }
}

impl State {
    /// `root` is the folder that the instance may write in; it has a folder `tmp`.
    pub(crate) fn new(memory_bytes_max: usize, places: &Places, root: &Path) -> Result<State> {
        let meter = Meter::new(memory_bytes_max);
        let mut wasi = meter.wasi();
        wasi.args(&["/usr/local/bin/python.wasm"]).envs(&ENVIRONMENT);
        // Their order is part of the snapshot: the C library has it in its memory.
        wasi.preopened_dir(&places.library, LIBRARY, FsPerms::ReadOnly)?;
        wasi.preopened_dir(&places.plot_data, PLOT_DATA, FsPerms::ReadOnly)?;
        wasi.preopened_dir(root, "/", FsPerms::ReadWrite)?;
        let told = files::Told::default();
        Ok(State { meter, wasi: wasi.build_p1(), told, order: Vec::new(), answer: None })
    }
}

impl Metered for State {
    fn meter(&mut self) -> &mut Meter {
        &mut self.meter
    }
}

/// Everything that the module imports.
pub(crate) fn linker(engine: &wasmtime::Engine) -> Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p1::add_to_linker_async(&mut linker, |state: &mut State| &mut state.wasi)?;
    files::replace(&mut linker)?;
    linker.func_wrap_async(
        "host",
        "call",
        |mut caller: Caller<'_, State>, (request, length, answer, answer_length)| {
            Box::new(async move {
                match call(&mut caller, request, length, answer, answer_length).await {
                    Ok(()) => 0_i32,
                    Err(_) => REFUSED,
                }
            })
        },
    )?;
    Ok(linker)
}

/// `host.call`: hands over the order, takes an answer, or sends what begins with a question mark to the node.
async fn call(
    caller: &mut Caller<'_, State>,
    request: u32,
    length: u32,
    answer: u32,
    answer_length: u32,
) -> Result<()> {
    let memory = caller.get_export("memory").and_then(Extern::into_memory).context("no memory")?;
    let (request, length) = (request as usize, length as usize);
    if length > ANSWER_BYTES_MAX {
        bail!("the answer is too long");
    }
    let mut reply = Vec::new();
    if length == 0 {
        reply = std::mem::take(&mut caller.data_mut().order);
    } else {
        let bytes = memory.data(&*caller).get(request..request.saturating_add(length)).context("outside the memory")?;
        match bytes.strip_prefix(b"?") {
            Some(message) => {
                let message = String::from_utf8(message.to_vec())?;
                reply = caller.data().meter.call(message).await?.into_bytes();
            }
            None => caller.data_mut().answer = Some(bytes.to_vec()),
        }
    }
    let alloc = caller.get_export("host_alloc").and_then(Extern::into_func).context("no host_alloc")?;
    let alloc = alloc.typed::<u32, u32>(&*caller)?;
    let place = alloc.call_async(&mut *caller, u32::try_from(reply.len().max(1))?).await?;
    memory.write(&mut *caller, place as usize, &reply)?;
    memory.write(&mut *caller, answer as usize, &place.to_le_bytes())?;
    memory.write(&mut *caller, answer_length as usize, &u32::try_from(reply.len())?.to_le_bytes())?;
    Ok(())
}

/// An interpreter that runs code.
pub(crate) struct Interpreter {
    turn: TypedFunc<(u32, u32), i32>,
    alloc: TypedFunc<u32, u32>,
    memory: Memory,
}

impl Interpreter {
    /// The interpreter of an instance.
    pub(crate) fn of(store: &mut Store<State>, instance: &Instance) -> Result<Interpreter> {
        Ok(Interpreter {
            turn: instance.get_typed_func(&mut *store, "turn")?,
            alloc: instance.get_typed_func(&mut *store, "host_alloc")?,
            memory: instance.get_memory(&mut *store, "memory").context("the module exports no memory")?,
        })
    }

    /// Runs code in `__main__`; true when it raised nothing.
    pub(crate) async fn run(&self, store: &mut Store<State>, code: &str) -> wasmtime::Result<bool> {
        let length = u32::try_from(code.len())?;
        let place = self.alloc.call_async(&mut *store, length).await?;
        // An address of 0 says that there is no memory; the interpreter reports that itself.
        if place != 0 {
            self.memory.write(&mut *store, place as usize, code.as_bytes())?;
        }
        Ok(self.turn.call_async(&mut *store, (place, length)).await? == 0)
    }
}
