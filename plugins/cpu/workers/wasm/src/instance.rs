//! What an instance can see of the world, and how much of it it may use: a clock, random numbers, two streams to print on.
//! No socket, and nothing of the process's environment; only those of the science image see folders, as `reactor` says.

use crate::engine::TABLE_ELEMENTS_MAX;
use crate::link::{self, Link};
use crate::output::Output;
use potluck_worker_protocol::Order;
use rand::rngs::StdRng;
use rand::{SeedableRng, TryRng};
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wasmtime::{Engine, ResourceLimiter, Store};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, ResourceTable, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

/// Random bytes that may be asked for at once.
const RANDOM_BYTES_MAX: u64 = 1 << 20;
/// Seed of hash tables. Always the same: an instance has nobody's keys but its own program's, and a program whose only
/// randomness is the order of its tables gives the same result each time.
const HASH_SEED: u128 = 0x8f14_e45f_ceea_167a_5a36_dedd_4bea_2543;
/// Things of the host's that an instance may hold, such as streams and timers; they take memory outside its own.
const RESOURCES_MAX: usize = 10_000;

/// Whether the instance has asked for anything that another run would get another answer to: any reading of a clock and
/// any random number counts. Sleeping alone does not, since it changes no result.
#[derive(Clone, Default)]
pub(crate) struct Observation(Arc<AtomicBool>);

impl Observation {
    pub(crate) fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_deterministic(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn forget(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// What a store carries beside WASI.
pub(crate) struct Meter {
    /// Memory that the instance may have, in bytes.
    pub(crate) memory_bytes_max: usize,
    /// Memory that it has, of all kinds together.
    pub(crate) memory_bytes: usize,
    /// It has asked for more than it may have.
    pub(crate) memory_refused: bool,
    pub(crate) observation: Observation,
    /// The way to the node; nothing in an instance that runs no orders.
    pub(crate) link: Option<Link>,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
}

impl Meter {
    pub(crate) fn new(memory_bytes_max: usize) -> Meter {
        Meter {
            memory_bytes_max,
            memory_bytes: 0,
            memory_refused: false,
            observation: Observation::default(),
            link: None,
            stdout: Output::stdout(),
            stderr: Output::stderr(),
        }
    }

    /// Sets the limits of an order, just before it is run.
    pub(crate) fn begin(&mut self, memory_bytes_max: usize, output_bytes_max: u64) {
        self.memory_bytes_max = memory_bytes_max;
        self.observation.forget();
        self.stdout.set_limit(output_bytes_max);
        self.stderr.set_limit(output_bytes_max);
    }

    /// Sends a message to the node; the future is the reply. What the node says is another thing each time.
    pub(crate) fn call(&self, message: String) -> impl Future<Output = wasmtime::Result<String>> + Send + use<> {
        self.observation.note();
        let link = self.link.clone();
        async move {
            match link {
                Some(link) => link.call(&message).await.map_err(wasmtime::Error::from_anyhow),
                None => Ok(link::not_running()),
            }
        }
    }

    pub(crate) fn wasi(&self) -> WasiCtxBuilder {
        let mut wasi = WasiCtxBuilder::new();
        wasi.stdout(self.stdout.clone())
            .stderr(self.stderr.clone())
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            // A module that sleeps would keep the thread, and nobody could stop it.
            .allow_blocking_current_thread(false)
            .max_random_size(RANDOM_BYTES_MAX)
            .insecure_random_seed(HASH_SEED)
            .secure_random(Randomness::new(&self.observation))
            .insecure_random(Randomness::new(&self.observation))
            .wall_clock(Clock::new(&self.observation))
            .monotonic_clock(Clock::new(&self.observation));
        wasi
    }
}

/// The memory that an order may use, in bytes: what it says, but no more than any may have.
pub(crate) fn memory_bytes_max(order: &Order<'_>, most: u64) -> usize {
    let limit = if order.memory_limit_bytes == 0 { most } else { order.memory_limit_bytes.min(most) };
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// What the store of an instance carries, of whatever kind.
pub(crate) trait Metered: Send + 'static {
    fn meter(&mut self) -> &mut Meter;
}

/// A store whose code uses no more than its meter allows, and gives way at each tick.
pub(crate) fn store<T: Metered>(engine: &Engine, state: T) -> Store<T> {
    let mut store = Store::new(engine, state);
    store.limiter(|state| state.meter());
    store.epoch_deadline_async_yield_and_update(1);
    store.set_epoch_deadline(1);
    store
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let all = self.memory_bytes.saturating_sub(current).saturating_add(desired);
        if all > self.memory_bytes_max {
            self.memory_refused = true;
            return Ok(false);
        }
        self.memory_bytes = all;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}

/// What the store of a component carries.
pub(crate) struct ComponentState {
    pub(crate) meter: Meter,
    wasi: WasiCtx,
    table: ResourceTable,
}

impl ComponentState {
    pub(crate) fn new(memory_bytes_max: usize) -> ComponentState {
        let meter = Meter::new(memory_bytes_max);
        let wasi = meter.wasi().build();
        ComponentState { meter, wasi, table: resources() }
    }

    /// For a command: with what it reads and what it is called with.
    pub(crate) fn command(memory_bytes_max: usize, stdin: &str, arguments: &[&str]) -> ComponentState {
        let meter = Meter::new(memory_bytes_max);
        let mut wasi = meter.wasi();
        let wasi = wasi.stdin(crate::output::input(stdin)).args(arguments).build();
        ComponentState { meter, wasi, table: resources() }
    }
}

impl Metered for ComponentState {
    fn meter(&mut self) -> &mut Meter {
        &mut self.meter
    }
}

impl Metered for ModuleState {
    fn meter(&mut self) -> &mut Meter {
        &mut self.meter
    }
}

fn resources() -> ResourceTable {
    let mut table = ResourceTable::new();
    table.set_max_capacity(RESOURCES_MAX);
    table
}

impl WasiView for ComponentState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// What the store of a module without component carries.
pub(crate) struct ModuleState {
    pub(crate) meter: Meter,
    pub(crate) wasi: WasiP1Ctx,
}

impl ModuleState {
    pub(crate) fn command(memory_bytes_max: usize, stdin: &str, arguments: &[&str]) -> ModuleState {
        let meter = Meter::new(memory_bytes_max);
        let mut wasi = meter.wasi();
        let wasi = wasi.stdin(crate::output::input(stdin)).args(arguments).build_p1();
        ModuleState { meter, wasi }
    }
}

/// Real randomness, noted. CPython asks for thousands of numbers one by one, so they come from a generator of the
/// instance's own, seeded from the process's.
struct Randomness {
    observation: Observation,
    generator: Option<StdRng>,
}

impl Randomness {
    fn new(observation: &Observation) -> Randomness {
        Randomness { observation: observation.clone(), generator: None }
    }

    fn generator(&mut self) -> &mut StdRng {
        self.observation.note();
        self.generator.get_or_insert_with(|| StdRng::from_rng(&mut rand::rng()))
    }
}

impl TryRng for Randomness {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.generator().try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.generator().try_next_u64()
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.generator().try_fill_bytes(bytes)
    }
}

/// Real time, noted.
struct Clock {
    observation: Observation,
    started: Instant,
}

impl Clock {
    fn new(observation: &Observation) -> Clock {
        Clock { observation: observation.clone(), started: Instant::now() }
    }
}

impl HostWallClock for Clock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        self.observation.note();
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

impl HostMonotonicClock for Clock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        self.observation.note();
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}
