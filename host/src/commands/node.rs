//! `potluck peer` and `potluck tracker`.

use super::join;
use super::session::environment_port;
use super::values::join_host_port;
use crate::cli::{PeerArgs, TRACKER_PORT_DEFAULT, TrackerArgs};
use crate::lifecycle::{self, NodeOptions, Role};
use std::process::ExitCode;

/// Runs a tracker until it is told to stop.
pub(super) fn tracker(host: Option<String>, port: Option<u16>, args: TrackerArgs) -> anyhow::Result<ExitCode> {
    lifecycle::run(NodeOptions {
        role: Role::Tracker,
        host,
        port,
        tracker: None,
        data_dir: args.node.data_dir,
        plugins: args.node.plugins,
        no_tracker: true,
        join: None,
        name: None,
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Runs a peer until it is told to stop.
pub(super) fn peer(host: Option<String>, port: Option<u16>, args: PeerArgs) -> anyhow::Result<ExitCode> {
    let port = match port {
        Some(port) => Some(port),
        None => environment_port("PEER_PORT")?,
    };
    lifecycle::run(NodeOptions {
        role: Role::Peer,
        host,
        port,
        tracker: tracker_address(args.tracker, args.tracker_host, args.tracker_port),
        data_dir: args.node.data_dir,
        plugins: args.node.plugins,
        no_tracker: args.no_tracker,
        join: args.join.as_deref().map(join::token).transpose()?,
        name: args.name,
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The tracker that the user names, in one piece or in two; nothing when plugins.toml or the default should decide.
pub(super) fn tracker_address(address: Option<String>, host: Option<String>, port: Option<u16>) -> Option<String> {
    address.or_else(|| {
        (host.is_some() || port.is_some())
            .then(|| join_host_port(host.as_deref().unwrap_or("127.0.0.1"), port.unwrap_or(TRACKER_PORT_DEFAULT)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracker_is_named_in_one_piece_or_in_two() {
        let address = |whole: Option<&str>, host: Option<&str>, port| {
            tracker_address(whole.map(str::to_owned), host.map(str::to_owned), port)
        };
        assert_eq!(address(None, None, None), None);
        assert_eq!(address(Some("a:1"), Some("b"), Some(2)).as_deref(), Some("a:1"));
        assert_eq!(address(None, Some("b"), None).as_deref(), Some("b:8888"));
        assert_eq!(address(None, None, Some(2)).as_deref(), Some("127.0.0.1:2"));
        assert_eq!(address(None, Some("::1"), Some(2)).as_deref(), Some("[::1]:2"));
    }
}
