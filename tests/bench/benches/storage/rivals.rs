//! nginx and an sshd of their own: on loopback, without rights, with every file in a temporary folder.

use super::place::{Place, run};
use crate::process::{Program, free_port, output_of, quiet};
use anyhow::{Context, Result, anyhow};
use rustix::process::geteuid;
use std::ffi::OsStr;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What sshd wants to exist where it can change users, and what the system makes when it starts its own.
const SEPARATION_FOLDER: &str = "/run/sshd";

/// What the node is compared with; or why that cannot be.
pub(super) struct Rivals {
    nginx: Result<Nginx>,
    ssh: Result<Ssh>,
}

/// Serves the folder of the files.
pub(super) struct Nginx {
    port: u16,
    _program: Program,
}

pub(super) struct Ssh {
    /// Of the clients.
    config: PathBuf,
    _program: Program,
}

impl Rivals {
    pub(super) fn start(place: &Place) -> Rivals {
        Rivals { nginx: Nginx::start(place), ssh: Ssh::start(place) }
    }

    pub(super) fn nginx(&self) -> Result<&Nginx> {
        self.nginx.as_ref().map_err(|error| anyhow!("{error:#}"))
    }

    pub(super) fn ssh(&self) -> Result<&Ssh> {
        self.ssh.as_ref().map_err(|error| anyhow!("{error:#}"))
    }
}

impl Nginx {
    fn start(place: &Place) -> Result<Nginx> {
        let folder = place.path("nginx");
        fs::create_dir(&folder)?;
        let port = free_port()?;
        // Only root can and must say who its workers are; others cannot read the folder.
        let user = if geteuid().is_root() { "user root root;\n" } else { "" };
        let spool = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let spool: String = spool.iter().map(|name| format!("  {name}_temp_path {name};\n")).collect();
        let config = format!(
            "{user}daemon off;\nworker_processes auto;\npid nginx.pid;\nerror_log stderr error;\n\
             events {{ worker_connections 512; }}\n\
             http {{\n{spool}  access_log off;\n  sendfile on;\n  tcp_nopush on;\n  keepalive_requests 1000000;\n  \
             server {{ listen 127.0.0.1:{port}; root \"{}\"; }}\n}}\n",
            place.folder().display()
        );
        fs::write(folder.join("nginx.conf"), config)?;
        let mut command = quiet(program("nginx")?);
        command.arg("-p").arg(&folder).args(["-e", "stderr", "-c", "nginx.conf"]);
        let mut nginx = Program::start("nginx", &mut command, &folder)?;
        nginx.wait_for("it served", || TcpStream::connect(("127.0.0.1", port)).ok())?;
        Ok(Nginx { port, _program: nginx })
    }

    /// `curl`, as somebody would write it, with the URL of a file of the folder.
    pub(super) fn curl(&self, name: &str, save: &Path) -> Command {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--fail", "--output"]).arg(save);
        command.arg(format!("http://127.0.0.1:{}/{name}", self.port));
        command
    }
}

impl Ssh {
    fn start(place: &Place) -> Result<Ssh> {
        let folder = place.path("ssh");
        fs::create_dir(&folder)?;
        let path = |name: &str| folder.join(name).display().to_string();
        for key in ["host_key", "client_key"] {
            run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &path(key)]))?;
        }
        fs::copy(folder.join("client_key.pub"), folder.join("authorized_keys"))?;
        let host_key = fs::read_to_string(folder.join("host_key.pub"))?;
        let port = free_port()?;
        fs::write(folder.join("known_hosts"), format!("[127.0.0.1]:{port} {host_key}"))?;
        let server = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n\
             Subsystem sftp internal-sftp\n",
            path("host_key"),
            path("authorized_keys"),
        );
        fs::write(folder.join("sshd_config"), server)?;
        let user = output_of(Command::new("id").arg("-un")).context("cannot tell who this is")?;
        let client = format!(
            "Host bench\nHostName 127.0.0.1\nPort {port}\nUser {user}\nIdentityFile {}\nIdentitiesOnly yes\n\
             IdentityAgent none\nUserKnownHostsFile {}\nStrictHostKeyChecking yes\nBatchMode yes\nLogLevel ERROR\n",
            path("client_key"),
            path("known_hosts"),
        );
        let config = folder.join("ssh_config");
        fs::write(&config, client)?;
        let sshd = program("sshd")?;
        let mut command = if geteuid().is_root() && !Path::new(SEPARATION_FOLDER).exists() {
            // In a view of the files of its own: the system's stays as it is.
            let mut command = quiet("unshare");
            let script = format!("mount -t tmpfs tmpfs /run && mkdir -m 755 {SEPARATION_FOLDER} && exec \"$@\"");
            command.args(["--mount", "sh", "-c", &script, "sh"]).arg(sshd);
            command
        } else {
            quiet(sshd)
        };
        command.args(["-D", "-e", "-f"]).arg(folder.join("sshd_config"));
        let mut sshd = Program::start("sshd", &mut command, &folder)?;
        sshd.wait_for("it served", || TcpStream::connect(("127.0.0.1", port)).ok())?;
        let ssh = Ssh { config, _program: sshd };
        let mut hello = Command::new("ssh");
        run(hello.arg("-F").arg(&ssh.config).args(["bench", "true"])).context(
            "cannot log in to an sshd of this program's own, which needs a shell and an account that is not locked",
        )?;
        Ok(ssh)
    }

    /// `scp` from and to; one of them is [`Ssh::there`].
    pub(super) fn scp(&self, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("scp");
        command.args(["-q", "-r", "-F"]).arg(&self.config).arg(from).arg(to);
        command
    }

    /// As [`Ssh::scp`], with rsync, which does not end before all is on the disk.
    pub(super) fn rsync(&self, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("rsync");
        command.args(["--archive", "--fsync", "--rsh"]).arg(format!("ssh -F {}", self.config.display()));
        command.arg(from).arg(to);
        command
    }

    /// A path on the other side.
    pub(super) fn there(path: &Path) -> String {
        format!("bench:{}", path.display())
    }
}

/// A server: Debian puts it where users do not look.
fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    // sshd insists on an absolute path.
    found.and_then(|path| path.canonicalize().ok()).with_context(|| format!("{name} is not installed"))
}
