//! The answers of one connection on their way out: in their order, and parts of files piece by piece.

use super::frame;
use super::outbound::Buffer;
use crate::call::{PendingCall, Response, open_member};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use potluck_sdk::ProviderError;
use potluck_sdk::message::{ATTACHMENT_BYTES_MAX, FRAME_BYTES_MAX, SPOOLED_FRAME_BYTES_MAX};
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Most requests that a connection may have in flight; more are read when some are answered.
const IN_FLIGHT_MAX: usize = 4096;
/// No more requests are read while this many bytes of replies wait for a client that does not read them.
const UNREAD_REPLY_BYTES_MAX: usize = 1 << 20;
/// A client that leaves this many bytes of replies unread is given up: results of tasks that it sent before come all the
/// same. Far more than the largest single reply.
const UNREAD_REPLY_BYTES_LAST: usize = 128 << 20;
/// No more requests are read while this many answers with a file wait: each holds an open file.
const WAITING_FILES_MAX: usize = 8;
/// How much of a file is read at a time: whole groups of Base64.
const PIECE_BYTES: usize = 192 << 10;
/// The next piece is read while no more than this waits for the socket: one piece is sent while the next is read.
const UNSENT_BYTES_MAX: usize = 256 << 10;
/// What stands behind the text of a file in its reply.
const FILE_END: &[u8] = b"\"}";

/// What waits to be sent, and the requests that are not answered yet.
#[derive(Default)]
pub struct Replies {
    /// What the socket gets next.
    pub buffer: Buffer,
    /// Requests without id, in order: those that have been answered wait for those before them.
    ordered: VecDeque<Option<Response>>,
    /// Bytes of those answers, and of those behind a file.
    held_bytes: usize,
    /// How many of them have a file.
    held_files: usize,
    /// Number of the first of `ordered`.
    first_ordered: u64,
    /// The file that is being sent.
    streaming: Option<Streaming>,
    /// Answers that wait until it is sent.
    behind: VecDeque<(Option<String>, Response)>,
    /// Calls that were deferred, by a number of their own, to tell them when the client goes away; with the request's id.
    pub pending: HashMap<u64, (Option<String>, Arc<PendingCall>)>,
    next_pending: u64,
    /// Requests that are not answered yet.
    pub in_flight: usize,
    /// Nothing more is taken.
    pub closed: bool,
    /// Whether answers with a file may be larger than a frame.
    pub takes_large: bool,
    /// Why a file that is being sent cannot be sent whole; its frame cannot be ended.
    pub broken: Option<std::io::Error>,
}

/// How a reply finds its request.
pub enum Address {
    /// By the request's id.
    Id(String),
    /// By the number of the request among those without id.
    Order(u64),
}

struct Streaming {
    file: Arc<File>,
    offset: u64,
    left: u64,
    is_reading: bool,
}

/// A piece of a file that is to be read.
pub struct Piece {
    file: Arc<File>,
    offset: u64,
    length: usize,
}

impl Piece {
    /// Its bytes as Base64. Blocks.
    pub fn read(&self) -> std::io::Result<String> {
        let mut bytes = vec![0; self.length];
        self.file.read_exact_at(&mut bytes, self.offset)?;
        Ok(STANDARD.encode(&bytes))
    }
}

impl Replies {
    /// Answers a request that was not deferred: at once, unless an earlier request without id is still to be answered.
    pub fn answer(&mut self, id: Option<&str>, response: Response) {
        if id.is_some() || self.ordered.is_empty() {
            self.write(id, response);
        } else {
            self.hold(&response);
            self.ordered.push_back(Some(response));
        }
    }

    /// Puts an answer into the buffer, or behind the file that is being sent.
    pub fn write(&mut self, id: Option<&str>, response: Response) {
        if self.streaming.is_some() {
            self.hold(&response);
            self.behind.push_back((id.map(str::to_owned), response));
        } else {
            self.write_now(id, response);
        }
    }

    fn write_now(&mut self, id: Option<&str>, response: Response) {
        if response.body.is_some() {
            return self.begin_file(id, response);
        }
        let (json, attachment) = (response.json.as_bytes(), response.attachment.as_bytes());
        if json.first() != Some(&b'{') {
            let error = Response::not_an_object();
            frame::write(self.buffer.bytes(), id, error.json.as_bytes(), b"");
        } else if json.len() > FRAME_BYTES_MAX || attachment.len() as u64 > ATTACHMENT_BYTES_MAX {
            let text = format!(
                "the reply has {} bytes and an attachment of {}, over the limit of {FRAME_BYTES_MAX} or {ATTACHMENT_BYTES_MAX}",
                json.len(),
                attachment.len()
            );
            let error = ProviderError::new("reply_too_large", text).to_json();
            frame::write(self.buffer.bytes(), id, &error, b"");
        } else {
            frame::write(self.buffer.bytes(), id, json, attachment);
        }
    }

