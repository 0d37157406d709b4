//! What is read from a worker's socket. A task may have got hold of it, so nothing is believed that no worker would
//! say, and nothing is kept that is more than a worker may say.

use super::{Failed, Files, Outcome};
use crate::texts;
use mio::net::UnixStream;
use potluck_sdk::message::RawValue;
use potluck_sdk::message::cpu::outcome;
use potluck_worker_protocol::{
    CALL_BYTES_MAX, Call, FrameReader, RESULT_BYTES_MAX, Ready, Report, is_file_name, may_come_back,
};
use std::sync::Arc;

/// What is read from a worker at a time: a report for each order that can be on its way, and not too much.
const SAID_MAX: usize = 64;
const SAID_BYTES_MAX: usize = 32 << 20;
/// How the frame of a call begins. A report has a slot too, so what is inside would not tell them apart.
const CALL_BEGINS: &[u8] = b"{\"call\":";

/// The receiving end of a worker's socket; only this thread reads.
pub(super) struct Channel {
    socket: Arc<UnixStream>,
    reader: FrameReader,
    ready: bool,
    /// A report whose files are in the next frame.
    unfinished: Option<Done>,
}

/// What a worker has said.
pub(super) enum Said {
    Ready(Ready),
    Skipped {
        slot: usize,
    },
    /// The task sends a message.
    Call {
        slot: usize,
        number: u64,
        message: Box<RawValue>,
    },
    Done(Box<Done>),
}

/// A report of an order that was run.
pub(super) struct Done {
    pub(super) slot: usize,
    pub(super) outcome: Outcome,
    /// Its task left something behind that runs on.
    pub(super) retire: bool,
}

impl Done {
    /// Without its files, and failed, when one has a name that nobody could save it by.
    fn with_sound_names(mut self) -> Done {
        if self.outcome.files.list.iter().any(|(name, _)| !is_file_name(name)) {
            self.outcome.files = Files::default();
            self.outcome.verdict = Err(Failed::new(
                outcome::RESULT_UNUSABLE,
                "the task made a file with a name that cannot be sent; names are printable, and of at most 1024 bytes",
            ));
        }
        self
    }
}

/// What is left in a worker's socket.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Drained {
    /// Nothing for now.
    Empty,
    /// Perhaps more: what was read has to be acted on first.
    Partly,
    /// Nothing, and nothing follows.
    Ended,
    /// Something that no worker would say: a task has got hold of the socket.
    Nonsense,
}

impl Channel {
    pub(super) fn new(socket: Arc<UnixStream>) -> Channel {
        Channel { socket, reader: FrameReader::default(), ready: false, unfinished: None }
    }

    /// Reads until the socket is empty, or there is enough to act on: a task may have got hold of the socket and write to
    /// it as fast as it can.
    pub(super) fn drain(&mut self, said: &mut Vec<Said>) -> Drained {
        let mut bytes = 0;
        let mut ended = false;
        loop {
            loop {
                if said.len() >= SAID_MAX || bytes >= SAID_BYTES_MAX {
                    return Drained::Partly;
                }
                match self.reader.next_frame() {
                    Ok(Some(frame)) => {
                        bytes += frame.len();
                        match read(frame, self.ready, self.unfinished.take()) {
                            Some(message) => {
                                self.ready = true;
                                match message {
                                    Said::Done(done) if done.outcome.files.lack_bytes() => {
                                        self.unfinished = Some(*done)
                                    }
                                    message => said.push(message),
                                }
                            }
                            None => return Drained::Nonsense,
                        }
                    }
                    Ok(None) => break,
                    Err(_) => return Drained::Nonsense,
                }
            }
            if ended {
                return Drained::Ended;
            }
            match self.reader.fill(&*self.socket) {
                Ok(count) => ended = count == 0,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Drained::Empty,
                Err(_) => ended = true,
            }
        }
    }
}

