//! A plain socket that speaks frames: what a client of another language would do, and what a hostile one would.

use crate::LIMIT;
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// How long a reply may take: a task may be in a queue on a machine that is busy.
const REPLY_LIMIT: Duration = Duration::from_secs(2 * LIMIT.as_secs());

/// A frame that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The JSON object.
    pub json: String,
    /// The bytes behind it.
    pub attachment: Vec<u8>,
}

impl Frame {
    /// The object, parsed.
    ///
    /// # Panics
    /// When it is not JSON.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.json).unwrap_or_else(|error| panic!("the reply is no JSON: {error}: {}", self.json))
    }
}

/// The bytes of a frame: length and JSON.
pub fn frame_bytes(json: &str) -> Vec<u8> {
    let mut bytes = u32::try_from(json.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(json.as_bytes());
    bytes
}

/// A connection to a node.
pub struct Wire {
    stream: TcpStream,
}

impl Wire {
    /// Connects to `host:port`.
    ///
    /// # Panics
    /// When nobody listens there.
    pub fn connect(address: &str) -> Wire {
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(REPLY_LIMIT)).unwrap();
        stream.set_write_timeout(Some(REPLY_LIMIT)).unwrap();
        Wire { stream }
    }

    /// The socket itself.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// A second handle for the same connection, for another thread.
    pub fn another(&self) -> Wire {
        Wire { stream: self.stream.try_clone().unwrap() }
    }

    /// Sends these bytes.
    ///
    /// # Panics
    /// When the node has closed the connection, or does not read.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.try_send_bytes(bytes).unwrap_or_else(|error| panic!("cannot send to the node: {error}"));
    }

    /// As [`Wire::send_bytes`], where the node may have closed the connection.
    pub fn try_send_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a message as one frame, in one write.
    pub fn send(&mut self, json: impl ToString) {
        self.send_bytes(&frame_bytes(&json.to_string()));
    }

    /// Sends a message, which announces it, and an attachment.
    pub fn send_with(&mut self, json: impl ToString, attachment: &[u8]) {
        let mut bytes = frame_bytes(&json.to_string());
        bytes.extend_from_slice(attachment);
        self.send_bytes(&bytes);
    }

    /// Says that nothing more will be sent.
    pub fn finish_sending(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// The next frame; none when the node has closed the connection.
    ///
    /// # Panics
    /// When neither comes within two minutes, or the connection ends inside a frame.
    pub fn read_frame(&mut self) -> Option<Frame> {
        let mut header = [0; 4];
        if !self.fill(&mut header, true) {
            return None;
        }
        let mut json = vec![0; u32::from_be_bytes(header) as usize];
        self.fill(&mut json, false);
        let json = String::from_utf8(json).expect("the reply is UTF-8");
        let mut frame = Frame { json, attachment: Vec::new() };
        if frame.json.contains("\"attachment\"") {
            let length = frame.value()["attachment"].as_u64().unwrap_or(0);
            frame.attachment = vec![0; usize::try_from(length).unwrap()];
            self.fill(&mut frame.attachment, false);
        }
        Some(frame)
    }

    /// The next frame's JSON, as it came.
    ///
    /// # Panics
    /// As [`Wire::read_frame`], and when the node has closed the connection.
    pub fn read_text(&mut self) -> String {
        self.read_frame().expect("the node closed the connection instead of answering").json
    }

    /// The next frame's JSON, parsed.
    ///
    /// # Panics
    /// As [`Wire::read_text`].
    pub fn read(&mut self) -> Value {
        self.read_frame().expect("the node closed the connection instead of answering").value()
    }

    /// Sends a message and reads the next reply.
    pub fn call(&mut self, json: impl ToString) -> Value {
        self.send(json);
        self.read()
    }

    /// Waits until the node closes the connection.
    ///
    /// # Panics
    /// When it says something before, or keeps the connection open.
    pub fn expect_end(&mut self) {
        if let Some(frame) = self.read_frame() {
            panic!("the node was to close the connection, but said {}", frame.json);
        }
    }

    /// The next bytes as they come, as many as `read` returns once; none at the end of the connection.
    pub fn read_some(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 64 << 10];
        let count = match self.stream.read(&mut bytes) {
            Err(error) if is_end(error.kind()) => 0,
            other => other.unwrap_or_else(|error| panic!("the node has not answered: {error}")),
        };
        bytes.truncate(count);
        bytes
    }

    /// False when the connection ended before the first byte, and that may be.
    fn fill(&mut self, bytes: &mut [u8], may_end: bool) -> bool {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.stream.read(&mut bytes[filled..]) {
                Ok(0) if filled == 0 && may_end => return false,
                Ok(0) => panic!("the connection ended inside a frame"),
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_end(error.kind()) && filled == 0 && may_end => return false,
                Err(error) => panic!("no reply: {error}"),
            }
        }
        true
    }
}

/// A connection that is closed while bytes of ours are unread ends with a reset.
fn is_end(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted)
}
