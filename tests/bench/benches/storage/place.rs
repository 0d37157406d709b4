//! Where it takes place: a pool of built nodes, a folder with the files that are moved, and programs that are timed.

use crate::Setup;
use crate::machine::{children_seconds, processor_seconds};
use crate::node::temporary_folder;
use anyhow::{Context, Result, bail};
use potluck_tests::{Cluster, NodeBuilder, TestNode, potluck_command};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use tempfile::TempDir;

/// The one that is asked, and those that keep what it uploads.
const PEERS: usize = 4;
/// No limit of the nodes is what is measured.
const ROOM_BYTES: u64 = 1 << 50;
const NODE_SETTINGS: &str = "idle_seconds = 3600.0";

pub(super) struct Place {
    pool: Cluster,
    folder: TempDir,
}

/// What one run of a program costs.
#[derive(Clone, Copy, Default)]
pub(super) struct Cost {
    /// By the clock.
    pub(super) seconds: f64,
    /// Processor time of the program, with what it started.
    pub(super) client: f64,
    /// Processor time of the node that was asked.
    pub(super) owner: f64,
    /// Processor time of the other nodes, each.
    pub(super) holders: [f64; PEERS - 1],
    /// Processor time of the tracker.
    pub(super) tracker: f64,
}

impl Place {
    pub(super) fn prepare(setup: &Setup) -> Result<Place> {
        let has_owned_files = setup.dist.join("lib/plugins/libprovider_owned_files.so").is_file();
        let configure = |_, builder: NodeBuilder| {
            let disk = format!(
                "file_bytes_max = {ROOM_BYTES}\ncapacity_bytes = {ROOM_BYTES}\npeer_bytes_max = {ROOM_BYTES}\n"
            );
            let builder = builder.node(NODE_SETTINGS).cpu("workers = 1").plugin("disk", disk);
            if !has_owned_files {
                return builder;
            }
            let owned = format!(
                "file_bytes_max = {ROOM_BYTES}\ncapacity_bytes = {ROOM_BYTES}\nowner_bytes_max = {ROOM_BYTES}\n"
            );
            builder.plugin("owned-files", owned)
        };
        Ok(Place { pool: Cluster::start_with(PEERS, configure), folder: temporary_folder()? })
    }

    /// The node that is asked.
    pub(super) fn node(&self) -> &TestNode {
        &self.pool.peers[0]
    }

    /// The other nodes.
    pub(super) fn others(&self) -> &[TestNode] {
        &self.pool.peers[1..]
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A path in the folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Makes a file of bytes that nothing can compress.
    pub(super) fn file(&self, name: &str, bytes: u64) -> Result<PathBuf> {
        let path = self.path(name);
        let write = || -> std::io::Result<()> {
            let mut file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
            let mut left = bytes;
            let mut state = 0x2545_f491_4f6c_dd1d_u64 ^ bytes;
            while left > 0 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let word = state.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
                let count = left.min(word.len() as u64);
                file.write_all(&word[..count as usize])?;
                left -= count;
            }
            file.into_inner()?.sync_all()
        };
        write().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// `potluck` with the node as the one to ask.
    pub(super) fn potluck(&self) -> Command {
        potluck(self.node())
    }

    /// Runs a program to its end, and tells what that has cost everybody.
    pub(super) fn cost(&self, command: &mut Command) -> Result<Cost> {
        let before = self.processors();
        let children = children_seconds();
        let begun = Instant::now();
        run(command)?;
        let seconds = begun.elapsed().as_secs_f64();
        let client = children_seconds() - children;
        let after = self.processors();
        let spent = |index: usize| after[index] - before[index];
        Ok(Cost {
            seconds,
            client,
            tracker: spent(0),
            owner: spent(1),
            holders: std::array::from_fn(|index| spent(2 + index)),
        })
    }

    /// Processor time so far: of the tracker, the node that is asked, and the others.
    fn processors(&self) -> Vec<f64> {
        let nodes = std::iter::once(&self.pool.tracker).chain(&self.pool.peers);
        nodes.map(|node| processor_seconds(node.pid())).collect()
    }
}

/// `potluck` with this node as the one to ask.
pub(super) fn potluck(node: &TestNode) -> Command {
    let mut command = potluck_command();
    command.args(["--host", "127.0.0.1", "--port", &node.port().to_string()]);
    command
}

/// Runs a program to its end; anything but exit code 0 is an error, with what it said last.
pub(super) fn run(command: &mut Command) -> Result<()> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = command.output().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let name = Path::new(command.get_program()).file_name().unwrap_or_default().display().to_string();
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
        bail!("{name}: {}: {last}", output.status);
    }
    Ok(())
}

/// Runs a program to its end, and tells how long that took, in seconds.
pub(super) fn timed(command: &mut Command) -> Result<f64> {
    let begun = Instant::now();
    run(command)?;
    Ok(begun.elapsed().as_secs_f64())
}
