//! `potluck pool` and `potluck join`: definitions.

use super::help;
use crate::commands::duration::duration_seconds;
use crate::commands::values::host_port;
use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    /// What `potluck pool create` or `potluck pool token` has printed; `-` is standard input
    #[arg(value_name = "TOKEN")]
    pub(crate) token: String,

    /// What people call this node in the pool [default: the name of the machine]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Look for the tracker here before the addresses in the token
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    pub(crate) tracker: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PoolArgs {
    #[command(subcommand)]
    pub(crate) command: PoolCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PoolCommand {
    /// Make the node the tracker of a new pool, and print a token with which others join
    #[command(after_help = help::POOL_CREATE_HELP)]
    Create(PoolCreateArgs),
    /// Print a new token with which others join the pool
    #[command(after_help = help::POOL_TOKEN_HELP)]
    Token(PoolTokenArgs),
    /// List the tokens that were made; what makes them work is not shown
    Tokens,
    /// Let nobody join with a token any more; who has joined with it stays
    Cancel(PoolCancelArgs),
    /// List who is in the pool, and who was revoked
    Members,
    /// Throw a member out: its connections end, and no node of the pool answers it any more
    #[command(after_help = help::POOL_REVOKE_HELP)]
    Revoke(PoolMemberArgs),
    /// Let a member that was revoked in again, without a new token
    Readmit(PoolMemberArgs),
    /// Make the node leave its pool; from then on it listens on this machine only
    Leave,
    /// List the trackers that can be heard on the local network
    Discover,
}

#[derive(Debug, Args)]
pub(crate) struct PoolCreateArgs {
    /// What people call the pool [default: a name that the node chooses]
    #[arg(long, value_name = "NAME")]
    pub(crate) pool_name: Option<String>,

    /// What people call this node in the pool [default: the name of the machine]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    #[command(flatten)]
    pub(crate) token: PoolTokenArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PoolTokenArgs {
    /// Let any number of nodes join with the token, not just one
    #[arg(long)]
    pub(crate) reusable: bool,

    /// For how long one can join with the token, such as 90s, 30m, 24h or 7d [default: 24h]
    #[arg(long, value_name = "DURATION", value_parser = duration_seconds)]
    pub(crate) valid: Option<u64>,

    /// Where nodes that join find the tracker; may be repeated [default: the addresses that it listens on]
    #[arg(long = "address", value_name = "HOST:PORT", value_parser = host_port)]
    pub(crate) addresses: Vec<String>,

    /// Print the token and nothing else
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PoolCancelArgs {
    /// The token's id, as `potluck pool tokens` shows it
    #[arg(value_name = "TOKEN_ID")]
    pub(crate) token_id: String,
}

#[derive(Debug, Args)]
pub(crate) struct PoolMemberArgs {
    /// The member's id, the beginning of it, or its name
    #[arg(value_name = "PEER")]
    pub(crate) peer: String,
}
