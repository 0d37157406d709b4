//! The nodes of the demo, each with a folder of its own that is removed at the end.

use super::progress;
use crate::dist::Dist;
use crate::interrupt::Interrupt;
use crate::node::Node;
use crate::process;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const HOST: &str = "127.0.0.1";
const TRACKER_PORT: u16 = 8888;
const PEER_PORTS: [u16; 3] = [9000, 9001, 9002];
/// How long the peers may take to find each other.
const COMPLETE_LIMIT: Duration = Duration::from_secs(30);
/// Pause between two questions to a node: each starts a process.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// A tracker and its peers. Dropping the pool ends them, peers first.
pub(super) struct Pool<'a> {
    peers: Vec<Node>,
    tracker: Node,
    workspace: &'a Workspace,
    potluck: PathBuf,
    interrupt: &'a Interrupt,
    // Declared last, so dropped last: the nodes write into it until they have ended.
    folder: TempDir,
}

impl<'a> Pool<'a> {
    pub(super) fn start(workspace: &'a Workspace, dist: &Dist, interrupt: &'a Interrupt) -> Result<Pool<'a>> {
        let parent = workspace.target.join("demo");
        fs::create_dir_all(&parent).with_context(|| format!("cannot create {}", parent.display()))?;
        let folder = tempfile::Builder::new().prefix("run-").tempdir_in(&parent).context("cannot create a folder")?;
        let potluck = dist.potluck();
        let start = |name: &str, port: u16, arguments: &[&str]| {
            let node = start_on(port, interrupt, |port| {
                let mut command = workspace.program(&potluck);
                // For this machine alone: in a pool, a node would listen on the network as well.
                command.args(arguments).args(["--host", HOST, "--port", &port.to_string()]);
                Node::start(name, command, folder.path(), interrupt)
            })?;
            progress(name, &format!("serves on {}", node.address()));
            anyhow::Ok(node)
        };
        let tracker = start("tracker", TRACKER_PORT, &["tracker"])?;
        let peers = (1..)
            .zip(PEER_PORTS)
            .map(|(number, port)| start(&format!("peer-{number}"), port, &["peer", "--no-tracker"]))
            .collect::<Result<Vec<_>>>()?;
        let pool = Pool { peers, tracker, workspace, potluck, interrupt, folder };
        pool.unite()?;
        Ok(pool)
    }

    /// Creates the pool at the tracker, and makes the peers join it, as people would.
    fn unite(&self) -> Result<()> {
        let created = self.say(&self.tracker, &["pool", "create", "--pool-name", "demo", "--reusable", "--json"])?;
        let created: Value =
            serde_json::from_slice(&created).context("cannot read what the tracker says of the pool")?;
        let token = created["token"].as_str().context("the tracker gave no token")?;
        progress("pool", &format!("{} was created by the tracker", created["pool_id"].as_str().unwrap_or_default()));
        for peer in &self.peers {
            self.say(peer, &["join", token, "--name", peer.name()])?;
        }
        progress("joined", "every peer, with the token; all that they say to each other from here on is encrypted");
        Ok(())
    }

    /// Runs `potluck` with a node as the one to ask, and returns what it prints.
    fn say(&self, node: &Node, arguments: &[&str]) -> Result<Vec<u8>> {
        let mut command = self.workspace.program(&self.potluck);
        command.args(["--host", HOST, "--port", &node.port().to_string()]).args(arguments);
        let output = command.stdin(Stdio::null()).output().context("cannot run potluck")?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!("`{}` failed: {}: {}", process::line(&command), output.status, text.trim());
        }
        Ok(output.stdout)
    }

    /// As [`Pool::say`], to a peer by its number, counted from 0.
    pub(super) fn say_at(&self, peer: usize, arguments: &[&str]) -> Result<Vec<u8>> {
        let node = self.peers.get(peer).with_context(|| format!("there are no {} peers", peer + 1))?;
        self.say(node, arguments)
    }

    /// Waits until the first peer has heard from the tracker of all of them.
    pub(super) fn wait_until_complete(&mut self) -> Result<()> {
        let deadline = Instant::now() + COMPLETE_LIMIT;
        loop {
            self.check()?;
            let known = self.ask_for_peers();
            match &known {
                Ok(ports) if self.peers.iter().all(|peer| ports.contains(&peer.port())) => break,
                _ if Instant::now() < deadline => thread::sleep(ASK_AGAIN),
                Ok(ports) => bail!("the peers did not find each other; {} knows ports {ports:?}", self.peers[0].name()),
                Err(_) => return known.map(drop).context("the peers did not find each other"),
            }
        }
        progress("pool", &format!("{} peers have found each other", self.peers.len()));
        Ok(())
    }

    fn ask_for_peers(&self) -> Result<Vec<u16>> {
        let output = self.say(&self.peers[0], &["peers", "--json"])?;
        ports_in(&output).context("cannot read the list of peers")
    }

    /// `potluck --port ...`, which talks to the first peer.
    pub(super) fn command(&self) -> Command {
        let mut command = self.workspace.program(&self.potluck);
        // The host as well: a variable of the user could name another one.
        command.args(["--host", HOST, "--port", &self.peers[0].port().to_string()]);
        command
    }

    /// An error when somebody asked to stop or a node has died.
    pub(super) fn check(&mut self) -> Result<()> {
        self.interrupt.check()?;
        self.nodes().try_for_each(Node::check_alive)
    }

    /// Returns when somebody asks to stop. A node that dies is reported and the others go on: how a pool takes that is
    /// worth trying out.
    pub(super) fn watch(&mut self) -> Result<()> {
        while !self.interrupt.requested() {
            for report in self.nodes().filter_map(Node::newly_lost) {
                eprintln!("\n{report}");
            }
            if self.nodes().all(|node| node.is_lost()) {
                bail!("no node is left");
            }
            thread::sleep(ASK_AGAIN);
        }
        Ok(())
    }

    /// Stops the peers, then the tracker, from which they take their leave. Every node is stopped, whatever happens to
    /// another; the first failure is returned.
    pub(super) fn stop(mut self) -> Result<()> {
        self.peers.iter_mut().for_each(Node::terminate);
        let mut stopped: Vec<Result<()>> = self.peers.iter_mut().map(Node::wait_until_stopped).collect();
        self.tracker.terminate();
        stopped.push(self.tracker.wait_until_stopped());
        stopped.into_iter().collect()
    }

    fn nodes(&mut self) -> impl Iterator<Item = &mut Node> {
        std::iter::once(&mut self.tracker).chain(&mut self.peers)
    }

    pub(super) fn tracker_port(&self) -> u16 {
        self.tracker.port()
    }

    pub(super) fn peer_ports(&self) -> impl Iterator<Item = u16> {
        self.peers.iter().map(Node::port)
    }

    pub(super) fn peer_addresses(&self) -> impl Iterator<Item = &str> {
        self.peers.iter().map(Node::address)
    }

    /// A place for files of the demo itself.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The end of every node's log.
    pub(super) fn log_tails(&self) -> String {
        std::iter::once(&self.tracker).chain(&self.peers).map(Node::log_tail).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Pool<'_> {
    fn drop(&mut self) {
        // The nodes are waited for one after another when they are dropped; let them stop at the same time.
        self.peers.iter_mut().for_each(Node::terminate);
    }
}

