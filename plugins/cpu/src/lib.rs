//! The cpu provider: it runs Python functions, here or on the peer that is expected to start them soonest.
//!
//! | message | answered with |
//! |---|---|
//! | CPU_TASK | CPU_RESULT, when the task has ended in whatever way |
//! | BATCH_TASK | BATCH_RESULT, when all its tasks have |
//! | CANCEL_TASK | STATUS `CANCELLED` |
//! | SIGNAL_TASK, SET_TASK_PRIORITY | STATUS `OK`, when it is done to the task wherever that is |
//! | TASK_USAGE | TASK_USAGE |
//! | TASK_RESOURCES | RESOURCES |
//! | TASK_PROGRESS, from the peer that runs a task | STATUS `OK` |
//! | SET_SCHEDULER | STATUS `OK` |
//! | GET_SCHEDULER | SCHEDULER |
//! | SANDBOX_IMAGES | SANDBOX_IMAGES |
//! | SANDBOX_INSTALL | SANDBOX_INSTALLED, when the image can be used |
//! | SANDBOX_REMOVE | STATUS `REMOVED` |
//!
//! A message becomes a [`task`] (what is wanted, checked), then a [`job`] (placed, tried again, answered once; all of
//! them in [`jobs`]), and each run of it here an attempt in the [`pool`] of worker processes. Interpreters never live in
//! this process.

mod task;

mod handler;

mod job;
mod jobs;

mod batch;
mod placement;

mod calls;
mod life;

mod outbox;
mod records;
mod reuse;

mod images;
mod install;
mod modules;
mod tools;

mod pool;
mod runtime;
mod scheduler;

mod lab;

mod config;
mod estimates;
mod statistics;
mod status;
mod texts;

#[cfg(test)]
mod tests;

use config::{Config as Settings, WORKER_PROCESSES_LIMIT};
use images::Images;
use jobs::Jobs;
use lab::Lab;
use modules::Modules;
use parking_lot::Mutex;
use pool::{LaneReport, Links, Phase, Sizes};
use potluck_sdk::message::cache::CACHE_RULES_TOPIC;
use potluck_sdk::message::node::ADDRESS_TOPIC;
use potluck_sdk::message::quota::RULES_TOPIC as QUOTA_RULES_TOPIC;
use potluck_sdk::message::resources::Resources;
use potluck_sdk::message::scheduler::DECISION_TOPIC;
use potluck_sdk::message::tracker::{LOAD_TOPIC, Load, LoadReport, PEERS_TOPIC, PeerTable};
use potluck_sdk::{
    Config, Health, Host, LeastCaller, Level, MessageInfo, Provider, ProviderError, ProviderInfo, Reply, Request,
    Status,
};
use runtime::{RuntimeKey, Runtimes};
use serde_json::json;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tools::Tools;

/// How long the node waits, when it stops, until what has ended is in the history.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(2);

/// The provider.
struct Cpu {
    jobs: Arc<Jobs>,
    lab: Lab,
    /// Taken when the provider stops.
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

impl Provider for Cpu {
    const INFO: ProviderInfo = ProviderInfo {
        id: "cpu",
        version: env!("CARGO_PKG_VERSION"),
        messages: &[
            MessageInfo::new("CPU_TASK", LeastCaller::Member),
            MessageInfo::new("BATCH_TASK", LeastCaller::Member),
            MessageInfo::new("CANCEL_TASK", LeastCaller::Member),
            MessageInfo::new("SIGNAL_TASK", LeastCaller::Member),
            MessageInfo::new("SET_TASK_PRIORITY", LeastCaller::Member),
            MessageInfo::new("TASK_USAGE", LeastCaller::Local),
            MessageInfo::new("TASK_RESOURCES", LeastCaller::Plugin),
            MessageInfo::new("TASK_PROGRESS", LeastCaller::Member),
            MessageInfo::new("SET_SCHEDULER", LeastCaller::Local),
            MessageInfo::new("GET_SCHEDULER", LeastCaller::Task),
            MessageInfo::new("COMPARE_SCHEDULERS", LeastCaller::Local),
            MessageInfo::new("SANDBOX_IMAGES", LeastCaller::Member),
            MessageInfo::new("SANDBOX_INSTALL", LeastCaller::Local),
            MessageInfo::new("SANDBOX_REMOVE", LeastCaller::Local),
        ],
    };

