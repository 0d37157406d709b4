//! The socket to the provider, for everybody in a worker process whose tasks may have threads: the loop that takes orders,
//! and the task's threads, which call the node while an order runs.
//!
//! Of the threads that wait for an answer one reads the socket; it hands the others theirs, keeps orders for later, and
//! when it has its own somebody else reads on.

use crate::claims::SLOTS;
use crate::{Answer, CALLS_MAX, Call, Claims, FrameReader, Patience, read_call, receive_claims, refusal, write_frame};
use rustix::io::Errno;
use rustix::process::{Pid, getpid};
use serde::Serialize;
use std::collections::{HashMap, VecDeque};
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::net::UnixStream;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A worker's end of the socket.
pub struct Link {
    socket: UnixStream,
    /// This process. A task may fork, and its child has the same socket.
    process: Pid,
    sender: Mutex<Sender>,
    inbox: Mutex<Inbox>,
    /// Something is in the inbox, or nobody reads any more.
    arrived: Condvar,
}

/// Who has this may write a frame.
struct Sender {
    /// Slot of the order that runs.
    slot: Option<usize>,
    /// Numbers go on from order to order, so that no late answer is taken for another one.
    next_call: u64,
}

struct Inbox {
    /// Nothing while somebody reads.
    reader: Option<FrameReader>,
    /// Calls of the order that runs, with their answers.
    calls: HashMap<u64, Option<Box<str>>>,
    orders: VecDeque<Vec<u8>>,
    /// Nothing more can be read.
    ended: bool,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// What the task gets instead.
    Refused(String),
    /// A signal has come: its handler may run, and then the wait goes on.
    Interrupted(u64),
    /// There is no memory for it.
    Memory,
}

impl Link {
    /// For the socket that this process was started with.
    pub fn new(socket: UnixStream) -> Link {
        Link {
            socket,
            process: getpid(),
            sender: Mutex::new(Sender { slot: None, next_call: 1 }),
            inbox: Mutex::new(Inbox {
                reader: Some(FrameReader::default()),
                calls: HashMap::new(),
                orders: VecDeque::new(),
                ended: false,
            }),
            arrived: Condvar::new(),
        }
    }

    /// Receives the page of cells, the first thing that is sent.
    ///
    /// # Errors
    /// When something else was sent.
    pub fn receive_claims(&self) -> Result<Claims> {
        receive_claims(&self.socket)
    }

