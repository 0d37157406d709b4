//! seccomp: the system calls that a worker may make. A list of what is allowed: what a later kernel adds is refused.

mod lists;

use crate::{Kind, protection};
use libc::{self as c, c_long};
use lists::{
    ABSENT, COMMON, FCNTLS, FILES, IGNORED, IOCTLS, OLDER, OLDER_IGNORED, PAGEMAP_SCAN, PRCTLS, PYTHON, UNSUPPORTED,
    WASM,
};
use potluck_worker_protocol::{Protection, ProtectionState};
use rustix::process::getpid;
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule, apply_filter_all_threads};
use std::collections::BTreeMap;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// A new thread, in none but the namespaces that the process has.
const CLONE_NEW: i32 = c::CLONE_NEWNS
    | c::CLONE_NEWUSER
    | c::CLONE_NEWPID
    | c::CLONE_NEWNET
    | c::CLONE_NEWIPC
    | c::CLONE_NEWUTS
    | c::CLONE_NEWCGROUP;
/// The kind of a socket without the flags that may stand beside it.
const SOCKET_KIND: u64 = 0xF;

/// Refuses all other system calls, in all threads: the protection `seccomp`.
pub(crate) fn filter(kind: Kind) -> Protection {
    let name = "seccomp";
    match build(kind).and_then(|programs| programs.iter().try_for_each(|program| apply_filter_all_threads(program))) {
        Ok(()) => protection(name, ProtectionState::On, ""),
        Err(seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error))
            if error.raw_os_error() == Some(c::ENOSYS) || error.raw_os_error() == Some(c::EINVAL) =>
        {
            protection(name, ProtectionState::Unavailable, "the kernel has no seccomp filters")
        }
        Err(error) => protection(name, ProtectionState::Off, error.to_string()),
    }
}

fn build(kind: Kind) -> Result<[BpfProgram; 4], seccompiler::Error> {
    let arch = std::env::consts::ARCH.try_into()?;
    // Each answer takes a filter of its own. The last one refuses more filters, and of two answers to one call the kernel
    // takes the stricter one: what the others answer must be allowed by it.
    let answer = |calls: &[c_long], error: i32| {
        let rules = calls.iter().map(|call| (*call, vec![])).collect();
        SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(error as u32), arch)?.try_into()
    };
    let refused = SeccompAction::Errno(c::EPERM as u32);
    let allowed = SeccompFilter::new(rules(kind)?, refused, SeccompAction::Allow, arch)?;
    Ok([
        answer(ABSENT, c::ENOSYS)?,
        answer(UNSUPPORTED, c::EOPNOTSUPP)?,
        answer(&[IGNORED, OLDER_IGNORED].concat(), 0)?,
        allowed.try_into()?,
    ])
}

fn rules(kind: Kind) -> Result<Rules, seccompiler::BackendError> {
    let mut rules = Rules::new();
    let more = if kind == Kind::Python { PYTHON } else { WASM };
    for call in [COMMON, FILES, OLDER, ABSENT, IGNORED, OLDER_IGNORED, UNSUPPORTED, more].concat() {
        rules.insert(call, vec![]);
    }
    let own = getpid().as_raw_nonzero().get() as u64;
    let one = |argument, value: u64| SeccompRule::new(vec![SeccompCondition::new(argument, Dword, Eq, value)?]);
    let each = |argument, values: &[u64]| values.iter().map(|value| one(argument, *value)).collect::<Result<_, _>>();

    let thread = MaskedEq((c::CLONE_THREAD | CLONE_NEW) as u32 as u64);
    let thread = SeccompCondition::new(0, Qword, thread, c::CLONE_THREAD as u64)?;
    rules.insert(c::SYS_clone, vec![SeccompRule::new(vec![thread])?]);
    // Signals to oneself: abort, raise, and what threads send each other.
    for call in [c::SYS_kill, c::SYS_tgkill, c::SYS_rt_sigqueueinfo, c::SYS_rt_tgsigqueueinfo] {
        rules.insert(call, vec![one(0, own)?]);
    }
    let mut ioctls = IOCTLS.to_vec();
    if kind == Kind::Wasm {
        ioctls.push(PAGEMAP_SCAN);
    }
    rules.insert(c::SYS_ioctl, each(1, &ioctls)?);
    rules.insert(c::SYS_prctl, each(0, &PRCTLS.iter().map(|option| *option as u32 as u64).collect::<Vec<_>>())?);
    rules.insert(c::SYS_fcntl, each(1, &FCNTLS.iter().map(|command| *command as u32 as u64).collect::<Vec<_>>())?);
    for call in [c::SYS_prlimit64, c::SYS_sched_setaffinity] {
        rules.insert(call, each(0, &[0, own])?);
    }
    rules.insert(c::SYS_openat, open_rules(2)?);
    #[cfg(target_arch = "x86_64")]
    rules.insert(c::SYS_open, open_rules(1)?);
    // Without an address: it goes to the other end of a pair.
    let unaddressed = SeccompCondition::new(4, Qword, Eq, 0)?;
    rules.insert(c::SYS_sendto, vec![SeccompRule::new(vec![unaddressed])?]);
    if kind == Kind::Python {
        // Event loops wake themselves through a pair of sockets that nobody else can reach.
        let local = SeccompCondition::new(0, Dword, Eq, c::AF_UNIX as u64)?;
        let stream = SeccompCondition::new(1, Dword, MaskedEq(SOCKET_KIND), c::SOCK_STREAM as u64)?;
        rules.insert(c::SYS_socketpair, vec![SeccompRule::new(vec![local, stream])?]);
    }
    Ok(rules)
}

/// All ways to open a file but the one that cuts off what it opens to read, which the first versions of Landlock let pass.
fn open_rules(flags: u8) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let rule = |mask: i32, value: i32| {
        let condition = SeccompCondition::new(flags, Dword, MaskedEq(mask as u32 as u64), value as u32 as u64)?;
        SeccompRule::new(vec![condition])
    };
    Ok(vec![rule(c::O_TRUNC, 0)?, rule(c::O_ACCMODE, c::O_WRONLY)?, rule(c::O_ACCMODE, c::O_RDWR)?])
}
