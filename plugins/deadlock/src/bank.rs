//! The books together with the requests that wait until they can be granted.
//!
//! At each change of the books the requests are tried again in the order in which they came, and what is safe is granted. A
//! request may be granted before an older one: the older one may wait for just the units that the younger one's process
//! will give back when it ends. But a process that has nothing yet never overtakes an older request for the same resource.
//! Those that have something are ever fewer then, and end, so the older request is granted at last.

use crate::banker::{Banker, Customer, Denial, Refusal, Units, amount};
use potluck_sdk::shares::{PEER_SHARE_DEFAULT, share as share_of};
use std::collections::VecDeque;

#[derive(Clone, Debug)]
pub(crate) struct Wait {
    pub(crate) ticket: u64,
    pub(crate) pid: String,
    pub(crate) units: Units,
    pub(crate) since_unix_milliseconds: u64,
    /// Whether it ends by itself, by a time-out.
    pub(crate) is_bounded: bool,
}

/// How much the books may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BankLimits {
    pub(crate) resources_max: usize,
    pub(crate) processes_max: usize,
    /// Entries of all `max_need` together: the safety test looks at each of them.
    pub(crate) needs_max: usize,
    pub(crate) waits_max: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Bank {
    pub(crate) banker: Banker,
    pub(crate) waits: VecDeque<Wait>,
    limits: BankLimits,
}

/// Tickets whose wait is over, and how.
pub(crate) type Served = Vec<(u64, Result<(), Denial>)>;

impl Bank {
    pub(crate) fn new(limits: BankLimits) -> Bank {
        Bank { banker: Banker::default(), waits: VecDeque::new(), limits }
    }

    /// Its kind.
    pub(crate) fn set_resource(&mut self, name: &str, kind: Option<&str>, total: u64) -> Result<String, Refusal> {
        let resources = &self.banker.resources;
        if resources.len() >= self.limits.resources_max && !resources.contains_key(name) {
            let what = format!("{} resources", self.limits.resources_max);
            return Err(Refusal::Limit { what, key: "resources_max" });
        }
        self.banker.set_resource(name, kind, total)
    }

    pub(crate) fn set_process(&mut self, pid: &str, max_need: Units) -> Result<(), Refusal> {
        let limits = self.limits;
        let processes = &self.banker.processes;
        if processes.len() >= limits.processes_max && !processes.contains_key(pid) {
            let what = format!("{} processes", limits.processes_max);
            return Err(Refusal::Limit { what, key: "processes_max" });
        }
        let of_peer = || processes.keys().filter(|other| is_of_the_same_peer(other, pid)).count();
        if peer_of(pid).is_some() && !processes.contains_key(pid) && of_peer() >= share(limits.processes_max) {
            let what = format!("{} processes of one other node", share(limits.processes_max));
            return Err(Refusal::Limit { what, key: "processes_max" });
        }
        let others = processes.iter().filter(|(other, _)| *other != pid);
        if others.map(|(_, process)| process.max_need.len()).sum::<usize>() + max_need.len() > limits.needs_max {
            let what = format!("{} entries of max_need, of all processes together,", limits.needs_max);
            return Err(Refusal::Limit { what, key: "needs_max" });
        }
        for (name, waits_for) in self.waited_for(pid) {
            let has = processes.get(pid).map_or(0, |process| amount(&process.allocation, &name)) + waits_for;
            let wanted = amount(&max_need, &name);
            if wanted < has {
                return Err(Refusal::LessThanAllocated { pid: pid.to_owned(), resource: name, has, wanted });
            }
        }
        self.banker.set_process(pid, max_need)
    }

    /// Units at once, or a denial. What a process has, waits for and asks for now must not be more than it may need: then
    /// no request that waits can come to exceed that.
    pub(crate) fn request(&mut self, pid: &str, units: &Units) -> Result<(), Denial> {
        let mut all = self.waited_for(pid);
        if !all.is_empty() {
            for (name, wanted) in units {
                let sum = all.entry(name.clone()).or_default();
                *sum = sum.saturating_add(*wanted);
            }
            if let Err(denial) = self.banker.check(pid, &all)
                && !denial.may_pass()
            {
                return Err(denial);
            }
        }
        self.try_behind(self.waits.len(), pid, units)
    }