/// Starts a node on its usual port, or on any free one when somebody else has that.
fn start_on(usual: u16, interrupt: &Interrupt, start: impl Fn(u16) -> Result<Node>) -> Result<Node> {
    if is_free(usual) {
        match start(usual) {
            // Somebody may have taken the port since we looked.
            Err(_) if !interrupt.requested() && !is_free(usual) => {}
            done => return done,
        }
    }
    start(0)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// The ports in the answer to LIST_PEERS.
fn ports_in(json: &[u8]) -> Result<Vec<u16>> {
    let answer: Value = serde_json::from_slice(json)?;
    let peers = answer["peers"].as_array().context("no `peers` in it")?;
    peers
        .iter()
        .map(|peer| peer["port"].as_u64().and_then(|port| u16::try_from(port).ok()).context("a peer without a port"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_of_a_peer_list_are_read() {
        let json =
            br#"{"type":"PEER_LIST","peers":[{"ip":"127.0.0.1","port":9000,"cpu_load":0.5},{"ip":"::1","port":1}]}"#;
        assert_eq!(ports_in(json).unwrap(), [9000, 1]);
        assert!(ports_in(b"[]").is_err());
        assert!(ports_in(br#"{"peers":[{"port":70000}]}"#).is_err());
    }

    #[test]
    fn a_port_that_somebody_has_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!is_free(listener.local_addr().unwrap().port()));
    }
}
