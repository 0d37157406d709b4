//! Names of files that people, peers and programs choose: what is refused, and which two names are too much alike.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use unicode_normalization::{UnicodeNormalization, is_nfc};

/// Longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 1024;
/// Longest part of a name between slashes, in bytes: what file systems take.
const COMPONENT_BYTES_MAX: usize = 255;
/// How names begin that a node keeps for itself.
pub const OWN_PREFIX: &str = ".potluck-";

/// A name that is safe below a folder: relative, with slashes between its parts, and in any script.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(String);

/// Why a name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is nothing in it.
    #[error("the name is empty; give the file a name")]
    Empty,
    /// It, or a part of it, is too long.
    #[error("the name is too long; use at most 1024 bytes, and 255 between two slashes")]
    TooLong,
    /// It begins with a slash.
    #[error("the name begins with a slash; leave the slash out, names are relative")]
    Absolute,
    /// It has a part that leads elsewhere, or to nothing.
    #[error("the name has a part that is empty, `.` or `..`; leave that part out")]
    Component,
    /// It has a backslash.
    #[error("the name has a backslash; put / between folders")]
    Backslash,
    /// It has a character that nobody sees, or that changes how the rest is read.
    #[error("the name has a control or invisible character; remove it")]
    Invisible,
    /// It is written in another way than the usual one.
    #[error("the name is not in Unicode form NFC; normalise it")]
    NotNormalised,
    /// A character in it stands for a slash, a backslash or dots.
    #[error("the name has a character that stands for a slash, a backslash or dots; use another one")]
    Disguised,
    /// Windows keeps it for a device.
    #[error("the name has a part that Windows keeps for a device, such as CON or COM1; choose another one")]
    Reserved,
    /// A part ends in a way that some systems drop, or begins or ends in white space.
    #[error("a part of the name begins or ends with a space, or ends with a dot; remove that")]
    Edge,
    /// It is one of the node's own.
    #[error("the name begins with .potluck-, which nodes keep for themselves; choose another one")]
    Own,
}

impl FileName {
    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its parts: folders, and the file's own name at the end.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// The folder it is in, empty for none, and the last part.
    pub(super) fn split(&self) -> (&str, &str) {
        self.0.rsplit_once('/').unwrap_or(("", &self.0))
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl TryFrom<&str> for FileName {
    type Error = NameError;

    fn try_from(text: &str) -> Result<FileName, NameError> {
        check(text)?;
        Ok(FileName(text.to_owned()))
    }
}

impl FromStr for FileName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<FileName, NameError> {
        FileName::try_from(text)
    }
}

fn check(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > NAME_BYTES_MAX || text.split('/').any(|part| part.len() > COMPONENT_BYTES_MAX) {
        return Err(NameError::TooLong);
    }
    if text.starts_with('/') {
        return Err(NameError::Absolute);
    }
    if text.contains('\\') {
        return Err(NameError::Backslash);
    }
    if text.chars().any(is_invisible) {
        return Err(NameError::Invisible);
    }
    if text.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(NameError::Component);
    }
    if !is_nfc(text) {
        return Err(NameError::NotNormalised);
    }
    for part in text.split('/') {
        let compatible: String = part.nfkc().collect();
        if compatible.contains(['/', '\\']) || matches!(compatible.as_str(), "" | "." | "..") {
            return Err(NameError::Disguised);
        }
        if part.starts_with(char::is_whitespace) || part.ends_with(char::is_whitespace) || part.ends_with('.') {
            return Err(NameError::Edge);
        }
        if compatible.to_lowercase().starts_with(OWN_PREFIX) {
            return Err(NameError::Own);
        }
        if is_device(&compatible) {
            return Err(NameError::Reserved);
        }
    }
    Ok(())
}

fn is_device(part: &str) -> bool {
    let stem = part.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    if matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$") {
        return true;
    }
    let number = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT"));
    number.is_some_and(|number| number.len() == 1 && number.bytes().all(|digit| digit.is_ascii_digit()))
}

/// Control and format characters, line separators and fillers. The two joiners are not among them: Persian, Hindi and
/// emoji need them, and [`NameKey`] does not see them.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}'
            | '\u{8e2}' | '\u{115f}'..='\u{1160}' | '\u{180e}' | '\u{200b}' | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// What two names must not share: the folded name; and the look, when one of the two is more than ASCII. So `Report` and
/// `report` cannot both be there, nor a Latin and a Cyrillic `а`; `l1` and `ll` can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameKey {
    folded: String,
    look: String,
    is_ascii: bool,
}

impl NameKey {
    /// The key of a name.
    pub fn new(name: &FileName) -> NameKey {
        // Upper and then lower case of single characters is full case folding for all that names need: ß and SS, both sigmas.
        let seen = name.0.nfkc().filter(|character| !is_joiner(*character));
        let folded: String = seen.flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfkc().collect();
        let look = unicode_security::skeleton(&folded).collect();
        NameKey { folded, look, is_ascii: name.0.is_ascii() }
    }

