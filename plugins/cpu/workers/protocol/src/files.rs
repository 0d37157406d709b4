//! Files that a task hands back: what they may be called, and how many there may be.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Files that a task may hand back, at most.
pub const FILES_MAX: usize = 64;
/// Bytes of those files, together: what fits behind one message of the wire.
pub const FILES_BYTES_MAX: usize = 8 << 20;
/// Longest name of a file, in bytes.
pub const FILE_NAME_BYTES_MAX: usize = 1024;

/// A file that a task hands back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileEntry<'a> {
    /// Its name; whoever reads it asks [`is_file_name`].
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// Its length.
    pub bytes: usize,
}

/// Whether a text can name a file that a task hands back: with `/` between folders, never absolute, with no step that
/// leads out of the folder that it is saved in, and printable.
pub fn is_file_name(text: &str) -> bool {
    text.len() <= FILE_NAME_BYTES_MAX
        && !text.contains(char::is_control)
        && text.split('/').all(|part| !["", ".", ".."].contains(&part))
}

/// Whether so many files with so many bytes together may come back; nothing may be more than can be counted.
pub fn may_come_back(mut lengths: impl ExactSizeIterator<Item = usize>) -> bool {
    lengths.len() <= FILES_MAX
        && lengths.try_fold(0_usize, |sum, bytes| sum.checked_add(bytes)).is_some_and(|sum| sum <= FILES_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_the_folder() {
        for name in ["a", "a.csv", "plots/b.png", "...", "..a/b", "é", &"x".repeat(FILE_NAME_BYTES_MAX)] {
            assert!(is_file_name(name), "{name}");
        }
        let long = "x".repeat(FILE_NAME_BYTES_MAX + 1);
        for name in ["", "/", "/etc/passwd", "..", "../a", "a/../b", "a//b", "a/", "./a", "a\nb", "a\0", &long] {
            assert!(!is_file_name(name), "{name:?}");
        }
    }

    #[test]
    fn files_are_few_and_small() {
        assert!(may_come_back([0; FILES_MAX].into_iter()) && may_come_back([FILES_BYTES_MAX].into_iter()));
        assert!(!may_come_back([0; FILES_MAX + 1].into_iter()));
        assert!(!may_come_back([FILES_BYTES_MAX, 1].into_iter()));
        assert!(!may_come_back([usize::MAX, 1].into_iter()));
    }
}
