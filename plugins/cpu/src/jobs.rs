//! The jobs of this node: where each one is, and what happens next to it.

mod admission;
mod remote;
mod signals;
#[cfg(test)]
mod tests;

pub(crate) use signals::Meant;

use crate::calls::{Calls, Joins};
use crate::config::Config;
use crate::estimates::Estimates;
use crate::images::Images;
use crate::job::{Answer, Ended, Job, JobId, JobState, Whereabouts, backoff, refusal_json};
use crate::life::{Card, Life, is_ended_from_outside};
use crate::modules::{self, Module, Modules};
use crate::placement::{Placed, Placement};
use crate::pool::{Attempt, Failed, Pool, Stop, TaskCalls, Turn};
use crate::records::Records;
use crate::reuse::Reuse;
use crate::runtime::RuntimeKey;
use crate::statistics::Statistics;
use crate::task::Task;
use crate::tools::Tools;
use parking_lot::Mutex;
use potluck_sdk::allowance::Allowance;
use potluck_sdk::message::cpu::outcome;
use potluck_sdk::message::node::NodeAddress;
use potluck_sdk::message::process::ProcessState;
use potluck_sdk::message::quota::CPU_TASKS;
use potluck_sdk::message::tracker::PeerTable;
use potluck_sdk::{Host, NodeFacts, ProviderError};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A peer has this long beyond the task's own time to answer; then it counts as stuck.
const REMOTE_GRACE: Duration = Duration::from_millis(500);
/// Peers that are tried for one attempt before it runs here; each of them could not be reached.
const UNREACHABLE_MAX: u32 = 4;

/// Everything that the provider's functions share.
pub(crate) struct Jobs {
    pub(crate) host: Host,
    pub(crate) node: NodeFacts,
    /// The node's id, as callers show it.
    pub(crate) own_id: String,
    pub(crate) config: Config,
    pub(crate) pool: Arc<Pool>,
    pub(crate) modules: Arc<Modules>,
    pub(crate) images: Arc<Images>,
    pub(crate) tools: Arc<Tools>,
    pub(crate) placement: Placement,
    pub(crate) joins: Joins,
    pub(crate) estimates: Estimates,
    pub(crate) statistics: Statistics,
    pub(crate) life: Arc<Life>,
    pub(crate) records: Records,
    pub(crate) reuse: Arc<Reuse>,
    pub(crate) allowance: Arc<Allowance>,
    /// `host:port` of this node. A leaf lock.
    own_address: Mutex<String>,
    next_job: AtomicU64,
    /// Only a job's own lock is taken while this one is held.
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    jobs: HashMap<JobId, Arc<Job>>,
    /// Tasks whose guest is being kept, so that they can be cancelled meanwhile.
    waiting: HashMap<JobId, (Task, Answer)>,
    /// Several tasks may have the same name: names are the submitters'.
    names: HashMap<String, Vec<JobId>>,
    /// By process.
    pids: HashMap<Arc<str>, JobId>,
}

#[derive(Serialize)]
struct TaskEvent<'a> {
    task_id: &'a str,
    peer: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    attempts: u32,
    seconds: f64,
}

impl Running {
    /// The other node that has submitted a task, if it was one.
    fn submitting_peer(&self, id: JobId) -> Option<&str> {
        let waiting = self.waiting.get(&id).map(|(task, _)| task);
        self.jobs.get(&id).map(|job| &job.task).or(waiting)?.peer.as_deref()
    }

    /// The tasks of that name: those that `peer` has submitted, or everybody's when that is nothing.
    fn named(&self, task_id: &str, peer: Option<&str>) -> Vec<JobId> {
        let ids = self.names.get(task_id).map(Vec::as_slice).unwrap_or_default();
        let is_theirs = |id: &&JobId| peer.is_none() || self.submitting_peer(**id) == peer;
        ids.iter().filter(is_theirs).copied().collect()
    }
}