    fn begin_file(&mut self, id: Option<&str>, response: Response) {
        let Some(body) = response.body else { return };
        let Some(head) = open_member(response.json.as_bytes(), &body.member) else {
            return self.write_now(id, Response::not_an_object());
        };
        let id = id.map(|id| format!("\"id\":{id},")).unwrap_or_default();
        let length = (head.len() + id.len() + FILE_END.len()) as u64 + body.text_bytes();
        let (length_max, frame_bytes_max) = if self.takes_large {
            (u64::MAX, SPOOLED_FRAME_BYTES_MAX)
        } else {
            (ATTACHMENT_BYTES_MAX, FRAME_BYTES_MAX)
        };
        if body.length > length_max || length > frame_bytes_max as u64 {
            let length_max = length_max.min(frame_bytes_max as u64 / 4 * 3);
            let error = Response::too_large(body.length, length_max).json;
            let id = id.strip_prefix("\"id\":").and_then(|id| id.strip_suffix(','));
            return frame::write(self.buffer.bytes(), id, error.as_bytes(), b"");
        }
        let out = self.buffer.bytes();
        // Checked above: far below 2^32.
        out.extend_from_slice(&(length as u32).to_be_bytes());
        out.push(b'{');
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(&head[1..]);
        if body.length == 0 {
            out.extend_from_slice(FILE_END);
            return;
        }
        let (offset, left) = (body.offset, body.length);
        self.streaming = Some(Streaming { file: Arc::new(body.file), offset, left, is_reading: false });
    }

    /// What is to be read of the file that is being sent, when it is time for it; [`Replies::add_piece`] takes it.
    pub fn next_piece(&mut self) -> Option<Piece> {
        let has_room = self.buffer.len() <= UNSENT_BYTES_MAX;
        let streaming = self.streaming.as_mut().filter(|streaming| has_room && !streaming.is_reading)?;
        streaming.is_reading = true;
        let length = streaming.left.min(PIECE_BYTES as u64) as usize;
        Some(Piece { file: Arc::clone(&streaming.file), offset: streaming.offset, length })
    }

    /// Puts a piece that was read into the buffer, and what waited behind its file when it was the last one.
    pub fn add_piece(&mut self, piece: &Piece, text: std::io::Result<String>) {
        let Some(streaming) = &mut self.streaming else { return };
        let text = match text {
            Ok(text) => text,
            Err(error) => {
                self.streaming = None;
                self.broken = Some(error);
                return;
            }
        };
        self.buffer.bytes().extend_from_slice(text.as_bytes());
        streaming.is_reading = false;
        streaming.offset += piece.length as u64;
        streaming.left -= piece.length as u64;
        if streaming.left > 0 {
            return;
        }
        self.buffer.bytes().extend_from_slice(FILE_END);
        self.streaming = None;
        while self.streaming.is_none()
            && let Some((id, response)) = self.behind.pop_front()
        {
            self.release(&response);
            self.write_now(id.as_deref(), response);
        }
    }

    /// Whether a file is being sent.
    pub fn is_streaming(&self) -> bool {
        self.streaming.is_some()
    }

    /// Notes that a request will be answered later: where the answer goes, and the number of the pending call.
    pub fn expect(&mut self, id: Option<&str>) -> (Address, u64) {
        self.in_flight += 1;
        self.next_pending += 1;
        let address = match id {
            Some(id) => Address::Id(id.to_owned()),
            None => {
                self.ordered.push_back(None);
                Address::Order(self.first_ordered + self.ordered.len() as u64 - 1)
            }
        };
        (address, self.next_pending)
    }

    /// Takes the answer to such a request.
    pub fn deliver(&mut self, address: &Address, response: Response) {
        self.in_flight -= 1;
        match address {
            Address::Id(id) => self.write(Some(id), response),
            Address::Order(number) => {
                let index = (number - self.first_ordered) as usize;
                self.hold(&response);
                if let Some(slot) = self.ordered.get_mut(index) {
                    *slot = Some(response);
                }
                while let Some(Some(_)) = self.ordered.front() {
                    if let Some(Some(response)) = self.ordered.pop_front() {
                        self.release(&response);
                        self.write(None, response);
                    }
                    self.first_ordered += 1;
                }
            }
        }
    }

