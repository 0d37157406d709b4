//! Frames: a 4-byte big-endian length, one JSON object, and the attachment that the object announces.

use super::channel::Channel;
use potluck_sdk::envelope::{Envelope, EnvelopeError};
use potluck_sdk::message::{ATTACHMENT_BYTES_MAX, FRAME_BYTES_MAX};
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(super) const HEADER_BYTES: usize = 4;
/// A frame up to this size is not counted against the budget: it costs no more than the connection itself.
const SMALL_FRAME_BYTES: usize = 4 << 10;
/// How much is read at a time: little at first, which is enough for a quiet client, and more while reads are full.
const READ_BYTES_FIRST: usize = 4 << 10;
const READ_BYTES_LAST: usize = 64 << 10;
/// The same within a frame whose length is known.
const READ_BYTES_LARGE: usize = 1 << 20;

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The first byte belongs to no protocol that is spoken here: closed without a word.
    #[error("these bytes are not a frame")]
    Foreign,
    /// The length is 0: closed without a word.
    #[error("a frame of length 0")]
    Empty,
    /// The announced length is over the limit.
    #[error("a frame of {0} bytes is over the limit of {1}; send larger data in chunks, as attachments")]
    TooLarge(usize, usize),
    /// The announced attachment is over the limit.
    #[error("an attachment of {0} bytes is over the limit of {ATTACHMENT_BYTES_MAX}; send larger data in chunks")]
    AttachmentTooLarge(u64),
    /// All connections together hold as much as they may.
    #[error("the node holds as many bytes of unfinished messages as it may; try again later")]
    Budget,
    /// The bytes are not UTF-8.
    #[error("Invalid message format: the frame is not UTF-8")]
    NotUtf8,
    /// The frame came too slowly.
    #[error("the rest of the frame did not come in time")]
    Slow,
}

/// Bytes that large frames in transit may hold, over all connections.
pub struct FrameBudget(AtomicUsize);

impl FrameBudget {
    /// A budget of that many bytes.
    pub fn new(bytes: usize) -> Arc<FrameBudget> {
        Arc::new(FrameBudget(AtomicUsize::new(bytes)))
    }

    fn reserve(self: &Arc<FrameBudget>, bytes: usize) -> Result<Reservation, FrameError> {
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        taken.map_err(|_| FrameError::Budget)?;
        Ok(Reservation { budget: Arc::clone(self), bytes })
    }
}

/// Bytes taken from the budget until dropped.
struct Reservation {
    budget: Arc<FrameBudget>,
    bytes: usize,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.0.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// Received bytes, cut into frames. Memory grows with what has arrived, not with what was announced.
pub struct Inbox {
    buffer: Vec<u8>,
    /// Where the unread bytes begin.
    start: usize,
    /// How much to read next time.
    read_bytes: usize,
    /// The frame that is arriving, once its length is known.
    arriving: Option<Arriving>,
    budget: Option<Arc<FrameBudget>>,
    /// Whether the first byte of each frame is checked for other protocols: a listener's side.
    listening: bool,
    /// Largest frame.
    frame_bytes_max: usize,
}

struct Arriving {
    json_length: usize,
    /// Known once the JSON is there.
    attachment_length: Option<usize>,
    _reservations: [Option<Reservation>; 2],
}

/// Where a whole frame stands in the inbox.
pub struct FramePlace {
    json: (usize, usize),
    attachment: (usize, usize),
}

impl Inbox {
    /// For a listener: bounded by a budget, and wary of other protocols.
    pub fn listening(budget: Arc<FrameBudget>) -> Inbox {
        Inbox { budget: Some(budget), listening: true, ..Inbox::connecting() }
    }

    /// For a connection that this process opened.
    pub fn connecting() -> Inbox {
        Inbox {
            buffer: Vec::new(),
            start: 0,
            read_bytes: READ_BYTES_FIRST,
            arriving: None,
            budget: None,
            listening: false,
            frame_bytes_max: FRAME_BYTES_MAX,
        }
    }

    /// For the time in which it is not known who is at the other end: frames are small, and without attachment.
    pub fn first_words(frame_bytes_max: usize) -> Inbox {
        Inbox { frame_bytes_max, ..Inbox::connecting() }
    }

    /// From when that is known, on a connection that this process opened.
    pub fn unbounded(self, budget: Arc<FrameBudget>) -> Inbox {
        Inbox { budget: Some(budget), frame_bytes_max: FRAME_BYTES_MAX, ..self }
    }

