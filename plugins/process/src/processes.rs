//! The table, its lock, and those who wait: what follows from a change is done when the lock is open again.

use crate::config::ProcessConfig;
use crate::error::{NOT_FOUND, ProcessError};
use crate::table::{Actor, Effects, Pid, Table, name, pid_of};
use crate::waiting::{Gather, Stop, Waiting, Watcher};
use parking_lot::Mutex;
use potluck_sdk::message::cpu::SignalTask;
use potluck_sdk::message::process::{
    CHANGED_TOPIC, ENDED_TOPIC, ProcessEnded, ProcessExit, ProcessNamed, ProcessWaited, Signal,
};
use potluck_sdk::message::resources::{Holder, ResourceState, Waiter};
use potluck_sdk::message::{STATUS_OK, to_json};
use potluck_sdk::shares::Shares;
use potluck_sdk::{Host, Level, PeerId, PendingReply, ProviderError};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often changes are told at most: what people can follow.
const NEWS_EVERY: Duration = Duration::from_millis(20);
/// How long the report may take by which cpu says that a task has ended which it does not know any more.
const REPORT_LIMIT: Duration = Duration::from_secs(1);
/// How long TERMINATE_PROCESS waits for the last of its tasks before it answers with those that have ended.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// The provider's state.
pub(crate) struct Processes {
    pub(crate) host: Host,
    pub(crate) own_id: PeerId,
    pub(crate) config: ProcessConfig,
    /// Milliseconds since 1970.
    clock: Box<dyn Fn() -> u64 + Send + Sync>,
    /// Nobody is called while it is locked.
    state: Mutex<State>,
}

/// What the lock guards.
pub(crate) struct State {
    pub(crate) table: Table,
    watchers: HashMap<Pid, Vec<(u64, Watcher)>>,
    waits: usize,
    /// The waits of tasks: name of the task and number of the wait, and the process whose end it is for.
    waiting_tasks: BTreeMap<(Box<str>, u64), Pid>,
    /// What other nodes have of those.
    wait_shares: Shares<1>,
    next_watcher: u64,
    is_news_due: bool,
}

impl Processes {
    pub(crate) fn new(host: Host, config: ProcessConfig, clock: Box<dyn Fn() -> u64 + Send + Sync>) -> Arc<Processes> {
        let state = State {
            table: Table::new(config.clone()),
            watchers: HashMap::new(),
            waits: 0,
            waiting_tasks: BTreeMap::new(),
            wait_shares: Shares::new(config.peer_share),
            next_watcher: 0,
            is_news_due: false,
        };
        Arc::new(Processes { host, own_id: host.node().peer_id, config, clock, state: Mutex::new(state) })
    }

