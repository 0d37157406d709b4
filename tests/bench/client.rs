//! The plainest client: one connection, blocking.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Nothing that is measured takes this long; the longest is the first start of an image that has to be compiled.
const PATIENCE: Duration = Duration::from_secs(300);

/// A connection to a node: plain, unless it is made of something else.
pub(crate) struct Client<S = TcpStream> {
    stream: BufReader<S>,
}

impl Client {
    pub(crate) fn connect(port: u16) -> Result<Client> {
        Ok(Client::over(open(port)?))
    }
}

/// A socket that is connected to a node.
pub(crate) fn open(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).context("cannot connect to the node")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

impl<S: Read + Write> Client<S> {
    /// Speaks frames over `stream`.
    pub(crate) fn over(stream: S) -> Client<S> {
        Client { stream: BufReader::with_capacity(64 << 10, stream) }
    }

    /// Sends what [`frame`] made.
    pub(crate) fn send(&mut self, frame: &[u8]) -> Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(frame).and_then(|()| stream.flush()).context("the node takes no more requests")
    }

    /// The text of the next reply.
    pub(crate) fn receive(&mut self) -> Result<String> {
        let mut text = Vec::new();
        self.receive_into(&mut text)?;
        String::from_utf8(text).context("a reply is not UTF-8")
    }

    /// As [`Client::receive`], into memory that is there already, and whatever the bytes are.
    pub(crate) fn receive_into(&mut self, text: &mut Vec<u8>) -> Result<()> {
        let mut header = [0; 4];
        self.stream.read_exact(&mut header).context("the node does not answer")?;
        text.resize(u32::from_be_bytes(header) as usize, 0);
        self.stream.read_exact(text).context("the node does not answer")
    }

    /// Reads what is attached to the reply that has just been read, and throws it away.
    pub(crate) fn skip(&mut self, bytes: u64) -> Result<()> {
        let skipped = std::io::copy(&mut (&mut self.stream).take(bytes), &mut std::io::sink())?;
        ensure!(skipped == bytes, "the node closed the connection within an attachment");
        Ok(())
    }

    /// Sends a message and reads its reply, which must not be an error.
    pub(crate) fn request(&mut self, message: &Value) -> Result<Value> {
        self.request_with(message, &[])
    }

    /// As [`Client::request`], with an attachment when there are bytes.
    pub(crate) fn request_with(&mut self, message: &Value, attachment: &[u8]) -> Result<Value> {
        let mut message = message.clone();
        if !attachment.is_empty() {
            message["attachment"] = attachment.len().into();
        }
        let mut bytes = frame(&message.to_string());
        bytes.extend_from_slice(attachment);
        self.send(&bytes)?;
        let reply: Value = serde_json::from_str(&self.receive()?)?;
        match &reply["error"] {
            Value::Null => Ok(reply),
            error => bail!("the node answers {error} to {}", message["type"]),
        }
    }
}

/// A message as it goes over the wire.
pub(crate) fn frame(json: &str) -> Vec<u8> {
    // Far below 2^32 here.
    let mut bytes = (json.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(json.as_bytes());
    bytes
}