/// What a frame says; nothing when it says what no worker does.
fn read(frame: &[u8], ready: bool, unfinished: Option<Done>) -> Option<Said> {
    if let Some(mut done) = unfinished {
        let announced: usize = done.outcome.files.list.iter().map(|(_, bytes)| bytes).sum();
        if frame.len() != announced {
            return None;
        }
        done.outcome.files.bytes = frame.to_vec();
        return Some(Said::Done(Box::new(done.with_sound_names())));
    }
    if !ready {
        return serde_json::from_slice::<Ready>(frame).ok().map(Said::Ready);
    }
    if frame.starts_with(CALL_BEGINS) {
        let Call { call, slot, message } = serde_json::from_slice(frame).ok()?;
        let is_short = message.get().len() <= CALL_BYTES_MAX;
        return is_short.then(|| Said::Call { slot, number: call, message: message.to_owned() });
    }
    let report: Report = serde_json::from_slice(frame).ok()?;
    let slot = report.slot;
    if report.skipped || report.stopped {
        return Some(Said::Skipped { slot });
    }
    if !may_come_back(report.files.iter().map(|file| file.bytes)) {
        return None;
    }
    let list = report.files.into_iter().map(|file| (file.name.into_owned(), file.bytes)).collect();
    let verdict = match (report.result, report.failure) {
        (_, Some(failure)) => Err(texts::failed(failure.code, failure.error, failure.error_type, failure.traceback)),
        (Some(result), None) if result.get().len() > RESULT_BYTES_MAX => {
            Err(Failed::new(outcome::RESULT_UNUSABLE, "the result is larger than any that can be sent"))
        }
        (Some(result), None) => Ok(result.to_owned()),
        // JSON null arrives as nothing.
        (None, None) => Ok(RawValue::NULL.to_owned()),
    };
    let outcome = Outcome {
        seconds: if report.seconds.is_finite() { report.seconds.max(0.0) } else { 0.0 },
        stdout: texts::printed(report.stdout),
        stderr: texts::printed(report.stderr),
        deterministic: report.deterministic,
        files: Files { list, bytes: Vec::new() },
        ..Outcome::begun(verdict)
    };
    let done = Done { slot, outcome, retire: report.retire };
    // The names of files that are still to come are looked at with them.
    Some(Said::Done(Box::new(if done.outcome.files.lack_bytes() { done } else { done.with_sound_names() })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(json: &str) -> Option<Done> {
        match read(json.as_bytes(), true, None)? {
            Said::Done(done) => Some(*done),
            Said::Ready(_) | Said::Skipped { .. } | Said::Call { .. } => None,
        }
    }

    #[test]
    fn what_no_worker_would_say_is_not_understood() {
        for json in [
            "",
            "[]",
            r#"{"result":1}"#,
            r#"{"slot":-1}"#,
            r#"{"slot":0,"files":[{"name":"a","bytes":18446744073709551615},{"name":"b","bytes":1}]}"#,
            r#"{"slot":0,"files":[{"name":"a","bytes":99999999}]}"#,
        ] {
            assert!(done(json).is_none(), "{json}");
        }
        assert!(read(br#"{"slot":0,"result":1}"#, false, None).is_none());
        let many = vec![r#"{"name":"a","bytes":0}"#; 65].join(",");
        assert!(done(&format!(r#"{{"slot":0,"files":[{many}]}}"#)).is_none());
    }

    #[test]
    fn a_call_is_told_from_a_report() {
        let Some(Said::Call { slot: 2, number: 7, message }) =
            read(br#"{"call":7,"slot":2,"message":{"type":"PING"}}"#, true, None)
        else {
            panic!()
        };
        assert_eq!(message.get(), r#"{"type":"PING"}"#);
        for nonsense in [r#"{"call":-7,"slot":2,"message":{}}"#, r#"{"call":7,"slot":2}"#, r#"{"call":"#] {
            assert!(read(nonsense.as_bytes(), true, None).is_none());
        }
        let long = "x".repeat(CALL_BYTES_MAX);
        assert!(read(format!(r#"{{"call":7,"slot":2,"message":"{long}"}}"#).as_bytes(), true, None).is_none());
    }

    #[test]
    fn texts_are_cut_and_files_must_have_the_length_that_was_announced() {
        let long = "x".repeat(16 << 20);
        let read_long = done(&format!(r#"{{"slot":3,"result":1,"seconds":-4,"stdout":"{long}"}}"#)).unwrap();
        assert!(read_long.outcome.stdout.len() < 2 << 20 && read_long.outcome.verdict.is_ok());
        assert_eq!((read_long.slot, read_long.outcome.seconds), (3, 0.0));
        let result = done(&format!(r#"{{"slot":0,"result":"{long}"}}"#)).unwrap().outcome.verdict;
        assert_eq!(result.unwrap_err().code, outcome::RESULT_UNUSABLE);
        let with_files = || done(r#"{"slot":0,"result":1,"files":[{"name":"a","bytes":3}]}"#);
        assert!(with_files().unwrap().outcome.files.lack_bytes());
        assert!(read(b"abcd", true, with_files()).is_none());
        assert!(
            matches!(read(b"abc", true, with_files()), Some(Said::Done(done)) if done.outcome.files.bytes == b"abc")
        );
    }

    #[test]
    fn a_file_whose_name_leads_elsewhere_is_not_handed_on() {
        for name in ["../../evil", "/etc/passwd", r"a\u0000b", ""] {
            let report = |bytes: usize| {
                done(&format!(r#"{{"slot":0,"result":1,"files":[{{"name":"{name}","bytes":{bytes}}}]}}"#)).unwrap()
            };
            let Some(Said::Done(whole)) = read(b"abc", true, Some(report(3))) else { panic!("{name}") };
            for done in [*whole, report(0)] {
                assert_eq!(done.outcome.verdict.unwrap_err().code, outcome::RESULT_UNUSABLE, "{name}");
                assert!(done.outcome.files.list.is_empty() && done.outcome.files.bytes.is_empty());
            }
        }
    }
}
