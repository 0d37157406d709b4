//! The system calls and their requests, by whom they are for.

use libc::{self as c, c_long};

/// Memory, threads, time, signals to oneself, waiting, and what is open already.
pub(super) const COMMON: &[c_long] = &[
    c::SYS_brk,
    c::SYS_clock_getres,
    c::SYS_clock_gettime,
    c::SYS_clock_nanosleep,
    c::SYS_close,
    c::SYS_close_range,
    c::SYS_dup,
    c::SYS_dup3,
    c::SYS_epoll_create1,
    c::SYS_epoll_ctl,
    c::SYS_epoll_pwait,
    c::SYS_eventfd2,
    c::SYS_exit,
    c::SYS_exit_group,
    c::SYS_fadvise64,
    c::SYS_fdatasync,
    c::SYS_fstat,
    c::SYS_fstatfs,
    c::SYS_fsync,
    c::SYS_ftruncate,
    c::SYS_futex,
    c::SYS_getcpu,
    c::SYS_getcwd,
    c::SYS_getegid,
    c::SYS_geteuid,
    c::SYS_getgid,
    c::SYS_getpid,
    c::SYS_getppid,
    c::SYS_getrandom,
    c::SYS_getrusage,
    c::SYS_gettid,
    c::SYS_gettimeofday,
    c::SYS_getuid,
    c::SYS_lseek,
    c::SYS_madvise,
    c::SYS_membarrier,
    c::SYS_mincore,
    c::SYS_mmap,
    c::SYS_mprotect,
    c::SYS_mremap,
    c::SYS_munmap,
    c::SYS_nanosleep,
    c::SYS_newfstatat,
    c::SYS_pipe2,
    c::SYS_ppoll,
    c::SYS_pread64,
    c::SYS_preadv,
    c::SYS_pselect6,
    c::SYS_pwrite64,
    c::SYS_pwritev,
    c::SYS_read,
    c::SYS_readlinkat,
    c::SYS_readv,
    c::SYS_recvfrom,
    c::SYS_restart_syscall,
    c::SYS_rseq,
    c::SYS_rt_sigaction,
    c::SYS_rt_sigpending,
    c::SYS_rt_sigprocmask,
    c::SYS_rt_sigreturn,
    c::SYS_rt_sigsuspend,
    c::SYS_rt_sigtimedwait,
    c::SYS_sched_get_priority_max,
    c::SYS_sched_get_priority_min,
    c::SYS_sched_getaffinity,
    c::SYS_sched_getparam,
    c::SYS_sched_getscheduler,
    c::SYS_sched_yield,
    c::SYS_set_robust_list,
    c::SYS_set_tid_address,
    c::SYS_shutdown,
    c::SYS_sigaltstack,
    c::SYS_statfs,
    c::SYS_statx,
    c::SYS_sysinfo,
    c::SYS_timerfd_create,
    c::SYS_timerfd_gettime,
    c::SYS_timerfd_settime,
    c::SYS_uname,
    c::SYS_write,
    c::SYS_writev,
];

/// What programs do with files; Landlock decides with which.
pub(super) const FILES: &[c_long] = &[
    c::SYS_chdir,
    c::SYS_copy_file_range,
    c::SYS_faccessat,
    c::SYS_faccessat2,
    c::SYS_fchdir,
    c::SYS_fgetxattr,
    c::SYS_flistxattr,
    c::SYS_flock,
    c::SYS_getdents64,
    c::SYS_getxattr,
    c::SYS_lgetxattr,
    c::SYS_linkat,
    c::SYS_listxattr,
    c::SYS_llistxattr,
    c::SYS_mkdirat,
    c::SYS_preadv2,
    c::SYS_pwritev2,
    c::SYS_renameat2,
    c::SYS_sendfile,
    c::SYS_splice,
    c::SYS_symlinkat,
    c::SYS_sync_file_range,
    c::SYS_tee,
    c::SYS_umask,
    c::SYS_unlinkat,
];

