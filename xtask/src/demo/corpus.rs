//! A few megabytes of real text that every machine with Python has: the sources of its standard library.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Where the collection stops.
const BYTES_MAX: usize = 12_000_000;
/// What is not the library itself.
const LEFT_OUT: &[&str] = &["site-packages", "dist-packages", "test", "tests", "idlelib", "__pycache__"];

pub(super) struct Corpus {
    pub(super) text: String,
    pub(super) file_count: usize,
}

/// The Python sources in a folder, in the order of their paths. What is not UTF-8 is replaced.
pub(super) fn read(folder: &Path) -> Result<Corpus> {
    let mut files = Vec::new();
    collect(folder, &mut files).with_context(|| format!("cannot read {}", folder.display()))?;
    files.sort();
    let mut corpus = Corpus { text: String::new(), file_count: 0 };
    for file in files {
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        if corpus.text.len() + bytes.len() > BYTES_MAX {
            break;
        }
        corpus.text.push_str(&String::from_utf8_lossy(&bytes));
        // The first word of a file is not the rest of the last word of another.
        corpus.text.push('\n');
        corpus.file_count += 1;
    }
    if corpus.file_count == 0 {
        bail!("there are no Python sources in {}", folder.display());
    }
    Ok(corpus)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Of the entry itself: a link could lead anywhere, or around in a circle.
        let kind = entry.file_type()?;
        let path = entry.path();
        if kind.is_dir() {
            if !LEFT_OUT.iter().any(|name| entry.file_name() == *name) {
                collect(&path, files)?;
            }
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "py") {
            files.push(path);
        }
    }
    Ok(())
}

/// Cuts a text at line ends into `count` parts of about the same size; fewer when it has not enough lines.
pub(super) fn parts(text: &str, count: usize) -> Vec<&str> {
    let mut parts = Vec::with_capacity(count);
    let mut start = 0;
    for number in 1..=count {
        // Where this part should end, and the end of the line there. A byte of a longer character is no line end.
        let goal = (text.len() * number / count).max(start);
        let rest = &text.as_bytes()[goal.saturating_sub(1).max(start)..];
        let end = match rest.iter().position(|byte| *byte == b'\n') {
            Some(position) if number < count => text.len() - rest.len() + position + 1,
            _ => text.len(),
        };
        if end > start {
            parts.push(&text[start..end]);
            start = end;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_up_the_text_and_end_where_lines_end() {
        let text: String = (0..1000).map(|number| format!("line {number} äöü\n")).collect();
        let parts = parts(&text, 64);
        assert_eq!(parts.concat(), text);
        assert_eq!(parts.len(), 64);
        assert!(parts.iter().all(|part| part.ends_with('\n')));
        let (smallest, largest) = (parts.iter().map(|p| p.len()).min(), parts.iter().map(|p| p.len()).max());
        assert!(largest.unwrap() < smallest.unwrap() + 40, "{smallest:?} {largest:?}");
    }

    #[test]
    fn a_text_with_few_lines_has_few_parts() {
        assert_eq!(parts("", 4), [""; 0]);
        assert_eq!(parts("äöü", 4), ["äöü"]);
        assert_eq!(parts("one\ntwo", 4), ["one\n", "two"]);
        assert_eq!(parts("\n\n", 4), ["\n", "\n"]);
        assert_eq!(parts("a\nb\nc\nd\n", 4), ["a\n", "b\n", "c\n", "d\n"]);
    }

    #[test]
    fn only_the_library_itself_is_read_in_the_order_of_paths() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("b.py", "b = 1"), ("a/z.py", "z"), ("test/x.py", "x"), ("a/n.txt", "n")] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fs::write(folder.path().join("c.py"), b"caf\xe9\n").unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("again")).unwrap();
        let corpus = read(folder.path()).unwrap();
        assert_eq!((corpus.text.as_str(), corpus.file_count), ("z\nb = 1\ncaf\u{fffd}\n\n", 3));
        assert!(read(&folder.path().join("test/none")).is_err());
    }
}
