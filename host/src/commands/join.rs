//! `potluck join`.

use super::UsageError;
use super::session::{Session, Target, is_nobody_there, parse};
use crate::cli::JoinArgs;
use crate::output;
use anyhow::Context;
use potluck_sdk::message::{self, pool};
use std::io::BufRead;
use std::process::ExitCode;
use std::time::Duration;

/// How long joining may take: the node tries one address of the token after the other.
const JOIN_TIMEOUT: Duration = Duration::from_secs(120);
/// Most bytes that are read of standard input.
const TOKEN_BYTES_MAX: u64 = 64 << 10;

/// Lets the node join the pool of a token.
pub(super) async fn run(node: &Target, args: JoinArgs) -> anyhow::Result<ExitCode> {
    let token = token(&args.token)?;
    let session = match Session::connect(node).await {
        Err(error) if is_nobody_there(&error) => {
            let address = node.address()?;
            anyhow::bail!("no node runs at {address}; `potluck peer --join TOKEN` starts one and joins the pool")
        }
        session => session?,
    };
    let request = pool::PoolJoin { token, name: args.name, address: args.tracker };
    let reply = session.ask_within(JOIN_TIMEOUT, &message::to_json(&request)).await?;
    let done: pool::PoolDone = parse(&reply)?;
    if session.json {
        output::print_json(&reply.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    // The node has joined, whatever becomes of the question who it is now.
    let text = match identity(&session).await {
        Ok(identity) => success(&done, &identity),
        Err(_) => format!("Joined the pool {}", done.pool_id),
    };
    output::print_line(&text)?;
    if let Some(note) = &done.note {
        output::note(&output::printable(note));
    }
    Ok(ExitCode::SUCCESS)
}

async fn identity(session: &Session) -> anyhow::Result<pool::IdentityReply> {
    parse(&session.ask(&pool::Identity {}).await?)
}

fn success(done: &pool::PoolDone, identity: &pool::IdentityReply) -> String {
    let mut lines = vec![match &identity.pool {
        Some(facts) => format!("Joined the pool {} ({}) as {}", facts.pool_name, done.pool_id, facts.name),
        None => format!("Joined the pool {}", done.pool_id),
    }];
    lines.push(format!("This node is {}", identity.peer_id));
    if !identity.addresses.is_empty() {
        lines.push(format!("It listens on {}", identity.addresses.join(", ")));
    }
    // What others have chosen must not command the terminal.
    lines.iter().map(|line| output::printable(line)).collect::<Vec<_>>().join("\n")
}

/// The token that the command line names; `-` means the first line of standard input.
pub(super) fn token(named: &str) -> anyhow::Result<String> {
    if named != "-" {
        return Ok(named.to_owned());
    }
    first_line(std::io::stdin().lock())
}

fn first_line(input: impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    input.take(TOKEN_BYTES_MAX).read_line(&mut line).context("cannot read the token from standard input")?;
    match line.trim() {
        "" => Err(UsageError("standard input holds no token; write it there, in one line".to_owned()).into()),
        token => Ok(token.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_first_line_of_standard_input() {
        assert_eq!(first_line(&b" potluck-abc \r\nmore"[..]).unwrap(), "potluck-abc");
        for nothing in [&b""[..], b"\n", b"  \npotluck-abc"] {
            assert!(first_line(nothing).unwrap_err().is::<UsageError>());
        }
        assert!(first_line(&b"\xff\n"[..]).is_err());
    }

    #[test]
    fn a_pool_cannot_command_the_terminal() {
        let done = r#"{"type":"STATUS","status":"JOINED","pool_id":"5f0c6b1e-0000-8000-8000-000000000000"}"#;
        let identity = r#"{"type":"IDENTITY","peer_id":"5f0c6b1e-0000-8000-8000-000000000001","fingerprint":"SHA256:x",
            "addresses":["127.0.0.1:9000","192.0.2.1:9000"],"pool":{"pool_id":"5f0c6b1e-0000-8000-8000-000000000000",
            "pool_name":"lab\u001b[2J","name":"n","is_authority":false,
            "tracker_id":"5f0c6b1e-0000-8000-8000-000000000002","tracker_addresses":[],"expires_unix_seconds":1}}"#;
        let text = success(&serde_json::from_str(done).unwrap(), &serde_json::from_str(identity).unwrap());
        assert!(!text.contains('\u{1b}'), "{text}");
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.ends_with("It listens on 127.0.0.1:9000, 192.0.2.1:9000"), "{text}");
    }
}