    /// All that a process waits for.
    fn waited_for(&self, pid: &str) -> Units {
        let mut all = Units::new();
        for (name, units) in self.waits.iter().filter(|wait| wait.pid == pid).flat_map(|wait| &wait.units) {
            *all.entry(name.clone()).or_default() += units;
        }
        all
    }

    /// Tries a request that stands behind the first `ahead` ones.
    fn try_behind(&mut self, ahead: usize, pid: &str, units: &Units) -> Result<(), Denial> {
        let has_nothing = self.banker.processes.get(pid).is_some_and(|process| process.allocation.is_empty());
        let in_the_way = |wait: &&Wait| wait.pid != pid && shares(&wait.units, units);
        let older = self.waits.iter().take(ahead).filter(|_| has_nothing).find(in_the_way);
        if let Some(older) = older {
            // What is wrong with it for ever is said all the same.
            let behind = Denial::Behind(older.pid.clone());
            return self.banker.check(pid, units).and(Err(behind));
        }
        self.banker.request(pid, units)
    }

    /// Puts a request behind all others; whether it is the first one without a time-out.
    pub(crate) fn wait(&mut self, wait: Wait) -> Result<bool, Refusal> {
        if self.waits.len() >= self.limits.waits_max {
            let what = format!("{} requests that wait", self.limits.waits_max);
            return Err(Refusal::Limit { what, key: "waits_max" });
        }
        let of_peer = || self.waits.iter().filter(|other| is_of_the_same_peer(&other.pid, &wait.pid)).count();
        if peer_of(&wait.pid).is_some() && of_peer() >= share(self.limits.waits_max) {
            let what = format!("{} requests of one other node that wait", share(self.limits.waits_max));
            return Err(Refusal::Limit { what, key: "waits_max" });
        }
        let is_first = !wait.is_bounded && self.waits.iter().all(|wait| wait.is_bounded);
        self.waits.push_back(wait);
        Ok(is_first)
    }

    /// Grants what can be granted now, and ends waits that never can be.
    pub(crate) fn serve(&mut self) -> Served {
        let mut served = Vec::new();
        loop {
            let count = served.len();
            let mut index = 0;
            while let Some(wait) = self.waits.get(index) {
                let (pid, units) = (wait.pid.clone(), wait.units.clone());
                let result = self.try_behind(index, &pid, &units);
                if result.as_ref().is_err_and(Denial::may_pass) {
                    index += 1;
                } else if let Some(wait) = self.waits.remove(index) {
                    served.push((wait.ticket, result));
                }
            }
            // Who was granted something may now overtake with another request of his.
            if served.len() == count {
                return served;
            }
        }
    }

    /// Of each request that waits, in order, whether it could be granted now, were it the only one that is. One that could
    /// be does not stand in the way of those behind it, since it would be gone.
    pub(crate) fn outlook(&mut self) -> Vec<Result<(), Denial>> {
        let mut outlook: Vec<Result<(), Denial>> = Vec::with_capacity(self.waits.len());
        for index in 0..self.waits.len() {
            let (pid, units) = (self.waits[index].pid.clone(), self.waits[index].units.clone());
            let has_nothing = self.banker.processes.get(&pid).is_some_and(|process| process.allocation.is_empty());
            let in_the_way = |(wait, result): &(&Wait, &Result<(), Denial>)| {
                wait.pid != pid && shares(&wait.units, &units) && result.as_ref().is_err_and(Denial::may_pass)
            };
            let older = self.waits.iter().zip(&outlook).filter(|_| has_nothing).find(in_the_way);
            let result = match older.map(|(wait, _)| Denial::Behind(wait.pid.clone())) {
                Some(behind) => self.banker.check(&pid, &units).and(Err(behind)),
                None => self.banker.request(&pid, &units),
            };
            if result.is_ok() {
                // Only a trial.
                let _ = self.banker.release(&pid, &units);
            }
            outlook.push(result);
        }
        outlook
    }

