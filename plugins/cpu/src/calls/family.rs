//! The tasks that a running task has begun, and their results until it asks for them.

use super::joins::Join;
use crate::job::JobId;
use crate::jobs::Jobs;
use crate::pool::AttemptId;
use parking_lot::Mutex;
use potluck_sdk::ProviderError;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Children that a task may have without having their results.
const CHILDREN_MAX: usize = 1000;
/// Bytes of results that are kept for a task.
const RESULTS_BYTES_MAX: usize = 64 << 20;
/// What is shown of a name that is no child's.
const NAME_CHARACTERS_MAX: usize = 64;

/// The children of one attempt at a task.
pub(crate) struct Family {
    jobs: Arc<Jobs>,
    attempt: AttemptId,
    /// The parent's process; empty when it is none.
    parent: Arc<str>,
    /// Only the leaf lock of the joins is taken while it is held.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    children: HashMap<u64, Child>,
    /// Names of all of them.
    numbers: HashMap<Box<str>, u64>,
    next_number: u64,
    result_bytes: usize,
    is_closed: bool,
    is_cancelled: bool,
}

struct Child {
    id: JobId,
    name: Box<str>,
    pid: Arc<str>,
    progress: Progress,
}

enum Progress {
    /// The call that waits for it, if one does.
    Running(Option<u64>),
    Ended(String),
}

impl Family {
    pub(super) fn new(jobs: Arc<Jobs>, attempt: AttemptId, parent: Arc<str>) -> Family {
        Family { jobs, attempt, parent, state: Mutex::default() }
    }

