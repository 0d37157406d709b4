//! `potluck pool create`, `token`, `tokens` and `cancel`.
//!
//! A token is all that stands on standard output, so that a script can take it from there.

use super::super::session::{Session, parse};
use super::{done, moment};
use crate::cli::{PoolCreateArgs, PoolTokenArgs};
use crate::output;
use crate::output::table::Table;
use potluck_sdk::message::pool::{
    PoolCancelToken, PoolCreate, PoolToken, PoolTokenList, PoolTokenReply, PoolTokens, TokenTerms,
};
use serde::Serialize;
use std::net::SocketAddr;
use std::process::ExitCode;

pub(super) async fn create(session: &Session, args: PoolCreateArgs) -> anyhow::Result<ExitCode> {
    let quiet = args.token.quiet;
    let request = PoolCreate { pool_name: args.pool_name, name: args.name, terms: terms(args.token) };
    new_token(session, &request, quiet, true).await
}

pub(super) async fn token(session: &Session, args: PoolTokenArgs) -> anyhow::Result<ExitCode> {
    let quiet = args.quiet;
    new_token(session, &PoolToken { terms: terms(args) }, quiet, false).await
}

fn terms(args: PoolTokenArgs) -> TokenTerms {
    TokenTerms {
        reusable: args.reusable,
        valid_seconds: args.valid,
        addresses: Some(args.addresses).filter(|addresses| !addresses.is_empty()),
    }
}

async fn new_token(
    session: &Session,
    request: &impl Serialize,
    quiet: bool,
    is_new_pool: bool,
) -> anyhow::Result<ExitCode> {
    let reply = session.ask(request).await?;
    let token: PoolTokenReply = parse(&reply)?;
    if session.json {
        output::print_json(&reply.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !quiet {
        for line in explanation(&token, is_new_pool) {
            output::note(&output::printable(&line));
        }
    }
    output::print_line(&output::printable(&token.token))?;
    Ok(ExitCode::SUCCESS)
}

fn explanation(token: &PoolTokenReply, is_new_pool: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if is_new_pool {
        lines.push(format!("The pool {} is created. This node is its tracker and first member.", token.pool_id));
    }
    let how_many = if token.reusable { "any number of nodes" } else { "one node" };
    let end = moment(token.expires_unix_seconds);
    lines.push(format!("The token {} lets {how_many} join until {end}. It is a secret.", token.token_id));
    lines.push("On the other machine: potluck peer --join TOKEN, or where a node runs: potluck join TOKEN".to_owned());
    if !token.addresses.is_empty() {
        lines.push(format!("There the tracker is looked for at {}", token.addresses.join(", ")));
    }
    // A name is believed to lead somewhere; asking for it could take long.
    let is_here = |address: &String| address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback());
    if token.addresses.iter().all(is_here) {
        lines.push("No other machine finds it that way; --address HOST:PORT says where it can be reached.".to_owned());
    }
    lines.extend(token.note.iter().map(|note| format!("Note: {note}.")));
    lines.push("The token:".to_owned());
    lines
}

pub(super) async fn list(session: &Session) -> anyhow::Result<ExitCode> {
    let reply = session.ask(&PoolTokens {}).await?;
    let list: PoolTokenList = parse(&reply)?;
    if session.json {
        output::print_json(&reply.json)?;
    } else if list.tokens.is_empty() {
        output::print_line("No tokens")?;
    } else {
        let mut table = Table::new(&["TOKEN", "STATE", "FOR", "JOINED", "CREATED", "ENDS"]);
        for token in &list.tokens {
            table.row([
                token.token_id.as_str(),
                &token.state,
                if token.reusable { "any number" } else { "one node" },
                &token.uses.to_string(),
                &moment(token.created_unix_seconds),
                &moment(token.expires_unix_seconds),
            ]);
        }
        table.align_right([3]);
        table.print("")?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn cancel(session: &Session, token_id: String) -> anyhow::Result<ExitCode> {
    // The token itself is taken too, but is a secret that need not be shown again.
    done(session, &PoolCancelToken { token_id }, |_| "Token cancelled: nobody joins with it any more".to_owned()).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use potluck_sdk::PeerId;

    fn reply(addresses: &[&str]) -> PoolTokenReply {
        PoolTokenReply {
            pool_id: PeerId::from_hash([1; 16]),
            token: "potluck-secret".to_owned(),
            token_id: "0102".to_owned(),
            reusable: false,
            expires_unix_seconds: 951_827_696,
            addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
            note: None,
        }
    }

    #[test]
    fn a_token_that_helps_on_this_machine_only_is_said_to_be_so() {
        let warned = |addresses: &[&str]| {
            let lines = explanation(&reply(addresses), false);
            lines.iter().any(|line| line.contains("--address"))
        };
        assert!(warned(&[]) && warned(&["127.0.0.1:8888", "[::1]:8888"]));
        assert!(!warned(&["127.0.0.1:8888", "192.0.2.1:8888"]));
    }

    #[test]
    fn the_explanation_does_not_repeat_the_secret() {
        let text = explanation(&reply(&["192.0.2.1:8888"]), true).join("\n");
        assert!(!text.contains("potluck-secret"), "{text}");
        for word in ["one node", "2000-02-29 12:34 UTC", "192.0.2.1:8888"] {
            assert!(text.contains(word), "{word:?} is missing in {text}");
        }
    }

    #[test]
    fn addresses_that_nobody_named_are_left_to_the_node() {
        let args = PoolTokenArgs { reusable: false, valid: None, addresses: Vec::new(), quiet: false };
        assert_eq!(terms(args).addresses, None);
    }
}
