//! The worker's loop: an order in, a report out, and new instances made ready while there is nothing to do.

use crate::instance::Meter;
use crate::link::Link;
use crate::output;
use crate::ticker::Ticker;
use anyhow::{Context, Result};
use potluck_worker_hardening::{Kind, Policy, harden, take_socket};
use potluck_worker_protocol::{
    Claims, ERROR_BYTES_MAX, Failure, FileEntry, Order, Patience, RESULT_BYTES_MAX, Ready, Report, TRACEBACK_BYTES_MAX,
    write_frame,
};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use wasmtime::{Engine, Trap};
use wasmtime_wasi::I32Exit;

/// Longest name of an exception's class.
const ERROR_TYPE_BYTES_MAX: usize = 256;

/// What runs orders.
pub(crate) trait Runtime {
    fn engine(&self) -> &Engine;

    /// Runs an order to its end. The instance stays until [`Runtime::discard`].
    async fn run(&mut self, order: &Order<'_>) -> Finished;

    /// Drops what the last order left, also one that was stopped.
    ///
    /// # Errors
    /// When it cannot be dropped whole; then the process has to end.
    fn discard(&mut self) -> Result<()>;

    /// Makes one more instance ready; false when there is nothing to do.
    async fn prepare(&mut self) -> Result<bool>;

    /// Whether something goes on that only the end of the process ends: then it runs no other order.
    fn must_end(&self) -> bool {
        false
    }
}

/// How an order ended by itself.
pub(crate) struct Finished {
    /// The result as JSON, or why there is none.
    pub(crate) outcome: Result<String, Failure<'static>>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) deterministic: Option<bool>,
    /// What it hands back beside its result.
    pub(crate) files: Vec<File>,
}

/// A file that an order hands back.
#[derive(Debug)]
pub(crate) struct File {
    /// With `/` between folders.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

impl Finished {
    /// An order that could not be begun.
    pub(crate) fn refused(code: &'static str, error: impl Into<String>) -> Finished {
        Finished::failed(failure(code, error))
    }

    /// The same, with more to say.
    pub(crate) fn failed(failure: Failure<'static>) -> Finished {
        let outcome = Err(failure);
        Finished { outcome, stdout: String::new(), stderr: String::new(), deterministic: None, files: Vec::new() }
    }

    /// With what was observed while it ran.
    pub(crate) fn observed(outcome: Result<String, Failure<'static>>, meter: &Meter) -> Finished {
        Finished {
            outcome,
            stdout: meter.stdout.take_text(),
            stderr: meter.stderr.take_text(),
            deterministic: Some(meter.observation.is_deterministic()),
            files: Vec::new(),
        }
    }
}

pub(crate) fn failure(code: &'static str, error: impl Into<String>) -> Failure<'static> {
    Failure { code: code.into(), error: error.into().into(), ..Failure::default() }
}

/// Why an instance ended in an error instead of an answer.
pub(crate) fn explain(error: &wasmtime::Error, meter: &Meter) -> Failure<'static> {
    for stream in [&meter.stdout, &meter.stderr] {
        if let Some(limit) = stream.limit_exceeded() {
            return failure("output_limit", format!("the task printed more than its limit of {limit} bytes"));
        }
    }
    if let Some(I32Exit(code)) = error.downcast_ref() {
        return failure("worker_died", format!("the task ended its instance (exit code {code})"));
    }
    if meter.memory_refused {
        return memory_limit(meter);
    }
    let text = match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => "the task's stack overflowed: it calls itself too often".to_owned(),
        Some(Trap::UnreachableCodeReached) => "the task aborted".to_owned(),
        Some(trap) => format!("the task was stopped by a fault of its own: {trap}"),
        None => format!("the task was stopped: {error:#}"),
    };
    Failure { error_type: Some("Trap".into()), ..failure("task_failed", text) }
}

pub(crate) fn memory_limit(meter: &Meter) -> Failure<'static> {
    let limit = meter.memory_bytes_max;
    Failure {
        error_type: Some("MemoryError".into()),
        ..failure("memory_limit", format!("the task used more memory than its limit of {limit} bytes"))
    }
}

/// What a worker tells of itself, and what it keeps.
pub(crate) struct Process {
    pub(crate) description: String,
    pub(crate) readable: Vec<PathBuf>,
    pub(crate) file_bytes_max: u64,
}

/// Serves until the provider hangs up. `start` opens what the runtime needs, before the process gives up its rights.
pub(crate) fn serve<R: Runtime>(start: impl FnOnce(&Link) -> Result<(R, Process)>) -> Result<()> {
    let (link, claims) = Link::open(take_socket().context("the socket to the provider")?)?;
    let claims = Arc::new(claims);
    // A file that grows too large is an error for whoever writes to it, not the end of the process.
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default()).context("the signal SIGXFSZ")?;
    let (runtime, process) = start(&link)?;
    // Before the rights are gone: it opens what it needs, sockets among that.
    let executor = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().event_interval(1).build()?;
    let scratch = std::env::current_dir().context("the scratch folder")?;
    let protections = harden(&Policy {
        kind: Kind::Wasm,
        readable: &process.readable,
        scratch: &scratch,
        file_bytes_max: process.file_bytes_max,
    });
    let ticker = Ticker::start(runtime.engine(), &claims).context("the thread that keeps the time")?;
    let mut worker = Worker { runtime, claims, ticker, link };
    // The first order finds an instance.
    executor.block_on(worker.runtime.prepare())?;
    let ready = Ready { description: process.description, protections, stops_orders: true };
    send(&worker.link, &ready, &[])?;
    let mut patience = Patience::default();
    let mut frame = Vec::new();
    loop {
        while worker.link.next_order(&mut frame)? {
            let order: Order<'_> = serde_json::from_slice(&frame)?;
            executor.block_on(worker.run(&order))?;
            if worker.runtime.must_end() {
                return wait_for_end(&worker.link);
            }
        }
        while !worker.link.is_readable() && executor.block_on(worker.runtime.prepare())? {}
        if !worker.link.wait(&mut patience)? {
            return Ok(());
        }
    }
}

