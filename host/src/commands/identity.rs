//! `potluck id`: who a node is, and how its identity comes to another machine.

mod transfer;

pub(super) use transfer::replace_identity;

use super::pool::moment;
use super::session::{Session, Target, is_loopback, is_nobody_there, parse};
use crate::cli::{IdArgs, IdCommand};
use crate::identity::{Identity, key_path};
use crate::output;
use crate::output::table::Table;
use anyhow::Context;
use potluck_sdk::message::pool;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Carries out one of the subcommands; without any, shows the identity.
pub(super) fn run(node: &Target, args: IdArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        None => super::block_on(show(node, args.data_dir)),
        Some(IdCommand::Export(export)) => transfer::export(node, args.data_dir.as_deref(), &export),
        Some(IdCommand::Import(import)) => transfer::import(node, args.data_dir.as_deref(), &import),
    }
}

async fn show(node: &Target, named: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let address = match &named {
        Some(folder) => served_at(folder),
        None => Some(node.address()?),
    };
    // What a node of another machine has on its disk cannot be seen from here.
    let folder = match (&named, &address) {
        (None, Some(address)) if !is_loopback(address) => None,
        _ => Some(node.data_dir(named.as_deref())?),
    };
    if let Some(address) = &address {
        match Session::connect_to(node, address).await {
            Ok(session) => {
                let reply = session.ask(&pool::Identity {}).await?;
                let identity: pool::IdentityReply = parse(&reply)?;
                if named.as_deref().is_none_or(|folder| is_of(folder, &identity)) {
                    return print_running(&session, &reply.json, &identity);
                }
            }
            Err(error) if is_nobody_there(&error) && folder.as_deref().is_some_and(has_key) => {}
            Err(error) if named.is_none() || !is_nobody_there(&error) => return Err(error),
            Err(_) => {}
        }
    }
    let folder = folder.context("no node answers")?;
    print_stored(node, &folder)
}

/// What a running node says of itself in its data directory.
#[derive(Deserialize)]
struct NodeFile {
    ip: std::net::IpAddr,
    port: u16,
}

/// Where the node of a data directory can be reached, if one runs. After a crash the file may still be there.
fn served_at(folder: &Path) -> Option<String> {
    let text = std::fs::read(folder.join("node.json")).ok()?;
    let node: NodeFile = serde_json::from_slice(&text).ok()?;
    // It may listen on all addresses, of which loopback is one.
    let ip = if node.ip.is_unspecified() { std::net::Ipv4Addr::LOCALHOST.into() } else { node.ip };
    Some(std::net::SocketAddr::new(ip, node.port).to_string())
}

/// Whether the node that answers is that of the data directory, and not another that has its port now.
fn is_of(folder: &Path, identity: &pool::IdentityReply) -> bool {
    Identity::load(folder).is_ok_and(|own| own.peer_id == identity.peer_id)
}

fn has_key(folder: &Path) -> bool {
    key_path(folder).exists()
}

fn print_running(session: &Session, json: &str, identity: &pool::IdentityReply) -> anyhow::Result<ExitCode> {
    if session.json {
        output::print_json(json)?;
    } else {
        print_rows(rows(identity))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn rows(identity: &pool::IdentityReply) -> Vec<(&'static str, String)> {
    let mut rows = vec![("Id", identity.peer_id.to_string())];
    rows.extend(identity.alias.clone().map(|alias| ("Former id", alias)));
    rows.push(("Fingerprint", identity.fingerprint.clone()));
    rows.push(("Addresses", identity.addresses.join(", ")));
    match &identity.pool {
        None => rows.push(("Pool", "none; see `potluck join` and `potluck pool create`".to_owned())),
        Some(pool) => {
            rows.push(("Pool", format!("{} ({})", pool.pool_name, pool.pool_id)));
            rows.push(("Name there", pool.name.clone()));
            let tracker = if pool.is_authority {
                "this node, which admits and revokes members".to_owned()
            } else {
                format!("{} at {}", pool.tracker_id, pool.tracker_addresses.join(", "))
            };
            rows.push(("Tracker", tracker));
            rows.push(("Member until", format!("{}, renewed before then", moment(pool.expires_unix_seconds))));
        }
    }
    rows
}

fn print_stored(node: &Target, folder: &Path) -> anyhow::Result<ExitCode> {
    let identity = load(folder)?;
    let fingerprint = identity.key.public().fingerprint();
    output::note(&format!("No node runs there; this is from {}.", folder.display()));
    if node.json {
        let mut json = serde_json::json!({
            "type": "IDENTITY",
            "peer_id": identity.peer_id,
            "fingerprint": fingerprint,
        });
        if let Some(alias) = identity.alias {
            json["alias"] = alias.into();
        }
        output::print_json(&json.to_string())?;
    } else {
        let mut rows = vec![("Id", identity.peer_id.to_string())];
        rows.extend(identity.alias.map(|alias| ("Former id", alias)));
        rows.push(("Fingerprint", fingerprint));
        print_rows(rows)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print_rows(rows: Vec<(&'static str, String)>) -> anyhow::Result<()> {
    let mut table = Table::new::<&str>(&[]);
    for (name, value) in rows {
        table.row([name, &value]);
    }
    table.print("")?;
    Ok(())
}

/// The identity in a data directory that a node has run on.
pub(super) fn load(folder: &Path) -> anyhow::Result<Identity> {
    if !has_key(folder) {
        anyhow::bail!(
            "{} holds no identity; start a node, which makes one, or name another folder with --port or --data-dir",
            folder.display()
        );
    }
    Identity::load(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_listens_everywhere_is_asked_over_loopback() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(served_at(folder.path()), None);
        for (text, address) in [
            (r#"{"ip":"127.0.0.1","port":9001,"pid":1}"#, Some("127.0.0.1:9001")),
            (r#"{"ip":"0.0.0.0","port":9001}"#, Some("127.0.0.1:9001")),
            (r#"{"ip":"::1","port":9001}"#, Some("[::1]:9001")),
            (r#"{"ip":"::1"}"#, None),
            ("nonsense", None),
        ] {
            std::fs::write(folder.path().join("node.json"), text).unwrap();
            assert_eq!(served_at(folder.path()).as_deref(), address, "{text}");
        }
    }

    #[test]
    fn another_node_on_the_same_port_is_not_taken_for_the_folders_own() {
        let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let reply = |folder: &Path| {
            let identity = Identity::load_or_create(folder).unwrap();
            pool::IdentityReply {
                peer_id: identity.peer_id,
                alias: None,
                fingerprint: identity.key.public().fingerprint(),
                addresses: Vec::new(),
                pool: None,
            }
        };
        assert!(is_of(own.path(), &reply(own.path())));
        assert!(!is_of(own.path(), &reply(other.path())));
    }

    #[test]
    fn a_folder_without_an_identity_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = load(folder.path()).err().unwrap().to_string();
        assert!(error.contains(folder.path().to_str().unwrap()), "{error}");
        assert!(!has_key(folder.path()));
    }
}