    /// From when that is known, on a connection that somebody else opened.
    pub fn accepted(self, budget: Arc<FrameBudget>) -> Inbox {
        Inbox { budget: Some(budget), listening: true, frame_bytes_max: FRAME_BYTES_MAX, ..self }
    }

    /// Reads what has arrived, without waiting; nothing when nothing has, 0 at the end of the connection.
    pub fn read_from(&mut self, channel: &Channel) -> std::io::Result<Option<usize>> {
        let read = channel.try_read(self.space())?;
        if read.is_some() && self.buffer.len() == self.buffer.capacity() {
            self.read_bytes = (2 * self.read_bytes).min(READ_BYTES_LAST);
        }
        Ok(read)
    }

    /// Takes the next bytes out, at most `count`, for a frame that is not read whole. Nothing when none are there.
    pub fn take(&mut self, count: usize) -> &[u8] {
        let from = self.start;
        self.start = self.buffer.len().min(from + count);
        &self.buffer[from..self.start]
    }

    /// Takes bytes as if they had been read.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.space().extend_from_slice(bytes);
    }

    /// Where the next bytes go.
    fn space(&mut self) -> &mut Vec<u8> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        match self.missing_bytes() {
            // Most of the frame has come, so the rest may be expected; one reservation, to its very end.
            Some(missing) if self.buffer.len() >= READ_BYTES_LARGE => {
                self.buffer.reserve_exact(missing.max(self.read_bytes));
            }
            Some(missing) => self.buffer.reserve(missing.clamp(self.read_bytes, READ_BYTES_LARGE)),
            None => self.buffer.reserve(self.read_bytes),
        }
        &mut self.buffer
    }

    /// What is known to be missing of a frame that is arriving, when it is much.
    fn missing_bytes(&self) -> Option<usize> {
        let arriving = self.arriving.as_ref()?;
        let end = HEADER_BYTES + arriving.json_length + arriving.attachment_length.unwrap_or(0);
        end.checked_sub(self.buffer.len() - self.start).filter(|missing| *missing > self.read_bytes)
    }

    /// Gives back memory that a connection does not need while nothing comes.
    pub fn rest(&mut self) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        // The rest of a large frame is on its way.
        if self.arriving.is_none() && self.buffer.capacity() > 2 * self.buffer.len().max(READ_BYTES_FIRST) {
            self.buffer.shrink_to(READ_BYTES_FIRST);
            self.read_bytes = READ_BYTES_FIRST;
        }
    }

    /// Whether a frame has begun to arrive.
    pub fn is_partial(&self) -> bool {
        self.buffer.len() > self.start
    }

    /// The next whole frame, if it has arrived.
    pub fn next_frame(&mut self) -> Result<Option<FramePlace>, FrameError> {
        let unread = &self.buffer[self.start..];
        if self.arriving.is_none() {
            let Some(&first) = unread.first() else { return Ok(None) };
            // The length of a frame is below 2^28, so its first byte is small; 0x16 would be TLS, letters HTTP.
            if self.listening && first > 0x08 {
                return Err(FrameError::Foreign);
            }
            let Some(header) = unread.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
            let json_length = u32::from_be_bytes(*header) as usize;
            if json_length == 0 {
                return Err(FrameError::Empty);
            }
            if json_length > self.frame_bytes_max {
                return Err(FrameError::TooLarge(json_length, self.frame_bytes_max));
            }
            let reservation = self.reserve(json_length)?;
            self.arriving = Some(Arriving { json_length, attachment_length: None, _reservations: [reservation, None] });
        }
        let Some(arriving) = &self.arriving else { return Ok(None) };
        let json_end = HEADER_BYTES + arriving.json_length;
        let unread = &self.buffer[self.start..];
        if unread.len() < json_end {
            return Ok(None);
        }
        let attachment_length = match arriving.attachment_length {
            Some(length) => length,
            None => {
                let announced = announced_attachment(&unread[HEADER_BYTES..json_end])?;
                if announced > ATTACHMENT_BYTES_MAX || announced > self.frame_bytes_max as u64 {
                    return Err(FrameError::AttachmentTooLarge(announced));
                }
                let length = announced as usize;
                let reservation = self.reserve(length)?;
                if let Some(arriving) = &mut self.arriving {
                    arriving.attachment_length = Some(length);
                    arriving._reservations[1] = reservation;
                }
                length
            }
        };
        let end = json_end + attachment_length;
        if self.buffer.len() - self.start < end {
            return Ok(None);
        }
        let at = self.start;
        self.start += end;
        // The reservation is given back a little early: the bytes are handled before anything else is read here.
        self.arriving = None;
        Ok(Some(FramePlace { json: (at + HEADER_BYTES, at + json_end), attachment: (at + json_end, at + end) }))
    }

    /// The JSON text and the attachment of a frame. Valid until [`Inbox::space`] or [`Inbox::rest`].
    pub fn frame(&self, place: &FramePlace) -> Result<(&str, &[u8]), FrameError> {
        let json = std::str::from_utf8(&self.buffer[place.json.0..place.json.1]).map_err(|_| FrameError::NotUtf8)?;
        Ok((json, &self.buffer[place.attachment.0..place.attachment.1]))
    }

    /// The attachment of a frame, on its own. A large one that came last is not copied to fresh memory, which would cost
    /// more than the copy: the inbox gives its own. The frame cannot be asked for again.
    pub fn take_attachment(&mut self, place: &FramePlace) -> Vec<u8> {
        let (begin, end) = place.attachment;
        if end - begin < READ_BYTES_LAST || end != self.buffer.len() {
            return self.buffer[begin..end].to_vec();
        }
        let mut taken = std::mem::take(&mut self.buffer);
        self.start = 0;
        taken.drain(..begin);
        // Whoever keeps it keeps what lies behind it, too.
        if taken.capacity() > 2 * taken.len() {
            taken.shrink_to_fit();
        }
        taken
    }

    fn reserve(&self, bytes: usize) -> Result<Option<Reservation>, FrameError> {
        match &self.budget {
            Some(budget) if bytes > SMALL_FRAME_BYTES => budget.reserve(bytes).map(Some),
            _ => Ok(None),
        }
    }
}

