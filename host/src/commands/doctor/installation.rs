//! What can be looked at without a node: the files, the port and the tracker that `potluck peer` would find.

use super::report::Report;
use crate::cli::NodeArgs;
use crate::commands::node::tracker_address;
use crate::commands::session::{environment, environment_port};
use crate::config::Config;
use crate::net::client::Client;
use crate::{data_dir, lifecycle};
use rustix::fs::{Access, FlockOperation, access, flock};
use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a tracker may take to answer.
const TRACKER_TIMEOUT: Duration = Duration::from_secs(5);

/// The program itself.
pub(super) fn check_program(report: &mut Report) {
    let version = env!("CARGO_PKG_VERSION");
    match std::env::current_exe() {
        Ok(path) => report.ok("program", format!("potluck {version}, {}", path.display())),
        Err(_) => report.ok("program", format!("potluck {version}")),
    }
}

/// Checks what a node on that port would start with. Returns its plugins.toml; nothing when no node could be started.
pub(super) async fn check(args: &NodeArgs, port: u16, report: &mut Report) -> Option<PathBuf> {
    let home = match lifecycle::installation() {
        Ok(home) => home,
        Err(error) => {
            report.problem("program", format!("{error:#}"), "");
            return None;
        }
    };
    let path = lifecycle::plugins_file(args.plugins.as_deref(), args.data_dir.as_deref(), port, &home);
    let config = match Config::read(&path) {
        Ok(config) => config,
        Err(error) => {
            report.problem("plugins.toml", format!("{error:#}"), "");
            return None;
        }
    };
    if config.plugins.is_empty() {
        report.warning(
            "plugins.toml",
            format!("{} names no plugins", path.display()),
            "add a table such as [plugins.memory]",
        );
    } else {
        let ids: Vec<&str> = config.plugins.iter().map(|plugin| plugin.id.as_str()).collect();
        report.ok("plugins.toml", format!("{}: {}", path.display(), ids.join(", ")));
    }
    match args.data_dir.clone().map_or_else(|| data_dir::default_path(port), Ok) {
        Ok(folder) => check_data_dir_of_nobody(&folder, report),
        Err(error) => report.problem("data directory", format!("{error:#}"), ""),
    }
    check_port(config.node.host().unwrap_or("127.0.0.1"), port, report);
    check_tracker(&config, report).await;
    Some(path)
}

/// Where a node on that port keeps its data unless it was told otherwise.
pub(super) fn default_data_dir(port: u16) -> Option<PathBuf> {
    data_dir::default_path(port).ok()
}

fn check_data_dir_of_nobody(folder: &Path, report: &mut Report) {
    if is_locked(folder) {
        report.problem(
            "data directory",
            format!("another node runs on {}", folder.display()),
            "stop it, check it with --port, or give the new one a folder of its own with --data-dir",
        );
    } else {
        check_data_dir(folder, report);
    }
}

/// Whether a data directory can be written, and only by its owner.
pub(super) fn check_data_dir(folder: &Path, report: &mut Report) {
    const CHECK: &str = "data directory";
    let name = folder.display();
    let Ok(metadata) = folder.metadata() else {
        // The nearest folder that is there decides whether the rest can be made.
        let parent = folder.ancestors().skip(1).find(|parent| parent.is_dir());
        return match parent.filter(|parent| is_writable(parent)) {
            Some(_) => report.ok(CHECK, format!("{name} is created when a node starts")),
            None => report.problem(CHECK, format!("{name} cannot be created"), "name another one with --data-dir"),
        };
    };
    if !metadata.is_dir() {
        return report.problem(CHECK, format!("{name} is no folder"), "name another one with --data-dir");
    }
    if !is_writable(folder) {
        return report.problem(CHECK, format!("{name} cannot be written"), "name another one with --data-dir");
    }
    let key = folder.join("identity.key");
    let of_others =
        |path: &Path, rights: u32| path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & rights != 0);
    if of_others(&key, 0o077) {
        let advice = format!("chmod 600 {}", key.display());
        report.problem(CHECK, format!("others can read the node's key, {}", key.display()), &advice);
    } else if metadata.uid() != rustix::process::geteuid().as_raw() {
        report.warning(CHECK, format!("{name} belongs to another user"), "start the node as the user who owns it");
    } else if of_others(folder, 0o022) {
        report.problem(CHECK, format!("others can write to {name}"), &format!("chmod 700 {name}"));
    } else if of_others(folder, 0o055) {
        report.warning(CHECK, format!("others can look into {name}"), &format!("chmod 700 {name}"));
    } else {
        report.ok(CHECK, format!("{name} is writable, by its owner alone"));
    }
}

