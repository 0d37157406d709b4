//! The command line: definitions only. What each command does is in [`crate::commands`].

mod files;
mod help;
mod identity;
mod os;
mod pool;
mod runtime;
mod schedule;

pub(crate) use files::{
    BindArgs, DownloadArgs, FetchArgs, FileNameArgs, FilesArgs, FilesCommand, GetFileArgs, OwnedNameArgs, PutFileArgs,
    RecoveryArgs, RecoveryCommand, RecoveryExportArgs, RecoveryRestoreArgs, UploadArgs,
};
pub(crate) use identity::{IdArgs, IdCommand, IdExportArgs, IdImportArgs, TokenArgs, TokenCommand};
pub(crate) use os::*;
pub(crate) use pool::{JoinArgs, PoolArgs, PoolCommand, PoolCreateArgs, PoolTokenArgs};
pub(crate) use schedule::{
    ScheduleArgs, ScheduleCommand, ScheduleCompareArgs, SchedulerArgs, SchedulerCommand, SchedulerSetArgs,
};

use crate::commands::values::{Member, byte_size, host_port, member, seconds};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use runtime::RuntimeName;
use std::path::PathBuf;

/// Port of a peer, when nothing else is said.
pub(crate) const PEER_PORT_DEFAULT: u16 = 9000;
/// Port of a tracker, when nothing else is said.
pub(crate) const TRACKER_PORT_DEFAULT: u16 = 8888;

/// Share the CPU, memory and disk of the computers that a group already owns.
#[derive(Debug, Parser)]
#[command(name = "potluck", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// Host of the node to ask (env POTLUCK_HOST, else 127.0.0.1); `peer` and `tracker`: address to listen on
    #[arg(long, global = true, value_name = "HOST", help_heading = "Global options")]
    pub(crate) host: Option<String>,

    /// Port of the node to ask (env POTLUCK_PORT, else 9000); `peer` and `tracker`: port to listen on
    // No `env` here: the variables belong to the client commands alone, and a peer has a variable of its own.
    #[arg(long, global = true, value_name = "PORT", help_heading = "Global options")]
    pub(crate) port: Option<u16>,

    /// Print JSON for programs instead of text for people
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,

    /// Ask inside TLS, as the node of --identity; always so when the node is on another machine
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) tls: bool,

    /// Data folder of the node to ask as, which implies --tls [default: that of the port, in the user's data folder]
    #[arg(long, global = true, value_name = "FOLDER", help_heading = "Global options")]
    pub(crate) identity: Option<PathBuf>,

    /// File with the access token of another account's node (env POTLUCK_TOKEN: the token itself); see `potluck token`
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub(crate) token_file: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the tracker of a pool: it knows which peers are there and how busy they are
    #[command(after_help = help::TRACKER_HELP)]
    Tracker(TrackerArgs),
    /// Run a peer: it offers what its plugins.toml names
    #[command(after_help = help::PEER_HELP)]
    Peer(PeerArgs),
    /// Show who a node is; take its identity along to another machine
    #[command(after_help = help::ID_HELP)]
    Id(IdArgs),
    /// Join the pool that a token is for
    #[command(after_help = help::JOIN_HELP)]
    Join(JoinArgs),
    /// Create a pool, let nodes in, and throw them out
    #[command(after_help = help::POOL_HELP)]
    Pool(PoolArgs),
    /// Show or renew the token by which another account of this machine may use the node
    #[command(after_help = help::TOKEN_HELP)]
    Token(TokenArgs),
    /// Run a function of a Python program on the pool and print what it returns
    #[command(after_help = help::CPU_HELP)]
    Cpu(Box<CpuArgs>),
    /// Run many tasks, one a line of a file; results come in the order of the file
    #[command(after_help = help::BATCH_HELP)]
    Batch(Box<BatchArgs>),
    /// Stop a queued or running task
    Cancel(CancelArgs),
    /// Store a value in the node's memory
    SetMem(SetMemArgs),
    /// Read a value from the node's memory
    GetMem(GetMemArgs),
    /// Remove a value from the node's memory
    DelMem(DelMemArgs),
    /// List the keys in the node's memory
    ListMem(ListMemArgs),
    /// Store a file on the node, for all members of the pool to read
    #[command(after_help = help::PUT_FILE_HELP)]
    PutFile(PutFileArgs),
    /// Read a file from the node
    #[command(after_help = help::GET_FILE_HELP)]
    GetFile(GetFileArgs),
    /// List the files of the node; show and repair the replicas of owned files
    #[command(after_help = help::FILES_HELP)]
    Files(FilesArgs),
    /// Remove a file from the node
    DelFile(FileNameArgs),
    /// Show which peers of the pool have a file
    FindFile(FileNameArgs),
    /// Download a file to the node, from all peers that have it
    #[command(after_help = help::FETCH_HELP)]
    Fetch(FetchArgs),
    /// Store a file on other peers, encrypted, so that nobody but you can read it
    #[command(after_help = help::UPLOAD_HELP)]
    Upload(UploadArgs),
    /// Bring back a file that was stored with `upload`
    #[command(after_help = help::DOWNLOAD_HELP)]
    Download(DownloadArgs),
    /// List the files that were stored with `upload`
    Owned,
    /// Delete a file that was stored with `upload`, from all peers that keep it
    DeleteOwned(OwnedNameArgs),
    /// Keep this node through the loss of the machine
    #[command(after_help = help::RECOVERY_HELP)]
    Recovery(RecoveryArgs),
    #[command(flatten)]
    Os(OsCommand),
    /// Show how a node fares
    Status,
    /// List the peers of the pool
    Peers,
    /// List a node's plugins and how they fare
    Plugins,
    /// Install, list and remove the images that sandboxed Python runs in
    #[command(after_help = help::SANDBOX_HELP)]
    Sandbox(SandboxArgs),
    /// Check this installation and its node: what works, what protects, and what to do about the rest
    #[command(after_help = help::DOCTOR_HELP)]
    Doctor(DoctorArgs),
    /// Show or choose the order in which tasks run
    #[command(after_help = schedule::SCHEDULER_HELP)]
    Scheduler(SchedulerArgs),
    /// Compare scheduling algorithms on one workload
    Schedule(ScheduleArgs),
    /// Send any message and print the reply
    #[command(after_help = help::SEND_HELP)]
    Send(SendArgs),
    /// Follow what happens on a node, until Ctrl-C
    Events(EventsArgs),
    /// Check a running node from outside
    Selftest,
    /// Print the completion script of a shell
    #[command(after_help = help::COMPLETIONS_HELP)]
    Completions(CompletionsArgs),
}