/// How many bytes a message announces behind itself. Most announce none, and a search for the word is much cheaper than
/// reading the message's outline, which is done once more by whoever handles it.
fn announced_attachment(json: &[u8]) -> Result<u64, FrameError> {
    if memchr::memmem::find(json, b"\"attachment\"").is_none() {
        return Ok(0);
    }
    let json = std::str::from_utf8(json).map_err(|_| FrameError::NotUtf8)?;
    // A text that is no message announces nothing; whoever handles it says what is wrong.
    Ok(Envelope::scan(json).map_or(0, |envelope| envelope.attachment_length))
}

/// Writes a frame: `json` is an object without `id` and `attachment`, `id` the JSON text of one.
pub fn write(out: &mut Vec<u8>, id: Option<&str>, json: &[u8], attachment: &[u8]) {
    let header = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    out.push(b'{');
    let rest = json.get(1..).unwrap_or(b"}");
    let more = if rest.trim_ascii_start() == b"}" { "" } else { "," };
    if let Some(id) = id {
        out.extend_from_slice(b"\"id\":");
        out.extend_from_slice(id.as_bytes());
        if attachment.is_empty() {
            out.extend_from_slice(more.as_bytes());
        }
    }
    if !attachment.is_empty() {
        if id.is_some() {
            out.push(b',');
        }
        out.extend_from_slice(format!("\"attachment\":{}{more}", attachment.len()).as_bytes());
    }
    out.extend_from_slice(rest);
    let length = out.len() - header - HEADER_BYTES;
    // Callers keep replies below FRAME_BYTES_MAX, far below 2^32.
    out[header..header + HEADER_BYTES].copy_from_slice(&(length as u32).to_be_bytes());
    out.extend_from_slice(attachment);
}

/// Sends one message, where nothing else is being sent.
pub async fn send(channel: &Channel, id: Option<&str>, json: &str) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    write(&mut bytes, id, json.as_bytes(), b"");
    let mut sent = 0;
    while sent < bytes.len() {
        match channel.try_write(&bytes[sent..]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => channel.writable().await?,
            Err(error) => return Err(error),
        }
    }
    while channel.flush()? {
        channel.writable().await?;
    }
    Ok(())
}

/// Waits for one message without attachment; nothing when the connection ends before it.
pub async fn receive(channel: &Channel, inbox: &mut Inbox) -> std::io::Result<Option<String>> {
    loop {
        // Somebody who sends without pause, and nothing that counts, must neither outlast the caller's limit nor keep the
        // thread from others.
        tokio::task::yield_now().await;
        if let Some(place) = inbox.next_frame().map_err(std::io::Error::other)? {
            let (json, _) = inbox.frame(&place).map_err(std::io::Error::other)?;
            return Ok(Some(json.to_owned()));
        }
        match inbox.read_from(channel)? {
            Some(0) => return Ok(None),
            Some(_) => {}
            None => channel.readable().await?,
        }
    }
}