    /// Puts the next order's frame into `order`; false at the end of the stream. Nobody else may be reading.
    ///
    /// # Errors
    /// When the socket cannot be read, or what is in it is no frame.
    pub fn next_order(&self, patience: &mut Patience, order: &mut Vec<u8>) -> Result<bool> {
        let mut inbox = lock(&self.inbox);
        if let Some(kept) = inbox.orders.pop_front() {
            *order = kept;
            return Ok(true);
        }
        let mut reader = match inbox.reader.take() {
            Some(reader) if !inbox.ended => reader,
            _ => return Err(unusable("a task has left the socket in use")),
        };
        drop(inbox);
        let next = loop {
            match reader.next_frame() {
                // It comes too late.
                Ok(Some(frame)) if Answer::is_one(frame) => continue,
                Ok(Some(frame)) => {
                    order.clear();
                    order.extend_from_slice(frame);
                    break Ok(true);
                }
                Ok(None) => {}
                Err(error) => break Err(error),
            }
            patience.wait(&self.socket);
            match reader.fill(&self.socket) {
                Ok(0) => break Ok(false),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
        };
        lock(&self.inbox).reader = Some(reader);
        next
    }

    /// The order begins: its task may call.
    pub fn begin(&self, slot: usize) {
        lock(&self.sender).slot = Some(slot);
    }

    /// The order has ended: no call of it is sent from here on, and nobody waits for an answer.
    pub fn end(&self) {
        lock(&self.sender).slot = None;
        let mut inbox = lock(&self.inbox);
        if !inbox.calls.is_empty() {
            inbox.calls = HashMap::new();
            self.arrived.notify_all();
        }
    }

    /// Writes a frame.
    ///
    /// # Errors
    /// When the provider has hung up.
    pub fn send<T: Serialize>(&self, message: &T) -> Result<()> {
        let _sender = lock(&self.sender);
        self.write(message)
    }

    /// Sends a task's message, and returns the number under which [`Link::answer`] waits.
    ///
    /// # Errors
    /// When no order runs, or the message cannot be sent.
    pub fn call(&self, message: &str) -> std::result::Result<u64, Unanswered> {
        let refused = |code, error: &str| Err(Unanswered::Refused(refusal(code, error)));
        // Before anything is locked: in a child of the task's it may never be unlocked.
        if getpid() != self.process {
            return refused(
                "forked",
                "a process that the task has started cannot reach the node; call in the task itself",
            );
        }
        let message = read_call(message).map_err(Unanswered::Refused)?;
        let mut sender = lock(&self.sender);
        let Some(slot) = sender.slot else { return refused("not_running", ENDED) };
        let call = sender.next_call;
        {
            let mut inbox = lock(&self.inbox);
            if inbox.ended {
                return refused("call_failed", HUNG_UP);
            }
            if inbox.calls.len() >= CALLS_MAX {
                let text =
                    format!("the task waits for {CALLS_MAX} answers already, the most that it may; use fewer threads");
                return refused("limit_reached", &text);
            }
            inbox.calls.insert(call, None);
        }
        sender.next_call += 1;
        if self.write(&Call { call, slot, message }).is_err() {
            // A part of it may be out, so nothing that follows could be read.
            let mut inbox = lock(&self.inbox);
            inbox.ended = true;
            inbox.calls.remove(&call);
            self.arrived.notify_all();
            return refused("call_failed", HUNG_UP);
        }
        Ok(call)
    }

    /// Waits for the answer to a call.
    ///
    /// # Errors
    /// When there will be none, or a signal comes first; then the wait may go on.
    pub fn answer(&self, call: u64) -> std::result::Result<Box<str>, Unanswered> {
        let mut inbox = lock(&self.inbox);
        loop {
            match inbox.calls.get_mut(&call) {
                None => return Err(Unanswered::Refused(refusal("not_running", ENDED))),
                Some(answer) => {
                    if let Some(answer) = answer.take() {
                        inbox.calls.remove(&call);
                        return Ok(answer);
                    }
                }
            }
            if inbox.ended {
                inbox.calls.remove(&call);
                return Err(Unanswered::Refused(refusal("call_failed", HUNG_UP)));
            }
            let Some(mut reader) = inbox.reader.take() else {
                inbox = self.arrived.wait(inbox).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(inbox);
            let filled = reader.fill(Interruptible(&self.socket));
            inbox = lock(&self.inbox);
            let read = match filled {
                Ok(0) => Err(unusable(HUNG_UP)),
                Ok(_) => inbox.deliver(&mut reader),
                Err(error) => Err(error),
            };
            inbox.reader = Some(reader);
            // Also when nothing has come: somebody else must read from here on.
            self.arrived.notify_all();
            match read {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(Unanswered::Interrupted(call)),
                Err(error) if error.kind() == ErrorKind::OutOfMemory => {
                    inbox.calls.remove(&call);
                    return Err(Unanswered::Memory);
                }
                Err(_) => inbox.ended = true,
            }
        }
    }

    /// Nobody waits for this answer any more.
    pub fn forget(&self, call: u64) {
        lock(&self.inbox).calls.remove(&call);
    }

    /// Whoever calls this has the sender.
    fn write<T: Serialize>(&self, message: &T) -> Result<()> {
        let json = serde_json::to_vec(message)?;
        let mut frame = Vec::with_capacity(json.len() + 4);
        // In one write: the provider is woken once.
        write_frame(&mut frame, &[&json]);
        let mut rest = frame.as_slice();
        while !rest.is_empty() {
            // Not what the standard library does with sockets: the filter of system calls lets this one pass unseen.
            match rustix::io::write(&self.socket, rest) {
                Ok(written) => rest = &rest[written..],
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Inbox {
    /// Hands out what has been read.
    fn deliver(&mut self, reader: &mut FrameReader) -> Result<()> {
        while let Some(frame) = reader.next_frame()? {
            if Answer::is_one(frame) {
                let answer = Answer::read(frame)?;
                // Nobody waits for a late one.
                if let Some(waiting) = self.calls.get_mut(&answer.answer) {
                    *waiting = Some(answer.message.get().into());
                }
            } else if self.orders.len() < SLOTS {
                self.orders.push_back(frame.to_vec());
            } else {
                return Err(unusable("more orders than there are cells"));
            }
        }
        Ok(())
    }
}

const ENDED: &str = "the task has ended; only a task that runs can call the node";
const HUNG_UP: &str = "the node has hung up";

fn unusable(text: &str) -> Error {
    Error::new(ErrorKind::InvalidData, text)
}

/// What a thread that panics leaves behind is sound: every step that is taken under a lock is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A socket whose reading ends when a signal comes.
struct Interruptible<'a>(&'a UnixStream);

impl Read for Interruptible<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        rustix::io::read(self.0, buffer).map_err(|error| match error {
            // Readers try again by themselves when they are told what it was.
            Errno::INTR => ErrorKind::WouldBlock.into(),
            error => error.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Order;
    use serde_json::value::RawValue;
    use std::sync::Arc;
    use std::thread;

    struct Provider {
        socket: UnixStream,
        reader: FrameReader,
    }

    impl Provider {
        fn with_worker() -> (Provider, Arc<Link>) {
            let (socket, worker) = UnixStream::pair().unwrap();
            (Provider { socket, reader: FrameReader::default() }, Arc::new(Link::new(worker)))
        }

        fn read(&mut self) -> (u64, usize, String) {
            loop {
                if let Some(frame) = self.reader.next_frame().unwrap() {
                    let call: Call<'_> = serde_json::from_slice(frame).unwrap();
                    return (call.call, call.slot, call.message.get().to_owned());
                }
                assert_ne!(self.reader.fill(&self.socket).unwrap(), 0);
            }
        }

        fn write(&self, json: &str) {
            let mut frame = Vec::new();
            write_frame(&mut frame, &[json.as_bytes()]);
            assert_eq!(rustix::io::write(&self.socket, &frame).unwrap(), frame.len());
        }

        fn answer(&self, answer: u64, text: &str) {
            let message = RawValue::from_string(text.to_owned()).unwrap();
            self.write(&serde_json::to_string(&Answer { answer, message: &message }).unwrap());
        }

        fn order(&self, slot: usize) {
            let args = RawValue::from_string("[]".to_owned()).unwrap();
            let order = Order {
                slot,
                memory_limit_bytes: 0,
                output_limit_bytes: 0,
                program: "".into(),
                module_sha256: None,
                function: "main".into(),
                args: &args,
            };
            self.write(&serde_json::to_string(&order).unwrap());
        }
    }

    fn ask(link: &Arc<Link>, message: String) -> thread::JoinHandle<String> {
        let link = Arc::clone(link);
        thread::spawn(move || link.answer(link.call(&message).unwrap()).unwrap().into())
    }

    fn next_slot(link: &Link) -> usize {
        let mut frame = Vec::new();
        assert!(link.next_order(&mut Patience::default(), &mut frame).unwrap());
        serde_json::from_slice::<Order<'_>>(&frame).unwrap().slot
    }

    fn code(error: Unanswered) -> String {
        let Unanswered::Refused(text) = error else { panic!("{error:?}") };
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["code"].as_str().unwrap().to_owned()
    }

    #[test]
    fn each_of_many_threads_gets_its_own_answer_and_orders_are_kept_for_later() {
        let (mut provider, link) = Provider::with_worker();
        link.begin(3);
        let threads: Vec<_> = (0..CALLS_MAX).map(|n| ask(&link, format!("{{\"n\":{n}}}"))).collect();
        let mut calls: Vec<_> = (0..CALLS_MAX).map(|_| provider.read()).collect();
        assert_eq!(code(link.call("{}").unwrap_err()), "limit_reached");
        provider.order(5);
        calls.reverse();
        for (number, slot, message) in calls {
            assert_eq!(slot, 3);
            // Nobody waits for the first.
            provider.answer(1000 + number, "{}");
            provider.answer(number, &message);
        }
        provider.order(6);
        for (n, thread) in threads.into_iter().enumerate() {
            assert_eq!(thread.join().unwrap(), format!("{{\"n\":{n}}}"));
        }
        link.end();
        assert_eq!((next_slot(&link), next_slot(&link)), (5, 6));
    }

    #[test]
    fn nobody_calls_without_an_order_and_late_answers_are_dropped() {
        let (mut provider, link) = Provider::with_worker();
        assert_eq!(code(link.call("{}").unwrap_err()), "not_running");
        link.begin(0);
        let number = link.call("{}").unwrap();
        assert_eq!(provider.read().0, number);
        link.end();
        assert_eq!(code(link.answer(number).unwrap_err()), "not_running");
        provider.answer(number, "{}");
        provider.order(1);
        assert_eq!(next_slot(&link), 1);
        link.begin(1);
        let next = link.call("{}").unwrap();
        assert!(next > number);
        provider.answer(number, "{}");
        provider.answer(next, "{\"mine\":1}");
        assert_eq!(&*link.answer(next).unwrap(), "{\"mine\":1}");
    }

    #[test]
    fn when_the_task_ends_its_threads_stop_waiting() {
        let (mut provider, link) = Provider::with_worker();
        link.begin(0);
        // One that reads, and one that waits for the reader.
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let link = Arc::clone(&link);
                let number = link.call("{}").unwrap();
                (number, thread::spawn(move || link.answer(number).map_err(code)))
            })
            .collect();
        provider.read();
        provider.read();
        link.end();
        // The one that reads finds it out with the next frame.
        provider.answer(waiting[0].0, "{}");
        for (_, thread) in waiting {
            assert_eq!(thread.join().unwrap(), Err("not_running".to_owned()));
        }
    }

    #[test]
    fn when_the_provider_hangs_up_or_talks_nonsense_nobody_waits_for_ever() {
        for nonsense in [None, Some("{\"answer\":\"x\"}")] {
            let (mut provider, link) = Provider::with_worker();
            link.begin(0);
            let number = link.call("{}").unwrap();
            provider.read();
            if let Some(nonsense) = nonsense {
                provider.write(nonsense);
            }
            drop(provider);
            assert_eq!(code(link.answer(number).unwrap_err()), "call_failed");
            assert_eq!(code(link.call("{}").unwrap_err()), "call_failed");
            link.end();
            assert!(link.next_order(&mut Patience::default(), &mut Vec::new()).is_err());
        }
    }
}
