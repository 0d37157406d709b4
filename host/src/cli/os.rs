//! The commands of the operating system: processes, resources, memory, queues, semaphores, history. Definitions only.

mod help;
mod values;

use crate::commands::values::{byte_size, seconds};
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;
pub(crate) use values::Units;
use values::{address, number, process_name, units};

#[derive(Debug, Subcommand)]
pub(crate) enum OsCommand {
    /// Show the processes of a node as a tree; with --watch, live
    #[command(after_help = help::PS)]
    Ps(PsArgs),
    /// End processes, and with them those that they have begun
    #[command(after_help = help::KILL)]
    Kill(KillArgs),
    /// Stop processes where they are, until `potluck resume`
    #[command(after_help = help::PAUSE)]
    Pause(PauseArgs),
    /// Let paused processes go on
    #[command(after_help = help::PAUSE)]
    Resume(PauseArgs),
    /// Wait until a process has ended; the exit code is that of the process
    #[command(after_help = help::WAIT)]
    Wait(WaitArgs),
    /// Give a process another priority
    Priority(PriorityArgs),
    /// Put processes into groups, and end, pause or resume all of a group
    #[command(after_help = help::GROUP)]
    Group(GroupArgs),
    /// Show the resources of Banker's algorithm; register, request and release them
    #[command(after_help = help::RESOURCES)]
    Resources(ResourcesArgs),
    /// Look for a deadlock, say who waits for what, and resolve it
    #[command(after_help = help::DEADLOCK)]
    Deadlock(DeadlockArgs),
    /// Take a block of the node's arena for a process
    #[command(after_help = help::ALLOC)]
    Alloc(AllocArgs),
    /// Give blocks of the arena back
    #[command(after_help = help::ALLOC)]
    Free(FreeArgs),
    /// Draw the arena: what is used, what is free, and how broken up it is
    #[command(after_help = help::ALLOC)]
    Memmap(MemmapArgs),
    /// Show or choose the algorithm that places blocks in the arena
    #[command(after_help = help::ALLOCATOR)]
    Allocator(AllocatorArgs),
    /// Make queues, send and receive messages
    #[command(after_help = help::QUEUE)]
    Queue(QueueArgs),
    /// Make semaphores, wait for them and signal them
    #[command(after_help = help::SEM)]
    Sem(SemArgs),
    /// Show what has become of tasks, search it and export it
    #[command(after_help = help::HISTORY)]
    History(Box<HistoryArgs>),
    /// Show how much of the quotas is used, and by whom
    Quota(ToArgs),
    /// Show how well the cache of results serves, or clear it
    Cache(CacheArgs),
    /// Watch a node on the whole screen: processes, scheduler, memory, queues, semaphores
    #[command(after_help = help::TOP)]
    Top(TopArgs),
}

/// Whom to ask.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ToArgs {
    /// The peer that should answer, by its id or address; the node passes the message on
    #[arg(long, value_name = "PEER", global = true)]
    pub(crate) to: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Only this process and those that it has begun
    #[arg(value_name = "PID")]
    pub(crate) pid: Option<String>,

    /// One process below the other, without the lines of a tree
    #[arg(long)]
    pub(crate) flat: bool,

    /// Show the processes that have ended too
    #[arg(long, short)]
    pub(crate) all: bool,

    /// Show them again and again, until Ctrl-C
    #[arg(long, short)]
    pub(crate) watch: bool,

    /// With --watch, how often
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true, default_value = "1", requires = "watch")]
    pub(crate) every: f64,

    /// Only processes in this state
    #[arg(long, value_name = "STATE", ignore_case = true)]
    pub(crate) state: Option<StateName>,

    /// Only processes of this group
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<String>,

    /// Only processes of this one: `local`, or the id of a peer
    #[arg(long, value_name = "WHO")]
    pub(crate) by: Option<String>,

    /// Only processes with this in the name of their function or task
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: Option<String>,

    /// Most processes to show
    #[arg(long, value_name = "N", default_value_t = 1000, allow_negative_numbers = true)]
    pub(crate) limit: usize,

    #[command(flatten)]
    pub(crate) to: ToArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StateName {
    New,
    Ready,
    Running,
    Waiting,
    Terminated,
    Zombie,
}