impl Jobs {
    pub(crate) fn new(
        host: Host,
        node: NodeFacts,
        config: Config,
        pool: Arc<Pool>,
        modules: Arc<Modules>,
        images: Arc<Images>,
        tools: Arc<Tools>,
    ) -> Jobs {
        let own_address = format!("{}:{}", node.ip, node.port);
        let own_id = node.peer_id.to_string();
        Jobs {
            host,
            life: Arc::new(Life::new(host)),
            records: Records::new(host),
            reuse: Arc::new(Reuse::new(host)),
            allowance: Allowance::new(host, CPU_TASKS),
            own_id,
            node,
            config,
            pool,
            modules,
            images,
            tools,
            placement: Placement::default(),
            joins: Joins::default(),
            estimates: Estimates::default(),
            statistics: Statistics::default(),
            own_address: Mutex::new(own_address),
            next_job: AtomicU64::new(1),
            running: Mutex::default(),
        }
    }

    /// `host:port` under which others know this node.
    pub(crate) fn own_address(&self) -> String {
        self.own_address.lock().clone()
    }

    /// Others know this node by another address from now on.
    pub(crate) fn moved_to(&self, address: &NodeAddress) {
        *self.own_address.lock() = format!("{}:{}", address.ip, address.port);
    }

    /// The number of the next job, so that it can be cancelled from the moment that it exists.
    pub(crate) fn next_id(&self) -> JobId {
        self.next_job.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes in a task. The answer is given once, possibly before this returns.
    pub(crate) fn begin(self: &Arc<Jobs>, id: JobId, task: Task, answer: Answer) {
        let job = self.new_job(id, task, answer);
        self.running.lock().add(&job);
        self.set_out(&job);
    }

    fn new_job(&self, id: JobId, task: Task, answer: Answer) -> Arc<Job> {
        let pid = if task.pid.is_empty() { self.life.name() } else { Arc::clone(&task.pid) };
        Arc::new(Job::new(id, task, pid, answer))
    }

    /// Takes note of a task whose guest is on its way to the disk: [`Jobs::guest_came`] follows.
    pub(crate) fn await_guest(self: &Arc<Jobs>, id: JobId, task: Task, answer: Answer) {
        let abandoned = answer.is_abandoned();
        {
            let mut running = self.running.lock();
            running.names.entry(task.task_id.clone()).or_default().push(id);
            running.waiting.insert(id, (task, answer));
        }
        if abandoned {
            self.cancel(id);
        }
    }

    /// Takes in a task whose guest was waited for, unless it was cancelled meanwhile.
    pub(crate) fn guest_came(self: &Arc<Jobs>, id: JobId, module: Result<Module, modules::Refusal>) {
        // Asked for before the lock is taken, since it may ask another provider.
        let pid = self.life.name();
        let begun = {
            let mut running = self.running.lock();
            let Some((mut task, answer)) = running.stop_waiting(id) else { return };
            match module {
                Ok(module) => {
                    self.give_guest(&mut task, module);
                    let pid = if task.pid.is_empty() { pid } else { Arc::clone(&task.pid) };
                    let job = Arc::new(Job::new(id, task, pid, answer));
                    running.add(&job);
                    Ok(job)
                }
                Err(refusal) => Err((task, answer, refusal)),
            }
        };
        match begun {
            Ok(job) => self.set_out(&job),
            Err((task, answer, (code, text))) => self.turn_away(&task, answer, code, &text),
        }
    }

    /// The guest of a task is here.
    pub(crate) fn give_guest(&self, task: &mut Task, module: Module) {
        task.function_key = self.estimates.key(&module.sha256, &task.function);
        task.module = Some(module);
    }

    /// Answers a task that does not become a job.
    pub(crate) fn turn_away(&self, task: &Task, answer: Answer, code: &str, text: &str) {
        answer.give(refusal_json(&task.task_id, task.runtime.name(), code, text, &self.own_address()), Vec::new());
    }

    fn set_out(self: &Arc<Jobs>, job: &Arc<Job>) {
        self.statistics.arrived(job.arrived);
        self.life.created(&job.card);
        // Whoever has gone before it was in the table could not find it there.
        let abandoned = job.state.lock().answer.as_ref().is_some_and(Answer::is_abandoned);
        if !(abandoned && self.cancel(job.id)) {
            self.admit(job);
        }
    }

    /// Places and starts the next attempt. `unreachable` counts the peers that could not be reached for it.
    pub(crate) fn launch(self: &Arc<Jobs>, job: &Arc<Job>, unreachable: u32) {
        let is_paused = {
            let mut state = job.state.lock();
            if state.is_paused {
                state.held_back = Some(unreachable);
            } else {
                state.placements = state.placements.wrapping_add(1);
            }
            state.is_paused
        };
        if is_paused {
            return self.watch_held_back(job);
        }
        let estimate_seconds = job.task.estimate_seconds(&self.estimates);
        let may_leave = self.may_leave(&job.task);
        let image = match &job.task.runtime {
            RuntimeKey::Sandbox(name) => self.images.folder(name).map(drop),
            RuntimeKey::Python { .. } | RuntimeKey::Wasm => Ok(()),
        };
        if may_leave && unreachable < UNREACHABLE_MAX && !self.placement.is_empty() {
            // Without the image it cannot start here, however idle this node is.
            let here = image.is_ok().then(|| self.pool.load());
            let not_these = {
                let state = job.state.lock();
                [&*state.unable, &*state.refused_by].concat()
            };
            if let Some(placed) = self.placement.choose(here.as_ref(), estimate_seconds, &not_these) {
                return remote::send(self, job, placed, unreachable);
            }
        }
        match image {
            Ok(()) => self.launch_here(job, estimate_seconds),
            Err(text) => self.refuse(job, Failed::new(outcome::RUNTIME_UNAVAILABLE, text)),
        }
    }

    /// Whether another node may run a task.
    fn may_leave(&self, task: &Task) -> bool {
        self.config.forward && !task.confidential && !task.forwarded
    }

    /// Others are as busy as the table says from now on. To those that have become idle go tasks that wait here.
    pub(crate) fn take_table(&self, table: PeerTable) {
        self.placement.update(table, self.node.peer_id);
        if self.config.forward {
            let count = self.placement.idle_slots(&self.pool.load());
            if count > 0 {
                self.pool.give_back(count);
            }
        }
    }

    /// The pool has given back an attempt that it had not begun.
    fn place_anew(self: &Arc<Jobs>, job: &Arc<Job>, turn: Turn) {
        let cancelled = {
            let mut state = job.state.lock();
            state.whereabouts = Whereabouts::Nowhere;
            // Here too: one that is paused is not placed again before it is resumed.
            state.placements = state.placements.wrapping_add(1);
            state.turn = Some(turn);
            state.refused_by.clear();
            state.cancelled
        };
        if cancelled {
            self.finish(job, &Ended::failed(outcome::CANCELLED, "Task cancelled", &self.own_address()));
        } else {
            self.launch(job, 0);
        }
    }

    /// Answers a job that cannot be begun.
    fn refuse(&self, job: &Arc<Job>, failed: Failed) {
        let ended = Ended { verdict: Err(failed), ..Ended::failed("", "", &self.own_address()) };
        self.finish(job, &ended);
    }

    fn launch_here(self: &Arc<Jobs>, job: &Arc<Job>, estimate_seconds: f64) {
        let (jobs, ending) = (Arc::clone(self), Arc::clone(job));
        let (placement, turn, is_wanted) = {
            let mut state = job.state.lock();
            (state.placements, state.turn.take(), state.unable.is_empty())
        };
        let calls = Arc::new(Calls::new(Arc::clone(self), Arc::clone(job)));
        let attempt = Attempt {
            name: if job.card.is_process() { Arc::clone(&job.card.pid) } else { (&*job.card.task_id).into() },
            calls: Some(Arc::clone(&calls) as Arc<dyn TaskCalls>),
            runtime: job.task.runtime.clone(),
            others_work: job.task.others_work,
            peer: job.task.peer.clone(),
            body: order_body(&job.task),
            submitter: Arc::clone(&job.task.submitter),
            // An interpreter's memory limit cannot be raised again, so one with less than others is of no further use.
            // Instances of WebAssembly are nobody else's anyway.
            isolated: matches!(job.task.runtime, RuntimeKey::Python { .. })
                && (job.task.isolated || job.task.limits.memory_bytes < self.config.memory_limit_bytes),
            confidential: job.task.confidential,
            // One that a peer could not run has been around already; it would go and come back with every table.
            may_leave: is_wanted && self.may_leave(&job.task),
            turn,
            priority: job.card.priority.load(Ordering::Relaxed),
            deadline: job.deadline,
            estimate_seconds,
            limits: job.task.limits,
            done: Box::new(move |outcome| {
                if let Some(turn) = outcome.turn {
                    return jobs.place_anew(&ending, *turn);
                }
                let begun = outcome.started;
                if begun && outcome.verdict.is_ok() {
                    jobs.estimates.learn(ending.task.function_key, outcome.seconds);
                }
                let mut ended = Ended::here(outcome, &jobs.own_address());
                if calls.has_called() {
                    // What it was told need not be so the next time.
                    ended.deterministic = ended.deterministic.map(|_| false);
                }
                calls.end(!ended.verdict.as_ref().is_err_and(|failed| is_ended_from_outside(&failed.code)));
                jobs.ended(&ending, ended, begun);
            }),
        };
        self.life.is_elsewhere(&job.card, ProcessState::Ready, "queued", "");
        match self.pool.submit(attempt) {
            Ok(id) => {
                let (cancelled, paused) = {
                    let mut state = job.state.lock();
                    if state.placements != placement {
                        // It has ended or was given back meanwhile, and whoever did that has seen to the rest.
                        return;
                    }
                    state.whereabouts = Whereabouts::Here(id);
                    (state.cancelled, state.is_paused)
                };
                if cancelled {
                    self.pool.stop(id, Stop::Cancelled);
                } else if paused {
                    self.tell_pool_whether_paused(job, id);
                }
            }
            Err(failed) => self.refuse(job, failed),
        }
    }

    /// An attempt has ended: the job is answered, or tried again. `begun` tells whether it counts.
    pub(crate) fn ended(self: &Arc<Jobs>, job: &Arc<Job>, mut ended: Ended, begun: bool) {
        let own_address = self.own_address();
        let (attempts, cancelled) = {
            let mut state = job.state.lock();
            state.attempts += u32::from(begun);
            state.whereabouts = Whereabouts::Nowhere;
            // Whoever has not yet said where it is must not say so any more.
            state.placements = state.placements.wrapping_add(1);
            // Another attempt is a new one.
            state.turn = None;
            state.refused_by.clear();
            if begun && ended.executed_by != own_address && !std::mem::replace(&mut state.was_forwarded, true) {
                self.statistics.forwarded();
            }
            (state.attempts, state.cancelled)
        };
        if cancelled && ended.may_be_retried(&own_address) && job.task.max_retries > 0 {
            ended.verdict = Err(Failed::new(outcome::CANCELLED, "Task cancelled"));
        }
        let pause = backoff(attempts);
        let again = ended.may_be_retried(&own_address)
            && attempts <= job.task.max_retries
            && !cancelled
            && Instant::now() + pause < job.deadline;
        if !again {
            self.finish(job, &ended);
            return;
        }
        self.life.is_elsewhere(&job.card, ProcessState::Ready, "failed; tried again", "");
        let (jobs, job) = (Arc::clone(self), Arc::clone(job));
        self.host.run_after(pause, move || {
            if job.state.lock().answer.is_some() {
                jobs.launch(&job, 0);
            }
        });
    }

    /// Gives the answer, once.
    pub(crate) fn finish(&self, job: &Arc<Job>, ended: &Ended) {
        let (answer, attempts, signal, lease) = {
            let mut state = job.state.lock();
            let Some(answer) = state.answer.take() else { return };
            (answer, state.attempts, state.signal, state.lease.take())
        };
        self.forget(job);
        let own_address = self.own_address();
        if let Some(lease) = lease {
            self.reuse.settle(lease, &job.task, ended, ended.executed_by == own_address);
        }
        self.life.ended(&job.card, ended.exit(signal));
        let now = Instant::now();
        let code = ended.verdict.as_ref().err().map(|failed| &*failed.code);
        let turnaround = now - job.arrived;
        self.statistics.finished(turnaround, ended.waiting_seconds(turnaround.as_secs_f64()), code, now);
        let json = job.result_json(ended, attempts, now);
        // Before the answer, so that whoever has it finds the task in the history soon, also when the node stops.
        self.records.add(&job.card, ended, (&own_address, self.node.peer_id), attempts, now - job.arrived);
        answer.give(json, ended.files.bytes.clone());
        self.host.publish(
            "task.finished",
            &TaskEvent {
                task_id: &job.task.task_id,
                peer: &ended.executed_by,
                code,
                attempts,
                seconds: ended.execution_seconds,
            },
        );
    }

    /// Stops a job wherever it is, and answers it at once. False when it is over already.
    pub(crate) fn cancel(self: &Arc<Jobs>, id: JobId) -> bool {
        let (job, waiting) = {
            let mut running = self.running.lock();
            (running.jobs.get(&id).map(Arc::clone), running.stop_waiting(id))
        };
        if let Some((task, answer)) = waiting {
            self.turn_away(&task, answer, outcome::CANCELLED, "Task cancelled");
            return true;
        }
        let Some(job) = job else { return false };
        let whereabouts = {
            let mut state = job.state.lock();
            if state.answer.is_none() {
                return false;
            }
            state.cancelled = true;
            std::mem::replace(&mut state.whereabouts, Whereabouts::Nowhere)
        };
        match whereabouts {
            // A run that is stopped counts and is answered by the pool; one that has just ended answers by itself.
            // With retries left it is not over: there will be no further run, and `ended` says why.
            Whereabouts::Here(attempt) => return self.pool.stop(attempt, Stop::Cancelled) || job.task.max_retries > 0,
            Whereabouts::There { placed, remote_id } => remote::cancel(self, &placed, &remote_id),
            Whereabouts::Nowhere => {}
        }
        self.finish(&job, &Ended::failed(outcome::CANCELLED, "Task cancelled", &self.own_address()));
        true
    }

    /// The task whose attempts have that name in the pool; nothing when it has just been answered.
    pub(crate) fn task_id_of(&self, name: &str) -> Option<String> {
        let running = self.running.lock();
        match running.pids.get(name) {
            Some(id) => running.jobs.get(id).map(|job| job.task.task_id.clone()),
            None => running.names.contains_key(name).then(|| name.to_owned()),
        }
    }

    /// Stops every job of that name that `peer` has submitted, or everybody's when that is nothing; how many there were.
    pub(crate) fn cancel_named(self: &Arc<Jobs>, task_id: &str, peer: Option<&str>) -> usize {
        let ids = self.running.lock().named(task_id, peer);
        ids.into_iter().filter(|id| self.cancel(*id)).count()
    }

    /// Answers everything that is not in the pool, because the node stops.
    pub(crate) fn abandon_all(&self) {
        let text = "the node is stopping; send the task to another peer";
        let (jobs, waiting) = {
            let mut running = self.running.lock();
            let ids: Vec<JobId> = running.waiting.keys().copied().collect();
            let waiting: Vec<(Task, Answer)> = ids.into_iter().filter_map(|id| running.stop_waiting(id)).collect();
            (running.jobs.values().map(Arc::clone).collect::<Vec<_>>(), waiting)
        };
        for (task, answer) in waiting {
            self.turn_away(&task, answer, ProviderError::NODE_STOPPING, text);
        }
        for job in jobs {
            self.finish(&job, &Ended::failed(ProviderError::NODE_STOPPING, text, &self.own_address()));
        }
    }

    /// When a peer has not answered long after the task's time is over, it is stuck.
    pub(crate) fn watch_remote(self: &Arc<Jobs>, job: &Arc<Job>, remote_id: &str) {
        let patience = job.deadline.saturating_duration_since(Instant::now()) + REMOTE_GRACE;
        // Its program and its arguments need not be kept for as long as it might have taken.
        let (jobs, job, remote_id) = (Arc::clone(self), Arc::downgrade(job), remote_id.to_owned());
        let (there, name) = (job.clone(), remote_id.clone());
        let is_there = move || there.upgrade().is_some_and(|job| job.is_at(&name));
        self.host.run_after_if(patience, is_there, move || {
            let Some(job) = job.upgrade() else { return };
            let Some(placed) = job.leave(&remote_id) else { return };
            remote::cancel(&jobs, &placed, &remote_id);
            let mut ended = Ended::failed(outcome::TIMEOUT, "Task execution timeout", &jobs.own_address());
            ended.executed_by = placed.address;
            jobs.ended(&job, ended, true);
        });
    }

    fn forget(&self, job: &Job) {
        let mut running = self.running.lock();
        running.jobs.remove(&job.id);
        if running.pids.get(&job.card.pid) == Some(&job.id) {
            running.pids.remove(&job.card.pid);
        }
        running.forget_name(job.id, &job.task.task_id);
    }
}

impl Running {
    fn add(&mut self, job: &Arc<Job>) {
        self.jobs.insert(job.id, Arc::clone(job));
        if job.card.is_process() {
            self.pids.insert(Arc::clone(&job.card.pid), job.id);
        }
        self.names.entry(job.task.task_id.clone()).or_default().push(job.id);
    }

