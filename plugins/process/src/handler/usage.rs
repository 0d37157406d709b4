//! What processes have used so far, which cpu measures when it is asked.

use crate::processes::Processes;
use potluck_sdk::Reply;
use potluck_sdk::message::cpu::{TaskUsage, TasksUsed};
use potluck_sdk::message::process::{ProcessFacts, ProcessUsage};
use potluck_sdk::message::to_json;
use serde::Serialize;
use std::collections::HashMap;

/// Answers with facts, once cpu has said what the tasks of those processes use; without that when it cannot.
pub(super) fn send<T: Serialize + Send + 'static>(
    processes: &Processes,
    mut body: T,
    facts: impl Fn(&mut T) -> &mut [ProcessFacts] + Send + 'static,
    reply: Reply<'_>,
) {
    let have_task = facts(&mut body).iter().filter(|process| process.state.is_alive() && !process.task_id.is_empty());
    let message = TaskUsage { pids: have_task.map(|process| process.pid.as_str().into()).collect() };
    if message.pids.is_empty() {
        return reply.send(&body);
    }
    let message = to_json(&message);
    let reply = reply.later();
    processes.host.call_with(&message, b"", move |answer| {
        if let Ok(answer) = answer
            && let Ok(used) = serde_json::from_str::<TasksUsed<'_>>(&answer.json)
        {
            let used: HashMap<&str, ProcessUsage> = used.tasks.iter().map(|task| (&*task.pid, task.usage)).collect();
            for process in facts(&mut body) {
                process.usage = used.get(process.pid.as_str()).copied();
            }
        }
        reply.send(&body);
    });
}