#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// The processes
    #[arg(value_name = "PID", required = true)]
    pub(crate) pids: Vec<String>,

    /// What to send them
    #[arg(long, short, value_name = "SIGNAL", default_value = "terminate", ignore_case = true)]
    pub(crate) signal: SignalName,

    /// Send it to all below them too; always so for terminate and kill
    #[arg(long)]
    pub(crate) tree: bool,

    #[command(flatten)]
    pub(crate) to: ToArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SignalName {
    Terminate,
    Kill,
    Pause,
    Resume,
}

#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// The processes
    #[arg(value_name = "PID", required = true)]
    pub(crate) pids: Vec<String>,

    /// And all that they have begun
    #[arg(long)]
    pub(crate) tree: bool,

    #[command(flatten)]
    pub(crate) to: ToArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// The process
    #[arg(value_name = "PID")]
    pub(crate) pid: String,

    /// Give up after this time
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub(crate) timeout: Option<f64>,

    #[command(flatten)]
    pub(crate) to: ToArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PriorityArgs {
    /// The process
    #[arg(value_name = "PID")]
    pub(crate) pid: String,

    /// Higher runs first
    #[arg(value_name = "N", allow_negative_numbers = true)]
    pub(crate) priority: i64,

    #[command(flatten)]
    pub(crate) to: ToArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GroupArgs {
    #[command(subcommand)]
    pub(crate) command: GroupCommand,

    #[command(flatten)]
    pub(crate) to: ToArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// Make a group, or add processes to one
    Create {
        /// Name of the group
        group: String,
        /// Processes to put into it
        pids: Vec<String>,
    },
    /// List the groups
    List,
    /// End all processes of a group, and the group
    Kill {
        /// Name of the group
        group: String,
    },
    /// Pause all processes of a group
    Pause {
        /// Name of the group
        group: String,
    },
    /// Let all processes of a group go on
    Resume {
        /// Name of the group
        group: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ResourcesArgs {
    #[command(subcommand)]
    pub(crate) command: Option<ResourcesCommand>,

    #[command(flatten)]
    pub(crate) to: ToArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ResourcesCommand {
    /// Show resources, processes and who waits (without a subcommand as well)
    List,
    /// Make a resource known, or change how many units it has
    Register {
        /// Its name and how many units there are; no fewer than are given out, or than a process may need
        #[arg(value_name = "RESOURCE=UNITS", value_parser = units)]
        resource: Units,
        /// What it is: CPU, MEMORY, DISK or NETWORK
        #[arg(long, value_name = "TYPE")]
        kind: Option<String>,
    },
    /// Forget a resource that nobody holds
    Unregister {
        /// Its name
        resource: String,
    },
    /// Say how much a process will need at most
    Need {
        /// The process
        pid: String,
        /// How much of which
        #[arg(value_name = "RESOURCE=UNITS", required = true, value_parser = units)]
        needs: Vec<Units>,
    },
    /// Forget a process, and take back what it holds
    Forget {
        /// The process
        pid: String,
    },
    /// Ask for units for a process; refused when that could end in a deadlock
    Request {
        /// The process
        pid: String,
        /// How much of which, all or nothing
        #[arg(value_name = "RESOURCE=UNITS", required = true, value_parser = units)]
        requests: Vec<Units>,
        /// Wait until they can be given
        #[arg(long)]
        wait: bool,
        /// Wait for this time at most
        #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
        timeout: Option<f64>,
    },
    /// Give units of a process back
    Release {
        /// The process
        pid: String,
        /// How much of which
        #[arg(value_name = "RESOURCE=UNITS", required = true, value_parser = units)]
        releases: Vec<Units>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DeadlockArgs {
    #[command(subcommand)]
    pub(crate) command: Option<DeadlockCommand>,

    #[command(flatten)]
    pub(crate) to: ToArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadlockCommand {
    /// Look for one (without a subcommand as well); the exit code is 1 when there is one
    Check,
    /// End processes until there is none
    Resolve {
        /// The one to end first [default: the one that costs least]
        pid: Option<String>,
        /// End one only
        #[arg(long)]
        once: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AllocArgs {
    /// The process that gets the block, or any other name; P7@PEER is P7 of the peer with this id, not with --to
    #[arg(value_name = "PID", value_parser = process_name)]
    pub(crate) pid: String,

    /// Its size, such as 4096, 64K or 1.5MiB
    #[arg(value_name = "SIZE", value_parser = byte_size, allow_negative_numbers = true)]
    pub(crate) size: u64,

    /// Wait until there is room
    #[arg(long)]
    pub(crate) wait: bool,

    /// Wait for this time at most
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub(crate) timeout: Option<f64>,

    #[command(flatten)]
    pub(crate) to: ToArgs,
}

#[derive(Debug, Args)]
pub(crate) struct FreeArgs {
    /// The process whose blocks are given back
    #[arg(value_name = "PID")]
    pub(crate) pid: String,

    /// Address of one block, as `potluck alloc` prints it [default: all of the process]
    #[arg(value_name = "ADDRESS", value_parser = address, allow_negative_numbers = true)]
    pub(crate) address: Option<u64>,

    #[command(flatten)]
    pub(crate) to: ToArgs,
}

#[derive(Debug, Args)]
pub(crate) struct MemmapArgs {
    /// Most blocks to list below the map
    #[arg(long, value_name = "N", default_value_t = 20, allow_negative_numbers = true)]
    pub(crate) limit: usize,

    #[command(flatten)]
    pub(crate) to: ToArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AllocatorArgs {
    #[command(subcommand)]
    pub(crate) command: Option<AllocatorCommand>,

    #[command(flatten)]
    pub(crate) to: ToArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AllocatorCommand {
    /// Show the algorithm and how broken up the arena is (without a subcommand as well)
    Show,
    /// Choose the algorithm: FIRST_FIT, BEST_FIT, WORST_FIT or NEXT_FIT
    Set {
        /// Its name
        algorithm: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct QueueArgs {
    #[command(subcommand)]
    pub(crate) command: QueueCommand,

    #[command(flatten)]
    pub(crate) to: ToArgs,
}

/// In whose name something is done.
#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// In whose name: a process, or any other name; P7@PEER is P7 of the peer with this id, not with --to
    #[arg(long = "as", value_name = "NAME", default_value = "client", value_parser = process_name)]
    pub(crate) name: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// Make a queue
    Create {
        /// Its name
        queue: String,
        /// Most messages that it holds
        #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true)]
        max_size: Option<u64>,
        /// It may be there already
        #[arg(long)]
        exist_ok: bool,
    },
    /// Send a message; wait while the queue is full
    Send {
        /// Name of the queue
        queue: String,
        /// What to send: JSON, else a text
        #[arg(allow_hyphen_values = true)]
        data: String,
        #[command(flatten)]
        name: NameArgs,
        /// Who gets it: a name, `*` for every receiver once, `?` for the first that asks
        #[arg(long, value_name = "NAME")]
        receiver: Option<String>,
        /// What kind of message it is [default: DATA]
        #[arg(long, value_name = "TYPE")]
        message_type: Option<String>,
        /// How long to wait while the queue is full [default: 5]
        #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
        timeout: Option<f64>,
    },
    /// Take the next message; wait for one, when --timeout is given
    Receive {
        /// Name of the queue
        queue: String,
        #[command(flatten)]
        name: NameArgs,
        /// How long to wait for a message
        #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true, default_value = "0")]
        timeout: f64,
    },
    /// Look at the next message without taking it
    Peek {
        /// Name of the queue
        queue: String,
        #[command(flatten)]
        name: NameArgs,
    },
    /// Receive broadcasts from now on
    Join {
        /// Name of the queue
        queue: String,
        #[command(flatten)]
        name: NameArgs,
    },
    /// Receive no broadcasts any more
    Leave {
        /// Name of the queue
        queue: String,
        #[command(flatten)]
        name: NameArgs,
    },
    /// List the queues
    List {
        /// Only those whose names begin with this
        #[arg(default_value = "")]
        prefix: String,
    },
    /// Delete a queue with all its messages
    Delete {
        /// Its name
        queue: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SemArgs {
    #[command(subcommand)]
    pub(crate) command: SemCommand,

    #[command(flatten)]
    pub(crate) to: ToArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SemCommand {
    /// Make a semaphore
    Create {
        /// Its name
        sem: String,
        /// How many may have it at once; 0 when it is only to be signalled [default: 1]
        #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true)]
        value: Option<u64>,
        /// Never more than 1
        #[arg(long)]
        binary: bool,
        /// It may be there already
        #[arg(long)]
        exist_ok: bool,
    },
    /// Wait until it can be had; the exit code is 1 when the time is over before
    Wait {
        /// Its name
        sem: String,
        #[command(flatten)]
        name: NameArgs,
        /// Wait for this time at most; 0 only tries
        #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
        timeout: Option<f64>,
    },
    /// Give it back, or signal it
    Signal {
        /// Its name
        sem: String,
        #[command(flatten)]
        name: NameArgs,
    },
    /// List the semaphores
    List {
        /// Only those whose names begin with this
        #[arg(default_value = "")]
        prefix: String,
    },
    /// Delete a semaphore; who waits for it gets an error
    Delete {
        /// Its name
        sem: String,
    },
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct HistoryArgs {
    #[command(subcommand)]
    pub(crate) command: Option<HistoryCommand>,

    /// Most records [default: 100, with --export all]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) limit: Option<usize>,

    /// Only records of this type, such as CPU_TASK
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) task_type: Option<String>,

    /// Only SUCCESS, FAILED or CANCELLED
    #[arg(long, value_name = "STATUS")]
    pub(crate) status: Option<String>,

    /// Only tasks that ran on this peer: its id, or HOST:PORT
    #[arg(long, value_name = "PEER")]
    pub(crate) peer: Option<String>,

    /// Only tasks that ran for this one: `local`, or the id of a peer
    #[arg(long, value_name = "WHO")]
    pub(crate) by: Option<String>,

    /// Only tasks that ended then or later: 2026-01-31, 2026-01-31T12:00:00, seconds since 1970, or 2h for two hours ago
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,

    /// Only tasks that ended before
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,

    /// Only tasks with this in their name or that of their function
    #[arg(long, value_name = "TEXT")]
    pub(crate) text: Option<String>,

    /// Only the newest record of this task
    #[arg(long, value_name = "ID", conflicts_with_all = ["export", "table"])]
    pub(crate) task_id: Option<String>,

    /// Show all records as a table, instead of the last ten in short
    #[arg(long)]
    pub(crate) table: bool,

    /// Write all records that fit, for other programs
    #[arg(long, value_name = "FORMAT", conflicts_with = "table")]
    pub(crate) export: Option<ExportFormat>,

    /// With --export, write to this file instead of standard output
    #[arg(long, value_name = "FILE", requires = "export")]
    pub(crate) save: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) to: ToArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// A line of headings, and a line for each record
    Csv,
    /// A JSON array of the records
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HistoryCommand {
    /// Forget all records
    Clear,
}

#[derive(Debug, Args)]
pub(crate) struct CacheArgs {
    #[command(subcommand)]
    pub(crate) command: Option<CacheCommand>,

    #[command(flatten)]
    pub(crate) to: ToArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Show how well it serves (without a subcommand as well)
    Show,
    /// Forget all results
    Clear,
}

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// How often to look
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true, default_value = "1")]
    pub(crate) every: f64,

    #[command(flatten)]
    pub(crate) to: ToArgs,
}