    /// The same for all names that can conflict with each other, and for some that cannot.
    pub fn look(&self) -> &str {
        &self.look
    }
}

fn is_joiner(character: char) -> bool {
    matches!(character, '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}')
}

/// Finds in constant time whether a new name is too much like one that is there.
#[derive(Debug, Default)]
pub struct NameIndex {
    folded: HashMap<String, FileName>,
    looks: HashMap<String, Look>,
}

#[derive(Debug, Default)]
struct Look {
    ascii_count: usize,
    other_count: usize,
}

/// Two names are too much alike.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// They differ in upper and lower case, or in the way characters are written.
    #[error("there is a file {0} already, whose name differs in case or spelling only; use that name, or another one")]
    Spelling(FileName),
    /// They look the same.
    #[error("there is a file already whose name looks the same; choose another name")]
    Look,
}

impl NameIndex {
    /// Whether a name could be added. One that is there already is no conflict.
    ///
    /// # Errors
    /// When another name is too much like it.
    pub fn check(&self, name: &FileName, key: &NameKey) -> Result<(), Conflict> {
        match self.folded.get(&key.folded) {
            Some(there) if there == name => return Ok(()),
            Some(there) => return Err(Conflict::Spelling(there.clone())),
            None => {}
        }
        let conflict = self.looks.get(&key.look).is_some_and(|look| !key.is_ascii || look.other_count > 0);
        if conflict { Err(Conflict::Look) } else { Ok(()) }
    }

    /// Adds a name.
    ///
    /// # Errors
    /// As [`NameIndex::check`]; then it is not added.
    pub fn insert(&mut self, name: &FileName) -> Result<(), Conflict> {
        let key = NameKey::new(name);
        self.check(name, &key)?;
        if self.folded.insert(key.folded, name.clone()).is_none() {
            let look = self.looks.entry(key.look).or_default();
            *(if key.is_ascii { &mut look.ascii_count } else { &mut look.other_count }) += 1;
        }
        Ok(())
    }

    /// Removes a name; one that is not there, is not.
    pub fn remove(&mut self, name: &FileName) {
        let key = NameKey::new(name);
        if self.folded.get(&key.folded) != Some(name) {
            return;
        }
        self.folded.remove(&key.folded);
        if let Some(look) = self.looks.get_mut(&key.look) {
            let count = if key.is_ascii { &mut look.ascii_count } else { &mut look.other_count };
            *count = count.saturating_sub(1);
            if look.ascii_count + look.other_count == 0 {
                self.looks.remove(&key.look);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> FileName {
        text.parse().unwrap()
    }

    #[test]
    fn names_in_any_script_are_fine() {
        for text in
            ["报告.pdf", "تقرير", "रिपोर्ट", "보고서", "🎉👩‍🚀.png", "می‌خواهم", "a/b/c.txt", ".hidden", "a..b", "com10"]
        {
            assert_eq!(text.parse::<FileName>().map(|name| name.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let cases = [
            ("", NameError::Empty),
            ("/etc/passwd", NameError::Absolute),
            ("../a", NameError::Component),
            ("a//b", NameError::Component),
            ("a/./b", NameError::Component),
            ("a\\b", NameError::Backslash),
            ("a\0b", NameError::Invisible),
            ("a\u{202e}b", NameError::Invisible),
            ("e\u{301}", NameError::NotNormalised),
            ("a／b", NameError::Disguised),
            ("‥", NameError::Disguised),
            ("x/nul.txt", NameError::Reserved),
            ("COM1", NameError::Reserved),
            ("a.", NameError::Edge),
            (" a", NameError::Edge),
            (".potluck-temp/x", NameError::Own),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<FileName>(), Err(error), "{text:?}");
        }
        assert_eq!("x".repeat(256).parse::<FileName>(), Err(NameError::TooLong));
        assert_eq!("x/".repeat(600).parse::<FileName>(), Err(NameError::TooLong));
    }

    #[test]
    fn names_that_are_too_much_alike_conflict() {
        let mut index = NameIndex::default();
        index.insert(&name("Report")).unwrap();
        assert_eq!(index.insert(&name("report")), Err(Conflict::Spelling(name("Report"))));
        index.insert(&name("paypal")).unwrap();
        assert_eq!(index.insert(&name("pаypal")), Err(Conflict::Look));
        index.insert(&name("l1")).unwrap();
        index.insert(&name("ll")).unwrap();
        index.remove(&name("paypal"));
        index.insert(&name("pаypal")).unwrap();
        assert_eq!(index.insert(&name("paypal")), Err(Conflict::Look));
    }

    proptest! {
        #[test]
        fn an_accepted_name_stays_below_its_folder(text in "\\PC{0,40}|[./\\\\a ]{0,12}") {
            if let Ok(name) = text.parse::<FileName>() {
                prop_assert!(name.components().all(|part| !matches!(part, "" | "." | "..")));
                let _ = NameKey::new(&name);
            }
        }
    }
}
