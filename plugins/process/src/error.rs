//! What can go wrong, and the codes that programs see.

use crate::state::successors;
use potluck_sdk::ProviderError;
use potluck_sdk::message::process::ProcessState;

/// Code of what is not there, or not for this caller to see.
pub(crate) const NOT_FOUND: &str = "not_found";
/// Code of a wait that is over.
pub(crate) const TIMEOUT: &str = "timeout";
/// Code of a state that cannot follow.
pub(crate) const INVALID_STATE: &str = "invalid_state";

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum ProcessError {
    #[error("pid required")]
    PidRequired,
    #[error("group_id required")]
    GroupRequired,
    #[error("signal required: pause, resume, terminate or kill")]
    SignalRequired,
    #[error("state required: one of NEW, READY, RUNNING, WAITING, TERMINATED")]
    StateRequired,
    #[error("priority required")]
    PriorityRequired,
    #[error("{what} has {bytes} bytes, at most {max} are allowed")]
    TooLong { what: &'static str, bytes: usize, max: usize },
    #[error("{0} must not be empty or hold control characters")]
    NotPlain(&'static str),
    #[error("timeout must be at least 0 and at most {0} seconds; leave it out to wait for ever")]
    Timeout(u64),
    #[error("count must be 1 to {0}")]
    Count(u64),
    #[error("at most {0} changes fit into one PROCESS_CHANGES")]
    Changes(usize),
    #[error("Process {0} not found")]
    NotFound(String),
    #[error("the parent {0} is not there; name a process that runs, or leave parent_pid out")]
    NoParent(String),
    #[error("the parent {0} has ended or is about to, so it gets no more children")]
    ParentEnds(String),
    #[error("processes descend from one another in at most {0} generations")]
    TooDeep(u32),
    #[error("at most {0} processes can be named at once")]
    Pids(usize),
    #[error("process {0} cannot wait for itself")]
    WaitsForItself(String),
    #[error("process {0} has ended already; PROCESS_INFO says how, while it is remembered")]
    Ended(String),
    #[error("process {pid} is {}, which {} cannot follow; {} can", from.word(), to.word(), words(*from))]
    Transition { pid: String, from: ProcessState, to: ProcessState },
    #[error("process {0} runs a task, so its state follows from what the task does; use SIGNAL_PROCESS")]
    HasTask(String),
    #[error("process {0} is not paused")]
    NotPaused(String),
    #[error("process {0} has not ended within the given time")]
    StillThere(String),
    #[error("process {0}, which waited, has ended")]
    WaiterEnded(String),
    #[error(
        "the process table holds {0} processes that have not ended, its limit; end some, or raise entries_max in [plugins.process]"
    )]
    TableFull(usize),
    #[error(
        "the process table holds {0} entries without a task, its limit; end some, or raise entries_max in [plugins.process]"
    )]
    TasklessFull(usize),
    #[error(
        "you have {0} processes here that have not ended, your limit; end some, or ask for a larger entries_per_peer_max in [plugins.process]"
    )]
    ShareFull(usize),
    #[error(
        "all processes here may have {0} bytes of task_data together; end some, or raise task_data_bytes_max in [plugins.process]"
    )]
    TaskDataFull(usize),
    #[error(
        "the share of the node {peer} is full, at most {share} bytes of task_data; end some processes, or ask for a larger peer_share in [plugins.process]"
    )]
    TaskDataShareFull { peer: String, share: usize },
    #[error("there are {0} groups, the limit; kill some, or raise groups_max in [plugins.process]")]
    GroupsFull(usize),
    #[error(
        "the share of the node {peer} is full, at most {share} groups; kill some, or ask for a larger groups_per_peer_max in [plugins.process]"
    )]
    GroupShareFull { peer: String, share: usize },
    #[error("{0} callers wait for processes, the limit; try again, or raise waits_max in [plugins.process]")]
    WaitsFull(usize),
    #[error(
        "the share of the node {peer} is full, at most {share} of its callers wait for processes; try again when one has been answered, or ask for a larger peer_share in [plugins.process]"
    )]
    WaitShareFull { peer: String, share: usize },
    #[error("a task begins others with TASK_SPAWN (in Python: potluck.spawn)")]
    TaskForbidden,
    #[error("task must be the body of a CPU_TASK, a JSON object")]
    TaskNoObject,
    #[error("process {0} is in the table; end it with TERMINATE_PROCESS")]
    InTable(String),
}

/// The states that can follow, for people.
fn words(from: ProcessState) -> String {
    let words: Vec<&str> =
        successors(from).iter().filter(|state| **state != ProcessState::Zombie).map(|state| state.word()).collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join(" or ") }
}

impl From<ProcessError> for ProviderError {
    fn from(error: ProcessError) -> ProviderError {
        use ProcessError::*;
        let code = match error {
            PidRequired
            | GroupRequired
            | SignalRequired
            | StateRequired
            | PriorityRequired
            | TooLong { .. }
            | NotPlain(_)
            | TaskForbidden
            | TaskNoObject
            | Pids(_)
            | WaitsForItself(_)
            | Timeout(_)
            | Count(_)
            | Changes(_) => ProviderError::INVALID_MESSAGE,
            NotFound(_) | NoParent(_) => NOT_FOUND,
            ParentEnds(_) | Ended(_) | WaiterEnded(_) => "process_ended",
            Transition { .. } | HasTask(_) | NotPaused(_) | InTable(_) => INVALID_STATE,
            StillThere(_) => TIMEOUT,
            TooDeep(_)
            | TableFull(_)
            | TasklessFull(_)
            | ShareFull(_)
            | TaskDataFull(_)
            | TaskDataShareFull { .. }
            | GroupsFull(_)
            | GroupShareFull { .. }
            | WaitsFull(_)
            | WaitShareFull { .. } => ProviderError::LIMIT_REACHED,
        };
        ProviderError::new(code, error.to_string())
    }
}
