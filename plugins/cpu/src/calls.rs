//! System calls: what a running task asks of the node, with the rights of a task and in the name of its process.

mod family;
mod joins;

pub(crate) use family::Family;
pub(crate) use joins::Joins;

use crate::handler;
use crate::job::{Answer, Job};
use crate::jobs::Jobs;
use crate::life::cut;
use crate::pool::{AttemptId, Moved, TaskCalls};
use crate::task::Task;
use parking_lot::Mutex;
use potluck_sdk::envelope::Envelope;
use potluck_sdk::message::cpu::{
    CpuTask, TaskCancel, TaskDone, TaskFacts, TaskJoin, TaskProgress, TaskSpawn, TaskSpawned,
};
use potluck_sdk::message::process::{ENDED_TOPIC, ProcessEnded, ProcessState, ReportEnded};
use potluck_sdk::message::{RawValue, STATUS_OK, to_json};
use potluck_sdk::{Caller, ProviderError, Response};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Other nodes that one attempt may call: each has to be told when it ends.
const PEERS_MAX: usize = 64;
/// Reports of progress that a task may make in a second; of more than these nobody hears.
const PROGRESS_PER_SECOND: u32 = 20;
/// What is told of a progress.
const PROGRESS_CHARACTERS_MAX: usize = 200;
/// What is told of what a task waits for.
const REASON_CHARACTERS_MAX: usize = 100;

/// Serves the system calls of one attempt at a task.
pub(crate) struct Calls {
    jobs: Arc<Jobs>,
    job: Arc<Job>,
    /// Changes of state that were told of earlier attempts: the pool counts from 1 for each.
    earlier_changes: u64,
    /// It may hold something in its name.
    has_called: AtomicBool,
    is_over: AtomicBool,
    /// Made when it begins its first child.
    family: OnceLock<Arc<Family>>,
    /// A leaf lock.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Other nodes that it has called, as it has named them.
    peers: BTreeSet<String>,
    progress_since: Option<Instant>,
    progress_count: u32,
}

/// What a message waits for, as far as its members say it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Named<'a> {
    #[serde(borrow)]
    sem_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    queue_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    resource_id: Option<Cow<'a, str>>,
}

impl TaskCalls for Calls {
    fn call(&self, attempt: AttemptId, number: u64, message: Box<RawValue>) {
        if self.is_over.load(Ordering::SeqCst) {
            return;
        }
        let answer = match Envelope::scan(message.get()) {
            Err(error) => Err(ProviderError::invalid(error.to_string())),
            Ok(envelope) => match envelope.message_type {
                "TASK_SELF" => Ok(Some(self.facts())),
                "TASK_PROGRESS" => self.progress(message.get()).map(Some),
                "TASK_SPAWN" => self.spawn(attempt, message.get()).map(Some),
                "TASK_JOIN" => self.join(number, message.get()),
                "TASK_CANCEL" => self.cancel(message.get()).map(Some),
                _ => self.pass_on(attempt, number, &envelope, message.get()).map(|()| None),
            },
        };
        match answer {
            Ok(Some(json)) => self.jobs.pool.answer(attempt, number, &json),
            // It comes later, or has come.
            Ok(None) => {}
            Err(error) => self.jobs.pool.answer(attempt, number, &error_text(&error)),
        }
        // It may have ended before what it asked for was there to be released.
        if self.is_over.load(Ordering::SeqCst) {
            self.tell_ended();
        }
    }

    fn moved(&self, number: u64, place: Moved) {
        let (state, reason) = match place {
            Moved::Running => (ProcessState::Running, Cow::Borrowed("")),
            Moved::Ready(reason) => (ProcessState::Ready, Cow::Borrowed(reason)),
            Moved::Waiting(reason) => (ProcessState::Waiting, Cow::Owned(reason)),
        };
        self.jobs.life.moved(&self.job.card, self.earlier_changes + number, state, reason);
    }
}