    /// Grants all requests of a process that wait, or none of them; those that can never be granted are over as well.
    pub(crate) fn grant_all(&mut self, pid: &str) -> bool {
        let wanted: Vec<Units> =
            self.waits.iter().filter(|wait| wait.pid == pid).map(|wait| wait.units.clone()).collect();
        let mut granted = Vec::new();
        for units in &wanted {
            match self.banker.request(pid, units) {
                Ok(()) => granted.push(units),
                Err(denial) if denial.may_pass() => {
                    for units in granted {
                        let _ = self.banker.release(pid, units);
                    }
                    return false;
                }
                Err(_) => {}
            }
        }
        self.waits.retain(|wait| wait.pid != pid);
        true
    }

    /// Why a request still waits.
    pub(crate) fn why(&mut self, ticket: u64) -> Denial {
        let found = self.waits.iter().position(|wait| wait.ticket == ticket);
        let Some(index) = found else { return Denial::Insufficient };
        let (pid, units) = (self.waits[index].pid.clone(), self.waits[index].units.clone());
        match self.try_behind(index, &pid, &units) {
            Err(denial) => denial,
            Ok(()) => {
                // `serve` has granted what can be; this is for a state in between.
                let _ = self.banker.release(&pid, &units);
                Denial::Insufficient
            }
        }
    }

    /// Takes a request out of the queue.
    pub(crate) fn cancel(&mut self, ticket: u64) -> Option<Wait> {
        let index = self.waits.iter().position(|wait| wait.ticket == ticket)?;
        self.waits.remove(index)
    }

    /// Takes the requests of a process out of the queue, gives back what it has, and forgets it.
    pub(crate) fn end(&mut self, pid: &str) -> (Vec<Wait>, Option<Customer>) {
        let (ended, others) = self.waits.drain(..).partition(|wait| wait.pid == pid);
        self.waits = others;
        (Vec::from(ended), self.banker.remove_process(pid))
    }
}

fn peer_of(pid: &str) -> Option<&str> {
    pid.rsplit_once('@').map(|(_, peer)| peer)
}

fn is_of_the_same_peer(one: &str, other: &str) -> bool {
    peer_of(one) == peer_of(other)
}

/// What one other node may have of the processes and waits.
fn share(limit: usize) -> usize {
    share_of(PEER_SHARE_DEFAULT, limit)
}

