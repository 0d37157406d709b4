//! Reads a message as it arrives: keeps all of it but its member `data`, and decodes that.

use super::decoder::Decoder;
use memchr::memchr2;
use potluck_sdk::envelope::Envelope;

/// What is kept of a message at most: all but the value of `data`.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// The message is larger than a frame, and not because of a `data` that may be.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge;

/// What has been read of a message.
#[derive(Default)]
pub struct Scanner {
    state: State,
    /// Objects and arrays that are open.
    depth: usize,
    /// Whether a string here would be the name of an outermost member.
    expects_name: bool,
    /// Where that name begins in `kept`.
    name_start: usize,
    kept: Vec<u8>,
    has_data: bool,
    malformed: Option<&'static str>,
    /// What becomes of `data`.
    pub decoder: Decoder,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    Between,
    Text {
        is_name: bool,
    },
    TextEscape {
        is_name: bool,
    },
    AfterName,
    BeforeData,
    Data,
    DataEscape,
    DataUnicode {
        digits: u8,
        number: u32,
    },
    AfterData,
}

impl Scanner {
    /// Reads on. `is_spooled` tells whether the `data` of messages of a type may be larger than a frame; it is asked when
    /// the type stands before `data`.
    pub fn push(&mut self, mut bytes: &[u8], is_spooled: &dyn Fn(&str) -> bool) -> Result<(), TooLarge> {
        while self.malformed.is_none() && !bytes.is_empty() {
            if self.state == State::Data {
                let plain = memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
                self.decoder.push(&bytes[..plain]);
                bytes = &bytes[plain..];
            }
            let Some((&byte, rest)) = bytes.split_first() else { break };
            self.step(byte, is_spooled)?;
            bytes = rest;
        }
        Ok(())
    }

    /// The message without `data`, once all of it has been read.
    pub fn finish(self) -> Result<String, String> {
        if let Some(reason) = self.malformed {
            return Err(format!("Invalid message format: {reason}"));
        }
        String::from_utf8(self.kept).map_err(|_| "Invalid message format: the frame is not UTF-8".to_owned())
    }