impl Calls {
    pub(crate) fn new(jobs: Arc<Jobs>, job: Arc<Job>) -> Calls {
        Calls {
            earlier_changes: job.card.changes_told(),
            jobs,
            job,
            has_called: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            family: OnceLock::new(),
            state: Mutex::default(),
        }
    }

    /// Whether the task has asked for anything, so that its result need not follow from its arguments alone.
    pub(crate) fn has_called(&self) -> bool {
        self.has_called.load(Ordering::SeqCst)
    }

    /// The attempt has ended: what it holds is released, and what it has begun ends too, unless it has ended by itself.
    pub(crate) fn end(&self, by_itself: bool) {
        self.is_over.store(true, Ordering::SeqCst);
        self.tell_ended();
        if let Some(family) = self.family.get() {
            family.close(by_itself);
        }
    }

    fn tell_ended(&self) {
        let card = &self.job.card;
        if !self.has_called() || !card.is_process() {
            return;
        }
        let (pid, reason) = (Cow::Borrowed(&*card.pid), Cow::Borrowed("its task has ended"));
        self.jobs.host.publish(ENDED_TOPIC, &ProcessEnded { pid: pid.clone(), reason: reason.clone() });
        let peers: Vec<String> = self.state.lock().peers.iter().cloned().collect();
        for peer in peers {
            let message = to_json(&ReportEnded { pid: Some(pid.clone()), reason: reason.clone() });
            self.jobs.host.call_with(&with_first(&to_member(&peer), &message), b"", drop);
        }
    }

    /// Sends a message on, to whoever answers it.
    fn pass_on(
        &self,
        attempt: AttemptId,
        number: u64,
        envelope: &Envelope<'_>,
        message: &str,
    ) -> Result<(), ProviderError> {
        if envelope.attachment_length > 0 {
            return Err(ProviderError::invalid("a task's messages have no attachment; send the data as text"));
        }
        let first = self.first_members(envelope.to.as_deref())?;
        self.has_called.store(true, Ordering::SeqCst);
        let answered = Arc::new(AtomicBool::new(false));
        let (jobs, is_answered) = (Arc::clone(&self.jobs), Arc::clone(&answered));
        self.jobs.host.call_with(&envelope.rewrite(&first), b"", move |answer| {
            is_answered.store(true, Ordering::SeqCst);
            jobs.pool.answer(attempt, number, &answer_text(answer));
        });
        if !answered.load(Ordering::SeqCst) {
            self.jobs.pool.wait_begins(attempt, number, reason(envelope.message_type, message));
        }
        Ok(())
    }

