//! `potluck token`: the secret by which another account of this machine may use the node.

use super::session::Target;
use crate::access_token::AccessToken;
use crate::cli::{TokenArgs, TokenCommand};
use crate::output;
use anyhow::{Context, bail};
use std::path::Path;
use std::process::ExitCode;

/// Prints the access token of a data directory, or makes a new one first.
pub(super) fn run(node: &Target, args: &TokenArgs) -> anyhow::Result<ExitCode> {
    let folder = node.data_dir(args.data_dir.as_deref())?;
    let token = access_token(&folder, args.command)?;
    if node.json {
        output::print_json(&serde_json::json!({ "type": "ACCESS_TOKEN", "token": token }).to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    if let TokenCommand::Renew = args.command {
        output::note("The former access token is worth nothing from now on.");
    }
    output::print_line(&token)?;
    Ok(ExitCode::SUCCESS)
}

fn access_token(folder: &Path, command: TokenCommand) -> anyhow::Result<String> {
    if !folder.is_dir() {
        bail!(
            "no node has run on the data folder {} yet; start one, or name another with --port or --data-dir",
            folder.display()
        );
    }
    match command {
        TokenCommand::Show => AccessToken::read(folder).context(
            "there is no access token yet; a node makes one when it starts, and so does `potluck token renew`",
        ),
        TokenCommand::Renew => AccessToken::renew(folder),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewed_token_is_the_one_that_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        assert!(access_token(folder.path(), TokenCommand::Show).is_err());
        let first = access_token(folder.path(), TokenCommand::Renew).unwrap();
        let second = access_token(folder.path(), TokenCommand::Renew).unwrap();
        assert_ne!(first, second);
        assert_eq!(access_token(folder.path(), TokenCommand::Show).unwrap(), second);
    }

    #[test]
    fn no_folder_is_made_for_a_node_that_never_ran() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        assert!(access_token(&missing, TokenCommand::Renew).is_err());
        assert!(!missing.exists());
    }
}