    fn step(&mut self, byte: u8, is_spooled: &dyn Fn(&str) -> bool) -> Result<(), TooLarge> {
        match self.state {
            State::Data if byte == b'"' => {
                self.decoder.finish();
                self.state = State::AfterData;
                return Ok(());
            }
            State::Data => {
                self.state = State::DataEscape;
                return Ok(());
            }
            State::DataEscape => {
                match byte {
                    b'u' => self.state = State::DataUnicode { digits: 0, number: 0 },
                    // Of the short escapes only this one stands for a character of Base64.
                    b'/' => self.plain_data(b'/'),
                    _ => self.plain_data(b'\\'),
                }
                return Ok(());
            }
            State::DataUnicode { digits, number } => {
                let Some(digit) = char::from(byte).to_digit(16) else {
                    self.malformed = Some("an escape in data is not four hexadecimal digits");
                    return Ok(());
                };
                let number = number << 4 | digit;
                match digits {
                    3 => self.plain_data(u8::try_from(number).unwrap_or(b'\\')),
                    _ => self.state = State::DataUnicode { digits: digits + 1, number },
                }
                return Ok(());
            }
            State::BeforeData if byte == b'"' => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.malformed = Some("data may stand in a message once");
                    return Ok(());
                }
                self.kept.truncate(self.name_start);
                if self.message_type().is_some_and(|message_type| !is_spooled(&message_type)) {
                    return Err(TooLarge);
                }
                self.state = State::Data;
                return Ok(());
            }
            State::AfterData if byte == b',' => {
                // The comma before `data`, or the brace, stands before the next member.
                self.state = State::Between;
                self.expects_name = true;
                return Ok(());
            }
            State::AfterData if byte == b'}' => {
                let end = self.kept.trim_ascii_end().len();
                self.kept.truncate(end);
                self.kept.pop_if(|last| *last == b',');
                self.state = State::Between;
            }
            State::AfterData if !byte.is_ascii_whitespace() => {
                self.malformed = Some("expected a comma or the end of the object behind data");
                return Ok(());
            }
            State::AfterName if byte == b':' => self.state = State::BeforeData,
            State::AfterName | State::BeforeData if !byte.is_ascii_whitespace() => self.state = State::Between,
            State::TextEscape { is_name } => {
                self.keep(byte)?;
                self.state = State::Text { is_name };
                return Ok(());
            }
            State::Start if byte == b'{' => {
                self.state = State::Between;
            }
            State::Start if !byte.is_ascii_whitespace() => {
                self.malformed = Some("expected an object");
                return Ok(());
            }
            _ => {}
        }
        match self.state {
            State::Text { is_name } if byte == b'"' => {
                let is_data = is_name && self.kept[self.name_start..] == *b"\"data";
                self.state = if is_data { State::AfterName } else { State::Between };
            }
            State::Text { is_name } if byte == b'\\' => self.state = State::TextEscape { is_name },
            State::Between => self.step_between(byte),
            _ => {}
        }
        self.keep(byte)
    }

    fn step_between(&mut self, byte: u8) {
        match byte {
            b'"' => {
                let is_name = std::mem::replace(&mut self.expects_name, false);
                self.name_start = self.kept.len();
                self.state = State::Text { is_name };
            }
            b'{' | b'[' => {
                self.depth += 1;
                self.expects_name = self.depth == 1;
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.expects_name = false;
            }
            b',' => self.expects_name = self.depth == 1,
            _ => {}
        }
    }

    fn plain_data(&mut self, byte: u8) {
        self.decoder.push(&[byte]);
        self.state = State::Data;
    }

    fn keep(&mut self, byte: u8) -> Result<(), TooLarge> {
        if self.kept.len() >= KEPT_BYTES_MAX {
            return Err(TooLarge);
        }
        self.kept.push(byte);
        Ok(())
    }

    /// The type, when it stands before `data`.
    fn message_type(&self) -> Option<String> {
        let outline = self.kept.trim_ascii_end();
        let outline = outline.strip_suffix(b",").unwrap_or(outline);
        let outline = format!("{}}}", std::str::from_utf8(outline).ok()?);
        let envelope = Envelope::scan(&outline).ok()?;
        (!envelope.message_type.is_empty()).then(|| envelope.message_type.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, piece_bytes: usize) -> Result<(Result<String, String>, Vec<u8>), TooLarge> {
        let mut scanner = Scanner::default();
        for piece in text.as_bytes().chunks(piece_bytes) {
            scanner.push(piece, &|message_type| message_type == "PUT")?;
        }
        if let Some(error) = scanner.decoder.error() {
            return Ok((Err(error.to_owned()), Vec::new()));
        }
        let decoded = std::mem::take(&mut scanner.decoder.decoded);
        Ok((scanner.finish(), decoded))
    }

    #[test]
    fn data_is_decoded_and_the_rest_kept_wherever_it_stands_and_however_it_is_cut() {
        for (text, kept, data) in [
            (r#"{"type":"PUT","data":"YWJj"}"#, r#"{"type":"PUT"}"#, "abc"),
            (r#" { "data" : "YWI=" , "type":"PUT"} "#, r#" {   "type":"PUT"} "#, "ab"),
            (r#"{"data":"YQ=="}"#, "{}", "a"),
            (r#"{"a":{"data":"x"},"data":"Pz8\/","b":["data"]}"#, r#"{"a":{"data":"x"},"b":["data"]}"#, "???"),
            (r#"{"data":"Pj4\u002bPj4\u002B","c":"\"data\":\""}"#, r#"{"c":"\"data\":\""}"#, ">>>>>>"),
            (r#"{"a":"data","data":""}"#, r#"{"a":"data"}"#, ""),
            (r#"{"data":null,"x":1}"#, r#"{"data":null,"x":1}"#, ""),
            (r#"{"x\\":"data","data":"YWJj"}"#, r#"{"x\\":"data"}"#, "abc"),
        ] {
            for piece_bytes in [1, 2, 3, 5, 1000] {
                let (rest, decoded) = read(text, piece_bytes).unwrap();
                assert_eq!(rest.unwrap(), kept, "{text}");
                assert_eq!(decoded, data.as_bytes(), "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_base64_is_refused_with_its_position() {
        for (text, expected) in [
            (r#"{"data":"YWJj*WJj"}"#, "character 4"),
            (r#"{"data":"YWJj YWJj"}"#, "character 4"),
            (r#"{"data":"YWJj\nYWJ"}"#, "character 4"),
            (r#"{"data":"YQ==YWJj"}"#, "character 2"),
            (r#"{"data":"YWJjYQ"}"#, "multiple of 4"),
            (r#"{"data":"YWJjYR=="}"#, "character 5"),
            (r#"{"data":"YWJj\u00e9YWJ"}"#, "character 4"),
        ] {
            for piece_bytes in [1, 3, 1000] {
                let (rest, _) = read(text, piece_bytes).unwrap();
                let error = rest.unwrap_err();
                assert!(error.contains(expected) || error.contains("behind the padding"), "{text}: {error}");
            }
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in [
            r#"["data":"YWJj"]"#,
            r#"{"data":"YWJj" "type":"PUT"}"#,
            r#"{"data":"YWJj","data":"YWJj"}"#,
            r#"{"data":"\u00zz"}"#,
        ] {
            assert!(read(text, 7).unwrap().0.is_err(), "{text}");
        }
        // These are left to whoever reads the rest.
        for text in [r#"{"a":1,"data":"YWJj",}"#, r#"{,"data":"YWJj","a":1}"#, r#"{"a""data":"YWJj"}"#] {
            assert!(Envelope::scan(&read(text, 7).unwrap().0.unwrap()).is_err(), "{text}");
        }
    }

    #[test]
    fn other_types_and_other_large_members_are_refused_early() {
        assert_eq!(read(r#"{"type":"OTHER","data":"YWJj"}"#, 7), Err(TooLarge));
        let large = format!(r#"{{"type":"PUT","value":"{}"}}"#, "x".repeat(KEPT_BYTES_MAX));
        assert_eq!(read(&large, 4096), Err(TooLarge));
    }
}
