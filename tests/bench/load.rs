//! The load generator: one thread, many connections that do not block, requests that were built before.
//!
//! What is sent when, and where a reply ends, is a [`Conversation`]'s business; everything that costs time is here, and
//! the same for all that are compared.

use anyhow::{Context, Result, bail};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How much is read at a time.
const READ_BYTES: usize = 64 << 10;
/// Nothing that is measured is silent for so long.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// What one connection says.
pub(crate) trait Conversation {
    /// Appends the first requests.
    fn begin(&mut self, out: &mut Vec<u8>);

    /// Length of the reply that `bytes` begin with, once it is whole.
    fn reply_length(&self, bytes: &[u8]) -> Result<Option<usize>>;

    /// Looks at a reply and appends the requests that follow it.
    fn go_on(&mut self, reply: &[u8], out: &mut Vec<u8>) -> Result<()>;

    /// Replies that are still to come.
    fn missing(&self) -> usize;
}

/// What came back.
pub(crate) struct Replies {
    pub(crate) per_second: f64,
    /// All of them, those of the warm-up too.
    pub(crate) total: usize,
}

/// Opens a connection for each conversation and counts replies for `duration`, after a tenth of it for warming up. The
/// connections are closed when the last replies have come: what is measured next finds the server at rest.
pub(crate) fn run<C: Conversation>(
    port: u16,
    conversations: impl IntoIterator<Item = C>,
    duration: Duration,
) -> Result<Replies> {
    let mut poll = Poll::new()?;
    let mut connections = Vec::new();
    for (index, conversation) in conversations.into_iter().enumerate() {
        let mut connection = Connection::open(port, conversation)?;
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut connection.stream, Token(index), both)?;
        connection.conversation.begin(&mut connection.out);
        connections.push(connection);
    }
    let mut events = Events::with_capacity(1024);
    let mut begun = Instant::now() + duration / 10;
    // Replies that came before `begun`, once it is past.
    let mut before = None;
    let mut total = 0;
    let mut round = |connections: &mut [Connection<C>], is_over| {
        poll.poll(&mut events, Some(SILENCE_MAX))?;
        if events.is_empty() {
            bail!("no reply for {} s", SILENCE_MAX.as_secs());
        }
        let mut replies = 0;
        for event in &events {
            replies += connections[event.token().0].progress(event, is_over)?;
        }
        Ok(replies)
    };
    let per_second = loop {
        total += round(&mut connections, false)?;
        let now = Instant::now();
        match before {
            None if now >= begun => (before, begun) = (Some(total), now),
            Some(before) if now >= begun + duration => break (total - before) as f64 / (now - begun).as_secs_f64(),
            _ => {}
        }
    };
    let mut missing: usize = connections.iter().map(|connection| connection.conversation.missing()).sum();
    total += missing;
    while missing > 0 {
        missing = missing.saturating_sub(round(&mut connections, true)?);
    }
    Ok(Replies { per_second, total })
}

struct Connection<C> {
    stream: TcpStream,
    conversation: C,
    out: Vec<u8>,
    /// Received, and not yet a whole reply.
    input: Vec<u8>,
    /// How much of `input` there is.
    filled: usize,
}

impl<C: Conversation> Connection<C> {
    fn open(port: u16, conversation: C) -> Result<Connection<C>> {
        let stream =
            std::net::TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).context("cannot connect")?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let stream = TcpStream::from_std(stream);
        Ok(Connection { stream, conversation, out: Vec::new(), input: vec![0; READ_BYTES], filled: 0 })
    }

    /// Reads what has come, answers it unless it `is_over`, and returns how many replies there were.
    fn progress(&mut self, event: &Event, is_over: bool) -> Result<usize> {
        let mut replies = 0;
        // One read that does not fill the buffer has emptied the socket: what comes later is another event.
        let mut more = event.is_readable();
        while more {
            let count = match self.stream.read(&mut self.input[self.filled..]) {
                Ok(0) => bail!("the server closed a connection"),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("a connection was lost"),
            };
            self.filled += count;
            more = self.filled == self.input.len();
            replies += self.answer(is_over)?;
        }
        self.flush()?;
        Ok(replies)
    }

    fn answer(&mut self, is_over: bool) -> Result<usize> {
        let (mut at, mut replies) = (0, 0);
        while let Some(length) = self.conversation.reply_length(&self.input[at..self.filled])? {
            let unsent = self.out.len();
            self.conversation.go_on(&self.input[at..at + length], &mut self.out)?;
            if is_over {
                self.out.truncate(unsent);
            }
            at += length;
            replies += 1;
        }
        self.input.copy_within(at..self.filled, 0);
        self.filled -= at;
        if self.filled == self.input.len() {
            bail!("a reply of more than {READ_BYTES} bytes");
        }
        Ok(replies)
    }

    fn flush(&mut self) -> Result<()> {
        let mut sent = 0;
        while sent < self.out.len() {
            match self.stream.write(&self.out[sent..]) {
                Ok(count) => sent += count,
                // The rest goes when the socket has room again, which is an event.
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("a connection was lost"),
            }
        }
        self.out.drain(..sent);
        Ok(())
    }
}

/// Length of the frame of a node's reply.
pub(crate) fn frame_length(bytes: &[u8]) -> Option<usize> {
    let header = bytes.first_chunk::<4>()?;
    let length = 4 + u32::from_be_bytes(*header) as usize;
    (bytes.len() >= length).then_some(length)
}
