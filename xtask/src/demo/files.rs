//! Files: one that every peer can read, and one that others keep without being able to read it.

use super::pool::Pool;
use super::{grouped, progress};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// The peer whose files these are, and one that has nothing to do with them.
const FIRST: usize = 0;
const LAST: usize = 2;
const SHARED: &str = "notes/shared.txt";
const OWNED: &str = "thesis.txt";
const REPLICAS: usize = 2;
const OWNED_BYTES: usize = 3_000_000;

/// One peer stores a file, another learns from the tracker who has it and fetches it.
pub(super) fn shared(pool: &mut Pool) -> Result<()> {
    println!("\nA file that all peers can read");
    let (source, copy) = (pool.folder().join("shared.txt"), pool.folder().join("copy.txt"));
    let text = "Every member of the pool can read this line.\n".repeat(1000);
    write(&source, text.as_bytes())?;
    pool.say_at(FIRST, &["put-file", path(&source)?, SHARED])?;
    progress("stored", &format!("{SHARED} on peer-{}, {} bytes", FIRST + 1, grouped(text.len() as u64)));

    pool.say_at(LAST, &["fetch", SHARED, "--save", path(&copy)?])?;
    expect_equal(&source, &copy)?;
    progress("fetched", &format!("by peer-{}; it is the same, bit for bit", LAST + 1));
    for peer in [FIRST, LAST] {
        pool.say_at(peer, &["del-file", SHARED])?;
    }
    pool.check()
}

/// One peer has two others keep a file, reads it back, and deletes it.
pub(super) fn owned(pool: &mut Pool) -> Result<()> {
    println!("\nA file that others keep and nobody else can read");
    let (source, copy) = (pool.folder().join(OWNED), pool.folder().join("back.txt"));
    let line = "Nobody but its owner reads this line.\n";
    let text = line.repeat(OWNED_BYTES.div_ceil(line.len()));
    write(&source, text.as_bytes())?;
    let uploaded = pool.say_at(FIRST, &["--json", "upload", path(&source)?, "--replicas", &REPLICAS.to_string()])?;
    let holders = holders_in(&uploaded).context("cannot read what upload says")?;
    if holders.len() != REPLICAS {
        bail!("{REPLICAS} replicas were wanted, and {holders:?} keep one");
    }
    progress(
        "stored",
        &format!("{OWNED}, {} bytes, encrypted, on {}", grouped(text.len() as u64), holders.join(" and ")),
    );

    let status = pool.say_at(FIRST, &["files", "status"])?;
    for line in String::from_utf8_lossy(&status).lines() {
        println!("    {}", line.trim_end());
    }
    pool.say_at(FIRST, &["download", OWNED, "--save", path(&copy)?])?;
    expect_equal(&source, &copy)?;
    progress("read", "it is the same, bit for bit");
    pool.say_at(FIRST, &["delete-owned", OWNED])?;
    progress("deleted", "by everybody who kept it");
    pool.check()
}

/// The addresses of those who keep a replica, in the answer to an upload.
fn holders_in(json: &[u8]) -> Result<Vec<String>> {
    let answer: Value = serde_json::from_slice(json)?;
    let peers = answer["storage_peers"].as_array().context("no `storage_peers` in it")?;
    let address = |peer: &Value| Some(format!("{}:{}", peer["ip"].as_str()?, peer["port"].as_u64()?));
    peers.iter().map(|peer| address(peer).with_context(|| format!("a peer without an address: {peer}"))).collect()
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is no UTF-8", path.display()))
}

fn expect_equal(source: &Path, copy: &Path) -> Result<()> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    if read(source)? != read(copy)? {
        bail!("{} is not what {} is", copy.display(), source.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_keep_a_file_are_read() {
        let json = br#"{"status":"OK","storage_peers":[{"ip":"127.0.0.1","port":9001},{"ip":"::1","port":1}]}"#;
        assert_eq!(holders_in(json).unwrap(), ["127.0.0.1:9001", "::1:1"]);
        assert!(holders_in(b"{}").is_err());
        assert!(holders_in(br#"{"storage_peers":[{"ip":"127.0.0.1"}]}"#).is_err());
    }

    #[test]
    fn a_copy_that_differs_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
        write(&one, b"a").unwrap();
        write(&other, b"a").unwrap();
        expect_equal(&one, &other).unwrap();
        write(&other, b"b").unwrap();
        assert!(expect_equal(&one, &other).is_err());
    }
}
