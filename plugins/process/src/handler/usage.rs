//! What processes have used so far, which cpu measures when it is asked.

use crate::processes::Processes;
use potluck_sdk::Reply;
use potluck_sdk::message::cpu::{TaskUsage, TasksUsed};
use potluck_sdk::message::process::{ProcessFacts, ProcessUsage, Tree, TreeNode};
use potluck_sdk::message::to_json;
use serde::Serialize;
use std::collections::HashMap;

/// What tasks have used, by their processes.
pub(super) struct Used(HashMap<String, ProcessUsage>);

impl Used {
    fn of(&self, pid: &str) -> Option<ProcessUsage> {
        self.0.get(pid).copied()
    }

    /// Enters it in a tree.
    pub(super) fn enter(&self, tree: &mut Tree) {
        let mut open: Vec<&mut TreeNode> = match tree {
            Tree::Whole(forest) => forest.roots.iter_mut().collect(),
            Tree::Node(root) => vec![root],
        };
        while let Some(node) = open.pop() {
            node.usage = self.of(&node.pid);
            open.extend(&mut node.children);
        }
    }
}

/// Answers with facts, once cpu has said what the tasks of those processes use; without that when it cannot.
pub(super) fn send<T: Serialize + Send + 'static>(
    processes: &Processes,
    mut body: T,
    facts: impl Fn(&mut T) -> &mut [ProcessFacts] + Send + 'static,
    reply: Reply<'_>,
) {
    let have_task = facts(&mut body).iter().filter(|process| process.state.is_alive() && !process.task_id.is_empty());
    let have_task = have_task.map(|process| process.pid.clone()).collect();
    let enter = move |body: &mut T, used: &Used| {
        for process in facts(body) {
            process.usage = used.of(&process.pid);
        }
    };
    send_with(processes, body, have_task, enter, reply);
}

/// As [`send`], of processes that have a task; `enter` gets what they have used.
pub(super) fn send_with<T: Serialize + Send + 'static>(
    processes: &Processes,
    mut body: T,
    have_task: Vec<String>,
    enter: impl FnOnce(&mut T, &Used) + Send + 'static,
    reply: Reply<'_>,
) {
    if have_task.is_empty() {
        return reply.send(&body);
    }
    let message = to_json(&TaskUsage { pids: have_task.into_iter().map(Into::into).collect() });
    let reply = reply.later();
    processes.host.call_with(&message, b"", move |answer| {
        if let Ok(answer) = answer
            && let Ok(used) = serde_json::from_str::<TasksUsed<'_>>(&answer.json)
        {
            let used = used.tasks.iter().map(|task| (task.pid.to_string(), task.usage)).collect();
            enter(&mut body, &Used(used));
        }
        reply.send(&body);
    });
}
