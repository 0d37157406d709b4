//! The node's token: a secret in a file that only the node's user can read. Whoever shows it over loopback is taken for
//! that user, so that another account can be let in without opening the node to all.

use crate::data_dir::write_private;
use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use std::path::{Path, PathBuf};

const TOKEN_BYTES: usize = 32;

/// Where the token is. It is read each time, so that a new one counts at once.
pub struct AccessToken {
    path: PathBuf,
}

impl AccessToken {
    /// The token of a data directory; made on first start.
    pub fn load_or_create(data_dir: &Path) -> anyhow::Result<AccessToken> {
        let path = data_dir.join("access.token");
        if !path.exists() {
            AccessToken::renew(data_dir)?;
        }
        Ok(AccessToken { path })
    }

    /// Replaces the token of a data directory, and returns the new one.
    pub fn renew(data_dir: &Path) -> anyhow::Result<String> {
        let mut bytes = [0; TOKEN_BYTES];
        SystemRandom::new().fill(&mut bytes).ok().context("the system has no random numbers")?;
        let token = URL_SAFE_NO_PAD.encode(bytes);
        write_private(&data_dir.join("access.token"), format!("{token}\n").as_bytes())?;
        Ok(token)
    }

    /// The token of a data directory.
    pub fn read(data_dir: &Path) -> anyhow::Result<String> {
        let path = data_dir.join("access.token");
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(text.trim().to_owned())
    }

    /// Whether `shown` is the token.
    pub fn is(&self, shown: &str) -> bool {
        let Ok(token) = std::fs::read_to_string(&self.path) else { return false };
        let token = token.trim();
        // Hashes are compared, so that the time it takes tells nothing of the token.
        let hash = |text: &str| digest(&SHA256, text.as_bytes());
        !token.is_empty() && hash(token).as_ref() == hash(shown).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_counts_and_a_new_one_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let token = AccessToken::load_or_create(folder.path()).unwrap();
        let text = AccessToken::read(folder.path()).unwrap();
        assert!(token.is(&text));
        for wrong in ["", "x", &text[1..], &format!("{text}x")] {
            assert!(!token.is(wrong));
        }
        let renewed = AccessToken::renew(folder.path()).unwrap();
        assert!(!token.is(&text) && token.is(&renewed));
        std::fs::write(folder.path().join("access.token"), "\n").unwrap();
        assert!(!token.is(""));
    }
}
