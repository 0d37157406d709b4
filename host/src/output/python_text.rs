//! JSON text to what Python's `str()` shows for the same value.
//!
//! It works on the text, so that an integer of 300 digits comes out as it went in, and without recursion, since the
//! text may come from a stranger's task.

/// `str(value)`: a string as it is, any other value as Python writes it.
pub(crate) fn str_text(json: &str) -> String {
    let json = json.trim();
    if !json.starts_with('"') {
        return repr_text(json);
    }
    let mut out = String::with_capacity(json.len());
    for point in (CodePoints { rest: literal_end(json).0 }) {
        match point {
            Ok(character) => out.push(character),
            // UTF-8 has no form for half a surrogate pair.
            Err(surrogate) => out.push_str(&format!("\\u{surrogate:04x}")),
        }
    }
    out
}

/// `repr(value)`: strings are quoted.
pub(crate) fn repr_text(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + json.len() / 8);
    let mut rest = json;
    while let Some(first) = rest.bytes().next() {
        match first {
            b'"' => {
                let (literal, behind) = literal_end(rest);
                quote(&mut out, literal);
                rest = behind;
            }
            b' ' | b'\n' | b'\r' | b'\t' => rest = &rest[1..],
            b',' | b':' => {
                out.push(char::from(first));
                out.push(' ');
                rest = &rest[1..];
            }
            b'{' | b'}' | b'[' | b']' => {
                out.push(char::from(first));
                rest = &rest[1..];
            }
            _ => {
                let end = rest.find([',', ':', '}', ']', '{', '[', '"', ' ', '\n', '\r', '\t']).unwrap_or(rest.len());
                word(&mut out, &rest[..end]);
                rest = &rest[end..];
            }
        }
    }
    out
}

/// A number or one of the three names.
fn word(out: &mut String, text: &str) {
    match text {
        "true" => out.push_str("True"),
        "false" => out.push_str("False"),
        "null" => out.push_str("None"),
        // Python has no negative zero among its integers.
        "-0" => out.push('0'),
        _ if text.contains(['.', 'e', 'E']) => match text.parse() {
            Ok(number) => float(out, number),
            Err(_) => out.push_str(text),
        },
        _ => out.push_str(text),
    }
}

/// `repr()` of a float: the fewest digits that give it back, with an exponent below 1e-4 and from 1e16 on.
fn float(out: &mut String, number: f64) {
    if number.is_infinite() {
        out.push_str(if number > 0.0 { "inf" } else { "-inf" });
        return;
    }
    // Rust writes the same digits, as `-d.ddde-x`; only the form differs.
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    out.push_str(sign);
    if !(-4..16).contains(&exponent) {
        out.push_str(&format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()));
        return;
    }
    let digits = mantissa.replace('.', "");
    if exponent < 0 {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', usize::try_from(-exponent - 1).unwrap_or(0)));
        out.push_str(&digits);
        return;
    }
    let whole_length = usize::try_from(exponent).unwrap_or(0) + 1;
    if digits.len() > whole_length {
        out.push_str(&digits[..whole_length]);
        out.push('.');
        out.push_str(&digits[whole_length..]);
    } else {
        out.push_str(&digits);
        out.extend(std::iter::repeat_n('0', whole_length - digits.len()));
        out.push_str(".0");
    }
}

/// Splits a text that begins with a JSON string into what is between the quotes and what stands behind.
fn literal_end(json: &str) -> (&str, &str) {
    let bytes = json.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return (&json[1..at], &json[at + 1..]),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    // No closing quote: the text was cut.
    (json.get(1..).unwrap_or_default(), "")
}

/// Writes a string as Python's `repr` does: in single quotes, unless it holds one and no double quote.
fn quote(out: &mut String, literal: &str) {
    let (mut single, mut double) = (false, false);
    for point in (CodePoints { rest: literal }) {
        single |= point == Ok('\'');
        double |= point == Ok('"');
    }
    let quote = if single && !double { '"' } else { '\'' };
    out.push(quote);
    for point in (CodePoints { rest: literal }) {
        match point {
            Ok('\n') => out.push_str("\\n"),
            Ok('\r') => out.push_str("\\r"),
            Ok('\t') => out.push_str("\\t"),
            Ok('\\') => out.push_str("\\\\"),
            Ok(character) if character == quote => {
                out.push('\\');
                out.push(character);
            }
            Ok(character) if is_printable(character) => out.push(character),
            Ok(character) => {
                let number = u32::from(character);
                out.push_str(&match number {
                    0..0x100 => format!("\\x{number:02x}"),
                    0x100..0x1_0000 => format!("\\u{number:04x}"),
                    _ => format!("\\U{number:08x}"),
                });
            }
            Err(surrogate) => out.push_str(&format!("\\u{surrogate:04x}")),
        }
    }
    out.push(quote);
}

