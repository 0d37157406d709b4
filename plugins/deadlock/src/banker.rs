//! Banker's algorithm (Dijkstra): units are given out only if every process can still be sure to end, whatever it asks for
//! within what it has said that it may need.
//!
//! Words of the books: `max_need` is what a process may have at most, `allocation` what it has, `need` the difference.

use std::collections::{BTreeMap, HashMap, VecDeque};

/// Units of resources, by name. No entry is 0.
pub(crate) type Units = BTreeMap<String, u64>;

/// Why units are not given out. The texts are those of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denial {
    #[error("Process {0} not registered")]
    NoProcess(String),
    #[error("Resource {0} not registered")]
    NoResource(String),
    #[error("Request exceeds need")]
    ExceedsNeed,
    #[error("Insufficient resources available")]
    Insufficient,
    #[error("Insufficient resources available: an older request, of process {0}, comes first")]
    Behind(String),
    #[error("Allocation would lead to unsafe state")]
    Unsafe,
}

impl Denial {
    /// Whether the same request can be granted later, when others have given something back.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Denial::Insufficient | Denial::Behind(_) | Denial::Unsafe)
    }
}

/// Why the books are not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("Resource already registered: {name} is of the type {kind}; UNREGISTER_RESOURCE forgets it")]
    ResourceExists { name: String, kind: String },
    #[error("{has} units of {resource} are allocated, so there cannot be only {wanted}; release some first")]
    FewerThanAllocated { resource: String, has: u64, wanted: u64 },
    #[error(
        "max_need of process {pid} is {max} units of {resource}, so there cannot be only {wanted}; lower it with REGISTER_PROCESS, or end the process, first"
    )]
    FewerThanNeeded { resource: String, pid: String, max: u64, wanted: u64 },
    #[error(
        "with only {wanted} units of {resource} not every process could be sure to end; wait until something is released"
    )]
    TotalUnsafe { resource: String, wanted: u64 },
    #[error("Resource {0} not registered")]
    NoResource(String),
    #[error("Process {0} not registered")]
    NoProcess(String),
    #[error("{resource} is in the max_need of process {pid}; end it, or send UNREGISTER_PROCESS for it, first")]
    ResourceInUse { resource: String, pid: String },
    #[error("max_need of {resource} is {wanted}, but there are only {total} units; ask for no more than that")]
    MoreThanTotal { resource: String, wanted: u64, total: u64 },
    #[error(
        "process {pid} has or waits for {has} units of {resource}, so its max_need cannot become {wanted}; release some first"
    )]
    LessThanAllocated { pid: String, resource: String, has: u64, wanted: u64 },
    #[error("with this max_need not every process could be sure to end; wait until others have released something")]
    Unsafe,
    #[error("Failed to release resource")]
    Release,
    #[error("{what} are the limit; raise {key} in [plugins.deadlock]")]
    Limit { what: String, key: &'static str },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) kind: String,
    pub(crate) total: u64,
    pub(crate) available: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Customer {
    pub(crate) max_need: Units,
    pub(crate) allocation: Units,
}

impl Customer {
    pub(crate) fn need(&self) -> Units {
        let need = |(name, max): (&String, &u64)| (name.clone(), max - amount(&self.allocation, name));
        self.max_need.iter().map(need).filter(|(_, units)| *units > 0).collect()
    }
}

pub(crate) fn amount(units: &Units, name: &str) -> u64 {
    units.get(name).copied().unwrap_or(0)
}

/// The books.
#[derive(Clone, Debug, Default)]
pub(crate) struct Banker {
    pub(crate) resources: BTreeMap<String, Resource>,
    pub(crate) processes: BTreeMap<String, Customer>,
}

impl Banker {
    /// Makes a resource known, or changes how many units there are of a known one; no `kind` means what it is, or `OTHER`.
    /// Its kind.
    pub(crate) fn set_resource(&mut self, name: &str, kind: Option<&str>, total: u64) -> Result<String, Refusal> {
        let Some(resource) = self.resources.get(name) else {
            let kind = kind.unwrap_or("OTHER").to_owned();
            self.resources.insert(name.to_owned(), Resource { kind: kind.clone(), total, available: total });
            return Ok(kind);
        };
        let Resource { kind: known, total: before, available } = resource.clone();
        if kind.is_some_and(|kind| kind != known) {
            return Err(Refusal::ResourceExists { name: name.to_owned(), kind: known });
        }
        let has = before - available;
        if total < has {
            return Err(Refusal::FewerThanAllocated { resource: name.to_owned(), has, wanted: total });
        }
        // Also of a process that has nothing yet: it could never end.
        let needs = self.processes.iter().map(|(pid, process)| (pid, amount(&process.max_need, name)));
        if let Some((pid, max)) = needs.max_by_key(|(_, max)| *max).filter(|(_, max)| *max > total) {
            let (resource, pid) = (name.to_owned(), pid.clone());
            return Err(Refusal::FewerThanNeeded { resource, pid, max, wanted: total });
        }
        self.set_total(name, total, total - has);
        if self.safe_sequence().is_none() {
            self.set_total(name, before, available);
            return Err(Refusal::TotalUnsafe { resource: name.to_owned(), wanted: total });
        }
        Ok(known)
    }

    fn set_total(&mut self, name: &str, total: u64, available: u64) {
        if let Some(resource) = self.resources.get_mut(name) {
            (resource.total, resource.available) = (total, available);
        }
    }

    pub(crate) fn remove_resource(&mut self, name: &str) -> Result<Resource, Refusal> {
        if let Some((pid, _)) = self.processes.iter().find(|(_, process)| process.max_need.contains_key(name)) {
            return Err(Refusal::ResourceInUse { resource: name.to_owned(), pid: pid.clone() });
        }
        self.resources.remove(name).ok_or_else(|| Refusal::NoResource(name.to_owned()))
    }

    /// Says what a process may need; again, when that changes.
    pub(crate) fn set_process(&mut self, pid: &str, max_need: Units) -> Result<(), Refusal> {
        for (name, &wanted) in &max_need {
            let resource = self.resources.get(name).ok_or_else(|| Refusal::NoResource(name.clone()))?;
            if wanted > resource.total {
                return Err(Refusal::MoreThanTotal { resource: name.clone(), wanted, total: resource.total });
            }
        }
        let Some(process) = self.processes.get_mut(pid) else {
            // A process that has nothing can end last of all, so it makes no state unsafe.
            self.processes.insert(pid.to_owned(), Customer { max_need, allocation: Units::new() });
            return Ok(());
        };
        for (name, &has) in &process.allocation {
            let wanted = amount(&max_need, name);
            if wanted < has {
                return Err(Refusal::LessThanAllocated { pid: pid.to_owned(), resource: name.clone(), has, wanted });
            }
        }
        let previous = std::mem::replace(&mut process.max_need, max_need);
        if self.safe_sequence().is_none() {
            if let Some(process) = self.processes.get_mut(pid) {
                process.max_need = previous;
            }
            return Err(Refusal::Unsafe);
        }
        Ok(())
    }

    /// Gives back what a process has, and forgets it.
    pub(crate) fn remove_process(&mut self, pid: &str) -> Option<Customer> {
        let process = self.processes.remove(pid)?;
        for (name, units) in &process.allocation {
            if let Some(resource) = self.resources.get_mut(name) {
                resource.available += units;
            }
        }
        Some(process)
    }

    /// Gives units out if that is safe.
    pub(crate) fn request(&mut self, pid: &str, units: &Units) -> Result<(), Denial> {
        self.check(pid, units)?;
        self.grant(pid, units);
        if self.safe_sequence().is_none() {
            // The check has found that they are there.
            let _ = self.release(pid, units);
            return Err(Denial::Unsafe);
        }
        Ok(())
    }

    /// All checks but the one for safety, in the order of the protocol.
    pub(crate) fn check(&self, pid: &str, units: &Units) -> Result<(), Denial> {
        let process = self.processes.get(pid).ok_or_else(|| Denial::NoProcess(pid.to_owned()))?;
        if let Some(name) = units.keys().find(|name| !self.resources.contains_key(*name)) {
            return Err(Denial::NoResource(name.clone()));
        }
        let need = |name: &String| amount(&process.max_need, name) - amount(&process.allocation, name);
        if units.iter().any(|(name, wanted)| *wanted > need(name)) {
            return Err(Denial::ExceedsNeed);
        }
        let available = |name: &String| self.resources.get(name).map_or(0, |resource| resource.available);
        if units.iter().any(|(name, wanted)| *wanted > available(name)) {
            return Err(Denial::Insufficient);
        }
        Ok(())
    }

    fn grant(&mut self, pid: &str, units: &Units) {
        let Some(process) = self.processes.get_mut(pid) else { return };
        for (name, wanted) in units {
            if let Some(resource) = self.resources.get_mut(name) {
                resource.available -= wanted;
                *process.allocation.entry(name.clone()).or_default() += wanted;
            }
        }
    }

    /// Takes units back, all or none.
    pub(crate) fn release(&mut self, pid: &str, units: &Units) -> Result<(), Refusal> {
        let process = self.processes.get_mut(pid).ok_or(Refusal::Release)?;
        if units.iter().any(|(name, given)| *given > amount(&process.allocation, name)) {
            return Err(Refusal::Release);
        }
        for (name, given) in units {
            if let Some(has) = process.allocation.get_mut(name) {
                *has -= given;
            }
            if let Some(resource) = self.resources.get_mut(name) {
                resource.available += given;
            }
        }
        process.allocation.retain(|_, has| *has > 0);
        Ok(())
    }

    /// An order in which all processes that have something can end, each with what is free and what those before it give
    /// back; nothing when there is none. The others have nothing to give back, and there is enough for each of them then.
    ///
    /// Each need is looked at once: a resource keeps its unmet needs in order, and those that are met now are taken off.
    pub(crate) fn safe_sequence(&self) -> Option<Vec<String>> {
        let holders: Vec<(&String, &Customer)> =
            self.processes.iter().filter(|(_, process)| !process.allocation.is_empty()).collect();
        let mut free: HashMap<&str, u64> =
            self.resources.iter().map(|(name, resource)| (name.as_str(), resource.available)).collect();
        // Unmet needs by resource, the largest first; and how many each process has.
        let mut unmet: HashMap<&str, Vec<(u64, usize)>> = HashMap::new();
        let mut missing = vec![0_usize; holders.len()];
        let mut can_end = VecDeque::new();
        for (index, (_, process)) in holders.iter().enumerate() {
            for (name, max) in &process.max_need {
                let need = max - amount(&process.allocation, name);
                if need > free.get(name.as_str()).copied().unwrap_or(0) {
                    unmet.entry(name).or_default().push((need, index));
                    missing[index] += 1;
                }
            }
            if missing[index] == 0 {
                can_end.push_back(index);
            }
        }
        for needs in unmet.values_mut() {
            needs.sort_unstable_by(|one, other| other.cmp(one));
        }
        let mut sequence = Vec::with_capacity(holders.len());
        while let Some(index) = can_end.pop_front() {
            let (pid, process) = holders[index];
            sequence.push(pid.clone());
            for (name, units) in &process.allocation {
                let Some(now_free) = free.get_mut(name.as_str()) else { continue };
                *now_free += units;
                let Some(needs) = unmet.get_mut(name.as_str()) else { continue };
                while let Some(&(need, waiting)) = needs.last()
                    && need <= *now_free
                {
                    needs.pop();
                    missing[waiting] -= 1;
                    if missing[waiting] == 0 {
                        can_end.push_back(waiting);
                    }
                }
            }
        }
        (sequence.len() == holders.len()).then_some(sequence)
    }
}

#[cfg(test)]
mod tests;