    /// Takes a task out of those that wait for their guest.
    fn stop_waiting(&mut self, id: JobId) -> Option<(Task, Answer)> {
        let (task, answer) = self.waiting.remove(&id)?;
        self.forget_name(id, &task.task_id);
        Some((task, answer))
    }

    fn forget_name(&mut self, id: JobId, task_id: &str) {
        if let Some(ids) = self.names.get_mut(task_id) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.names.remove(task_id);
            }
        }
    }
}

impl Job {
    /// A task that has just arrived.
    fn new(id: JobId, mut task: Task, pid: Arc<str>, answer: Answer) -> Job {
        let arrived = Instant::now();
        let deadline = arrived + task.timeout;
        let card = Card::new(
            pid,
            (std::mem::take(&mut task.parent_pid), std::mem::take(&mut task.group_id)),
            (&task.task_id, &task.function, task.runtime.name()),
            task.requested_by().into(),
            task.priority,
            task.confidential,
        );
        let state = JobState {
            answer: Some(answer),
            attempts: 0,
            whereabouts: Whereabouts::Nowhere,
            placements: 0,
            turn: None,
            cancelled: false,
            signal: None,
            is_paused: false,
            held_back: None,
            is_admitted: false,
            lease: None,
            unable: Vec::new(),
            refused_by: Vec::new(),
            was_forwarded: false,
        };
        Job { id, card: Arc::new(card), arrived, deadline, state: Mutex::new(state), task }
    }