    /// Takes in a child: its number, and its name.
    pub(super) fn adopt(&self, id: JobId, pid: Arc<str>) -> Result<(u64, Box<str>), ProviderError> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(ProviderError::new("process_ended", "the task has ended"));
        }
        if state.children.len() >= CHILDREN_MAX {
            let text =
                format!("a task may have at most {CHILDREN_MAX} children that it has not joined; join some first");
            return Err(ProviderError::new(ProviderError::LIMIT_REACHED, text));
        }
        state.next_number += 1;
        let number = state.next_number;
        let name: Box<str> = if pid.is_empty() { format!("#{number}").into() } else { (&*pid).into() };
        state.numbers.insert(name.clone(), number);
        let child = Child { id, name: name.clone(), pid, progress: Progress::Running(None) };
        state.children.insert(number, child);
        Ok((number, name))
    }

    /// A child has ended with this CPU_RESULT.
    pub(crate) fn ended(&self, number: u64, json: String) {
        let (call, pid) = {
            let mut state = self.state.lock();
            let kept = state.result_bytes;
            let Some(child) = state.children.get_mut(&number) else { return };
            if let Progress::Running(Some(call)) = child.progress {
                let pid = Arc::clone(&child.pid);
                state.forget(number);
                self.jobs.joins.ends(self.attempt, call);
                (call, pid)
            } else {
                let json = if kept + json.len() > RESULTS_BYTES_MAX { too_large() } else { json };
                let bytes = json.len();
                child.progress = Progress::Ended(json);
                state.result_bytes += bytes;
                return;
            }
        };
        self.jobs.pool.answer(self.attempt, call, &json);
        self.jobs.life.joined(pid);
    }

    /// Ends a child, which can be joined afterwards.
    pub(super) fn cancel(&self, name: &str) -> Result<(), ProviderError> {
        let id = {
            let state = self.state.lock();
            let child = state.numbers.get(name).and_then(|number| state.children.get(number));
            let child = child.ok_or_else(|| unknown(name))?;
            matches!(child.progress, Progress::Running(_)).then_some(child.id)
        };
        if let Some(id) = id {
            self.jobs.cancel(id);
        }
        Ok(())
    }

    /// The result of a child; nothing when `call` is answered later.
    pub(super) fn join(
        self: &Arc<Family>,
        name: &str,
        call: u64,
        timeout: Option<Duration>,
    ) -> Result<Option<String>, ProviderError> {
        let (number, ended) = {
            let mut state = self.state.lock();
            let number = state.numbers.get(name).copied().ok_or_else(|| unknown(name))?;
            let child = state.children.get_mut(&number).ok_or_else(|| unknown(name))?;
            match &mut child.progress {
                Progress::Ended(_) => (number, state.forget(number)),
                Progress::Running(Some(_)) => {
                    return Err(ProviderError::invalid(format!("{name} is waited for already")));
                }
                Progress::Running(_) if timeout == Some(Duration::ZERO) => return Err(not_yet(name)),
                Progress::Running(joiner) => {
                    *joiner = Some(call);
                    let (parent, child) = (Arc::clone(&self.parent), Arc::clone(&child.pid));
                    let join = Join { parent, child, is_bounded: timeout.is_some() };
                    self.jobs.joins.begins(self.attempt, call, join);
                    (number, None)
                }
            }
        };
        match ended {
            Some(Child { progress: Progress::Ended(json), pid, .. }) => {
                self.jobs.life.joined(pid);
                Ok(Some(json))
            }
            _ => {
                self.jobs.pool.wait_begins(self.attempt, call, format!("child {name}"));
                if let Some(timeout) = timeout {
                    let (family, waiting) = (Arc::clone(self), Arc::clone(self));
                    let still_waits = move || waiting.is_joined_by(number, call);
                    self.jobs.host.run_after_if(timeout, still_waits, move || family.give_up(number, call));
                }
                Ok(None)
            }
        }
    }

    /// Whether a call waits for a child.
    fn is_joined_by(&self, number: u64, call: u64) -> bool {
        self.state.lock().children.get(&number).is_some_and(|child| child.is_joined_by(call))
    }

    /// A call has waited for as long as it wanted to.
    fn give_up(&self, number: u64, call: u64) {
        let name = {
            let mut state = self.state.lock();
            let Some(child) = state.children.get_mut(&number).filter(|child| child.is_joined_by(call)) else { return };
            child.progress = Progress::Running(None);
            self.jobs.joins.ends(self.attempt, call);
            child.name.clone()
        };
        self.jobs.pool.answer(self.attempt, call, &super::error_text(&not_yet(&name)));
    }

    /// The parent has ended. Its children go on, unless it has not ended by itself.
    pub(super) fn close(&self, by_itself: bool) {
        let running: Vec<JobId> = {
            let mut state = self.state.lock();
            state.is_closed = true;
            state.is_cancelled |= !by_itself;
            state.numbers.clear();
            state.result_bytes = 0;
            let children = std::mem::take(&mut state.children).into_values();
            let joiner = |child: &Child| if let Progress::Running(joiner) = child.progress { joiner } else { None };
            let children = children.inspect(|child| {
                if let Some(call) = joiner(child) {
                    self.jobs.joins.ends(self.attempt, call);
                }
            });
            children.filter(|child| matches!(child.progress, Progress::Running(_))).map(|child| child.id).collect()
        };
        if !by_itself {
            for id in running {
                self.jobs.cancel(id);
            }
        }
    }

    /// Whether its children have to end.
    pub(super) fn is_cancelled(&self) -> bool {
        self.state.lock().is_cancelled
    }
}

impl Child {
    fn is_joined_by(&self, call: u64) -> bool {
        matches!(self.progress, Progress::Running(Some(joiner)) if joiner == call)
    }
}

impl State {
    fn forget(&mut self, number: u64) -> Option<Child> {
        let child = self.children.remove(&number)?;
        self.numbers.remove(&child.name);
        if let Progress::Ended(json) = &child.progress {
            self.result_bytes -= json.len();
        }
        Some(child)
    }
}

pub(super) fn unknown(name: &str) -> ProviderError {
    let shown: String = name.chars().take(NAME_CHARACTERS_MAX).collect();
    let text = format!("{shown} is no child of this task, or was joined before");
    ProviderError::new("not_found", text)
}

fn not_yet(name: &str) -> ProviderError {
    ProviderError::new("timeout", format!("{name} has not ended yet"))
}

/// What is left of a result that cannot be kept.
fn too_large() -> String {
    let text = format!(
        "the results that the task has not asked for have more than {RESULTS_BYTES_MAX} bytes, so this one was dropped; join children as they end"
    );
    let code = potluck_sdk::message::cpu::outcome::RESULT_UNUSABLE;
    crate::job::refusal_json("", "", code, &text, "")
}