/// What a peer hears before its connection is closed; nothing when it does not speak this protocol.
pub fn last_words(error: &FrameError) -> Option<(&'static str, String)> {
    let code = match error {
        FrameError::Foreign | FrameError::Empty | FrameError::Slow => return None,
        FrameError::TooLarge(..) | FrameError::AttachmentTooLarge(_) => "frame_too_large",
        FrameError::Budget => potluck_sdk::ProviderError::LIMIT_REACHED,
        FrameError::NotUtf8 => potluck_sdk::ProviderError::INVALID_MESSAGE,
    };
    Some((code, error.to_string()))
}

/// A message that cannot be routed.
pub fn invalid(error: &EnvelopeError) -> potluck_sdk::ProviderError {
    potluck_sdk::ProviderError::invalid(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inbox() -> Inbox {
        Inbox::listening(FrameBudget::new(FRAME_BYTES_MAX))
    }

    #[test]
    fn frames_survive_any_cut() {
        let mut bytes = Vec::new();
        write(&mut bytes, Some("7"), br#"{"type":"A"}"#, b"");
        write(&mut bytes, None, b"{}", b"raw");
        write(&mut bytes, Some("\"x\""), b"{}", b"raw");
        for cut in 0..bytes.len() {
            let mut inbox = inbox();
            let mut frames = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                inbox.space().extend_from_slice(part);
                while let Some(place) = inbox.next_frame().unwrap() {
                    let (json, attachment) = inbox.frame(&place).unwrap();
                    frames.push((json.to_owned(), attachment.to_vec()));
                }
                inbox.rest();
            }
            assert_eq!(frames[0], (r#"{"id":7,"type":"A"}"#.to_owned(), Vec::new()));
            assert_eq!(frames[1], (r#"{"attachment":3}"#.to_owned(), b"raw".to_vec()));
            assert_eq!(frames[2], (r#"{"id":"x","attachment":3}"#.to_owned(), b"raw".to_vec()));
            assert!(!inbox.is_partial());
        }
    }

    #[test]
    fn attachments_are_given_away_or_copied_and_what_follows_stays() {
        for length in [3, READ_BYTES_LAST, 3 * READ_BYTES_LAST] {
            for behind in [&b""[..], b"\0\0\0\x02{}"] {
                let attachment: Vec<u8> = (0..length).map(|index| index as u8).collect();
                let mut bytes = Vec::new();
                write(&mut bytes, None, b"{}", &attachment);
                bytes.extend_from_slice(behind);
                let mut inbox = inbox();
                inbox.feed(&bytes);
                let place = inbox.next_frame().unwrap().unwrap();
                assert!(inbox.take_attachment(&place) == attachment);
                assert_eq!(inbox.next_frame().unwrap().is_some(), !behind.is_empty());
                inbox.feed(b"\0\0\0\x02{}");
                assert!(inbox.next_frame().unwrap().is_some());
                assert!(!inbox.is_partial());
            }
        }
    }

    #[test]
    fn what_is_no_frame_is_refused_before_memory_is_taken() {
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\n"[..], "not a frame"),
            (&[0xff, 0xff, 0xff, 0xff], "not a frame"),
            (&[0, 0, 0, 0], "length 0"),
            (&[0x08, 0, 0, 0], "over the limit"),
            (b"\0\0\0\x19{\"attachment\":1000000000}", "attachment"),
        ] {
            let mut inbox = inbox();
            inbox.space().extend_from_slice(bytes);
            let error = inbox.next_frame().err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        let mut inbox = inbox();
        inbox.space().extend_from_slice(&[0, 0, 0, 2, 0xff, 0xfe]);
        let place = inbox.next_frame().unwrap().unwrap();
        assert!(matches!(inbox.frame(&place), Err(FrameError::NotUtf8)));
    }

    #[test]
    fn large_frames_share_a_budget_and_give_it_back() {
        let budget = FrameBudget::new(10_000);
        let mut first = Inbox::listening(Arc::clone(&budget));
        first.space().extend_from_slice(&8_000_u32.to_be_bytes());
        assert!(first.next_frame().unwrap().is_none());
        let mut second = Inbox::listening(Arc::clone(&budget));
        second.space().extend_from_slice(&8_000_u32.to_be_bytes());
        assert!(matches!(second.next_frame(), Err(FrameError::Budget)));
        drop(first);
        assert!(second.next_frame().unwrap().is_none());
    }
}