    /// Looks at the table.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Table) -> T) -> T {
        look(&self.state.lock().table)
    }

    /// Changes the table, and does what follows.
    pub(crate) fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut State, u64, &mut Effects) -> T) -> T {
        let now = self.now();
        let mut effects = Effects::default();
        let mut told = Vec::new();
        let (result, is_news_due) = {
            let mut state = self.state.lock();
            let result = change(&mut state, now, &mut effects);
            for (pid, exit) in effects.watched.drain(..) {
                let watchers = state.watchers.remove(&pid).unwrap_or_default();
                let mut has_waited = false;
                for (id, watcher) in watchers {
                    has_waited |= state.forget_wait(id, &watcher);
                    told.push((pid, exit.clone(), watcher));
                }
                if has_waited {
                    state.table.reap(pid, now);
                }
            }
            let is_news_due = !state.is_news_due && !state.table.news.is_empty();
            state.is_news_due |= is_news_due;
            (result, is_news_due)
        };
        if is_news_due {
            let this = Arc::clone(self);
            self.host.run_after(NEWS_EVERY, move || this.tell_news());
        }
        for (pid, reason) in effects.gone {
            let ended = ProcessEnded { pid: name(pid).into(), reason: reason.into() };
            self.host.publish(ENDED_TOPIC, &ended);
        }
        for (pid, exit, watcher) in told {
            match watcher {
                Watcher::Wait { reply, .. } => reply.send(&waited(pid, exit)),
                Watcher::Stop(stop) => stop.one_has_ended(),
            }
        }
        for (pid, signal) in effects.signals {
            self.signal_task(pid, signal);
        }
        result
    }

    /// Others keep something in the name of a process.
    pub(crate) fn named(self: &Arc<Self>, named: &ProcessNamed<'_>) {
        let Some(pid) = pid_of(&named.pid) else { return };
        self.change(|state, _, effects| state.table.named(pid, named.unix_milliseconds, effects));
    }

    fn tell_news(&self) {
        let news = {
            let mut state = self.state.lock();
            state.is_news_due = false;
            state.table.take_news()
        };
        self.host.publish(CHANGED_TOPIC, &news);
    }

    /// Has cpu end a task.
    fn signal_task(self: &Arc<Self>, pid: Pid, signal: Signal) {
        let this = Arc::clone(self);
        let message = to_json(&SignalTask { pid: Some(name(pid).into()), task_id: None, signal });
        self.host.call_with(&message, b"", move |answer| match answer {
            // Its report is what counts.
            Ok(_) => {}
            Err(error) if error.code == NOT_FOUND => {
                let later = Arc::clone(&this);
                this.host.run_after(REPORT_LIMIT, move || later.give_up(pid, "cpu does not know its task"));
            }
            Err(error) if error.code == ProviderError::NO_PROVIDER => this.give_up(pid, "the node runs no tasks"),
            Err(error) => {
                let text = format!("the task of process {} could not be ended: {error}", name(pid));
                this.host.log(Level::Warn, &text);
            }
        });
    }

    /// Ends a process that nobody will report.
    pub(crate) fn give_up(self: &Arc<Self>, pid: Pid, error: &str) {
        self.change(|state, now, effects| state.table.give_up(pid, error, now, effects));
    }

    /// The task of a process did what it should, and nobody has reported it.
    pub(crate) fn end_well(self: &Arc<Self>, pid: Pid) {
        self.change(|state, now, effects| {
            let exit = ProcessExit { unix_milliseconds: now, ..ProcessExit::default() };
            state.table.end(pid, exit, effects);
        });
    }

    /// Milliseconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        (self.clock)()
    }

    /// Ends processes and all that descend from them; `finish` gets how many that were, once they have.
    pub(crate) fn stop(
        self: &Arc<Self>,
        signal: Signal,
        find: impl FnOnce(&mut Table) -> Result<Vec<Pid>, ProcessError>,
        finish: impl FnOnce(Result<usize, ProcessError>) + Send + 'static,
    ) {
        let mut finish = Some(Box::new(finish) as Box<dyn FnOnce(Result<usize, ProcessError>) + Send>);
        let outcome: Result<_, ProcessError> = self.change(|state, now, effects| {
            let roots = find(&mut state.table)?;
            let stopping = state.table.terminate(&roots, signal, now, effects);
            if stopping.pending.is_empty() {
                return Ok((stopping, None));
            }
            let stop = Arc::new(Stop::new(stopping.ended, stopping.pending.len(), finish.take()));
            let ids: Vec<(Pid, u64)> = stopping
                .pending
                .iter()
                .map(|pid| (*pid, state.watch(*pid, Watcher::Stop(Arc::clone(&stop)))))
                .collect();
            Ok((stopping, Some((stop, ids))))
        });
        match outcome {
            Err(error) => finish.into_iter().for_each(|finish| finish(Err(error.clone()))),
            Ok((stopping, None)) => finish.into_iter().for_each(|finish| finish(Ok(stopping.ended))),
            Ok((_, Some((stop, ids)))) => {
                if stop.is_finished() {
                    return;
                }
                let this = Arc::clone(self);
                self.host.run_after(STOP_LIMIT, move || {
                    if !stop.is_finished() {
                        this.forget(&ids);
                        stop.time_is_over();
                    }
                });
            }
        }
    }

    fn forget(&self, ids: &[(Pid, u64)]) {
        let forgotten = {
            let mut state = self.state.lock();
            ids.iter().map(|(pid, id)| state.unwatch(*pid, *id)).collect::<Vec<_>>()
        };
        drop(forgotten);
    }

    /// Pauses or resumes processes; `finish` gets how many that were.
    pub(crate) fn pause(
        self: &Arc<Self>,
        signal: Signal,
        find: impl FnOnce(&mut Table) -> Result<Vec<Pid>, ProcessError>,
        finish: impl FnOnce(Result<usize, ProviderError>) + Send + 'static,
    ) {
        let outcome = self.change(|state, now, _| {
            let pids = find(&mut state.table)?;
            Ok::<_, ProcessError>(state.table.pause(&pids, signal, now))
        });
        let pausing = match outcome {
            Ok(pausing) => pausing,
            Err(error) => return finish(Err(error.into())),
        };
        // One more than there are tasks, so that it cannot end while they are being asked.
        let gather = Arc::new(Gather::new(pausing.done, pausing.tasks.len() + 1, Box::new(finish)));
        for pid in pausing.tasks {
            let message = to_json(&SignalTask { pid: Some(name(pid).into()), task_id: None, signal });
            let gather = Arc::clone(&gather);
            self.host.call_with(&message, b"", move |answer| gather.answered(answer.map(|_| 1)));
        }
        gather.answered(pausing.refused.map_or(Ok(0), |error| Err(error.into())));
    }

    /// Answers when a process has ended.
    pub(crate) fn wait(self: &Arc<Self>, actor: &Actor, pid: Pid, timeout: Option<Duration>, reply: PendingReply) {
        let id = {
            let mut state = self.state.lock();
            state.next_watcher += 1;
            state.next_watcher
        };
        // Asked for before the reply is where others find it: the caller may be gone already.
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let (this, flag) = (Arc::downgrade(self), Arc::clone(&is_cancelled));
        reply.on_cancel(move || {
            flag.store(true, Ordering::SeqCst);
            if let Some(this) = this.upgrade() {
                this.forget(&[(pid, id)]);
            }
        });
        let mut reply = Some(reply);
        let waits_max = self.config.waits_max;
        let exit = self.change(|state, now, _| {
            if actor.own_process(&state.table) == Some(pid) {
                return Err(ProcessError::WaitsForItself(name(pid)));
            }
            let is_visible = actor.may_act(&state.table, pid);
            let Some(entry) = state.table.get(pid).filter(|_| is_visible) else {
                return Err(ProcessError::NotFound(name(pid)));
            };
            if let Some(exit) = &entry.exit {
                let exit = (**exit).clone();
                state.table.reap(pid, now);
                return Ok(Some(exit));
            }
            if timeout.is_some_and(|timeout| timeout.is_zero()) {
                return Err(ProcessError::StillThere(name(pid)));
            }
            if state.waits >= waits_max {
                return Err(ProcessError::WaitsFull(waits_max));
            }
            let place = state.wait_shares.take(actor.peer(), 0, waits_max, 1);
            let place = place.map_err(|full| ProcessError::WaitShareFull { peer: full.peer, share: full.share })?;
            if let Some(reply) = reply.take() {
                let waiting = Waiting {
                    task: actor.creator(),
                    since_unix_milliseconds: now,
                    is_bounded: timeout.is_some(),
                    _place: place,
                };
                state.watch_as(pid, id, Watcher::Wait { reply, waiting });
            }
            Ok(None)
        });
        match (exit, reply) {
            (Ok(Some(exit)), Some(reply)) => return reply.send(&waited(pid, exit)),
            (Err(error), Some(reply)) => return reply.error(&error.into()),
            _ => {}
        }
        if is_cancelled.load(Ordering::SeqCst) {
            return self.forget(&[(pid, id)]);
        }
        if let Some(timeout) = timeout {
            let this = Arc::downgrade(self);
            let waiting = this.clone();
            let still_waits = move || waiting.upgrade().is_some_and(|this| this.state.lock().is_watched(pid, id));
            self.host.run_after_if(timeout, still_waits, move || {
                let Some(this) = this.upgrade() else { return };
                let watcher = this.state.lock().unwatch(pid, id);
                if let Some(Watcher::Wait { reply, .. }) = watcher {
                    reply.error(&ProcessError::StillThere(name(pid)).into());
                }
            });
        }
    }

    /// The ends for which tasks wait, as resources of one unit, which the process has that is to end.
    pub(crate) fn resources(&self) -> Vec<ResourceState> {
        let state = self.state.lock();
        let waited_for = |(pid, watchers): (&Pid, &Vec<(u64, Watcher)>)| {
            let waiters: Vec<Waiter> = watchers.iter().filter_map(|(_, watcher)| waiter(watcher)).collect();
            let resource_id = format!("process:{}", name(*pid));
            let holders = vec![Holder { pid: name(*pid), units: 1 }];
            let kind = "process".to_owned();
            let end =
                ResourceState { resource_id, kind, total_units: 1, available_units: 0, owned: true, holders, waiters };
            (!end.waiters.is_empty()).then_some(end)
        };
        state.watchers.iter().filter_map(waited_for).collect()
    }

    /// A process has ended, or another attempt at it begins: it waits for nobody's end any more.
    pub(crate) fn ended(&self, ended: &ProcessEnded<'_>) {
        let waits: Vec<Watcher> = {
            let mut state = self.state.lock();
            if state.waiting_tasks.is_empty() {
                return;
            }
            let waits = state.waits_of(ended);
            waits.into_iter().filter_map(|(pid, id)| state.unwatch(pid, id)).collect()
        };
        for wait in waits {
            if let Watcher::Wait { reply, .. } = wait {
                reply.error(&ProcessError::WaiterEnded(ended.pid.to_string()).into());
            }
        }
    }

    /// Says that the processes of a peer have ended, and ends what it has put into the table itself.
    pub(crate) fn peer_is_gone(self: &Arc<Self>, peer: &PeerId) {
        let peer = peer.to_string();
        let ended = ProcessEnded { pid: format!("*@{peer}").into(), reason: "its node is gone".into() };
        self.host.publish(ENDED_TOPIC, &ended);
        self.change(|state, now, effects| {
            let theirs = state.table.taskless_of(&peer);
            state.table.terminate(&theirs, Signal::Kill, now, effects);
        });
    }
}