fn shares(one: &Units, other: &Units) -> bool {
    one.keys().any(|name| other.contains_key(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(of: &[(&str, u64)]) -> Units {
        of.iter().map(|(name, units)| ((*name).to_owned(), *units)).collect()
    }

    fn bank(total: u64, max: &[(&str, u64)]) -> Bank {
        let limits = BankLimits { resources_max: 9, processes_max: 99, needs_max: 99, waits_max: 9 };
        let mut bank = Bank::new(limits);
        bank.set_resource("A", None, total).unwrap();
        for (pid, max) in max {
            bank.set_process(pid, units(&[("A", *max)])).unwrap();
        }
        bank
    }

    fn wait(bank: &mut Bank, ticket: u64, pid: &str, count: u64) -> bool {
        let wait = Wait {
            ticket,
            pid: pid.to_owned(),
            units: units(&[("A", count)]),
            since_unix_milliseconds: 0,
            is_bounded: false,
        };
        bank.wait(wait).unwrap()
    }

    fn served(bank: &mut Bank) -> Vec<u64> {
        bank.serve().into_iter().map(|(ticket, result)| result.map(|()| ticket).unwrap()).collect()
    }

    #[test]
    fn requests_are_granted_in_their_order_as_soon_as_it_is_safe() {
        let mut bank = bank(3, &[("P1", 3), ("P2", 2), ("P3", 1)]);
        bank.request("P1", &units(&[("A", 3)])).unwrap();
        assert!(wait(&mut bank, 1, "P2", 2));
        assert!(!wait(&mut bank, 2, "P3", 1), "only the first one is news");
        assert!(served(&mut bank).is_empty());
        bank.banker.release("P1", &units(&[("A", 1)])).unwrap();
        assert!(served(&mut bank).is_empty(), "the younger request would fit, but its process has nothing yet");
        bank.end("P1");
        assert_eq!(served(&mut bank), [1, 2]);
    }

    #[test]
    fn a_stream_of_newcomers_does_not_starve_a_large_request() {
        let newcomers: Vec<String> = (0..50).map(|number| format!("N{number}")).collect();
        let mut max = vec![("P1", 3), ("LARGE", 3)];
        max.extend(newcomers.iter().map(|pid| (pid.as_str(), 1)));
        let mut bank = bank(3, &max);
        bank.request("P1", &units(&[("A", 1)])).unwrap();
        wait(&mut bank, 1, "LARGE", 3);
        for pid in &newcomers {
            let denial = bank.request(pid, &units(&[("A", 1)])).unwrap_err();
            assert_eq!(denial, Denial::Behind("LARGE".to_owned()));
            assert!(denial.to_string().starts_with("Insufficient resources available: an older request"), "{denial}");
        }
        bank.end("P1");
        assert_eq!(served(&mut bank), [1]);
    }

    #[test]
    fn who_has_something_may_overtake_so_that_all_can_end() {
        let mut bank = bank(3, &[("P1", 3), ("LARGE", 3)]);
        bank.request("P1", &units(&[("A", 1)])).unwrap();
        wait(&mut bank, 1, "LARGE", 3);
        // Were it to wait behind the large request, neither would ever end.
        assert_eq!(bank.request("P1", &units(&[("A", 2)])), Ok(()));
        bank.end("P1");
        assert_eq!(served(&mut bank), [1]);
    }

    #[test]
    fn how_many_units_there_are_can_change_as_far_as_the_books_allow() {
        let mut bank = bank(4, &[("P1", 3), ("P2", 3), ("P3", 4)]);
        bank.request("P1", &units(&[("A", 2)])).unwrap();
        wait(&mut bank, 1, "P2", 2);
        assert!(served(&mut bank).is_empty(), "P1 could not end then");
        let why = |bank: &mut Bank, total| bank.set_resource("A", None, total).unwrap_err().to_string();
        assert!(why(&mut bank, 1).contains("2 units of A are allocated"));
        assert!(why(&mut bank, 3).contains("max_need of process P3 is 4 units of A"));
        bank.end("P3");
        let before = bank.banker.clone();
        assert!(why(&mut bank, 2).contains("is 3 units of A"));
        assert_eq!(bank.banker.resources, before.resources, "a refusal changes nothing");
        bank.set_resource("A", None, 3).unwrap();
        assert_eq!(bank.banker.resources["A"].available, 1);
        bank.set_resource("A", Some("OTHER"), 5).unwrap();
        assert_eq!(served(&mut bank), [1], "what is new is given to those who wait");
        let error = bank.set_resource("A", Some("CPU"), 5).unwrap_err();
        assert_eq!(error, Refusal::ResourceExists { name: "A".to_owned(), kind: "OTHER".to_owned() });
    }

    #[test]
    fn fewer_units_than_leave_all_sure_to_end_are_refused() {
        let mut bank = bank(5, &[("P1", 4), ("P2", 4)]);
        bank.request("P1", &units(&[("A", 2)])).unwrap();
        bank.request("P2", &units(&[("A", 1)])).unwrap();
        bank.banker.safe_sequence().unwrap();
        // With 4 there would be 1 left, and each of them may still need more.
        let error = bank.set_resource("A", None, 4).unwrap_err();
        assert_eq!(error, Refusal::TotalUnsafe { resource: "A".to_owned(), wanted: 4 });
        assert_eq!((bank.banker.resources["A"].total, bank.banker.resources["A"].available), (5, 2));
    }

    #[test]
    fn a_process_never_waits_for_more_than_it_may_need() {
        let mut bank = bank(3, &[("P1", 3), ("P2", 3)]);
        bank.request("P1", &units(&[("A", 3)])).unwrap();
        wait(&mut bank, 1, "P2", 2);
        assert_eq!(bank.request("P2", &units(&[("A", 2)])), Err(Denial::ExceedsNeed));
        assert_eq!(bank.request("P2", &units(&[("A", 1)])), Err(Denial::Insufficient));
        let refused = bank.set_process("P2", units(&[("A", 1)])).unwrap_err().to_string();
        assert!(refused.contains("has or waits for 2 units of A"), "{refused}");
        bank.set_process("P2", units(&[("A", 2)])).unwrap();
        bank.end("P1");
        assert_eq!(served(&mut bank), [1]);
    }
}