/// What an interpreter offers to programs beside that.
pub(super) const PYTHON: &[c_long] = &[
    c::SYS_getgroups,
    c::SYS_getitimer,
    c::SYS_getpeername,
    c::SYS_getpgid,
    c::SYS_getpriority,
    c::SYS_getresgid,
    c::SYS_getresuid,
    c::SYS_getrlimit,
    c::SYS_getsid,
    c::SYS_getsockname,
    c::SYS_getsockopt,
    c::SYS_mlock,
    c::SYS_mlock2,
    c::SYS_msync,
    c::SYS_munlock,
    c::SYS_setitimer,
    c::SYS_setrlimit,
    c::SYS_setsockopt,
    c::SYS_signalfd4,
    c::SYS_times,
    c::SYS_wait4,
    c::SYS_waitid,
];

/// What an engine needs beside that. Not for programs: no limit on memory covers files in memory that are not mapped.
pub(super) const WASM: &[c_long] = &[c::SYS_memfd_create];

/// Calls that only the older architecture has; newer ones have the others alone.
#[cfg(target_arch = "x86_64")]
pub(super) const OLDER: &[c_long] = &[
    c::SYS_access,
    c::SYS_alarm,
    c::SYS_arch_prctl,
    c::SYS_dup2,
    c::SYS_epoll_create,
    c::SYS_epoll_wait,
    c::SYS_eventfd,
    c::SYS_getdents,
    c::SYS_getpgrp,
    c::SYS_link,
    c::SYS_lstat,
    c::SYS_mkdir,
    c::SYS_pause,
    c::SYS_pipe,
    c::SYS_poll,
    c::SYS_readlink,
    c::SYS_rename,
    c::SYS_renameat,
    c::SYS_rmdir,
    c::SYS_select,
    c::SYS_stat,
    c::SYS_symlink,
    c::SYS_time,
    c::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
pub(super) const OLDER: &[c_long] = &[];

/// Modes and times of files, for which no version of Landlock asks: with them a task could open the node's own files to
/// others. They are answered with success and nothing is done, so that copying a file works; nobody else ever sees the
/// modes in a folder that goes with its worker.
pub(super) const IGNORED: &[c_long] = &[c::SYS_fchmod, c::SYS_fchmodat, FCHMODAT2, c::SYS_utimensat];
#[cfg(target_arch = "x86_64")]
pub(super) const OLDER_IGNORED: &[c_long] = &[c::SYS_chmod, c::SYS_futimesat, c::SYS_utime, c::SYS_utimes];
#[cfg(not(target_arch = "x86_64"))]
pub(super) const OLDER_IGNORED: &[c_long] = &[];
/// The same number on all architectures; Linux 6.6.
pub(super) const FCHMODAT2: c_long = 452;
/// Callers know what to do when these are not there: they use older ones, whose flags can be looked at.
pub(super) const ABSENT: &[c_long] = &[c::SYS_clone3, c::SYS_openat2];

/// As on a file system that cannot do it: it would take any amount of room at once, before anybody looks, and C
/// libraries write the bytes instead when they are told so.
pub(super) const UNSUPPORTED: &[c_long] = &[c::SYS_fallocate];

/// What may be asked of a descriptor. Not to send signals: the kernel would send them to whichever process is named.
pub(super) const FCNTLS: &[i32] = &[
    c::F_DUPFD,
    c::F_DUPFD_CLOEXEC,
    c::F_GETFD,
    c::F_SETFD,
    c::F_GETFL,
    c::F_SETFL,
    c::F_GETLK,
    c::F_SETLK,
    c::F_SETLKW,
    c::F_OFD_GETLK,
    c::F_OFD_SETLK,
    c::F_OFD_SETLKW,
    c::F_GETPIPE_SZ,
    c::F_SETPIPE_SZ,
    c::F_ADD_SEALS,
    c::F_GET_SEALS,
];
/// Requests to descriptors that are open.
pub(super) const IOCTLS: &[u64] = &[c::FIOCLEX, c::FIONCLEX, c::FIONBIO, c::FIONREAD, c::TCGETS, c::TIOCGWINSZ];
/// Asks which pages were written to, of /proc/self/pagemap: `_IOWR('f', 16, struct pm_scan_arg)`, Linux 6.7.
pub(super) const PAGEMAP_SCAN: u64 = 0xC060_6610;
pub(super) const PRCTLS: &[i32] =
    &[c::PR_SET_NAME, c::PR_GET_NAME, c::PR_SET_VMA, c::PR_GET_DUMPABLE, c::PR_CAPBSET_READ];
