//! One function a message: decode, act, reply.

use crate::batch::{Batch, TASKS_MAX};
use crate::job::{Answer, JobId, refusal_json};
use crate::jobs::Jobs;
use crate::scheduler::Algorithm;
use crate::task::Task;
use parking_lot::Mutex;
use potluck_sdk::message::cpu::{BatchTask, CancelTask, CpuTask, SchedulerSet, SetScheduler, TaskCancelled};
use potluck_sdk::{Caller, ProviderError, Reply, Request};
use std::sync::Arc;

/// CPU_TASK.
pub(crate) fn cpu_task(jobs: &Arc<Jobs>, request: Request<'_>, reply: Reply<'_>) {
    let message = match request.parse::<CpuTask>() {
        Ok(message) => message,
        Err(error) => return reply.error(&error),
    };
    match Task::read(message, request.caller, &jobs.config, &jobs.estimates) {
        Ok(task) => {
            let id = jobs.next_id();
            let reply = reply.later();
            let abandoned = Arc::clone(jobs);
            // Nobody waits for the result any more, so nobody needs the work.
            reply.on_cancel(move || {
                abandoned.cancel(id);
            });
            jobs.begin(id, task, Answer::Reply(reply));
        }
        Err(refusal) => {
            let json = refusal_json(&refusal.task_id, refusal.code, &refusal.text, &jobs.own_address);
            reply.send_json(json.into_bytes());
        }
    }
}

/// BATCH_TASK.
pub(crate) fn batch_task(jobs: &Arc<Jobs>, request: Request<'_>, reply: Reply<'_>) {
    let message = match request.parse::<BatchTask>() {
        Ok(message) => message,
        Err(error) => return reply.error(&error),
    };
    if message.tasks.is_empty() {
        return reply.error(&ProviderError::invalid("No tasks provided"));
    }
    if message.tasks.len() > TASKS_MAX {
        return reply
            .error(&ProviderError::invalid(format!("a batch may have at most {TASKS_MAX} tasks; send several")));
    }
    let reply = reply.later();
    let begun: Arc<Mutex<Vec<JobId>>> = Arc::default();
    let (abandoned, ids) = (Arc::clone(jobs), Arc::clone(&begun));
    reply.on_cancel(move || {
        for id in std::mem::take(&mut *ids.lock()) {
            abandoned.cancel(id);
        }
    });
    let batch = Arc::new(Batch::new(message.tasks.len(), reply));
    for (index, task) in message.tasks.iter().enumerate() {
        let answer = Answer::Batch(Arc::clone(&batch), index);
        match read_one(jobs, task.get(), request.caller) {
            Ok(task) => {
                let id = jobs.next_id();
                begun.lock().push(id);
                jobs.begin(id, task, answer);
            }
            Err(json) => answer.give(json),
        }
    }
}

fn read_one(jobs: &Arc<Jobs>, json: &str, caller: Caller<'_>) -> Result<Task, String> {
    let refuse = |task_id: &str, code: &str, text: &str| refusal_json(task_id, code, text, &jobs.own_address);
    let message: CpuTask = serde_json::from_str(json).map_err(|error| {
        refuse("unknown", ProviderError::INVALID_MESSAGE, &format!("the task cannot be read: {error}"))
    })?;
    Task::read(message, caller, &jobs.config, &jobs.estimates)
        .map_err(|refusal| refuse(&refusal.task_id, refusal.code, &refusal.text))
}

/// CANCEL_TASK.
pub(crate) fn cancel_task(jobs: &Arc<Jobs>, request: Request<'_>, reply: Reply<'_>) {
    let message = match request.parse::<CancelTask>() {
        Ok(message) => message,
        Err(error) => return reply.error(&error),
    };
    let task_id = message.task_id.unwrap_or_default();
    if task_id.is_empty() {
        return reply.error(&ProviderError::invalid("task_id required"));
    }
    if jobs.cancel_named(&task_id) == 0 {
        let shown: String = task_id.chars().take(256).collect();
        let text = format!("Task {shown} not found; it has ended or was never sent to this node");
        return reply.error(&ProviderError::new("task_not_found", text));
    }
    reply.send(&TaskCancelled { status: "CANCELLED", task_id: &task_id });
}

/// SET_SCHEDULER.
pub(crate) fn set_scheduler(jobs: &Arc<Jobs>, request: Request<'_>, reply: Reply<'_>) {
    let chosen = request.parse::<SetScheduler>().and_then(|message| {
        let name = message.algorithm.filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| ProviderError::invalid("algorithm required"))?;
        name.parse::<Algorithm>().map_err(ProviderError::invalid)
    });
    match chosen {
        Ok(algorithm) => {
            jobs.pool.set_algorithm(algorithm);
            reply.send(&SchedulerSet { status: "OK", algorithm: algorithm.name() });
        }
        Err(error) => reply.error(&error),
    }
}