struct Worker<R> {
    runtime: R,
    claims: Arc<Claims>,
    ticker: Ticker,
    link: Link,
}

impl<R: Runtime> Worker<R> {
    async fn run(&mut self, order: &Order<'_>) -> Result<()> {
        let slot = order.slot;
        if !self.claims.start(slot) {
            return send(&self.link, &Report { slot, skipped: true, ..Report::default() }, &[]);
        }
        self.ticker.begin(slot);
        self.link.begin(slot);
        let begun = Instant::now();
        let finished = first_of(self.runtime.run(order), self.ticker.stopped(slot)).await;
        let seconds = begun.elapsed().as_secs_f64();
        self.ticker.end();
        self.link.end();
        match finished {
            Some(finished) if self.claims.finish(slot) => {
                send_report(&self.link, slot, seconds, finished, self.runtime.must_end())?;
                // Whoever reads it goes first: what follows takes longer than the way to the client.
                rustix::thread::sched_yield();
                self.runtime.discard()?;
            }
            // Condemned as well, but something of it stays: the provider ends the process when it hears nothing.
            _ if self.runtime.must_end() => {}
            // Condemned: the provider has answered for it, and waits until nothing of it is left.
            _ => {
                let discarded = self.runtime.discard();
                output::empty_streams();
                self.claims.end_condemned(slot);
                send(&self.link, &Report { slot, stopped: true, ..Report::default() }, &[])?;
                discarded?;
            }
        }
        Ok(())
    }
}

/// The order's end, or nothing when it must be stopped first; then it is dropped where it is.
async fn first_of<T>(order: impl Future<Output = T>, stopped: impl Future<Output = ()>) -> Option<T> {
    tokio::select! {
        biased;
        () = stopped => None,
        finished = order => Some(finished),
    }
}

/// Returns when the provider has hung up, if it has not killed this process before.
fn wait_for_end(link: &Link) -> Result<()> {
    let (mut patience, mut frame) = (Patience::default(), Vec::new());
    while link.wait(&mut patience)? {
        while link.next_order(&mut frame)? {}
    }
    Ok(())
}

fn send_report(link: &Link, slot: usize, seconds: f64, finished: Finished, retire: bool) -> Result<()> {
    let Finished { outcome, stdout, stderr, deterministic, mut files } = finished;
    let mut report = Report { slot, seconds, deterministic, retire, ..Report::default() };
    report.stdout = stdout.into();
    report.stderr = stderr.into();
    let unusable = |error: String| Some(failure("result_unusable", error));
    match &outcome {
        Ok(json) if json.len() > RESULT_BYTES_MAX => {
            let (bytes, most) = (json.len(), RESULT_BYTES_MAX);
            report.failure = unusable(format!(
                "the result has {bytes} bytes as JSON, over the limit of {most}; return less, or store it and return its name"
            ));
        }
        Ok(json) => match serde_json::from_str::<&RawValue>(json) {
            Ok(result) => report.result = Some(result),
            Err(error) => report.failure = unusable(format!("the result is not JSON: {error}")),
        },
        Err(failure) => report.failure = Some(shortened(failure.clone())),
    }
    if report.failure.is_some() {
        files.clear();
    }
    report.files =
        files.iter().map(|file| FileEntry { name: file.name.as_str().into(), bytes: file.bytes.len() }).collect();
    send(link, &report, &files)
}

/// A failure whose texts can be sent, whoever wrote them.
fn shortened(failure: Failure<'_>) -> Failure<'_> {
    let shorten = |text: Cow<'_, str>, bytes_max: usize| -> Cow<'static, str> {
        text[..text.floor_char_boundary(bytes_max)].to_owned().into()
    };
    Failure {
        error: shorten(failure.error, ERROR_BYTES_MAX),
        error_type: failure.error_type.map(|text| shorten(text, ERROR_TYPE_BYTES_MAX)),
        traceback: failure.traceback.map(|text| shorten(text, TRACEBACK_BYTES_MAX)),
        ..failure
    }
}

/// The bytes of files follow the message in a frame of their own, unless there are none at all.
fn send<T: serde::Serialize>(link: &Link, message: &T, files: &[File]) -> Result<()> {
    let json = serde_json::to_vec(message)?;
    // In one write: the provider is woken once.
    let mut frames = Vec::with_capacity(json.len() + 4);
    write_frame(&mut frames, &[&json]);
    if files.iter().any(|file| !file.bytes.is_empty()) {
        write_frame(&mut frames, &files.iter().map(|file| file.bytes.as_slice()).collect::<Vec<_>>());
    }
    link.write(&frames)
}