    fn hold(&mut self, response: &Response) {
        self.held_bytes += response.byte_count();
        self.held_files += usize::from(response.body.is_some());
    }

    fn release(&mut self, response: &Response) {
        self.held_bytes -= response.byte_count();
        self.held_files -= usize::from(response.body.is_some());
    }

    /// Whether no more requests should be read for the moment.
    pub fn is_busy(&self) -> bool {
        self.in_flight.max(self.ordered.len()).max(self.behind.len()) >= IN_FLIGHT_MAX
            || self.buffer.len() + self.held_bytes >= UNREAD_REPLY_BYTES_MAX
            || self.held_files >= WAITING_FILES_MAX
    }

    /// Whether the client leaves so much unread that it is given up.
    pub fn is_given_up(&self) -> bool {
        self.buffer.len() + self.held_bytes > UNREAD_REPLY_BYTES_LAST
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Body;

    fn with_file(bytes: &[u8], offset: u64, length: u64) -> Response {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(bytes, 0).unwrap();
        let body = Some(Box::new(Body { member: "data".to_owned(), file, offset, length }));
        Response { body, ..Response::ok(&br#"{"type":"FILE"}"#[..]) }
    }

    /// Plays the part of the socket and of the blocking threads; returns the frames' texts.
    fn drain(replies: &mut Replies) -> Vec<serde_json::Value> {
        let mut sent = Vec::new();
        loop {
            sent.append(replies.buffer.bytes());
            let Some(piece) = replies.next_piece() else { break };
            let text = piece.read();
            replies.add_piece(&piece, text);
            assert!(replies.buffer.len() <= PIECE_BYTES * 2);
        }
        let mut rest = &sent[..];
        let mut frames = Vec::new();
        while let Some((header, after)) = rest.split_first_chunk::<4>() {
            let (json, after) = after.split_at(u32::from_be_bytes(*header) as usize);
            frames.push(serde_json::from_slice(json).unwrap());
            rest = after;
        }
        frames
    }

    #[test]
    fn a_file_is_sent_in_pieces_and_later_answers_wait_behind_it() {
        let bytes: Vec<u8> = (0..1_000_001_u32).map(|number| number as u8).collect();
        let mut replies = Replies { takes_large: true, ..Replies::default() };
        replies.answer(Some("1"), with_file(&bytes, 1, 1_000_000));
        replies.answer(Some("2"), Response::ok(&b"{}"[..]));
        replies.answer(Some("3"), with_file(b"", 0, 0));
        let frames = drain(&mut replies);
        assert_eq!(frames[0]["id"], 1);
        assert_eq!(frames[0]["data"], STANDARD.encode(&bytes[1..]));
        assert_eq!(frames[1], serde_json::json!({"id": 2}));
        assert_eq!(frames[2], serde_json::json!({"id": 3, "type": "FILE", "data": ""}));
        assert_eq!((replies.held_bytes, replies.held_files), (0, 0));
    }

    #[test]
    fn a_file_that_is_shorter_than_promised_breaks_the_connection() {
        let mut replies = Replies { takes_large: true, ..Replies::default() };
        replies.answer(None, with_file(b"abc", 0, 4));
        let piece = replies.next_piece().unwrap();
        let text = piece.read();
        replies.add_piece(&piece, text);
        assert!(replies.broken.is_some() && !replies.is_streaming());
    }

    #[test]
    fn a_member_of_the_pool_gets_no_reply_over_a_frame() {
        let mut replies = Replies::default();
        replies.answer(Some("1"), with_file(b"", 0, ATTACHMENT_BYTES_MAX + 1));
        replies.answer(Some("2"), with_file(b"abc", 0, 3));
        let frames = drain(&mut replies);
        assert_eq!((&frames[0]["id"], &frames[0]["code"]), (&1.into(), &"reply_too_large".into()));
        assert_eq!(frames[1]["data"], "YWJj");
    }

    #[test]
    fn many_waiting_files_hold_up_further_requests() {
        let mut replies = Replies { takes_large: true, ..Replies::default() };
        for _ in 0..=WAITING_FILES_MAX {
            replies.answer(Some("1"), with_file(b"abc", 0, 3));
        }
        assert!(replies.is_busy());
        assert_eq!(drain(&mut replies).len(), WAITING_FILES_MAX + 1);
        assert!(!replies.is_busy());
    }
}