fn is_writable(folder: &Path) -> bool {
    access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

/// Whether a node runs on it. The lock is taken for a moment to find out, and goes with the file.
fn is_locked(folder: &Path) -> bool {
    File::open(folder.join("lock")).is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err())
}

fn check_port(host: &str, port: u16, report: &mut Report) {
    match std::net::TcpListener::bind((host, port)) {
        Ok(_) => report.ok("port", format!("{host}:{port} is free")),
        Err(error) => {
            let finding = format!("{host}:{port} cannot be listened on: {error}");
            report.problem("port", finding, "choose another with --port, or another `host` in [node] of plugins.toml");
        }
    }
}

async fn check_tracker(config: &Config, report: &mut Report) {
    let from_environment = match environment_port("TRACKER_PORT") {
        Ok(port) => tracker_address(None, environment("TRACKER_HOST"), port),
        Err(error) => return report.problem("tracker", error.to_string(), ""),
    };
    let address = from_environment.or_else(|| config.node.tracker.clone());
    let address = address.as_deref().unwrap_or(lifecycle::DEFAULT_TRACKER);
    if address.is_empty() {
        return report.ok("tracker", "none; the node works alone");
    }
    match tokio::time::timeout(TRACKER_TIMEOUT, ping(address)).await {
        Ok(Ok(())) => report.ok("tracker", format!("{address} answers")),
        answer => {
            let reason =
                answer.map_or_else(|_| "no answer in time".to_owned(), |answer| answer.err().unwrap_or_default());
            report.warning(
                "tracker",
                format!("{address} cannot be asked: {reason}"),
                "start one there with `potluck tracker`; a peer without one works alone (--no-tracker)",
            );
        }
    }
}

async fn ping(address: &str) -> Result<(), String> {
    use crate::net::client::ClientError;
    let client = match Client::connect(address).await {
        Ok(client) => client,
        // Its advice is for a peer.
        Err(ClientError::Connect(_, error)) => return Err(error.to_string()),
        Err(error) => return Err(error.to_string()),
    };
    client.request(r#"{"type":"PING"}"#, &[]).await.map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::report::Outcome;
    use super::*;
    use crate::data_dir::DataDir;
    use std::fs;

    fn found(folder: &Path) -> (Outcome, String) {
        let mut report = Report::new();
        check_data_dir_of_nobody(folder, &mut report);
        let check = report.checks.remove(0);
        (check.outcome, check.finding)
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_data_directory_is_the_owners_alone() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("new/9000");
        assert_eq!(found(&folder).0, Outcome::Ok);
        let data_dir = DataDir::open(&folder).unwrap();
        let (outcome, finding) = found(&folder);
        assert!(outcome == Outcome::Problem && finding.contains("another node"), "{finding}");
        drop(data_dir);
        assert_eq!(found(&folder).0, Outcome::Ok);
        chmod(&folder, 0o755);
        assert_eq!(found(&folder).0, Outcome::Warning);
        chmod(&folder, 0o777);
        assert_eq!(found(&folder).0, Outcome::Problem);
        chmod(&folder, 0o700);
        fs::write(folder.join("identity.key"), "secret").unwrap();
        chmod(&folder.join("identity.key"), 0o640);
        let (outcome, finding) = found(&folder);
        assert!(outcome == Outcome::Problem && finding.contains("key"), "{finding}");
    }

    #[test]
    fn what_is_no_folder_cannot_be_one() {
        let base = tempfile::tempdir().unwrap();
        let file = base.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(found(&file).0, Outcome::Problem);
    }

    #[test]
    fn a_port_that_is_taken_is_a_problem() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut report = Report::new();
        check_port("127.0.0.1", taken.local_addr().unwrap().port(), &mut report);
        assert_eq!(report.outcome(), Outcome::Problem);
        let mut report = Report::new();
        check_port("127.0.0.1", 0, &mut report);
        assert_eq!(report.outcome(), Outcome::Ok);
    }
}
