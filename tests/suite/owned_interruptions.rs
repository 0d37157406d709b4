//! One upload that is interrupted by everybody: its client, the owner's node, a holder, the network. `POTLUCK_UPLOAD_MIB` is
//! the size of the file; the full figure is 5120.

use potluck_tests::*;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

const OWNER: usize = 1;
const FIRST: usize = 2;
const SECOND: usize = 3;
/// Peak memory of a node, whatever the size of the file.
const NODE_MEMORY_KIB_MAX: u64 = 100 << 10;
/// What may be on its way when something breaks off, and is sent again: the most that one message carries.
const CHUNK_BYTES: u64 = 8 << 20;

fn mebibytes() -> u64 {
    std::env::var("POTLUCK_UPLOAD_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(96)
}

/// Bytes on the disk of all files below a folder.
fn stored_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => stored_bytes(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    });
    bytes.sum()
}

/// A file that does not compress, of so many MiB.
fn big_file(path: &Path, mebibytes: u64) {
    let mut source = File::open("/dev/urandom").unwrap();
    let mut piece = vec![0; 1 << 20];
    source.read_exact(&mut piece).unwrap();
    let mut file = File::create(path).unwrap();
    for number in 0..mebibytes {
        piece[..8].copy_from_slice(&number.to_le_bytes());
        file.write_all(&piece).unwrap();
    }
}

fn are_same(left: &Path, right: &Path) -> bool {
    std::process::Command::new("cmp").arg("-s").arg(left).arg(right).status().unwrap().success()
}

struct Pool {
    network: Network,
    nodes: Vec<TestNode>,
    /// Highest memory of each node, over its restarts.
    peaks_kib: Vec<u64>,
}

impl Pool {
    fn start() -> Option<Pool> {
        if !Host::can_be_entered() {
            println!("skipped: only root can run a part of a test on a host of its own");
            return None;
        }
        let network = Network::new(4).map_err(|reason| println!("skipped: {reason}")).ok()?;
        let by_default = |builder: NodeBuilder| builder.node("# host = what it is by default\nheartbeat_seconds = 0.5");
        let tracker = network.host(0).inside(|| by_default(TestNode::tracker()).plugin("tracker", "").start());
        let token = network.host(0).inside(|| create_pool(&tracker));
        let mut nodes = vec![tracker];
        for number in OWNER..=SECOND {
            let host = network.host(number);
            let node = host.inside(|| by_default(TestNode::peer()).plugin("owned-files", "").start());
            host.inside(|| join_as(&node, &token, &format!("peer-{number}")));
            nodes.push(node);
        }
        let peaks_kib = vec![0; nodes.len()];
        let pool = Pool { network, nodes, peaks_kib };
        for number in OWNER..=SECOND {
            pool.wait_until_connected(number);
        }
        Some(pool)
    }

    fn wait_until_connected(&self, number: usize) {
        // It closes its connections when it begins to listen on the network.
        wait_for("a node to know the others", || {
            let ask = || self.nodes[number].cli(["send", "LIST_PEERS"]);
            let output = self.network.host(number).inside(ask);
            output.status == 0 && {
                let list = output.json();
                list["tracker_connected"] == true && list["peers"].as_array().is_some_and(|peers| peers.len() >= 3)
            }
        });
    }

    fn upload(&self, path: &Path) -> Child {
        let mut command = potluck_command();
        let port = self.nodes[OWNER].port().to_string();
        command.args(["--port", &port, "upload", path.to_str().unwrap()]);
        for number in [FIRST, SECOND] {
            command.args(["--to", self.nodes[number].peer_id()]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        self.network.host(OWNER).inside(|| command.spawn().unwrap())
    }

    fn restart(&mut self, number: usize) {
        self.note_peak(number);
        self.nodes[number].kill9();
        let node = &mut self.nodes[number];
        self.network.host(number).inside(|| node.restart());
    }

    fn note_peak(&mut self, number: usize) {
        let line = status_line(self.nodes[number].pid(), "VmHWM");
        let kib = line.split_whitespace().find_map(|word| word.parse().ok()).unwrap_or(0);
        self.peaks_kib[number] = self.peaks_kib[number].max(kib);
    }

    fn outgoing(&self) -> PathBuf {
        self.nodes[OWNER].data_dir().join("owned_outgoing")
    }

    fn kept(&self, number: usize) -> PathBuf {
        self.nodes[number].data_dir().join("owned_storage")
    }

    /// Bytes that have come to a host.
    fn received_bytes(&self, number: usize) -> u64 {
        let mut command = self.network.host(number).command("cat");
        let output = command.arg("/proc/net/dev").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        let others = lines.filter(|(name, _)| name.trim() != "lo");
        others.map(|(_, rest)| rest.split_whitespace().next().unwrap().parse::<u64>().unwrap()).sum()
    }
}

#[test]
fn an_upload_that_everybody_interrupts_goes_on_where_it_was() {
    let Some(mut pool) = Pool::start() else { return };
    let folder = tempfile::tempdir_in(pool.nodes[OWNER].folder()).unwrap();
    let (path, bytes) = (folder.path().join("big"), mebibytes() << 20);
    big_file(&path, mebibytes());

    let mut client = pool.upload(&path);
    wait_for("a quarter to be encrypted", || stored_bytes(&pool.outgoing()) > bytes / 4);
    client.kill().unwrap();
    client.wait().unwrap();

    let mut client = pool.upload(&path);
    wait_for("half of it to be encrypted", || stored_bytes(&pool.outgoing()) > bytes / 2);
    pool.restart(OWNER);
    pool.wait_until_connected(OWNER);

    wait_for("a quarter to be with the first holder", || stored_bytes(&pool.kept(FIRST)) > bytes / 4);
    pool.restart(FIRST);
    pool.network.cut(SECOND);
    wait_for("all to be with the first holder", || stored_bytes(&pool.kept(FIRST)) > bytes);
    pool.network.mend(SECOND);
    client.kill().unwrap();
    client.wait().unwrap();

    let output = pool.upload(&path).wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for number in [FIRST, SECOND] {
        let received = pool.received_bytes(number);
        // What the network adds is less than a hundredth. Two of the interruptions concern each holder.
        let most = bytes + bytes / 100 + 2 * CHUNK_BYTES;
        println!("holder {number}: {received} bytes came, of a file of {bytes}");
        assert!(received < most, "{received} bytes came to holder {number} of a file of {bytes}");
    }
    let target = folder.path().join("again");
    let saved = target.to_str().unwrap();
    let host = pool.network.host(OWNER);
    host.inside(|| pool.nodes[OWNER].cli(["download", "big", "--save", saved])).success();
    assert!(are_same(&path, &target));
    for number in 0..pool.nodes.len() {
        pool.note_peak(number);
        let peak = pool.peaks_kib[number];
        println!("node {number}: {} MiB at most", peak >> 10);
        assert!(peak < NODE_MEMORY_KIB_MAX, "node {number} took {peak} KiB");
    }
}
