//! Landlock: which files the process can reach, and that it can reach no network and no other process.

use crate::{Policy, protection};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd,
    RestrictionStatus, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use potluck_worker_protocol::{Protection, ProtectionState};
use std::path::Path;

/// The newest version whose rights this code knows: files, TCP, device controls, abstract sockets and signals. Older
/// kernels enforce what they have.
const NEWEST: ABI = ABI::V6;
/// What each version added that an older kernel leaves to the filter of system calls, newest last.
const ADDED: [(ABI, &str); 4] = [
    (ABI::V3, "cutting off files"),
    (ABI::V4, "TCP"),
    (ABI::V5, "controls of devices"),
    (ABI::V6, "abstract sockets and signals"),
];
/// Devices that programs expect.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// Restricts the calling thread and all that it will start: the protection `landlock`, and whether it covers TCP.
pub(crate) fn restrict(policy: &Policy<'_>) -> (Protection, bool) {
    let name = "landlock";
    match apply(policy) {
        Ok(RestrictionStatus { ruleset: RulesetStatus::NotEnforced, .. }) => {
            let reason = "the kernel has no Landlock; it needs Linux 5.13 with `landlock` in its lsm=";
            (protection(name, ProtectionState::Unavailable, reason), false)
        }
        Ok(RestrictionStatus { landlock: LandlockStatus::Available { effective_abi, .. }, .. }) => {
            let missing: Vec<&str> =
                ADDED.iter().filter(|(since, _)| *since > effective_abi).map(|(_, what)| *what).collect();
            let reason = if missing.is_empty() {
                String::new()
            } else {
                format!("this kernel's version does not cover {}; seccomp does", missing.join(", "))
            };
            (protection(name, ProtectionState::On, reason), effective_abi >= ABI::V4)
        }
        Ok(_) => (protection(name, ProtectionState::Off, "the kernel does not say what it enforces"), false),
        Err(error) => (protection(name, ProtectionState::Off, error.to_string()), false),
    }
}

fn apply(policy: &Policy<'_>) -> Result<RestrictionStatus, RulesetError> {
    let read = AccessFs::from_read(NEWEST);
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for path in policy.readable {
        rules = allow(rules, path, read)?;
    }
    for device in DEVICES {
        rules = allow(rules, Path::new(device), AccessFs::ReadFile | AccessFs::WriteFile)?;
    }
    rules = allow(rules, policy.scratch, AccessFs::from_all(NEWEST) & !(AccessFs::MakeChar | AccessFs::MakeBlock))?;
    rules.restrict_self()
}

fn allow(rules: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    // What is not there cannot be read either.
    let Ok(place) = PathFd::new(path) else { return Ok(rules) };
    // Rights that only folders have must not be asked for on files.
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(NEWEST) };
    rules.add_rule(PathBeneath::new(place, access))
}
