//! The socket to the provider: for the loop that takes orders, and for the order that runs, which may call the node. One
//! thread does everything, so an order that waits for an answer reads the socket itself, and keeps orders for later.

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use potluck_worker_protocol::claims::SLOTS;
use potluck_worker_protocol::{
    Answer, Call, Claims, FrameReader, Patience, read_call, receive_claims, refusal, write_frame,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use serde::Serialize;
use std::collections::VecDeque;
use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};
use tokio::io::Interest;

/// Memory for the next order that is kept from the last one.
const FRAME_BYTES_KEPT_MAX: usize = 256 << 10;

/// This end of the socket.
#[derive(Clone)]
pub(crate) struct Link(Arc<Shared>);

struct Shared {
    /// Nobody is kept by it: whoever has nothing else to do waits first.
    socket: UnixStream,
    /// The same, for an order that waits. Made with the first call: most orders make none.
    readable: OnceLock<tokio::net::UnixStream>,
    inbox: Mutex<Inbox>,
}

#[derive(Default)]
struct Inbox {
    reader: FrameReader,
    orders: VecDeque<Vec<u8>>,
    /// Slot of the order that runs.
    slot: Option<usize>,
    /// Numbers go on from order to order, so that no late answer is taken for another one.
    calls: u64,
}

impl Link {
    /// Takes the socket that this process was started with, and the page of cells, the first thing that comes over it.
    pub(crate) fn open(socket: UnixStream) -> Result<(Link, Claims)> {
        let claims = receive_claims(&socket).context("the claims page")?;
        Ok((Link::new(socket)?, claims))
    }

    fn new(socket: UnixStream) -> Result<Link> {
        socket.set_nonblocking(true)?;
        Ok(Link(Arc::new(Shared { socket, readable: OnceLock::new(), inbox: Mutex::default() })))
    }