    fn start(host: Host, config: Config<'_>) -> Result<Cpu, ProviderError> {
        let settings: Settings = config.parse()?;
        settings.check()?;
        let node = host.node();
        let sizes = sizes(&settings, node.cores);
        let algorithm = settings.first_algorithm().unwrap_or(scheduler::ALGORITHM_DEFAULT);
        let images = Arc::new(Images::new(&node.lib_dir, &node.data_dir, &settings));
        let tools = Arc::new(Tools::default());
        let modules = Modules::open(&node.data_dir.join("modules"), settings.modules_bytes_max).map_err(|error| {
            ProviderError::new("modules_unusable", format!("the folder of the guests cannot be used: {error}"))
        })?;
        let (runtime_images, runtime_tools) = (Arc::clone(&images), Arc::clone(&tools));
        let runtimes = Runtimes::new(&settings, &node.lib_dir, modules.folder(), runtime_images, runtime_tools);
        let scratch = node.data_dir.join("scratch");
        let links = Links {
            on_decision: Box::new(move |decision| host.publish(DECISION_TOPIC, decision)),
            on_load: Box::new(move |load, announce| host.publish(LOAD_TOPIC, &report(load, announce))),
            complain: Box::new(move |complaint| host.log(Level::Error, complaint)),
            prepare: Box::new(move |pool, key, runtime| {
                let pool = Arc::clone(pool);
                host.spawn_blocking(move || pool.prepared(&key, runtime.prepare()));
            }),
        };
        let (pool, supervisor) = pool::start(sizes, algorithm, runtimes, scratch, links).map_err(|error| {
            ProviderError::new("supervisor_failed", format!("the worker pool cannot be started: {error}"))
        })?;
        // What most tasks need is started before the first one comes; what few need, with the first one.
        pool.warm_up(&RuntimeKey::Python { trusted: settings.trusted });
        // Before the node registers anywhere: a peer that does not know how many workers this one has sends it nothing.
        host.publish(LOAD_TOPIC, &report(pool.load(), false));
        host.subscribe(PEERS_TOPIC);
        host.subscribe(ADDRESS_TOPIC);
        host.subscribe(CACHE_RULES_TOPIC);
        let jobs = Arc::new(Jobs::new(host, node, settings, pool, Arc::new(modules), images, tools));
        Ok(Cpu { jobs, lab: Lab::default(), supervisor: Mutex::new(Some(supervisor)) })
    }

    fn handle(&self, request: Request<'_>, reply: Reply<'_>) {
        match request.message_type {
            "CPU_TASK" => handler::cpu_task(&self.jobs, request, reply),
            "BATCH_TASK" => handler::batch_task(&self.jobs, request, reply),
            "CANCEL_TASK" => handler::cancel_task(&self.jobs, request, reply),
            "SIGNAL_TASK" => handler::signal_task(&self.jobs, request, reply),
            "SET_TASK_PRIORITY" => handler::set_task_priority(&self.jobs, request, reply),
            "TASK_RESOURCES" => reply.send(&Resources { resources: self.jobs.joins.resources() }),
            "TASK_USAGE" => handler::task_usage(&self.jobs, request, reply),
            "TASK_PROGRESS" => handler::task_progress(&self.jobs, request, reply),
            "GET_SCHEDULER" => handler::get_scheduler(&self.jobs, reply),
            "COMPARE_SCHEDULERS" => self.lab.compare(&self.jobs, request, reply),
            "SANDBOX_IMAGES" => handler::sandbox_images(&self.jobs, reply),
            "SANDBOX_INSTALL" => handler::sandbox_install(&self.jobs, request, reply),
            "SANDBOX_REMOVE" => handler::sandbox_remove(&self.jobs, request, reply),
            _ => handler::set_scheduler(&self.jobs, request, reply),
        }
    }

    fn event(&self, topic: &str, json: &str) {
        let unreadable = |what: &str, error: serde_json::Error| {
            self.jobs.host.log(Level::Warn, &format!("{what} cannot be read: {error}"));
        };
        match topic {
            ADDRESS_TOPIC => match serde_json::from_str(json) {
                Ok(address) => self.jobs.moved_to(&address),
                Err(error) => unreadable("the node's new address", error),
            },
            PEERS_TOPIC => match serde_json::from_str::<PeerTable>(json) {
                Ok(table) => self.jobs.take_table(table),
                Err(error) => unreadable("a table of peers", error),
            },
            CACHE_RULES_TOPIC => match serde_json::from_str(json) {
                Ok(rules) => self.jobs.reuse.rules_changed(&rules),
                Err(error) => unreadable("the rules of the cache", error),
            },
            QUOTA_RULES_TOPIC => self.jobs.allowance.event(topic, json),
            _ => {}
        }
    }