/// Options that every node has.
#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// Folder for what the node keeps [default: one per port, in the user's data folder]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data_dir: Option<PathBuf>,

    /// The file that names the plugins [default: the plugins.toml of the installation]
    #[arg(long, value_name = "FILE")]
    pub(crate) plugins: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct TrackerArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PeerArgs {
    /// Address of the tracker [default: 127.0.0.1:8888]
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    pub(crate) tracker: Option<String>,

    /// Host of the tracker, when --tracker is not given
    #[arg(long, value_name = "HOST", env = "TRACKER_HOST", hide_env_values = true)]
    pub(crate) tracker_host: Option<String>,

    /// Port of the tracker, when --tracker is not given
    #[arg(long, value_name = "PORT", env = "TRACKER_PORT", hide_env_values = true)]
    pub(crate) tracker_port: Option<u16>,

    /// Look for no tracker while the node is in no pool
    #[arg(long, conflicts_with = "tracker")]
    pub(crate) no_tracker: bool,

    /// Join the pool that a token is for; `-` reads the token from standard input
    #[arg(long, value_name = "TOKEN")]
    pub(crate) join: Option<String>,

    /// What people call this node in the pool, with --join [default: the name of the machine]
    #[arg(long, value_name = "NAME", requires = "join")]
    pub(crate) name: Option<String>,

    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CpuArgs {
    /// The program's text
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, required_unless_present_any = ["file", "module"])]
    pub(crate) program: Option<String>,

    /// The file with the program; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "program")]
    pub(crate) file: Option<PathBuf>,

    /// The guest to run instead of a program: a .wasm file of 8 MiB at most
    #[arg(long, value_name = "FILE", conflicts_with_all = ["program", "file"])]
    pub(crate) module: Option<PathBuf>,

    /// The function to call
    #[arg(long, value_name = "NAME", default_value = "main")]
    pub(crate) function: String,

    /// Arguments as a JSON array; one other JSON value, or one text that is no JSON, is the only argument
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    pub(crate) args: Option<String>,

    /// What runs it [default: wasm with --module, sandbox with --image, else python]
    #[arg(long, value_name = "NAME", value_parser = RuntimeName)]
    pub(crate) runtime: Option<String>,

    /// The image that sandboxed Python runs in [default: python; `potluck sandbox list` shows what there is]
    #[arg(long, value_name = "NAME", conflicts_with = "module")]
    pub(crate) image: Option<String>,

    /// Keep the task on this node: no other peer and no tracker learns of it
    #[arg(long)]
    pub(crate) confidential: bool,

    /// Higher runs first
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) priority: Option<i64>,

    /// Run it again up to N times when it fails
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) retries: Option<i64>,

    /// Give the task up after this time, waiting included [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<f64>,

    /// Name of the task, for `potluck cancel` [default: a new UUID]
    #[arg(long, value_name = "ID")]
    pub(crate) task_id: Option<String>,

    /// Processor time that the task may use
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) cpu_limit: Option<f64>,

    /// Memory that the task may use, such as 512M or 1GiB
    #[arg(long, value_name = "BYTES", value_parser = byte_size)]
    pub(crate) memory_limit: Option<u64>,

    /// What the task may print on stdout and on stderr each, such as 64K
    #[arg(long, value_name = "BYTES", value_parser = byte_size)]
    pub(crate) output_limit: Option<u64>,

    /// Use an interpreter that nobody has used before and nobody uses afterwards, as `sandbox` and `wasm` always do
    #[arg(long)]
    pub(crate) isolated: bool,

    /// Be content with the result of an earlier run of the same program with the same arguments, and keep this one; without
    /// it only what the sandbox saw to be deterministic is reused
    #[arg(long, conflicts_with = "no_cache")]
    pub(crate) cache: bool,

    /// Run it, whatever is known of earlier runs
    #[arg(long)]
    pub(crate) no_cache: bool,

    /// How long the task is expected to run [default: learned from earlier runs]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) estimated_time: Option<f64>,

    /// Save the files that the task hands back, in this folder [default: the current one]
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, default_missing_value = ".")]
    pub(crate) save_files: Option<PathBuf>,

    /// Let --save-files replace files that are there
    #[arg(long, requires = "save_files")]
    pub(crate) force: bool,

    /// Say also which peer and runtime ran the task, for how long, and whether it was deterministic
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BatchArgs {
    /// The tasks, one JSON object a line with the fields of CPU_TASK; `-` is standard input
    #[arg(value_name = "FILE.jsonl")]
    pub(crate) tasks: PathBuf,

    /// Most tasks in flight at once
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) jobs: u32,

    /// The program's text, for lines without `program`
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) program: Option<String>,

    /// The file with the program, for lines without `program`
    #[arg(long, value_name = "FILE", conflicts_with = "program")]
    pub(crate) file: Option<PathBuf>,

    /// The guest to run, for lines without `program` and `module`: a .wasm file of 8 MiB at most
    #[arg(long, value_name = "FILE", conflicts_with_all = ["program", "file"])]
    pub(crate) module: Option<PathBuf>,

    /// The function to call, for lines without `function`
    #[arg(long, value_name = "NAME")]
    pub(crate) function: Option<String>,

    /// What runs the tasks, for lines without `runtime` [default: as for `potluck cpu`]
    #[arg(long, value_name = "NAME", value_parser = RuntimeName)]
    pub(crate) runtime: Option<String>,

    /// The image that sandboxed Python runs in, for lines without `image`
    #[arg(long, value_name = "NAME", conflicts_with = "module")]
    pub(crate) image: Option<String>,

    /// Give a task up after this time, for lines without `timeout`
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<f64>,

    /// Processor time that a task may use, for lines without `cpu_limit_seconds`
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) cpu_limit: Option<f64>,

    /// Memory that a task may use, such as 512M or 1GiB, for lines without `memory_limit_bytes`
    #[arg(long, value_name = "BYTES", value_parser = byte_size)]
    pub(crate) memory_limit: Option<u64>,

    /// What a task may print on stdout and on stderr each, for lines without `output_limit_bytes`
    #[arg(long, value_name = "BYTES", value_parser = byte_size)]
    pub(crate) output_limit: Option<u64>,

    /// Save the files that tasks hand back, in a folder for each task below this one
    #[arg(long, value_name = "FOLDER")]
    pub(crate) save_files: Option<PathBuf>,

    /// Let --save-files replace files that are there
    #[arg(long, requires = "save_files")]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// Name of the task
    #[arg(long, value_name = "ID")]
    pub(crate) task_id: String,
}