    /// Puts the next order's frame into `order`, if it has arrived.
    pub(crate) fn next_order(&self, order: &mut Vec<u8>) -> Result<bool> {
        let inbox = &mut *self.0.inbox.lock();
        if let Some(kept) = inbox.orders.pop_front() {
            *order = kept;
            return Ok(true);
        }
        if order.capacity() > FRAME_BYTES_KEPT_MAX {
            *order = Vec::new();
        }
        while let Some(frame) = inbox.reader.next_frame()? {
            // An answer comes too late.
            if !Answer::is_one(frame) {
                order.clear();
                order.extend_from_slice(frame);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Waits until more has arrived; false when the provider has hung up.
    pub(crate) fn wait(&self, patience: &mut Patience) -> Result<bool> {
        loop {
            patience.wait(&self.0.socket);
            match self.0.inbox.lock().reader.fill(&self.0.socket) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                filled => return Ok(filled? > 0),
            }
        }
    }

    /// Whether more has arrived, or the provider has hung up.
    pub(crate) fn is_readable(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        // An error is found by whoever reads.
        poll(&mut [PollFd::new(&self.0.socket, PollFlags::IN)], Some(&now)) != Ok(0)
    }

    /// The order begins: it may call.
    pub(crate) fn begin(&self, slot: usize) {
        self.0.inbox.lock().slot = Some(slot);
    }

    /// It has ended.
    pub(crate) fn end(&self) {
        self.0.inbox.lock().slot = None;
    }

    /// Writes whole frames.
    pub(crate) fn write(&self, mut frames: &[u8]) -> Result<()> {
        while !frames.is_empty() {
            match (&self.0.socket).write(frames) {
                Ok(written) => frames = &frames[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // The provider reads soon, whatever it is; an error is found by the next attempt.
                    let _ = poll(&mut [PollFd::new(&self.0.socket, PollFlags::OUT)], None);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn send<T: Serialize>(&self, message: &T) -> Result<()> {
        let mut frame = Vec::new();
        write_frame(&mut frame, &[&serde_json::to_vec(message)?]);
        self.write(&frame)
    }

    /// Sends a message of the order that runs, and waits for the reply. A message that cannot be sent has an `ERROR` for
    /// a reply; an error is the end of the order.
    pub(crate) async fn call(&self, message: &str) -> Result<String> {
        let message = match read_call(message) {
            Ok(message) => message,
            Err(refusal) => return Ok(refusal),
        };
        let (slot, call) = {
            let mut inbox = self.0.inbox.lock();
            inbox.calls += 1;
            (inbox.slot, inbox.calls)
        };
        let Some(slot) = slot else { return Ok(not_running()) };
        self.send(&Call { call, slot, message })?;
        let readable = match self.0.readable.get() {
            Some(readable) => readable,
            None => {
                let made = tokio::net::UnixStream::from_std(self.0.socket.try_clone()?)?;
                self.0.readable.get_or_init(|| made)
            }
        };
        loop {
            if let Some(reply) = self.0.inbox.lock().answer(call)? {
                return Ok(reply);
            }
            readable.readable().await?;
            // It forgets that there was something to read when there is nothing.
            let fill = || self.0.inbox.lock().reader.fill(&self.0.socket);
            match readable.try_io(Interest::READABLE, fill) {
                Ok(0) => bail!("the node has hung up"),
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error.into()),
                Ok(_) | Err(_) => {}
            }
        }
    }
}

impl Inbox {
    /// The answer to a call, if it has arrived.
    fn answer(&mut self, call: u64) -> Result<Option<String>> {
        while let Some(frame) = self.reader.next_frame()? {
            if Answer::is_one(frame) {
                let answer = Answer::read(frame)?;
                if answer.answer == call {
                    return Ok(Some(answer.message.get().to_owned()));
                }
            } else if self.orders.len() < SLOTS {
                self.orders.push_back(frame.to_vec());
            } else {
                bail!("more orders than there are cells");
            }
        }
        Ok(None)
    }
}

/// What an instance hears that runs no order, such as one of which an image is made.
pub(crate) fn not_running() -> String {
    refusal("not_running", "no task runs here; only a task that runs can call the node")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::value::RawValue;
    use std::future::Future;
    use std::pin::pin;

    fn frame(json: &str) -> Vec<u8> {
        let mut frame = Vec::new();
        write_frame(&mut frame, &[json.as_bytes()]);
        frame
    }

    fn in_runtime(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    #[test]
    fn a_call_gets_its_answer_and_orders_wait_for_their_turn() {
        let (provider, worker) = UnixStream::pair().unwrap();
        let link = Link::new(worker).unwrap();
        in_runtime(async {
            assert!(link.call("{}").await.unwrap().contains("not_running"));
            link.begin(9);
            assert!(link.call("[]").await.unwrap().contains("invalid_message"));
            let mut call = pin!(link.call("{\"type\":\"X\"}"));
            let pending = tokio::time::timeout(std::time::Duration::ZERO, &mut call).await;
            assert!(pending.is_err());
            let mut reader = FrameReader::default();
            reader.fill(&provider).unwrap();
            let sent: Call<'_> = serde_json::from_slice(reader.next_frame().unwrap().unwrap()).unwrap();
            assert_eq!((sent.slot, sent.message.get()), (9, "{\"type\":\"X\"}"));
            (&provider).write_all(&frame("{\"slot\":1}")).unwrap();
            (&provider).write_all(&frame("{\"answer\":999,\"message\":{\"late\":1}}")).unwrap();
            let message = RawValue::from_string("{\"a\":1}".to_owned()).unwrap();
            let answer = serde_json::to_string(&Answer { answer: sent.call, message: &message }).unwrap();
            (&provider).write_all(&frame(&answer)).unwrap();
            (&provider).write_all(&frame("{\"slot\":2}")).unwrap();
            assert_eq!(call.await.unwrap(), "{\"a\":1}");
            link.end();
            // What comes after the end is dropped.
            (&provider).write_all(&frame(&answer)).unwrap();
            (&provider).write_all(&frame("{\"slot\":3}")).unwrap();
            let mut orders = Vec::new();
            let mut order = Vec::new();
            while orders.len() < 3 {
                while link.next_order(&mut order).unwrap() {
                    orders.push(String::from_utf8(order.clone()).unwrap());
                }
                if orders.len() < 3 {
                    assert!(link.wait(&mut Patience::default()).unwrap());
                }
            }
            assert_eq!(orders, ["{\"slot\":1}", "{\"slot\":2}", "{\"slot\":3}"]);
        });
    }

    #[test]
    fn a_call_that_is_dropped_leaves_nothing_behind() {
        let (provider, worker) = UnixStream::pair().unwrap();
        let link = Link::new(worker).unwrap();
        in_runtime(async {
            for slot in 0..3 {
                link.begin(slot);
                let stopped = tokio::time::timeout(std::time::Duration::ZERO, link.call("{}")).await;
                assert!(stopped.is_err());
                link.end();
                // Its answer comes when another order runs.
                (&provider).write_all(&frame(&format!("{{\"answer\":{},\"message\":{{}}}}", slot + 1))).unwrap();
            }
            drop(provider);
            link.begin(3);
            assert!(link.call("{}").await.is_err());
        });
    }
}