    fn status(&self) -> Status {
        let pool = &self.jobs.pool;
        let lanes = pool.lanes();
        let ((load, running), counts, summary) =
            (pool.load_and_running(), pool.counts(), self.jobs.statistics.summary());
        let stats = json!({
            "algorithm": pool.algorithm().name(),
            "total_processes": summary.total_tasks,
            "completed_processes": summary.completed_tasks,
            "running_process": running.and_then(|name| self.jobs.task_id_of(&name)),
            "queue_size": load.not_running(),
            "active_tasks": load.begun,
            "current_load": report(load, false).load.cpu_load,
            "total_tasks": summary.total_tasks,
            "completed_tasks": summary.completed_tasks,
            "failed_tasks": summary.failed_tasks,
            "cancelled_tasks": summary.cancelled_tasks,
            "forwarded_tasks": summary.forwarded_tasks,
            "average_waiting_time": summary.average_waiting_time,
            "average_turnaround_time": summary.average_turnaround_time,
            "throughput": summary.throughput,
        });
        let executor = json!({
            "execution_count": counts.executed,
            "attempts_submitted": counts.submitted,
            "workers": load.slots,
            "worker_processes": lanes.iter().map(|lane| lane.processes).sum::<usize>(),
            "workers_started": counts.workers_started,
            "workers_died": counts.workers_died,
            "python": self.python(&lanes).map(|lane| lane.description.as_str()).unwrap_or_default(),
            "runtimes": status::runtimes(&lanes, &self.jobs.config),
        });
        Status::default().with("scheduler", json!({ "type": "advanced", "stats": stats })).with("executor", executor)
    }

    fn health(&self) -> Health {
        let lanes = self.jobs.pool.lanes();
        match self.python(&lanes).map(|lane| lane.phase.clone()) {
            Some(Phase::Unavailable(reason, _)) => Health::Degraded(reason),
            _ => Health::Ok,
        }
    }

    fn stop(&self) {
        self.lab.stop();
        self.jobs.tools.stop();
        self.jobs.pool.drain(Duration::from_secs_f64(self.jobs.config.drain_seconds));
        // It may be about to answer the last one that has run.
        if let Some(supervisor) = self.supervisor.lock().take() {
            let _ = supervisor.join();
        }
        self.jobs.abandon_all();
        // All tasks have been answered: what is left is to be told of them.
        self.jobs.life.drain(LAST_WORDS_WITHIN);
        self.jobs.records.drain(LAST_WORDS_WITHIN);
    }
}

impl Cpu {
    /// The runtime that tasks get who do not say.
    fn python<'a>(&self, lanes: &'a [LaneReport]) -> Option<&'a LaneReport> {
        let key = RuntimeKey::Python { trusted: self.jobs.config.trusted };
        lanes.iter().find(|lane| lane.key == key)
    }
}

/// Sizes of the pool: what plugins.toml says, else from the number of cores.
fn sizes(settings: &Settings, cores: usize) -> Sizes {
    // One process more than there are slots must be possible.
    let slots = if settings.workers == 0 { cores.clamp(1, WORKER_PROCESSES_LIMIT - 1) } else { settings.workers };
    let spares = settings.spare_workers.unwrap_or(slots);
    // Warm interpreters for some submitters besides those that are at work: each costs some 10 MiB.
    let wanted = settings.worker_processes_max.unwrap_or((4 * slots + spares).min(WORKER_PROCESSES_LIMIT));
    let processes_max = wanted.max(slots + 1);
    Sizes {
        slots,
        spares: spares.max(1),
        processes_max,
        suspended_max: settings.suspended_max,
        waiting_max: settings.waiting_max.unwrap_or_else(config::waiting_default),
        queue_tasks_max: settings.queue_tasks_max,
        queue_bytes_max: settings.queue_bytes_max,
        scratch_bytes_max: settings.scratch_limit_bytes,
        others_unprotected: settings.remote_unprotected,
    }
}

fn report(load: pool::PoolLoad, announce: bool) -> LoadReport {
    let small = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    LoadReport {
        load: Load {
            cpu_load: (load.running + load.queued) as f64 / load.slots.max(1) as f64,
            workers: small(load.slots),
            running: small(load.running),
            queued: small(load.queued),
            backlog_seconds: load.backlog_seconds,
        },
        announce,
    }
}

potluck_sdk::export_plugin!(Cpu);

#[cfg(test)]
mod size_tests {
    use super::*;

    #[test]
    fn a_large_machine_has_no_more_worker_processes_than_may_be_configured() {
        let processes = |settings: &Settings, cores| {
            let sizes = sizes(settings, cores);
            assert!(sizes.processes_max > sizes.slots);
            (sizes.slots, sizes.processes_max)
        };
        let default = Settings::default();
        assert_eq!(processes(&default, 0), (1, 5));
        assert_eq!(processes(&default, 8), (8, 40));
        for (cores, slots) in [(256, 256), (1023, 1023), (1024, 1023), (100_000, 1023)] {
            assert_eq!(processes(&default, cores), (slots, 1024));
        }
        let spares = Settings { workers: 100, spare_workers: Some(1024), ..Settings::default() };
        assert_eq!(processes(&spares, 8), (100, 1024));
        let few = Settings { workers: 8, worker_processes_max: Some(2), ..Settings::default() };
        assert_eq!(processes(&few, 8), (8, 9));
    }
}
