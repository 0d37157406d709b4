//! `potluck id` and `potluck token`: definitions.

use super::help;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct IdArgs {
    #[command(subcommand)]
    pub(crate) command: Option<IdCommand>,

    /// The node's data folder [default: that of --port, in the user's data folder]
    #[arg(long, value_name = "FOLDER", global = true)]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IdCommand {
    /// Write the node's identity and membership to a file that a passphrase protects
    #[command(after_help = help::ID_EXPORT_HELP)]
    Export(IdExportArgs),
    /// Make the identity of a file the node's own; the node must not be running
    #[command(after_help = help::ID_IMPORT_HELP)]
    Import(IdImportArgs),
}

#[derive(Debug, Args)]
pub(crate) struct IdExportArgs {
    /// The file to write, which only you can read then; `-` is standard output
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Replace the file if it is there
    #[arg(long)]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,
}

#[derive(Debug, Args)]
pub(crate) struct IdImportArgs {
    /// What `potluck id export` wrote; `-` is standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Replace the identity that the node has already; that one is kept beside it
    #[arg(long)]
    pub(crate) replace: bool,

    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PassphraseArgs {
    /// Take the passphrase from the first line of a file [default: $POTLUCK_PASSPHRASE, else it is asked for]
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    pub(crate) command: TokenCommand,

    /// The node's data folder [default: that of --port, in the user's data folder]
    #[arg(long, value_name = "FOLDER", global = true)]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Print the access token
    Show,
    /// Make a new access token and print it; the former one is worth nothing from then on
    Renew,
}
