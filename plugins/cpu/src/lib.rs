//! The cpu provider: it runs Python functions, here or on the peer that is expected to start them soonest.
//!
//! | message | answered with |
//! |---|---|
//! | CPU_TASK | CPU_RESULT, when the task has ended in whatever way |
//! | BATCH_TASK | BATCH_RESULT, when all its tasks have |
//! | CANCEL_TASK | STATUS `CANCELLED` |
//! | SET_SCHEDULER | STATUS `OK` |
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

mod pool;
mod runtime;
mod scheduler;

mod config;
mod estimates;
mod statistics;

use config::Config as Settings;
use jobs::Jobs;
use parking_lot::Mutex;
use pool::Sizes;
use potluck_sdk::message::tracker::{LOAD_TOPIC, Load, LoadReport, PEERS_TOPIC, PeerTable};
use potluck_sdk::{
    Config, Health, Host, LeastCaller, Level, MessageInfo, Provider, ProviderError, ProviderInfo, Reply, Request,
    Status,
};
use scheduler::Algorithm;
use serde_json::json;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// The provider.
struct Cpu {
    jobs: Arc<Jobs>,
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
            MessageInfo::new("SET_SCHEDULER", LeastCaller::Local),
        ],
    };

    fn start(host: Host, config: Config<'_>) -> Result<Cpu, ProviderError> {
        let settings: Settings = config.parse()?;
        settings.check()?;
        let node = host.node();
        let sizes = sizes(&settings, node.cores);
        let algorithm = settings.algorithm.parse::<Algorithm>().unwrap_or(Algorithm::Priority);
        let runtime = Box::new(runtime::Python::new(&settings.python, &node.lib_dir));
        let scratch = node.data_dir.join("scratch");
        let (pool, supervisor) = pool::start(
            sizes,
            algorithm,
            runtime,
            scratch,
            Box::new(move |load, announce| host.publish(LOAD_TOPIC, &report(load, announce))),
            Box::new(move |complaint| host.log(Level::Error, complaint)),
        )
        .map_err(|error| {
            ProviderError::new("supervisor_failed", format!("the worker pool cannot be started: {error}"))
        })?;
        // Before the node registers anywhere: a peer that does not know how many workers this one has sends it nothing.
        host.publish(LOAD_TOPIC, &report(pool.load(), false));
        host.subscribe(PEERS_TOPIC);
        let jobs = Arc::new(Jobs::new(host, node, settings, pool));
        Ok(Cpu { jobs, supervisor: Mutex::new(Some(supervisor)) })
    }

    fn handle(&self, request: Request<'_>, reply: Reply<'_>) {
        match request.message_type {
            "CPU_TASK" => handler::cpu_task(&self.jobs, request, reply),
            "BATCH_TASK" => handler::batch_task(&self.jobs, request, reply),
            "CANCEL_TASK" => handler::cancel_task(&self.jobs, request, reply),
            _ => handler::set_scheduler(&self.jobs, request, reply),
        }
    }

    fn event(&self, topic: &str, json: &str) {
        if topic == PEERS_TOPIC {
            match serde_json::from_str::<PeerTable>(json) {
                Ok(table) => self.jobs.placement.update(table, self.jobs.node.peer_id),
                Err(error) => self.jobs.host.log(Level::Warn, &format!("a table of peers cannot be read: {error}")),
            }
        }
    }

    fn status(&self) -> Status {
        let pool = &self.jobs.pool;
        let (load, counts, summary) = (pool.load(), pool.counts(), self.jobs.statistics.summary());
        let stats = json!({
            "algorithm": pool.algorithm().name(),
            "total_processes": summary.total_tasks,
            "completed_processes": summary.completed_tasks,
            "running_process": self.jobs.running_name().filter(|_| load.running > 0),
            "queue_size": load.queued,
            "active_tasks": load.running,
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
            "worker_processes": pool.processes(),
            "workers_started": counts.workers_started,
            "workers_died": counts.workers_died,
            "python": pool.description(),
        });
        Status::default().with("scheduler", json!({ "type": "advanced", "stats": stats })).with("executor", executor)
    }

    fn health(&self) -> Health {
        self.jobs.pool.unavailable().map_or(Health::Ok, Health::Degraded)
    }

    fn stop(&self) {
        self.jobs.pool.drain(Duration::from_secs_f64(self.jobs.config.drain_seconds));
        self.jobs.abandon_all();
        if let Some(supervisor) = self.supervisor.lock().take() {
            let _ = supervisor.join();
        }
    }
}

/// Sizes of the pool: what plugins.toml says, else from the number of cores.
fn sizes(settings: &Settings, cores: usize) -> Sizes {
    let slots = if settings.workers == 0 { cores.max(1) } else { settings.workers };
    let spares = settings.spare_workers.unwrap_or(slots);
    // Warm interpreters for some submitters besides those that are at work: each costs some 10 MiB.
    let processes_max = settings.worker_processes_max.unwrap_or(4 * slots + spares).max(slots + 1);
    Sizes {
        slots,
        spares: spares.max(1),
        processes_max,
        queue_tasks_max: settings.queue_tasks_max,
        queue_bytes_max: settings.queue_bytes_max,
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
