//! The inbox of a connection, fed in arbitrary cuts: what it finds depends on the bytes alone.
//!
//! The first byte of an input chooses the kind of inbox, the second says how many of the bytes that follow are lengths
//! of cuts, used in turn; the rest arrives over the connection.

use potluck_host::net::frame::{self, FrameBudget, FrameError, Inbox};
use potluck_sdk::envelope::Envelope;
use potluck_sdk::message::FRAME_BYTES_MAX;
use std::sync::Arc;

pub(super) const OUTCOMES: &[&str] =
    &["nothing", "a part", "frames", "frames and a part", "refused", "frames, then refused"];

const CUTS_MAX: usize = 15;
/// After so many pieces all the rest arrives at once: lengths of 0 would go on for ever.
const PIECES_MAX: usize = 512;
const FIRST_FRAME_BYTES_MAX: usize = 64;
/// Small enough that an input can ask for more, and above what is not counted.
const BUDGET_BYTES: usize = 6000;

/// Decodes the same bytes whole and in pieces.
pub fn frame_decoder(data: &[u8]) -> &'static str {
    let [kind, cut_count, rest @ ..] = data else { return "nothing" };
    let (cuts, stream) = rest.split_at(usize::from(*cut_count).min(CUTS_MAX).min(rest.len()));
    let kind = Kind::from_byte(*kind);
    let whole = kind.decode([stream]);
    assert_eq!(kind.decode(Pieces { cuts, next: 0, stream }), whole, "the cuts make a difference");
    check(&whole, stream);
    match (whole.frames.is_empty(), &whole.refusal) {
        (true, None) => {
            if whole.is_partial {
                "a part"
            } else {
                "nothing"
            }
        }
        (false, None) => {
            if whole.is_partial {
                "frames and a part"
            } else {
                "frames"
            }
        }
        (true, Some(_)) => "refused",
        (false, Some(_)) => "frames, then refused",
    }
}

/// The stream in pieces; a length of 0 stands for a read that brings nothing.
struct Pieces<'a> {
    cuts: &'a [u8],
    next: usize,
    stream: &'a [u8],
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.stream.is_empty() {
            return None;
        }
        let length = match self.cuts.get(self.next % self.cuts.len().max(1)) {
            Some(&length) if self.next < PIECES_MAX => usize::from(length),
            _ => self.stream.len(),
        };
        self.next += 1;
        let (piece, rest) = self.stream.split_at(length.min(self.stream.len()));
        self.stream = rest;
        Some(piece)
    }
}

/// Whose inbox it is.
struct Kind {
    /// Whether it was somebody unknown until the first frame.
    first_words: bool,
    /// Whether the other side has connected to this one.
    listening: bool,
    /// Whether memory is given back after every piece.
    rests: bool,
}

#[derive(Debug, Default, PartialEq)]
struct Decoded {
    frames: Vec<(String, Vec<u8>)>,
    refusal: Option<String>,
    is_partial: bool,
}

impl Kind {
    fn from_byte(byte: u8) -> Kind {
        Kind { first_words: byte & 1 > 0, listening: byte & 2 > 0, rests: byte & 4 > 0 }
    }

    fn decode<'a>(&self, pieces: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
        let budget = FrameBudget::new(BUDGET_BYTES);
        let mut inbox = match (self.first_words, self.listening) {
            (true, _) => Inbox::first_words(FIRST_FRAME_BYTES_MAX),
            (false, true) => Inbox::listening(Arc::clone(&budget)),
            (false, false) => Inbox::connecting(),
        };
        let mut decoded = Decoded::default();
        'pieces: for piece in pieces {
            inbox.feed(piece);
            loop {
                match next(&mut inbox) {
                    Ok(Some(frame)) => decoded.frames.push(frame),
                    Ok(None) => break,
                    Err(error) => {
                        decoded.refusal = Some(error.to_string());
                        assert!(frame::last_words(&error).is_none_or(|(code, text)| code.len() + text.len() < 512));
                        break 'pieces;
                    }
                }
                if self.first_words && decoded.frames.len() == 1 {
                    let budget = Arc::clone(&budget);
                    inbox = if self.listening { inbox.accepted(budget) } else { inbox.unbounded(budget) };
                }
            }
            if self.rests {
                inbox.rest();
            }
        }
        // What comes behind a refusal is of no interest.
        decoded.is_partial = decoded.refusal.is_none() && inbox.is_partial();
        drop(inbox);
        // All that was taken from the budget has been given back.
        let mut other = Inbox::listening(budget);
        other.feed(&(BUDGET_BYTES as u32).to_be_bytes());
        assert!(matches!(other.next_frame(), Ok(None)), "a part of the budget is lost");
        decoded
    }
}

fn next(inbox: &mut Inbox) -> Result<Option<(String, Vec<u8>)>, FrameError> {
    let Some(place) = inbox.next_frame()? else { return Ok(None) };
    let (json, attachment) = inbox.frame(&place)?;
    Ok(Some((json.to_owned(), attachment.to_vec())))
}

/// The frames, put together again, are what has arrived.
fn check(decoded: &Decoded, stream: &[u8]) {
    let mut at = stream;
    for (json, attachment) in &decoded.frames {
        assert!((1..=FRAME_BYTES_MAX).contains(&json.len()));
        for part in [&(json.len() as u32).to_be_bytes()[..], json.as_bytes(), attachment] {
            at = at.strip_prefix(part).expect("a frame that was not sent");
        }
        write_again(json, attachment);
    }
    if decoded.refusal.is_none() {
        assert_eq!(decoded.is_partial, !at.is_empty());
    }
}

/// A message that is sent on arrives as it was.
fn write_again(json: &str, attachment: &[u8]) {
    let Ok(envelope) = Envelope::scan(json) else { return };
    let mut bytes = Vec::new();
    frame::write(&mut bytes, envelope.id, envelope.rewrite("").as_bytes(), attachment);
    let mut inbox = Inbox::connecting();
    inbox.feed(&bytes);
    let (json, arrived) = next(&mut inbox).unwrap().expect("a whole frame");
    assert_eq!(arrived, attachment);
    let again = Envelope::scan(&json).unwrap();
    assert_eq!((again.id, again.message_type), (envelope.id, envelope.message_type));
    assert!(!inbox.is_partial());
}