    /// What stands in front of a message: where it goes, and in whose name.
    fn first_members(&self, to: Option<&str>) -> Result<String, ProviderError> {
        let (pid, peer) = (&self.job.card.pid, self.job.task.peer.as_deref());
        let Some(to) = to.filter(|to| !to.is_empty()) else {
            return Ok(match (&**pid, peer) {
                ("", None) => r#""behalf":"task""#.to_owned(),
                (pid, None) => format!(r#""behalf":"task:{pid}""#),
                (pid, Some(peer)) => format!(r#""behalf":"task:{pid}@{peer}""#),
            });
        };
        if to != self.jobs.own_id {
            let mut state = self.state.lock();
            if state.peers.len() >= PEERS_MAX && !state.peers.contains(to) {
                let text = format!("a task may call at most {PEERS_MAX} other nodes");
                return Err(ProviderError::new(ProviderError::LIMIT_REACHED, text));
            }
            state.peers.insert(to.to_owned());
        }
        let behalf = match (&**pid, peer) {
            // Towards the node that it works for, it is this node's: there it has no more rights than this node's tasks.
            (pid, Some(peer)) if peer != to => format!("task:{pid}@{peer}"),
            ("", _) => "task".to_owned(),
            (pid, _) => format!("task:{pid}"),
        };
        Ok(format!(r#"{},"behalf":"{behalf}""#, to_member(to)))
    }

    fn facts(&self) -> String {
        let (card, task) = (&self.job.card, &self.job.task);
        let executed_by = self.jobs.own_address();
        to_json(&TaskFacts {
            pid: card.pid_on_wire(),
            task_id: Cow::Borrowed(&card.task_id),
            parent_pid: (!card.parent_pid.is_empty()).then_some(Cow::Borrowed(&*card.parent_pid)),
            node: Cow::Borrowed(&self.jobs.own_id),
            executed_by: Cow::Borrowed(&executed_by),
            submitter: Cow::Borrowed(task.peer.as_deref().unwrap_or(&self.jobs.own_id)),
            priority: card.priority.load(Ordering::Relaxed),
        })
    }

    fn progress(&self, message: &str) -> Result<String, ProviderError> {
        let progress: TaskProgress<'_> = read(message)?;
        let is_heard = {
            let (mut state, now) = (self.state.lock(), Instant::now());
            if state.progress_since.is_none_or(|since| now - since >= Duration::from_secs(1)) {
                (state.progress_since, state.progress_count) = (Some(now), 0);
            }
            state.progress_count += 1;
            state.progress_count <= PROGRESS_PER_SECOND
        };
        if is_heard {
            self.jobs.progressed(&self.job, &checked(progress)?);
        }
        Ok(to_json(&TaskDone { status: STATUS_OK }))
    }

    fn spawn(&self, attempt: AttemptId, message: &str) -> Result<String, ProviderError> {
        let spawn: TaskSpawn<'_> = read(message)?;
        // Tasks that begin tasks that begin tasks must not keep everybody else out of the queue.
        let queued_max = self.jobs.config.queue_tasks_max.div_ceil(2);
        if self.jobs.pool.load().queued >= queued_max {
            let text = format!("{queued_max} tasks wait here already; tasks may begin others when there are fewer");
            return Err(ProviderError::new(ProviderError::LIMIT_REACHED, text));
        }
        let body =
            spawn.task.ok_or_else(|| ProviderError::invalid("TASK_SPAWN: task required, the body of a CPU_TASK"))?;
        let body: CpuTask<'_> = read(body.get())?;
        let (jobs, parent) = (&self.jobs, &self.job.task);
        let mut task = Task::read_child(body, Some(parent), Caller::Local, &jobs.own_id, &jobs.config, &jobs.estimates)
            .map_err(|refusal| ProviderError { code: Cow::Borrowed(refusal.code), message: refusal.text })?;
        self.has_called.store(true, Ordering::SeqCst);
        task.pid = jobs.life.name();
        task.parent_pid = (&*self.job.card.pid).into();
        task.group_id = self.job.card.group_id.clone();
        let own_pid = || Arc::clone(&self.job.card.pid);
        let family = self.family.get_or_init(|| Arc::new(Family::new(Arc::clone(jobs), attempt, own_pid())));
        let (id, pid) = (jobs.next_id(), Arc::clone(&task.pid));
        let (number, child) = family.adopt(id, pid)?;
        // It may end before this returns; its result is kept until it is asked for.
        handler::begin(jobs, id, task, Answer::Parent(Arc::clone(family), number), &[]);
        if family.is_cancelled() {
            jobs.cancel(id);
        }
        let pid = child.starts_with('P').then_some(Cow::Borrowed(&*child));
        Ok(to_json(&TaskSpawned { status: STATUS_OK, child: Cow::Borrowed(&child), pid }))
    }

    fn join(&self, number: u64, message: &str) -> Result<Option<String>, ProviderError> {
        let join: TaskJoin<'_> = read(message)?;
        let child = named(join.child)?;
        let timeout = join.timeout.map(Duration::try_from_secs_f64).transpose();
        let timeout = timeout.map_err(|_| ProviderError::invalid("TASK_JOIN: timeout must be 0 or more seconds"))?;
        match self.family.get() {
            Some(family) => family.join(&child, number, timeout),
            None => Err(family::unknown(&child)),
        }
    }

    fn cancel(&self, message: &str) -> Result<String, ProviderError> {
        let child = named(read::<TaskCancel<'_>>(message)?.child)?;
        self.family.get().ok_or_else(|| family::unknown(&child))?.cancel(&child)?;
        Ok(to_json(&TaskDone { status: STATUS_OK }))
    }
}

fn named(child: Option<Cow<'_, str>>) -> Result<Cow<'_, str>, ProviderError> {
    let child = child.filter(|child| !child.is_empty());
    child.ok_or_else(|| ProviderError::invalid("child required, as TASK_SPAWN has called it"))
}

/// What a report of progress says, within bounds.
pub(crate) fn checked(progress: TaskProgress<'_>) -> Result<TaskProgress<'_>, ProviderError> {
    if progress.fraction.is_some_and(|fraction| !(0.0..=1.0).contains(&fraction)) {
        return Err(ProviderError::invalid("TASK_PROGRESS: fraction must be from 0 to 1"));
    }
    let text = progress.text.map(|text| Cow::Owned(cut(&text, PROGRESS_CHARACTERS_MAX).to_owned()));
    Ok(TaskProgress { text, ..progress })
}

/// The member `to` of a message.
fn to_member(to: &str) -> String {
    format!(r#""to":{}"#, serde_json::to_string(to).unwrap_or_default())
}

/// A message that has members already, with others in front.
fn with_first(first: &str, json: &str) -> String {
    format!("{{{first},{}", json.get(1..).unwrap_or_default())
}

fn read<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, ProviderError> {
    serde_json::from_str(json).map_err(|error| ProviderError::invalid(format!("the message cannot be read: {error}")))
}

fn answer_text(answer: Result<Response, ProviderError>) -> String {
    match answer {
        Ok(response) if response.attachment.is_empty() => response.json,
        Ok(_) => error_text(&ProviderError::new(
            "attachment_refused",
            "the answer has raw bytes behind it, which a task cannot get; ask for the data as text",
        )),
        Err(error) => error_text(&error),
    }
}

fn error_text(error: &ProviderError) -> String {
    String::from_utf8(error.to_json()).unwrap_or_default()
}

/// What a task waits for, in a few words.
fn reason(message_type: &str, message: &str) -> String {
    let named: Named<'_> = serde_json::from_str(message).unwrap_or_default();
    let text = match named {
        Named { sem_id: Some(name), .. } => format!("semaphore {name}"),
        Named { queue_id: Some(name), .. } => format!("queue {name}"),
        Named { resource_id: Some(name), .. } => format!("resource {name}"),
        _ => message_type.to_owned(),
    };
    cut(&text, REASON_CHARACTERS_MAX).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_task_waits_for_is_said_by_its_message() {
        assert_eq!(reason("SEMAPHORE_WAIT", r#"{"sem_id":"forks-1"}"#), "semaphore forks-1");
        assert_eq!(reason("RECEIVE_MESSAGE", r#"{"queue_id":"jobs","data":{"sem_id":1}}"#), "queue jobs");
        assert_eq!(reason("REQUEST_RESOURCE", r#"{"resource_id":"DISK"}"#), "resource DISK");
        assert_eq!(reason("WATCH_MEM", r#"{"sem_id":7}"#), "WATCH_MEM");
        assert_eq!(reason("X", &format!(r#"{{"sem_id":"{}"}}"#, "ä".repeat(500))).chars().count(), 100);
    }

    #[test]
    fn a_progress_is_a_fraction_and_a_short_text() {
        let said = |fraction, text: &'static str| TaskProgress {
            task_id: None,
            fraction: Some(fraction),
            text: Some(Cow::Borrowed(text)),
        };
        assert!(checked(said(1.5, "")).is_err());
        assert!(checked(said(f64::NAN, "")).is_err());
        let long: &'static str = "x".repeat(1000).leak();
        assert_eq!(checked(said(0.5, long)).unwrap().text.unwrap().len(), 200);
    }
}
