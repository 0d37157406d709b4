//! What a guest is made from. As long as that is the same, it need not be made again.

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;

/// A hash of sources, flags and tools.
pub(super) struct Recipe(Sha256);

impl Recipe {
    pub(super) fn new() -> Recipe {
        Recipe(Sha256::new())
    }

    /// Adds what is not in a file, such as flags.
    pub(super) fn text(mut self, text: &str) -> Recipe {
        self.add(text.as_bytes());
        self
    }

    /// Adds the content of a file.
    pub(super) fn file(mut self, path: &Path) -> Result<Recipe> {
        self.add(&fs::read(path).with_context(|| format!("cannot read {}", path.display()))?);
        Ok(self)
    }

    /// Adds a folder: the names and contents of all that is in it, but not what building in it leaves behind.
    pub(super) fn folder(mut self, folder: &Path) -> Result<Recipe> {
        let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
        paths.sort();
        for path in paths {
            let name = path.file_name().unwrap_or_default();
            if !path.is_dir() {
                self.add(name.as_encoded_bytes());
                self = self.file(&path)?;
            } else if name != "target" {
                self.add(name.as_encoded_bytes());
                self = self.folder(&path)?;
            }
        }
        Ok(self)
    }

    /// With the length in front: two pieces are not the same as one made of both.
    fn add(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn hash(&self) -> String {
        self.0.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn is_noted_in(&self, path: &Path) -> bool {
        fs::read_to_string(path).is_ok_and(|noted| noted.trim_end() == self.hash())
    }

    pub(super) fn note_in(&self, path: &Path) -> Result<()> {
        fs::write(path, format!("{}\n", self.hash())).with_context(|| format!("cannot write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_changes_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        fs::create_dir_all(source.join("src")).unwrap();
        fs::create_dir_all(source.join("target")).unwrap();
        fs::write(source.join("src/lib.rs"), "one").unwrap();
        let hash = || Recipe::new().folder(&source).unwrap().hash();
        let first = hash();
        fs::write(source.join("target/lib.wasm"), "built").unwrap();
        assert_eq!(hash(), first);
        fs::write(source.join("src/lib.rs"), "two").unwrap();
        let second = hash();
        fs::rename(source.join("src/lib.rs"), source.join("src/main.rs")).unwrap();
        let third = hash();
        assert!(first != second && second != third && first != third);
        assert_ne!(Recipe::new().text("ab").text("c").hash(), Recipe::new().text("a").text("bc").hash());
    }

    #[test]
    fn a_note_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("recipe.txt");
        let recipe = Recipe::new().text("one");
        assert!(!recipe.is_noted_in(&note));
        recipe.note_in(&note).unwrap();
        assert!(recipe.is_noted_in(&note) && !Recipe::new().text("two").is_noted_in(&note));
    }
}
