//! Files: definitions of the commands that store, fetch and list them, and of `potluck recovery`.

use super::help;
use clap::{Args, Subcommand};
use potluck_sdk::PeerId;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct PutFileArgs {
    /// The file to store; `-` is standard input
    #[arg(value_name = "PATH", required_unless_present = "filepath", conflicts_with = "filepath")]
    pub(crate) path: Option<PathBuf>,

    /// Its name on the node [default: that of the file]
    #[arg(value_name = "NAME", conflicts_with = "filename")]
    pub(crate) name: Option<String>,

    /// Its name on the node, in place of NAME
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub(crate) filename: Option<String>,

    /// The file to store, in place of PATH
    #[arg(long, value_name = "PATH", allow_hyphen_values = true)]
    pub(crate) filepath: Option<PathBuf>,
}

/// A file's name, as an option or by its place.
#[derive(Debug, Args)]
pub(crate) struct FileNameArgs {
    /// The file's name
    #[arg(value_name = "NAME", required_unless_present = "filename", conflicts_with = "filename")]
    pub(crate) name: Option<String>,

    /// The file's name, in place of NAME
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub(crate) filename: Option<String>,
}

impl FileNameArgs {
    /// The name, whichever way it was given.
    pub(crate) fn get(&self) -> &str {
        self.filename.as_deref().or(self.name.as_deref()).unwrap_or_default()
    }
}

#[derive(Debug, Args)]
pub(crate) struct GetFileArgs {
    #[command(flatten)]
    pub(crate) file: FileNameArgs,

    /// Where to save it, in place of what is there; `-` is standard output [default: nowhere, it is only checked]
    #[arg(long, value_name = "PATH", allow_hyphen_values = true)]
    pub(crate) save: Option<PathBuf>,

    /// Replace a file that is there; this command does so anyway
    #[arg(long, requires = "save")]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct FilesArgs {
    #[command(subcommand)]
    pub(crate) command: Option<FilesCommand>,

    /// Only names that begin with this
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) prefix: Option<String>,

    /// Most files to list; with --all, most files to ask for at once [default: 100, most: 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) limit: Option<u16>,

    /// List all files
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FilesCommand {
    /// Show who keeps your owned files, and how each replica fares
    Status(OneOrAllArgs),
    /// Check all replicas of your owned files now, and make those that are lost anew
    Repair(OneOrAllArgs),
    /// Say whose the files of an owner are that an older system knew by port or by a random id; at the tracker
    #[command(after_help = help::FILES_BIND_HELP)]
    Bind(BindArgs),
}

#[derive(Debug, Args)]
pub(crate) struct OneOrAllArgs {
    /// Only this file
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BindArgs {
    /// The owner as the old registry has it: port_9000, or a UUID
    #[arg(value_name = "OWNER")]
    pub(crate) owner: String,

    /// Id of the member of the pool that it is
    #[arg(value_name = "PEER")]
    pub(crate) peer: PeerId,
}

#[derive(Debug, Args)]
pub(crate) struct FetchArgs {
    /// The file's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// Which file of that name, by its SHA-256 [default: that of most peers]
    #[arg(long, value_name = "HEX")]
    pub(crate) sha256: Option<String>,

    /// Save it here too; `-` is standard output
    #[arg(long, value_name = "PATH", allow_hyphen_values = true)]
    pub(crate) save: Option<PathBuf>,

    /// Let --save replace a file that is there
    #[arg(long, requires = "save")]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct UploadArgs {
    /// The file to encrypt and to store on other peers; `-` is standard input
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,

    /// Its name [default: that of the file]
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub(crate) name: Option<String>,

    /// How many peers should keep it [default: 1, or as many as --to names]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) replicas: Option<u32>,

    /// A peer that should keep it, by id or address; may be repeated [default: the tracker chooses]
    #[arg(long, value_name = "PEER")]
    pub(crate) to: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DownloadArgs {
    /// The file's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// Where to save it; `-` is standard output [default: under its name, in the current folder]
    #[arg(long, value_name = "PATH", allow_hyphen_values = true)]
    pub(crate) save: Option<PathBuf>,

    /// Replace a file that is there
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct OwnedNameArgs {
    /// The file's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct RecoveryArgs {
    #[command(subcommand)]
    pub(crate) command: RecoveryCommand,

    /// The node's data folder [default: that of --port, in the user's data folder]
    #[arg(long, value_name = "FOLDER", global = true)]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RecoveryCommand {
    /// Print the key by which this node, and all its owned files, come back on a new machine
    #[command(after_help = help::RECOVERY_EXPORT_HELP)]
    Export(RecoveryExportArgs),
    /// Make a data folder that of the node whose recovery key this is; the node must not be running
    #[command(after_help = help::RECOVERY_RESTORE_HELP)]
    Restore(RecoveryRestoreArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RecoveryExportArgs {
    /// Write also the key that owned files are encrypted to, for `age -d -i FILE`
    #[arg(long, value_name = "FILE")]
    pub(crate) age_identity: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RecoveryRestoreArgs {
    /// What `potluck recovery export` printed; `-` is standard input
    #[arg(value_name = "KEY")]
    pub(crate) key: String,
}
