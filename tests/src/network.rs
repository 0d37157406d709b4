//! Networks of a test's own: hosts on one switch, each a namespace of the kernel, that nothing else can reach.
//!
//! ```no_run
//! use potluck_tests::Network;
//!
//! let network = match Network::new(2) {
//!     Ok(network) => network,
//!     Err(reason) => return println!("skipped: {reason}"),
//! };
//! let [a, b] = network.hosts() else { unreachable!() };
//! let pinged = a.command("ping").arg("-c1").arg(b.address().to_string()).status().unwrap();
//! assert!(pinged.success());
//! ```
//!
//! Namespaces have no names: each lives as long as a process that waits for its standard input to end. That happens
//! when the network is dropped and when the test ends, however it ends; all programs on its hosts are killed then.

use rustix::process::geteuid;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;

/// The same in each network: none of them knows of another.
const ADDRESS: [u8; 3] = [10, 77, 0];
const HOSTS_MAX: usize = 250;
/// Says after whoever speaks, until nobody does; then kills all in its network namespace.
const HOLD: &str = r#"
cat
own=$(readlink /proc/self/ns/net)
ls -l /proc/[0-9]*/ns/net 2>/dev/null | grep -F " $own" | grep -v "/proc/$$/" | sed 's|.*/proc/\([0-9]*\)/.*|\1|' |
    xargs kill -9 2>/dev/null
"#;
/// An account without rights, on most systems called `nobody`.
const OTHER_USER: u32 = 65534;

/// Hosts that reach each other and nothing else. Dropping it takes the network down and kills what runs on them.
pub struct Network {
    switch: Namespace,
    hosts: Vec<Host>,
}

/// A machine of its own as far as the network goes: its own loopback, and one address.
pub struct Host {
    namespace: Namespace,
    address: IpAddr,
}

impl Network {
    /// Whether this machine and this user can have networks, and if not, why.
    pub fn available() -> Result<(), String> {
        static AVAILABLE: OnceLock<Result<(), String>> = OnceLock::new();
        AVAILABLE.get_or_init(|| Network::build(1).map(drop)).clone()
    }

    /// A network of so many hosts, or why this machine cannot have one: then the test says so and ends.
    ///
    /// # Panics
    /// When the machine can have networks and cannot have this one.
    pub fn new(hosts: usize) -> Result<Network, String> {
        Network::available()?;
        Ok(Network::build(hosts).unwrap())
    }

    fn build(count: usize) -> Result<Network, String> {
        assert!(count <= HOSTS_MAX, "a network has {HOSTS_MAX} hosts at most");
        let switch = Namespace::new(None)?;
        // A port forwards at once, and what is for all goes to all.
        switch.ip("link add switch type bridge forward_delay 0 mcast_snooping 0\nlink set switch up")?;
        let mut hosts = Vec::new();
        for number in 0..count {
            let namespace = Namespace::new(Some(&switch))?;
            let address = Ipv4Addr::from_octets([ADDRESS[0], ADDRESS[1], ADDRESS[2], number as u8 + 1]);
            let port = port(number);
            switch.ip(&format!(
                "link add {port} type veth peer name eth0 netns {}\nlink set {port} master switch up",
                namespace.holder.id()
            ))?;
            // Programs send to groups without saying by which way.
            namespace.ip(&format!(
                "link set lo up\naddr add {address}/24 dev eth0\nlink set eth0 up\nroute add 224.0.0.0/4 dev eth0"
            ))?;
            hosts.push(Host { namespace, address: address.into() });
        }
        Ok(Network { switch, hosts })
    }

    /// All hosts, by number.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// A host.
    ///
    /// # Panics
    /// When there is no such number.
    pub fn host(&self, number: usize) -> &Host {
        &self.hosts[number]
    }

    /// Pulls a host's cable: nothing tells it or others but that nothing arrives.
    pub fn cut(&self, number: usize) {
        self.switch.ip(&format!("link set {} down", port(number))).unwrap();
    }