#[derive(Debug, Args)]
pub(crate) struct SetMemArgs {
    /// Name of the value
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) key: String,

    /// The value: a text, with --json-value any JSON value
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    pub(crate) value: String,

    /// Store the value as the JSON that it is, not as a text
    #[arg(long)]
    pub(crate) json_value: bool,

    /// Remove the value after this time
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) ttl: Option<f64>,

    /// Store only if the present value has this version; 0: only if there is none
    #[arg(long, value_name = "N")]
    pub(crate) if_version: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct GetMemArgs {
    /// Name of the value
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) key: String,
}

#[derive(Debug, Args)]
pub(crate) struct DelMemArgs {
    /// Name of the value
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) key: String,

    /// Remove only if the present value has this version
    #[arg(long, value_name = "N")]
    pub(crate) if_version: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct ListMemArgs {
    /// Only keys that begin with this
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, allow_hyphen_values = true)]
    pub(crate) prefix: String,

    /// Most keys to list; with --all, most keys to ask for at once [default: 100, most: 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) limit: Option<u16>,

    /// List all keys
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// Type of the message, such as STATUS; or the message itself, a JSON object with a `type`
    #[arg(value_name = "TYPE")]
    pub(crate) message_type: String,

    /// Fields of the message; a value that is no JSON is sent as a text
    #[arg(value_name = "KEY=JSON", value_parser = member)]
    pub(crate) members: Vec<Member>,

    /// The peer that should answer, by its id or address; the node passes the message on
    #[arg(long, value_name = "PEER")]
    pub(crate) to: Option<String>,

    /// Send the bytes of a file behind the message, 8 MiB at most
    #[arg(long, value_name = "FILE")]
    pub(crate) attachment: Option<PathBuf>,

    /// Write the bytes behind the reply to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Only this topic, or with a star at the end all topics that begin so; may be repeated
    #[arg(long = "topic", value_name = "TOPIC")]
    pub(crate) topics: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SandboxArgs {
    #[command(subcommand)]
    pub(crate) command: SandboxCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SandboxCommand {
    /// Install an image: `science` has numpy, pandas, scipy and matplotlib
    #[command(after_help = help::SANDBOX_INSTALL_HELP)]
    Install(SandboxInstallArgs),
    /// List the images of a node
    List,
    /// Remove an image that was installed
    Remove(SandboxRemoveArgs),
    /// Show what an image holds, and what its tasks may use
    #[command(after_help = help::SANDBOX_INFO_HELP)]
    Info(SandboxInfoArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SandboxInstallArgs {
    /// Name of the image, such as science
    #[arg(value_name = "NAME")]
    pub(crate) image: String,

    /// Take this wheel instead of the package index's, for machines without a network
    #[arg(long, value_name = "FILE")]
    pub(crate) wheel: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct SandboxRemoveArgs {
    /// Name of the image
    #[arg(value_name = "NAME")]
    pub(crate) image: String,
}

#[derive(Debug, Args)]
pub(crate) struct SandboxInfoArgs {
    /// Name of the image
    #[arg(value_name = "NAME", default_value = "python")]
    pub(crate) image: String,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    // Those of a node, since without a running one the doctor looks at what would be started.
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: Shell,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Cli {
        Cli::try_parse_from(line.split(' ')).unwrap()
    }

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_before_or_after_the_command() {
        for line in [
            "potluck --host h --port 9001 --json status",
            "potluck status --host h --port 9001 --json",
            "potluck --json --port 9001 status --host h",
        ] {
            let cli = parse(line);
            assert_eq!((cli.host.as_deref(), cli.port, cli.json), (Some("h"), Some(9001), true), "{line}");
            assert!(matches!(cli.command, Some(Command::Status)));
        }
        let cli = parse("potluck --port 0 peer --no-tracker");
        assert_eq!(cli.port, Some(0));
        assert_eq!(parse("potluck peer --port 0").port, Some(0));
    }

    #[test]
    fn no_command_is_no_mistake() {
        assert!(parse("potluck").command.is_none());
    }

    #[test]
    fn cpu_takes_all_its_options() {
        let line = "potluck cpu --program p --function f --args -5 --runtime python --confidential --priority -3 \
                    --retries 2 --timeout 1.5 --task-id t --cpu-limit 2 --memory-limit 512M --output-limit 1KiB \
                    --isolated --estimated-time 0.25";
        let Some(Command::Cpu(args)) = parse(line).command else { panic!("another command") };
        assert_eq!(args.args.as_deref(), Some("-5"));
        assert_eq!((args.priority, args.retries, args.timeout), (Some(-3), Some(2), Some(1.5)));
        assert_eq!((args.memory_limit, args.output_limit), (Some(512 << 20), Some(1024)));
        assert!(args.confidential && args.isolated);
    }

    #[test]
    fn bad_usage_is_refused() {
        for line in [
            "potluck cpu",
            "potluck cpu --program p --file f",
            "potluck cpu --program p --timeout -1",
            "potluck cpu --program p --timeout nan",
            "potluck cpu --program p --memory-limit 5X",
            "potluck cpu --program p --retries -1",
            "potluck peer --tracker nowhere",
            "potluck peer --tracker h:1 --no-tracker",
            "potluck peer --name n",
            "potluck pool",
            "potluck pool token --valid 24",
            "potluck pool token --address nowhere",
            "potluck pool revoke",
            "potluck join",
            "potluck join t --tracker nowhere",
            "potluck id export",
            "potluck token",
            "potluck batch t.jsonl --jobs 0",
            "potluck status --port 70000",
            "potluck send",
            "potluck send X y",
            "potluck list-mem --limit 1001",
            "potluck put-file",
            "potluck put-file p --filepath q",
            "potluck put-file p n --filename m",
            "potluck get-file",
            "potluck get-file n --force",
            "potluck files --limit 0",
            "potluck files --all status",
            "potluck files bind port_9000 nobody",
            "potluck upload p --replicas 0",
            "potluck recovery",
            "potluck recovery restore",
            "potluck fly",
        ] {
            assert_eq!(Cli::try_parse_from(line.split(' ')).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn a_token_has_its_options_with_and_without_a_new_pool() {
        let options = "--reusable --valid 7d --address a:1 --address [::1]:2 -q";
        let Some(Command::Pool(args)) = parse(&format!("potluck pool create --pool-name p --name n {options}")).command
        else {
            panic!("another command")
        };
        let PoolCommand::Create(create) = args.command else { panic!("another command") };
        assert_eq!((create.pool_name.as_deref(), create.name.as_deref()), (Some("p"), Some("n")));
        let Some(Command::Pool(args)) = parse(&format!("potluck pool token {options}")).command else {
            panic!("another command")
        };
        let PoolCommand::Token(token) = args.command else { panic!("another command") };
        for token in [create.token, token] {
            assert_eq!((token.reusable, token.valid, token.quiet), (true, Some(604_800), true));
            assert_eq!(token.addresses, ["a:1", "[::1]:2"]);
        }
    }

    #[test]
    fn the_data_folder_of_an_identity_stands_before_or_after_what_is_done_with_it() {
        for line in ["potluck id --data-dir d export f", "potluck id export f --data-dir d"] {
            let Some(Command::Id(args)) = parse(line).command else { panic!("another command") };
            assert_eq!(args.data_dir.as_deref(), Some(std::path::Path::new("d")), "{line}");
            assert!(matches!(args.command, Some(IdCommand::Export(_))), "{line}");
        }
        let Some(Command::Id(args)) = parse("potluck id").command else { panic!("another command") };
        assert!(args.command.is_none());
    }

    #[test]
    fn a_file_and_its_name_are_given_as_options_or_by_their_place() {
        for (line, path, name) in [
            ("potluck put-file --filename n --filepath p", "p", Some("n")),
            ("potluck put-file p n", "p", Some("n")),
            ("potluck put-file p --filename n", "p", Some("n")),
            ("potluck put-file - n", "-", Some("n")),
            ("potluck put-file --filepath - --filename n", "-", Some("n")),
            ("potluck put-file p", "p", None),
        ] {
            let Some(Command::PutFile(args)) = parse(line).command else { panic!("another command") };
            let given = args.path.or(args.filepath).unwrap();
            assert_eq!(given, std::path::Path::new(path), "{line}");
            assert_eq!(args.name.or(args.filename).as_deref(), name, "{line}");
        }
        for line in ["potluck get-file --filename n --save -", "potluck get-file n --save - --force"] {
            let Some(Command::GetFile(args)) = parse(line).command else { panic!("another command") };
            assert_eq!(args.file.get(), "n", "{line}");
        }
        let Some(Command::Files(args)) = parse("potluck files status n").command else { panic!("another command") };
        assert!(matches!(args.command, Some(FilesCommand::Status(status)) if status.name.is_some()));
    }

    #[test]
    fn values_that_begin_with_a_hyphen_are_values() {
        let Some(Command::SetMem(args)) = parse("potluck set-mem --key k --value -5").command else {
            panic!("another command")
        };
        assert_eq!(args.value, "-5");
    }
}
