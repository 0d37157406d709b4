//! The worker's loop: an order in, a report out.

use crate::engine::Engine;
use crate::output::Stream;
use crate::process::{MemoryLimit, end_if_forked, has_children};
use crate::rights;
use potluck_worker_hardening::take_socket;
use potluck_worker_protocol::{
    Claims, Failure, FrameReader, Order, Patience, Ready, Report, receive_claims, write_frame,
};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rustix::process::{Pid, getpid};
use std::borrow::Cow;
use std::os::unix::net::UnixStream;
use std::time::Instant;

pub(crate) fn serve(py: Python<'_>) -> PyResult<()> {
    let failed = |error: std::io::Error| PyRuntimeError::new_err(format!("the worker cannot go on: {error}"));
    let mut socket = take_socket().map_err(failed)?;
    let claims = py.detach(|| receive_claims(&socket)).map_err(failed)?;
    // Before anything more is imported: a library may start threads, and hardly any module is the standard library's own.
    let protections = rights::give_up(py)?;
    let mut worker = Worker {
        claims,
        engine: Engine::new(py)?,
        stdout: Stream::stdout().map_err(failed)?,
        stderr: Stream::stderr().map_err(failed)?,
        memory: MemoryLimit::new(),
        process: getpid(),
    };
    send(&mut socket, &Ready { description: worker.engine.description(py), protections, stops_orders: false })
        .map_err(failed)?;
    let mut reader = FrameReader::default();
    let mut patience = Patience::default();
    loop {
        while let Some(frame) = reader.next_frame().map_err(failed)? {
            let order: Order = serde_json::from_slice(frame).map_err(|error| failed(error.into()))?;
            worker.run(py, &order, &mut socket).map_err(failed)?;
        }
        // Other threads of the interpreter may run meanwhile.
        let filled = py.detach(|| {
            patience.wait(&socket);
            reader.fill(&socket)
        });
        if filled.map_err(failed)? == 0 {
            return Ok(());
        }
    }
}

struct Worker {
    claims: Claims,
    engine: Engine,
    stdout: Stream,
    stderr: Stream,
    memory: MemoryLimit,
    process: Pid,
}

impl Worker {
    fn run(&mut self, py: Python<'_>, order: &Order<'_>, socket: &mut UnixStream) -> std::io::Result<()> {
        let slot = order.slot;
        if !self.claims.start(slot) {
            return send(socket, &Report { slot, skipped: true, ..Report::default() });
        }
        self.memory.set(order.memory_limit_bytes);
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
        send(socket, &report)?;
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

fn send<T: serde::Serialize>(socket: &mut UnixStream, message: &T) -> std::io::Result<()> {
    let json = serde_json::to_vec(message)?;
    let mut frame = Vec::with_capacity(json.len() + 4);
    // In one write: the provider is woken once.
    write_frame(&mut frame, &[&json]);
    let mut rest = frame.as_slice();
    while !rest.is_empty() {
        // Not what the standard library does with sockets: the filter of system calls lets this one pass unseen.
        match rustix::io::write(&*socket, rest) {
            Ok(written) => rest = &rest[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