/// Python's `str.isprintable` for one character. Rust's `Debug` has the same table, but outside the first place of a
/// string it lets combining characters stand, as Python does.
fn is_printable(character: char) -> bool {
    if character.is_ascii() {
        return !character.is_ascii_control();
    }
    let mut buffer = [b'a'; 5];
    let length = character.encode_utf8(&mut buffer[1..]).len();
    let text = std::str::from_utf8(&buffer[..=length]).unwrap_or_default();
    text.escape_debug().nth(1) == Some(character)
}

/// The code points of what stands between the quotes of a JSON string; half a surrogate pair is an error.
struct CodePoints<'a> {
    rest: &'a str,
}

impl CodePoints<'_> {
    /// The four digits behind `\u`, which are stepped over.
    fn unit(&mut self) -> Option<u32> {
        let unit = u32::from_str_radix(self.rest.get(..4)?, 16).ok()?;
        self.rest = &self.rest[4..];
        Some(unit)
    }
}

impl Iterator for CodePoints<'_> {
    type Item = Result<char, u32>;

    fn next(&mut self) -> Option<Result<char, u32>> {
        let mut characters = self.rest.chars();
        let character = characters.next()?;
        self.rest = characters.as_str();
        if character != '\\' {
            return Some(Ok(character));
        }
        let escape = characters.next()?;
        self.rest = characters.as_str();
        Some(match escape {
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'b' => Ok('\u{8}'),
            'f' => Ok('\u{c}'),
            'u' => {
                let high = self.unit()?;
                if let Some(character) = char::from_u32(high) {
                    return Some(Ok(character));
                }
                let mut ahead = CodePoints { rest: self.rest.strip_prefix("\\u").unwrap_or_default() };
                match ahead.unit() {
                    Some(low @ 0xdc00..0xe000) if high < 0xdc00 => {
                        self.rest = ahead.rest;
                        char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00)).ok_or(high)
                    }
                    _ => Err(high),
                }
            }
            other => Ok(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The right column is what Python 3.11 prints for `str(json.loads(...))`.
    #[test]
    fn values_look_as_in_python() {
        for (json, python) in [
            ("25", "25"),
            ("-0", "0"),
            ("-0.0", "-0.0"),
            ("true", "True"),
            (" null ", "None"),
            ("\"text\"", "text"),
            (r#""a\nb\u00e9\ud83d\ude00\"""#, "a\nbé😀\""),
            ("[]", "[]"),
            ("{}", "{}"),
            (r#"[1,"a",null,true,false,[],{}]"#, "[1, 'a', None, True, False, [], {}]"),
            (r#"{"a":{"b":[1.5]},"c":"d"}"#, "{'a': {'b': [1.5]}, 'c': 'd'}"),
            ("[\n 1 ,\t2 ]", "[1, 2]"),
        ] {
            assert_eq!(str_text(json), python, "{json}");
        }
    }

    #[test]
    fn nested_strings_are_quoted_as_repr_does() {
        for (json, python) in [
            (r#"["it's"]"#, r#"["it's"]"#),
            (r#"["say \"hi\""]"#, r#"['say "hi"']"#),
            (r#"["it's \"hi\""]"#, r#"['it\'s "hi"']"#),
            (r#"["a\\b\n\r\t\b\u001b\u007f"]"#, r#"['a\\b\n\r\t\x08\x1b\x7f']"#),
            (r#"["\u00a0\u00ad\u200b\ue000\ud800 x"]"#, r#"['\xa0\xad\u200b\ue000\ud800 x']"#),
            (r#"["\udb40\udc01\u0301 é ß 漢"]"#, "['\\U000e0001\u{301} é ß 漢']"),
            (r#"["\/\u0041"]"#, "['/A']"),
        ] {
            assert_eq!(str_text(json), python, "{json}");
        }
    }

    #[test]
    fn floats_look_as_in_python() {
        for (json, python) in [
            ("1.0", "1.0"),
            ("0.1", "0.1"),
            ("1e5", "100000.0"),
            ("1E-4", "0.0001"),
            ("1e-5", "1e-05"),
            ("123456789012345.6", "123456789012345.6"),
            ("1e15", "1000000000000000.0"),
            ("1e16", "1e+16"),
            ("1.5e300", "1.5e+300"),
            ("-2.5e-7", "-2.5e-07"),
            ("0e0", "0.0"),
            ("1e400", "inf"),
            ("-1e400", "-inf"),
            ("3.141592653589793", "3.141592653589793"),
        ] {
            assert_eq!(str_text(json), python, "{json}");
        }
    }

    #[test]
    fn integers_of_any_size_keep_their_digits() {
        let big = format!("-{}", "1234567890".repeat(30));
        assert_eq!(str_text(&big), big);
        assert_eq!(str_text(&format!("[{big}]")), format!("[{big}]"));
    }

    #[test]
    fn no_text_panics_or_overflows() {
        for text in [
            "",
            "\"",
            "\"\\",
            "\"\\u",
            "\"\\u12",
            "\"\\ud800",
            "[\"a",
            "[\"\\",
            "{",
            "é",
            "\"\\ud800\\u00",
            "[\"é\\u0é\"]",
        ] {
            str_text(text);
        }
        str_text(&"[".repeat(1 << 20));
    }
}
