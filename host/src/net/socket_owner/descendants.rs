//! Whether a process below this one holds a socket.

use rustix::fs::{CWD, Mode, OFlags, RawDir, openat, readlinkat_raw};
use rustix::io::{Errno, Result, read, retry_on_intr};
use rustix::process::getpid;
use std::collections::HashSet;
use std::ffi::CStr;
use std::fmt::Display;
use std::mem::{MaybeUninit, replace};
use std::os::fd::OwnedFd;

/// Work for one search is bounded; workers are some tens of processes with some tens of descriptors.
const PROCESSES_MAX: usize = 4096;
const THREADS_MAX: usize = 1 << 14;
const DESCRIPTORS_MAX: u32 = 1 << 16;
/// Each time that processes have come or gone while this one looked, it looks again.
const ATTEMPTS_MAX: u32 = 32;
/// Room for the link of any socket, and a byte more: a longer one is cut off there and is another one.
const LINK_BYTES: usize = "socket:[4294967295]".len() + 1;
/// Room for some two hundred names at a time, all of them numbers.
const NAMES_BYTES: usize = 8 << 10;

/// What a search has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Search {
    /// A process below this one holds the socket.
    Found,
    /// None does.
    NotFound,
    /// Not all of them could be looked at.
    Incomplete,
}

/// Looks for a socket in all processes below this one.
pub(super) fn search(inode: u32) -> Search {
    let mut walk = Walk { link: format!("socket:[{inode}]"), descriptors_left: DESCRIPTORS_MAX };
    let own = getpid().as_raw_nonzero().get().unsigned_abs();
    match walk.below(own) {
        // Between fork and exec a new child has all that this process has.
        Ok(true) if walk.held_by("/proc/self") == Ok(true) => Search::NotFound,
        Ok(true) => Search::Found,
        Ok(false) => Search::NotFound,
        Err(_) => Search::Incomplete,
    }
}

struct Walk {
    /// What a descriptor of the socket is a link to.
    link: String,
    descriptors_left: u32,
}

impl Walk {
    fn below(&mut self, root: u32) -> Result<bool> {
        let mut searched = HashSet::new();
        let mut threads = family(root)?;
        for _ in 0..ATTEMPTS_MAX {
            let mut hidden = false;
            // Each thread is asked: it can have descriptors of its own, and the first one may have ended before others.
            for thread in threads.iter().filter(|thread| thread.process != root) {
                if searched.contains(&thread.folder) {
                    continue;
                }
                match self.held_by(&thread.folder) {
                    Ok(true) => return Ok(true),
                    // Only root sees what a process has that wants to hide it; to all others each process is hidden for
                    // a moment while it becomes another program.
                    Err(Errno::ACCESS | Errno::PERM) if !has_ended(&thread.folder) => hidden = true,
                    Ok(false) | Err(Errno::ACCESS | Errno::PERM) => drop(searched.insert(thread.folder.clone())),
                    Err(error) => return Err(error),
                }
            }
            // When a thread or a process ends while the kernel lists others, it may leave some of them out, and what it
            // has started moves to where this search has been. Then it is not there in the list that follows.
            let before = replace(&mut threads, family(root)?);
            if hidden {
                std::thread::yield_now();
            } else if before == threads {
                return Ok(false);
            }
        }
        Err(Errno::AGAIN)
    }

    fn held_by(&mut self, thread: &str) -> Result<bool> {
        let Some(descriptors) = open(format!("{thread}/fd"))? else { return Ok(false) };
        let mut held = false;
        each_name(&descriptors, |name| {
            self.descriptors_left = self.descriptors_left.checked_sub(1).ok_or(Errno::TOOBIG)?;
            let mut link = [0; LINK_BYTES];
            match readlinkat_raw(&descriptors, name, &mut link[..]) {
                Ok(length) => held = link[..length] == *self.link.as_bytes(),
                Err(Errno::NOENT | Errno::SRCH) => {}
                Err(error) => return Err(error),
            }
            Ok(!held)
        })?;
        Ok(held)
    }
}

#[derive(PartialEq)]
struct Thread {
    process: u32,
    folder: String,
    /// The processes that it has started: they are a thread's as long as that one lives.
    children: Vec<u32>,
}

/// All threads of a process and of all processes below it.
fn family(root: u32) -> Result<Vec<Thread>> {
    let mut family = Vec::new();
    let mut waiting = vec![root];
    let mut seen = 0;
    while let Some(process) = waiting.pop() {
        seen += 1;
        if seen > PROCESSES_MAX {
            return Err(Errno::TOOBIG);
        }
        let Some(threads) = open(format!("/proc/{process}/task"))? else { continue };
        each_name(&threads, |name| {
            let folder = format!("/proc/{process}/task/{}", name.to_str().map_err(|_| Errno::INVAL)?);
            let children = children(&folder)?;
            waiting.extend_from_slice(&children);
            family.push(Thread { process, folder, children });
            if family.len() > THREADS_MAX { Err(Errno::TOOBIG) } else { Ok(true) }
        })?;
    }
    Ok(family)
}

fn children(thread: &str) -> Result<Vec<u32>> {
    match open(format!("{thread}/children"))? {
        Some(file) => Ok(read_all(&file)?.split_ascii_whitespace().flat_map(str::parse).collect()),
        // While the thread is there it means a kernel without such lists.
        None if open(thread)?.is_some() => Err(Errno::NOSYS),
        None => Ok(Vec::new()),
    }
}

/// Calls `visit` with each name in a folder but those that start with a dot, until it says no.
fn each_name(folder: &OwnedFd, mut visit: impl FnMut(&CStr) -> Result<bool>) -> Result<()> {
    let mut buffer = [MaybeUninit::uninit(); NAMES_BYTES];
    let mut names = RawDir::new(folder, &mut buffer);
    while let Some(entry) = names.next() {
        match entry {
            Ok(entry) if entry.file_name().to_bytes().starts_with(b".") => {}
            Ok(entry) if visit(entry.file_name())? => {}
            Ok(_) | Err(Errno::NOENT | Errno::SRCH) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn has_ended(thread: &str) -> bool {
    let stat = open(format!("{thread}/stat")).and_then(|file| file.map_or(Ok(String::new()), |file| read_all(&file)));
    // The program's name stands in parentheses and may hold anything.
    stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with(['Z', 'X'])))
}

/// Opens something of /proc; none when the process or the thread is gone.
fn open(path: impl Display) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    match retry_on_intr(|| openat(CWD, path.to_string(), flags, Mode::empty())) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::NOENT | Errno::SRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The text of a file that lists as many processes as are looked at, or less; nothing when its thread is gone.
fn read_all(file: &OwnedFd) -> Result<String> {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        match retry_on_intr(|| read(file, &mut part[..])) {
            Ok(0) | Err(Errno::SRCH) => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Ok(_) if bytes.len() > PROCESSES_MAX * 12 => return Err(Errno::TOOBIG),
            Ok(count) => bytes.extend_from_slice(&part[..count]),
            Err(error) => return Err(error),
        }
    }
}
