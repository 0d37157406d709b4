//! Which peer ran how many tasks, and for how long.

use super::batch::Done;
use super::grouped;
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct Share(BTreeMap<String, Work>);

#[derive(Clone, Copy, Default)]
struct Work {
    tasks: u64,
    seconds: f64,
}

impl Share {
    pub(super) fn of(results: &[Done]) -> Share {
        let mut share = Share::default();
        for done in results {
            share.add(&done.executed_by, Work { tasks: 1, seconds: done.seconds });
        }
        share
    }

    pub(super) fn add_all(&mut self, other: Share) {
        for (peer, work) in other.0 {
            self.add(&peer, work);
        }
    }

    fn add(&mut self, peer: &str, work: Work) {
        let sum = self.0.entry(peer.to_owned()).or_default();
        sum.tasks += work.tasks;
        sum.seconds += work.seconds;
    }

    /// Number of peers that ran something.
    pub(super) fn peer_count(&self) -> usize {
        self.0.len()
    }

    /// A line a peer, the idle ones included.
    pub(super) fn table<'a>(&self, peers: impl Iterator<Item = &'a str>) -> String {
        let mut text = format!("  {:<22} {:>6} {:>17}\n", "peer", "tasks", "seconds of work");
        for peer in peers {
            let work = self.0.get(peer).copied().unwrap_or_default();
            text.push_str(&format!("  {peer:<22} {:>6} {:>17.2}\n", grouped(work.tasks), work.seconds));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn work_is_added_up_by_peer() {
        let done = |peer: &str, seconds| Done { result: Value::Null, executed_by: peer.into(), seconds };
        let mut share = Share::of(&[done("a:1", 0.5), done("b:2", 1.0), done("a:1", 0.25)]);
        share.add_all(Share::of(&[done("a:1", 0.25)]));
        assert_eq!(share.peer_count(), 2);
        let table = share.table(["a:1", "b:2", "c:3"].into_iter());
        let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows, [["a:1", "3", "1.00"], ["b:2", "1", "1.00"], ["c:3", "0", "0.00"]]);
    }
}
