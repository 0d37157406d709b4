//! What `potluck top` shows, as lines of text.

use super::list::{cpu, memory, or_dash, tree, what};
use super::semaphores::holders;
use super::{age_seconds, count};
use crate::output::raw_json::Members;
use crate::output::{printable, shorten, units};
use potluck_sdk::message::ipc::{QueueInfo, QueueList, SemaphoreInfo, SemaphoreList};
use potluck_sdk::message::memory_manager::MemoryMapped;
use potluck_sdk::message::process::{ProcessFacts, ProcessList, ProcessState};
use potluck_sdk::message::scheduler::SchedulerState;

/// What a node has said; what it has no provider for is missing.
#[derive(Default)]
pub(super) struct View {
    /// Where it was asked, and when.
    pub(super) title: String,
    /// The text of its STATUS.
    pub(super) status: String,
    pub(super) processes: Option<ProcessList>,
    pub(super) scheduler: Option<SchedulerState>,
    pub(super) arena: Option<MemoryMapped>,
    pub(super) queues: Option<QueueList>,
    pub(super) semaphores: Option<SemaphoreList>,
}

/// Queues, and semaphores, that are shown at most.
const LISTED_MAX: usize = 5;

impl View {
    /// The lines of a screen of that size.
    pub(super) fn lines(&self, width: usize, height: usize) -> Vec<String> {
        let mut lines = vec![self.title.clone()];
        lines.extend(self.process_summary());
        lines.extend(self.scheduler_summary());
        lines.extend(self.memory_summary());
        let below = self.waits();
        lines.push(String::new());
        // The processes get what the rest leaves.
        let room = height.saturating_sub(lines.len() + below.len()).max(2);
        lines.extend(self.process_lines(room));
        lines.extend(below);
        lines.truncate(height);
        lines.iter().map(|line| shorten(&printable(line), width).into_owned()).collect()
    }

    fn process_summary(&self) -> Option<String> {
        let list = self.processes.as_ref()?;
        let status = Members::of(&self.status);
        let manager = status.as_ref().and_then(|status| status.get("process_manager")).and_then(Members::of);
        let by_state = manager.as_ref().and_then(|manager| manager.get("processes_by_state")).and_then(Members::of);
        let states: Vec<String> = match by_state {
            Some(states) => states
                .0
                .iter()
                .filter(|(_, number)| number.get() != "0")
                .map(|(state, number)| format!("{} {}", number.get(), state.to_lowercase()))
                .collect(),
            None => ProcessState::ALL
                .into_iter()
                .map(|state| (state, list.processes.iter().filter(|process| process.state == state).count()))
                .filter(|(_, number)| *number > 0)
                .map(|(state, number)| format!("{number} {}", state.word().to_lowercase()))
                .collect(),
        };
        Some(format!("Processes   {}: {}", list.total_processes, states.join(", ")))
    }

    fn scheduler_summary(&self) -> Option<String> {
        let state = self.scheduler.as_ref()?;
        let mut text = format!("Scheduler   {}", state.scheduler.algorithm);
        if let Some(quantum) = state.scheduler.quantum_ms {
            text += &format!(", quantum {} ms", units::number(quantum));
        }
        if state.scheduler.preemptive == Some(true) {
            text += ", preemptive";
        }
        text += &format!(
            "; {}, {} running, {} queued, {} suspended",
            count(state.slots as u64, "slot", "slots"),
            state.running,
            state.queued,
            state.suspended
        );
        let now =
            state.statistics.iter().find(|line| line.tasks > 0 && line.algorithm.contains(&state.scheduler.algorithm));
        if let Some(line) = now {
            text += &format!(
                "; waiting {} on average, {} tasks/s",
                units::seconds(line.average_waiting_seconds),
                units::number(line.throughput_per_second)
            );
        }
        Some(text)
    }

    fn memory_summary(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(arena) = &self.arena {
            let memory = &arena.fragmentation;
            lines.push(format!(
                "Arena       {} of {} used, {}, fragmentation {:.1} %, {}",
                units::bytes(memory.allocated_memory),
                units::bytes(memory.total_memory),
                count(arena.block_count as u64, "block", "blocks"),
                memory.fragmentation_percentage,
                arena.algorithm
            ));
        }
        let status = Members::of(&self.status);
        let memory = status.as_ref().and_then(|status| status.get("memory")).and_then(Members::of);
        if let Some(memory) = memory {
            let number = |name| memory.get(name).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
            let values = count(number("key_count"), "shared value", "shared values");
            lines.push(format!("Memory      {values}, {}", units::bytes(number("bytes"))));
        }
        lines
    }