    fn is_unanswered(&self) -> bool {
        self.state.lock().answer.is_some()
    }

    /// Whether the attempt with that name is at a peer.
    fn is_at(&self, remote_id: &str) -> bool {
        matches!(&self.state.lock().whereabouts, Whereabouts::There { remote_id: current, .. } if current == remote_id)
    }

    /// The attempt with that name at a peer is over; nothing when it was over before.
    pub(crate) fn leave(&self, remote_id: &str) -> Option<Placed> {
        let mut state = self.state.lock();
        match &state.whereabouts {
            Whereabouts::There { remote_id: current, .. } if current == remote_id => {}
            _ => return None,
        }
        match std::mem::replace(&mut state.whereabouts, Whereabouts::Nowhere) {
            Whereabouts::There { placed, .. } => Some(placed),
            _ => None,
        }
    }
}

/// The order that a worker gets, behind its slot.
fn order_body(task: &Task) -> Arc<[u8]> {
    let function = serde_json::to_string(&task.function).unwrap_or_default();
    let module =
        task.module.as_ref().map_or(String::new(), |module| format!("\"module_sha256\":\"{}\",", module.sha256));
    format!(
        "{module}\"memory_limit_bytes\":{},\"output_limit_bytes\":{},\"program\":{},\"function\":{function},\"args\":{}}}",
        task.limits.memory_bytes,
        task.limits.output_bytes,
        task.program.get(),
        task.args.get(),
    )
    .into_bytes()
    .into()
}