    /// Puts the cable back. It may take a second until the first bytes arrive.
    pub fn mend(&self, number: usize) {
        self.switch.ip(&format!("link set {} up", port(number))).unwrap();
    }
}

/// The switch's end of a host's cable.
fn port(number: usize) -> String {
    format!("port{number}")
}

impl Host {
    /// Where the other hosts reach it.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// A program that will run on this host; the child's id is that of the program itself.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.namespace.enter(true);
        command.arg("--").arg(program);
        command
    }

    /// Runs code of the test on this host: the sockets that it makes are the host's, and stay it. Its threads are not.
    ///
    /// # Panics
    /// When the test does not run as root: see [`Host::can_be_entered`]. As the code does.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        assert!(Host::can_be_entered(), "only root can run a part of a program in a network namespace");
        let namespace = File::open(format!("/proc/{}/ns/net", self.namespace.holder.id())).unwrap();
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Whether [`Host::inside`] works. For others than root it takes a whole program: [`Host::command`].
    pub fn can_be_entered() -> bool {
        geteuid().is_root()
    }
}

/// A network namespace, and where the test is not run by root a user namespace around it.
struct Namespace {
    holder: Child,
}

impl Namespace {
    /// `within` is another one of the same network: whoever is not root must make all of them in one user namespace.
    fn new(within: Option<&Namespace>) -> Result<Namespace, String> {
        let mut command = match within {
            Some(other) if !geteuid().is_root() => {
                let mut command = other.enter(false);
                command.args(["--", "unshare"]);
                command
            }
            _ => Command::new("unshare"),
        };
        if within.is_none() && !geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--net", "--", "sh", "-c", HOLD]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let holder = command.spawn().map_err(|error| format!("cannot run `unshare` of util-linux: {error}"))?;
        let mut namespace = Namespace { holder };
        // It is there once the program that runs in it repeats what it is told.
        let said = namespace.holder.stdin.as_mut().unwrap().write_all(b"ready\n");
        let mut line = String::new();
        let heard = BufReader::new(namespace.holder.stdout.as_mut().unwrap()).read_line(&mut line);
        if said.is_err() || heard.is_err() || line != "ready\n" {
            let why = std::io::read_to_string(namespace.holder.stderr.take().unwrap()).unwrap_or_default();
            return Err(format!("cannot make a network namespace: {}", why.trim()));
        }
        Ok(namespace)
    }

    /// The beginning of a command that runs a program in this namespace, or in its user namespace alone.
    fn enter(&self, network: bool) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.holder.id().to_string());
        if !geteuid().is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        if network {
            command.arg("--net");
        }
        command
    }

    /// Runs commands of `ip`, one a line.
    fn ip(&self, commands: &str) -> Result<(), String> {
        let mut command = self.enter(true);
        command.args(["--", "ip", "-batch", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("cannot run `nsenter` of util-linux: {error}"))?;
        // Where it does not even start, its exit says so.
        let _ = child.stdin.take().unwrap().write_all(format!("{commands}\n").as_bytes());
        let output = child.wait_with_output().unwrap();
        let why = String::from_utf8_lossy(&output.stderr);
        output
            .status
            .success()
            .then_some(())
            .ok_or_else(|| format!("cannot set up a network with `ip`: {}", why.trim()))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// A program that will run as another user of this machine, one without rights, or why that cannot be: then the test
/// says so and ends. That user must be able to reach the program and its files; it starts in `/`.
pub fn other_user_command(program: impl AsRef<OsStr>) -> Result<Command, String> {
    if !geteuid().is_root() {
        return Err("only root can start a program as another user".to_owned());
    }
    let mut command = Command::new(program);
    // Where root names a user, the child has none of root's other groups either.
    command.uid(OTHER_USER).gid(OTHER_USER).current_dir("/");
    Ok(command)
}