impl State {
    fn watch(&mut self, pid: Pid, watcher: Watcher) -> u64 {
        self.next_watcher += 1;
        self.watch_as(pid, self.next_watcher, watcher);
        self.next_watcher
    }

    fn watch_as(&mut self, pid: Pid, id: u64, watcher: Watcher) {
        if let Watcher::Wait { waiting, .. } = &watcher {
            self.waits += 1;
            self.waiting_tasks.extend(waiting.task.clone().map(|task| ((task, id), pid)));
        }
        self.watchers.entry(pid).or_default().push((id, watcher));
        if let Some(entry) = self.table.get_mut(pid) {
            entry.watchers += 1;
        }
    }

    fn is_watched(&self, pid: Pid, id: u64) -> bool {
        self.watchers.get(&pid).is_some_and(|watchers| watchers.iter().any(|(known, _)| *known == id))
    }

    fn unwatch(&mut self, pid: Pid, id: u64) -> Option<Watcher> {
        let watchers = self.watchers.get_mut(&pid)?;
        let position = watchers.iter().position(|(known, _)| *known == id)?;
        let (_, watcher) = watchers.swap_remove(position);
        if watchers.is_empty() {
            self.watchers.remove(&pid);
        }
        if let Some(entry) = self.table.get_mut(pid) {
            entry.watchers -= 1;
        }
        self.forget_wait(id, &watcher);
        Some(watcher)
    }