    fn process_lines(&self, room: usize) -> Vec<String> {
        let Some(list) = &self.processes else { return vec!["No provider of processes".to_owned()] };
        let mut alive: Vec<ProcessFacts> = list.processes.clone();
        alive.retain(|process| process.state.is_alive());
        let mut lines = vec![format!(
            "{:<14} {:<8} {:>10} {:>10} {:>10} {:>4} {:<7} {:<20} {:<21} {}",
            "PID", "STATE", "CPU", "MEMORY", "AGE", "PRIO", "RUNTIME", "FUNCTION", "WHERE", "WHY"
        )];
        let rows = tree(&alive);
        let shown = if rows.len() < room { rows.len() } else { room.saturating_sub(2) };
        for (branch, process) in rows.iter().take(shown) {
            lines.push(format!(
                "{:<14} {:<8} {:>10} {:>10} {:>10} {:>4} {:<7} {:<20} {:<21} {}",
                shorten(&format!("{branch}{}", process.pid), 14),
                process.state.word(),
                cpu(process),
                memory(process),
                units::seconds(age_seconds(process.created_unix_milliseconds).round()),
                process.priority,
                shorten(or_dash(&process.runtime), 7),
                shorten(what(process), 20),
                shorten(or_dash(&process.executed_by), 21),
                process.reason
            ));
        }
        let hidden = rows.len() - shown + list.total_processes.saturating_sub(list.processes.len());
        if rows.len() > shown {
            lines.push(format!("... and {hidden} more"));
        }
        lines
    }

    /// Queues and semaphores, those first where somebody waits.
    fn waits(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(list) = self.queues.as_ref().filter(|list| !list.queues.is_empty()) {
            lines.push(String::new());
            lines.push(format!("{:<32} {:>10} {:>10} {:>10}", "QUEUE", "MESSAGES", "AT MOST", "WAITING"));
            let mut queues: Vec<&QueueInfo> = list.queues.iter().collect();
            let waiting = |queue: &QueueInfo| queue.waiting_receivers + queue.waiting_senders;
            queues.sort_by_key(|queue| std::cmp::Reverse((waiting(queue), queue.messages)));
            for queue in queues.iter().take(LISTED_MAX) {
                let name = shorten(&queue.queue_id, 32);
                lines.push(format!("{name:<32} {:>10} {:>10} {:>10}", queue.messages, queue.max_size, waiting(queue)));
            }
            lines.extend(hidden(list.queue_count, queues.len().min(LISTED_MAX)));
        }
        if let Some(list) = self.semaphores.as_ref().filter(|list| !list.semaphores.is_empty()) {
            lines.push(String::new());
            lines.push(format!("{:<32} {:>10} {:>10} {}", "SEMAPHORE", "VALUE", "WAITING", "HELD BY"));
            let mut semaphores: Vec<&SemaphoreInfo> = list.semaphores.iter().collect();
            semaphores.sort_by_key(|semaphore| std::cmp::Reverse((semaphore.waiting, semaphore.holder_count)));
            for semaphore in semaphores.iter().take(LISTED_MAX) {
                let name = shorten(&semaphore.sem_id, 32);
                let held = holders(semaphore);
                lines.push(format!("{name:<32} {:>10} {:>10} {held}", semaphore.value, semaphore.waiting));
            }
            lines.extend(hidden(list.semaphore_count, semaphores.len().min(LISTED_MAX)));
        }
        lines
    }
}

fn hidden(total: u64, shown: usize) -> Option<String> {
    let hidden = total.saturating_sub(shown as u64);
    (hidden > 0).then(|| format!("... and {hidden} more"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use potluck_sdk::message::process::ProcessUsage;

    fn view(processes: usize) -> View {
        let process = |number: usize| ProcessFacts {
            pid: format!("P{number}"),
            state: if number == 1 { ProcessState::Waiting } else { ProcessState::Running },
            reason: if number == 1 { "semaphore forks-1\u{1b}[2J".to_owned() } else { String::new() },
            function: "think".to_owned(),
            usage: Some(ProcessUsage { cpu_seconds: 1.25, memory_bytes: 3 << 20, context_switches: 0 }),
            ..ProcessFacts::default()
        };
        View {
            title: "potluck top".to_owned(),
            status: r#"{"memory":{"key_count":2,"bytes":2048}}"#.to_owned(),
            processes: Some(ProcessList {
                processes: (1..=processes).map(process).collect(),
                next: None,
                total_processes: processes,
            }),
            queues: Some(QueueList {
                queues: vec![QueueInfo {
                    queue_id: "jobs".to_owned(),
                    messages: 3,
                    max_size: 10,
                    ..QueueInfo::default()
                }],
                next: None,
                queue_count: 9,
            }),
            ..View::default()
        }
    }

    #[test]
    fn a_screen_is_filled_and_never_overfilled() {
        for (width, height) in [(80, 24), (200, 60), (20, 5), (1, 1), (0, 0)] {
            let lines = view(100).lines(width, height);
            assert!(lines.len() <= height, "{width} x {height}");
            assert!(lines.iter().all(|line| line.chars().count() <= width.max(1)), "{width} x {height}");
        }
        let lines = view(100).lines(80, 24);
        assert_eq!(lines.len(), 24);
        assert!(lines.iter().any(|line| line.contains("more")), "{lines:?}");
    }

    #[test]
    fn it_shows_who_waits_and_obeys_nobody() {
        let lines = view(2).lines(200, 24).join("\n");
        for text in ["2: 1 running, 1 waiting", "semaphore forks-1", "2 shared values, 2.0 KiB", "jobs", "and 8 more"] {
            assert!(lines.contains(text), "{text} in {lines}");
        }
        for text in [units::seconds(1.25), units::bytes(3 << 20)] {
            assert_eq!(lines.matches(&text).count(), 2, "{text} in {lines}");
        }
        assert!(!lines.contains('\u{1b}'));
    }

    #[test]
    fn a_node_without_providers_has_a_screen_too() {
        assert!(View::default().lines(80, 24).join("").contains("No provider"));
    }
}
