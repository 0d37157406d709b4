//! Answers that are owed: to those who wait for an end, or for the answers of others.

use crate::error::ProcessError;
use parking_lot::Mutex;
use potluck_sdk::shares::Place;
use potluck_sdk::{PendingReply, ProviderError};

/// Who wants to know that a process has ended.
pub(crate) enum Watcher {
    /// WAIT_PROCESS.
    Wait { reply: PendingReply, waiting: Waiting },
    /// One that has told several processes to end.
    Stop(std::sync::Arc<Stop>),
}

/// Who waits for an end.
pub(crate) struct Waiting {
    /// The task that does, by the name in which it has and waits for things on this node; nothing for others.
    pub(crate) task: Option<Box<str>>,
    pub(crate) since_unix_milliseconds: u64,
    /// Whether it has a time-out.
    pub(crate) is_bounded: bool,
    /// What it counts for at the node that asks.
    pub(crate) _place: Option<Place<1>>,
}

type Finish<E> = Box<dyn FnOnce(Result<usize, E>) + Send>;

/// Processes that were told to end, and the answer when they have.
pub(crate) struct Stop {
    progress: Mutex<StopProgress>,
}

struct StopProgress {
    ended: usize,
    left: usize,
    finish: Option<Finish<ProcessError>>,
}

impl Stop {
    pub(crate) fn new(ended: usize, left: usize, finish: Option<Finish<ProcessError>>) -> Stop {
        Stop { progress: Mutex::new(StopProgress { ended, left, finish }) }
    }

    pub(crate) fn one_has_ended(&self) {
        let finish = {
            let mut progress = self.progress.lock();
            progress.ended += 1;
            progress.left -= 1;
            if progress.left > 0 {
                return;
            }
            (progress.finish.take(), progress.ended)
        };
        run(finish);
    }

    pub(crate) fn time_is_over(&self) {
        let finish = {
            let mut progress = self.progress.lock();
            (progress.finish.take(), progress.ended)
        };
        run(finish);
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.progress.lock().finish.is_none()
    }
}

fn run((finish, ended): (Option<Finish<ProcessError>>, usize)) {
    if let Some(finish) = finish {
        finish(Ok(ended));
    }
}

/// Several answers that become one: how many went well, or, when none did, the last error.
pub(crate) struct Gather {
    progress: Mutex<GatherProgress>,
}

struct GatherProgress {
    done: usize,
    left: usize,
    error: Option<ProviderError>,
    finish: Option<Finish<ProviderError>>,
}

impl Gather {
    pub(crate) fn new(done: usize, left: usize, finish: Finish<ProviderError>) -> Gather {
        Gather { progress: Mutex::new(GatherProgress { done, left, error: None, finish: Some(finish) }) }
    }

    pub(crate) fn answered(&self, answer: Result<usize, ProviderError>) {
        let (finish, result) = {
            let mut progress = self.progress.lock();
            match answer {
                Ok(done) => progress.done += done,
                Err(error) => progress.error = Some(error),
            }
            progress.left = progress.left.saturating_sub(1);
            if progress.left > 0 {
                return;
            }
            let error = progress.error.take().filter(|_| progress.done == 0);
            (progress.finish.take(), error.map_or(Ok(progress.done), Err))
        };
        if let Some(finish) = finish {
            finish(result);
        }
    }
}
