//! The worker's loop: an order in, a report out.

use crate::door::{self, Running};
use crate::engine::Engine;
use crate::output::Stream;
use crate::process::{MemoryLimit, end_if_forked, has_children};
use crate::rights;
use potluck_worker_hardening::take_socket;
use potluck_worker_protocol::{Claims, Failure, Link, Order, Patience, Ready, Report};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rustix::process::{Pid, getpid};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

/// Memory for the next order that is kept from the last one.
const FRAME_BYTES_KEPT_MAX: usize = 256 << 10;

pub(crate) fn serve(py: Python<'_>) -> PyResult<()> {
    let failed = |error: std::io::Error| PyRuntimeError::new_err(format!("the worker cannot go on: {error}"));
    let link = Arc::new(Link::new(take_socket().map_err(failed)?));
    let claims = py.detach(|| link.receive_claims()).map_err(failed)?;
    // Before anything more is imported: a library may start threads, and hardly any module is the standard library's own.
    let protections = rights::give_up(py)?;
    let running = Arc::new(Running::default());
    let mut worker = Worker {
        claims,
        engine: Engine::new(py, &running)?,
        stdout: Stream::stdout().map_err(failed)?,
        stderr: Stream::stderr().map_err(failed)?,
        memory: MemoryLimit::new(),
        process: getpid(),
        link: Arc::clone(&link),
    };
    door::install(py, &link, &running)?;
    link.send(&Ready { description: worker.engine.description(py), protections, stops_orders: false })
        .map_err(failed)?;
    let mut patience = Patience::default();
    let mut frame = Vec::new();
    // Other threads of the interpreter may run meanwhile.
    while py.detach(|| link.next_order(&mut patience, &mut frame)).map_err(failed)? {
        let order: Order = serde_json::from_slice(&frame).map_err(|error| failed(error.into()))?;
        worker.run(py, &order).map_err(failed)?;
        running.set(None);
        if frame.capacity() > FRAME_BYTES_KEPT_MAX {
            frame = Vec::new();
        }
    }
    Ok(())
}

struct Worker {
    claims: Claims,
    engine: Engine,
    stdout: Stream,
    stderr: Stream,
    memory: MemoryLimit,
    process: Pid,
    link: Arc<Link>,
}

impl Worker {
    fn run(&mut self, py: Python<'_>, order: &Order<'_>) -> std::io::Result<()> {
        let slot = order.slot;
        if !self.claims.start(slot) {
            return self.link.send(&Report { slot, skipped: true, ..Report::default() });
        }
        self.memory.set(order.memory_limit_bytes);
        self.link.begin(slot);
        let begun = Instant::now();
        let outcome = self.engine.run(py, order);
        let seconds = begun.elapsed().as_secs_f64();
        end_if_forked(self.process);
        if outcome.is_err() {
            self.memory.release_reserve();
        }
        let outcome = outcome.map_err(|failure| failure.explain(py, &self.engine, order));
        self.stdout.restore();
        self.stderr.restore();
        self.engine.flush(py);
        let (stdout, stdout_bytes) = self.stdout.take();
        let (stderr, stderr_bytes) = self.stderr.take();
        let retire = self.engine.has_other_threads(py) || self.engine.has_timers(py) || has_children();
        // What threads still ask for comes to nothing: no call may follow the report.
        self.link.end();
        if !self.claims.finish(slot) {
            // Condemned: the provider has answered for this task, and SIGKILL is on its way.
            wait_for_the_end();
        }
        let printed = stdout_bytes.max(stderr_bytes);
        let mut report =
            Report { slot, seconds, stdout: stdout.into(), stderr: stderr.into(), retire, ..Report::default() };
        match &outcome {
            _ if printed > order.output_limit_bytes => {
                let limit = order.output_limit_bytes;
                report.failure = Some(Failure {
                    code: "output_limit".into(),
                    error: format!("the task printed {printed} bytes, over its limit of {limit}").into(),
                    ..Failure::default()
                });
            }
            Ok(json) => {
                // The text came from Python's own encoder, so it is one JSON value.
                report.result = serde_json::from_str(json).ok();
                if report.result.is_none() {
                    report.failure = Some(Failure {
                        code: "result_unusable".into(),
                        error: "the result cannot be written as JSON".into(),
                        ..Failure::default()
                    });
                }
            }
            Err(failure) => {
                report.failure = Some(Failure {
                    code: Cow::Borrowed(&failure.code),
                    error: Cow::Borrowed(&failure.error),
                    error_type: failure.error_type.as_deref().map(Cow::Borrowed),
                    traceback: failure.traceback.as_deref().map(Cow::Borrowed),
                });
            }
        }
        self.link.send(&report)?;
        if retire {
            // What the task left behind could get mixed up with the next one.
            wait_for_the_end();
        }
        Ok(())
    }
}

/// The provider ends this process; until then it must not begin another order.
fn wait_for_the_end() -> ! {
    loop {
        std::thread::park();
    }
}