    /// The books of a watcher that is gone; whether it was a wait.
    fn forget_wait(&mut self, id: u64, watcher: &Watcher) -> bool {
        let Watcher::Wait { waiting, .. } = watcher else { return false };
        self.waits -= 1;
        if let Some(task) = &waiting.task {
            self.waiting_tasks.remove(&(task.clone(), id));
        }
        true
    }

    /// The waits of a process that has ended, or of all of a peer.
    fn waits_of(&self, ended: &ProcessEnded<'_>) -> Vec<(Pid, u64)> {
        let wait = |((_, id), pid): (&(Box<str>, u64), &Pid)| (*pid, *id);
        if ended.pid.starts_with('*') {
            return self.waiting_tasks.iter().filter(|((task, _), _)| ended.is_meant(task)).map(wait).collect();
        }
        let name = || Box::from(&*ended.pid);
        self.waiting_tasks.range((name(), 0)..=(name(), u64::MAX)).map(wait).collect()
    }
}

fn waiter(watcher: &Watcher) -> Option<Waiter> {
    let Watcher::Wait { waiting: Waiting { task: Some(task), since_unix_milliseconds, is_bounded, .. }, .. } = watcher
    else {
        return None;
    };
    let (pid, since_unix_milliseconds) = (task.to_string(), *since_unix_milliseconds);
    Some(Waiter { pid, units: 1, since_unix_milliseconds, bounded: *is_bounded })
}

fn waited(pid: Pid, exit: ProcessExit) -> ProcessWaited<'static> {
    ProcessWaited { status: STATUS_OK, pid: name(pid).into(), exit }
}
