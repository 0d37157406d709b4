//! The part of a batch that was sent and is not printed yet, in the order of the file.

use potluck_sdk::{ProviderError, Response};
use std::collections::VecDeque;

/// Results that may wait for one slow task, as a multiple of the tasks in flight: enough to keep the pool busy meanwhile.
const WAITING_PER_JOB: usize = 4;
/// Bytes of results that may wait for one slow task. What is in flight at that moment comes on top.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// A task and what became of it.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) task_id: String,
    /// Where its line ends in the input, in bytes.
    pub(super) input_position: u64,
    pub(super) reply: Result<Response, ProviderError>,
}

struct Entry {
    task_id: String,
    input_position: u64,
    reply: Option<Result<Response, ProviderError>>,
}

/// Tasks by number, from the first that is not printed yet.
#[derive(Default)]
pub(super) struct Window {
    first: u64,
    entries: VecDeque<Entry>,
    /// Bytes of the answers in `entries`.
    waiting_bytes: usize,
}

impl Window {
    /// Whether one more task may be sent.
    pub(super) fn has_room(&self, jobs: usize) -> bool {
        self.entries.len() < jobs.saturating_mul(WAITING_PER_JOB) && self.waiting_bytes < WAITING_BYTES_MAX
    }

    /// Appends a task that is sent and returns its number.
    pub(super) fn push(&mut self, task_id: String, input_position: u64) -> u64 {
        self.entries.push_back(Entry { task_id, input_position, reply: None });
        self.first + self.entries.len() as u64 - 1
    }

    /// Takes an answer in.
    pub(super) fn answer(&mut self, number: u64, reply: Result<Response, ProviderError>) {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(entry) = index.and_then(|index| self.entries.get_mut(index)) {
            self.waiting_bytes += size(&reply);
            entry.reply = Some(reply);
        }
    }

    /// The first task, once it is answered.
    pub(super) fn pop(&mut self) -> Option<Finished> {
        let reply = self.entries.front_mut()?.reply.take()?;
        let entry = self.entries.pop_front()?;
        self.first += 1;
        self.waiting_bytes -= size(&reply);
        Some(Finished { task_id: entry.task_id, input_position: entry.input_position, reply })
    }

    /// The names of the tasks in flight.
    pub(super) fn unanswered(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter(|entry| entry.reply.is_none()).map(|entry| entry.task_id.as_str())
    }
}

fn size(reply: &Result<Response, ProviderError>) -> usize {
    match reply {
        Ok(response) => response.json.len() + response.attachment.len(),
        Err(error) => error.message.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(json: &str) -> Result<Response, ProviderError> {
        Ok(Response { json: json.to_owned(), attachment: Vec::new() })
    }

    fn popped(window: &mut Window) -> Vec<String> {
        std::iter::from_fn(|| window.pop()).map(|finished| finished.task_id).collect()
    }

    #[test]
    fn answers_leave_in_the_order_of_the_tasks() {
        let mut window = Window::default();
        let numbers: Vec<u64> = ["a", "b", "c"].iter().map(|id| window.push((*id).to_owned(), 0)).collect();
        window.answer(numbers[2], reply("{}"));
        assert!(popped(&mut window).is_empty());
        assert_eq!(window.unanswered().collect::<Vec<_>>(), ["a", "b"]);
        window.answer(numbers[0], reply("{}"));
        assert_eq!(popped(&mut window), ["a"]);
        window.answer(numbers[1], Err(ProviderError::invalid("x")));
        assert_eq!(popped(&mut window), ["b", "c"]);
        assert_eq!(window.push("d".to_owned(), 0), 3);
        assert_eq!(window.waiting_bytes, 0);
    }

    #[test]
    fn a_slow_task_holds_up_a_bounded_number_of_results() {
        let mut window = Window::default();
        for _ in 0..8 {
            assert!(window.has_room(2));
            window.push(String::new(), 0);
        }
        assert!(!window.has_room(2));
        assert!(window.has_room(3));
        window.answer(1, reply(&"x".repeat(WAITING_BYTES_MAX)));
        assert!(!window.has_room(100));
        window.answer(0, reply("{}"));
        popped(&mut window);
        assert!(window.has_room(100));
    }
}
