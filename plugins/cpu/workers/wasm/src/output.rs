//! What an instance prints. The beginning is kept for the report; it also goes to the process's own standard streams, memory
//! files in which the provider finds it when the worker can report no more.

use bytes::Bytes;
use parking_lot::Mutex;
use potluck_worker_protocol::OUTPUT_BYTES_RETURNED_MAX;
use rustix::fs::{SeekFrom, ftruncate, seek};
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

/// What may be written at once.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// One of the two streams; copies are the same stream.
#[derive(Clone)]
pub(crate) struct Output {
    shared: Arc<Mutex<Printed>>,
    descriptor: BorrowedFd<'static>,
}

struct Printed {
    kept: Vec<u8>,
    bytes: u64,
    bytes_max: u64,
}

impl Output {
    pub(crate) fn stdout() -> Output {
        Output::on(rustix::stdio::stdout())
    }

    pub(crate) fn stderr() -> Output {
        Output::on(rustix::stdio::stderr())
    }

    fn on(descriptor: BorrowedFd<'static>) -> Output {
        let printed = Printed { kept: Vec::new(), bytes: 0, bytes_max: u64::MAX };
        Output { shared: Arc::new(Mutex::new(printed)), descriptor }
    }

    pub(crate) fn set_limit(&self, bytes_max: u64) {
        self.shared.lock().bytes_max = bytes_max;
    }

    /// Bytes that were printed.
    pub(crate) fn bytes(&self) -> u64 {
        self.shared.lock().bytes
    }

    /// The limit, if more than that was printed.
    pub(crate) fn limit_exceeded(&self) -> Option<u64> {
        let printed = self.shared.lock();
        (printed.bytes > printed.bytes_max).then_some(printed.bytes_max)
    }

    /// The kept bytes. Empties the process's own stream.
    pub(crate) fn take_bytes(&self) -> Vec<u8> {
        let kept = std::mem::take(&mut self.shared.lock().kept);
        if !kept.is_empty() {
            empty(self.descriptor);
        }
        kept
    }

    /// What is reported of the stream.
    pub(crate) fn take_text(&self) -> String {
        let kept = self.take_bytes();
        let mut text = String::from_utf8_lossy(&kept).into_owned();
        let missing = self.shared.lock().bytes.saturating_sub(kept.len() as u64);
        if missing > 0 {
            text.push_str(&format!("\n[{missing} more bytes]\n"));
        }
        text
    }

    /// False when the stream is over its limit.
    fn print(&self, bytes: &[u8]) -> bool {
        let mut printed = self.shared.lock();
        printed.bytes += bytes.len() as u64;
        let room = OUTPUT_BYTES_RETURNED_MAX - printed.kept.len();
        let kept = &bytes[..room.min(bytes.len())];
        printed.kept.extend_from_slice(kept);
        if !kept.is_empty() {
            let _ = rustix::io::write(self.descriptor, kept);
        }
        printed.bytes <= printed.bytes_max
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

#[async_trait::async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if self.print(&bytes) { Ok(()) } else { Err(StreamError::trap("output limit")) }
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        if self.print(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        Poll::Ready(Err(std::io::Error::other("output limit")))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A standard input with this text.
pub(crate) fn input(text: &str) -> MemoryInputPipe {
    MemoryInputPipe::new(text.to_owned())
}

/// Forgets what an order printed that was stopped, so that it does not stand before what the next one prints.
pub(crate) fn empty_streams() {
    empty(rustix::stdio::stdout());
    empty(rustix::stdio::stderr());
}

fn empty(descriptor: BorrowedFd<'_>) {
    let _ = ftruncate(descriptor, 0);
    let _ = seek(descriptor, SeekFrom::Start(0));
}
