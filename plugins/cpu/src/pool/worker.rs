//! One worker process, as the pool sees it.

mod holding;
mod usage;

pub(super) use usage::Pace;

use super::calls::OpenCall;
use super::{AttemptId, Stop, WorkerId, process};
use crate::runtime::{Runtime, RuntimeKey};
use mio::net::UnixStream;
use potluck_worker_protocol::claims::SLOTS;
use potluck_worker_protocol::{Claims, OUTPUT_BYTES_RETURNED_MAX, remove_folder, send_claims, write_frame};
use rustix::fs::{MemfdFlags, fstat, memfd_create};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::collections::VecDeque;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A task shorter than this pays more for the way to the worker and back than for running; then more than one is sent
/// ahead.
const SHORT: Duration = Duration::from_millis(2);
/// Tasks sent ahead to a worker that runs short ones: enough to keep it busy while results travel.
const WINDOW: usize = 16;

/// Bytes of a block and of a page, as the kernel counts memory files in them.
const BLOCK_BYTES: i64 = 512;
const PAGE_BYTES: i64 = 4096;

/// How long a worker may take to stop an order, or to report one that says that it has ended; it looks every few
/// milliseconds.
const STOP_PATIENCE: Duration = Duration::from_millis(100);
/// How often the files of a worker are looked at: that takes longer than all other looks together.
const FILES_WATCHED_EVERY: Duration = Duration::from_millis(250);
/// A task is looked at once it has run this long; shorter ones cannot have done much.
pub(super) const WATCHED_AFTER: Duration = Duration::from_millis(15);

/// A worker process and what it has been sent.
pub(super) struct Worker {
    pub(super) id: WorkerId,
    pub(super) runtime: RuntimeKey,
    /// Stops a condemned order itself, and lives on.
    pub(super) stops_orders: bool,
    /// When the report of its oldest order must have come, and why that order was given up.
    pub(super) stop_by: Option<(Instant, Stop)>,
    /// When it was started.
    pub(super) started: Instant,
    /// Gets nothing more, and is ended when it has nothing to do: what it was started with has been replaced.
    pub(super) is_retiring: bool,
    /// When its scratch folder was last looked at.
    files_looked_at: Instant,
    /// It may have written something since then: it was sent orders, or has used processor time while its order had no slot.
    is_used: bool,
    /// When it was last used, and its processor time, when it was last looked at while it was idle.
    idle_cpu_seconds_before: Option<(Instant, f64)>,
    child: Child,
    pub(super) socket: Arc<UnixStream>,
    unsent: Vec<u8>,
    /// Whether the supervisor is told when the socket takes more.
    awaits_room: bool,
    claims: Claims,
    stdout: OwnedFd,
    stderr: OwnedFd,
    scratch: PathBuf,
    /// Whose tasks it runs; nobody's yet for a spare.
    pub(super) submitter: Option<Arc<str>>,
    /// Whether it has said that it takes orders.
    pub(super) ready: bool,
    /// Orders on their way, oldest first.
    pub(super) sent: VecDeque<Sent>,
    /// Its oldest order has begun and has no slot: it was stopped, or waits for something. Then the pool holds no more than
    /// that order for it.
    pub(super) is_off_slot: bool,
    /// The process and its descendants are stopped, so it can do nothing of what is expected of others.
    pub(super) is_stopped: bool,
    /// What is known of its processor time.
    cpu: usage::CpuSeconds,
    free_slots: u64,
    /// How long its last task ran.
    last_run: Duration,
    /// When it got its submitter's last task, to find the one least used.
    pub(super) last_used: Instant,
    /// Takes no more tasks: it was killed, or has hung up.
    pub(super) doomed: bool,
    /// The pool has ended it, so that its end is no surprise.
    pub(super) dismissed: bool,
    /// Its socket has said what no worker says.
    pub(super) is_misused: bool,
    /// Becomes readable when the process has ended. The socket does not tell: a child of a task may hold it open.
    pub(super) exit: OwnedFd,
}

/// An order on its way.
pub(super) struct Sent {
    /// Nothing when it was revoked.
    pub(super) attempt: Option<AttemptId>,
    pub(super) slot: usize,
    /// When it became the oldest: the worker has been busy with it from then on.
    pub(super) head_since: Instant,
    /// When it was sent: the worker cannot have been at it for longer.
    pub(super) since: Instant,
    /// How long it has run before it last got its slot.
    pub(super) ran_before: Duration,
    /// Processor time of the process when the order was sent, where that was looked at.
    cpu_seconds_before: Option<f64>,
    /// Memory of the process when it was first looked at while it ran this order.
    memory_bytes_before: Option<u64>,
    /// What was seen of it, once it has run for a while.
    seen: Option<usage::Seen>,
    /// When it was last looked at while it had no slot.
    pub(super) checked_at: Instant,
    /// When its processor time was last looked at, and that; nothing since its process was stopped or let go on, or it got
    /// or lost its slot.
    pace_from: Option<(Instant, f64)>,
    /// Its calls that have not been answered.
    pub(super) calls: Vec<OpenCall>,
    /// Answers, in frames, that it gets once it has a slot.
    pub(super) held: Vec<u8>,
}

impl Worker {
    /// Starts a process. When that fails nothing of it is left.
    pub(super) fn start(
        id: WorkerId,
        key: &RuntimeKey,
        runtime: &dyn Runtime,
        folder: &Path,
    ) -> Result<Worker, String> {
        let scratch = folder.join(format!("worker-{id}"));
        Worker::start_in(&scratch, id, key, runtime).inspect_err(|_| {
            remove_folder(&scratch);
        })
    }

    fn start_in(scratch: &Path, id: WorkerId, key: &RuntimeKey, runtime: &dyn Runtime) -> Result<Worker, String> {
        let failed = |what: &str, error: std::io::Error| format!("a worker process cannot be started: {what}: {error}");
        std::fs::create_dir_all(scratch).map_err(|error| failed("its folder", error))?;
        let mut command = runtime.command(scratch)?;
        let open = || -> std::io::Result<_> {
            let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
            ours.set_nonblocking(true)?;
            let (claims, page) = Claims::create()?;
            send_claims(&ours, page.as_fd())?;
            let stdout = memfd_create("potluck-stdout", MemfdFlags::CLOEXEC)?;
            let stderr = memfd_create("potluck-stderr", MemfdFlags::CLOEXEC)?;
            Ok((ours, theirs, claims, stdout, stderr))
        };
        let (ours, theirs, claims, stdout, stderr) = open().map_err(|error| failed("its channels", error))?;
        let streams =
            || -> std::io::Result<(Stdio, Stdio)> { Ok((stdout.try_clone()?.into(), stderr.try_clone()?.into())) };
        let (stdout_stdio, stderr_stdio) = streams().map_err(|error| failed("its output", error))?;
        let mut child = command
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(stdout_stdio)
            .stderr(stderr_stdio)
            .current_dir(scratch)
            .process_group(0)
            .spawn()
            .map_err(|error| failed(&format!("{:?}", command.get_program()), error))?;
        let exit = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).map_err(|error| {
            // Its end could not be noticed. It has been given nothing yet, and starts nothing by itself.
            let _ = child.kill();
            let _ = child.wait();
            failed("its process handle", error.into())
        })?;
        let now = Instant::now();
        Ok(Worker {
            id,
            runtime: key.clone(),
            stops_orders: false,
            stop_by: None,
            started: now,
            is_retiring: false,
            files_looked_at: now,
            is_used: false,
            idle_cpu_seconds_before: None,
            child,
            socket: Arc::new(UnixStream::from_std(ours)),
            unsent: Vec::new(),
            awaits_room: false,
            claims,
            stdout,
            stderr,
            scratch: scratch.to_owned(),
            submitter: None,
            ready: false,
            sent: VecDeque::new(),
            is_off_slot: false,
            is_stopped: false,
            cpu: usage::CpuSeconds::default(),
            free_slots: u64::MAX,
            last_run: Duration::MAX,
            last_used: now,
            doomed: false,
            dismissed: false,
            is_misused: false,
            exit,
        })
    }

    pub(super) fn is_idle(&self) -> bool {
        self.ready && !self.doomed && !self.is_retiring && self.sent.is_empty()
    }

    /// Whether one more order may be sent, behind those on their way.
    pub(super) fn has_room(&self) -> bool {
        let window = if self.last_run < SHORT { WINDOW } else { 1 };
        self.ready
            && !self.is_off_slot
            && !self.doomed
            && !self.is_retiring
            && self.sent.len() < window
            && self.free_slots != 0
    }

    /// Sends an order; `body` is its JSON behind the slot. What the socket does not take follows when it has room. False
    /// when a task has spoiled the claims, so that nothing can be sent any more.
    pub(super) fn send(&mut self, attempt: AttemptId, body: &[u8], measure_cpu: bool, now: Instant) -> bool {
        let slot = self.free_slots.trailing_zeros() as usize;
        if slot >= SLOTS || !self.claims.send(slot) {
            return false;
        }
        self.free_slots &= !(1 << slot);
        self.is_used = true;
        // To look takes longer than a short task, and what comes after short ones is short.
        let is_long = self.sent.is_empty() && self.last_run >= WATCHED_AFTER;
        let cpu_seconds_before = (measure_cpu || is_long).then(|| self.read_cpu_seconds());
        let sent = Sent {
            attempt: Some(attempt),
            slot,
            head_since: now,
            since: now,
            ran_before: Duration::ZERO,
            cpu_seconds_before,
            memory_bytes_before: None,
            seen: None,
            checked_at: now,
            pace_from: None,
            calls: Vec::new(),
            held: Vec::new(),
        };
        self.sent.push_back(sent);
        self.last_used = now;
        write_frame(&mut self.unsent, &[format!("{{\"slot\":{slot},").as_bytes(), body]);
        self.flush();
        true
    }

    /// Hands the socket as much as it takes. A broken one is found out by the reader.
    pub(super) fn flush(&mut self) {
        let mut written = 0;
        while written < self.unsent.len() {
            match (&*self.socket).write(&self.unsent[written..]) {
                Ok(count) if count > 0 => written += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        if written == self.unsent.len() {
            self.unsent.clear();
            if self.unsent.capacity() > 1 << 20 {
                self.unsent = Vec::new();
            }
        } else {
            self.unsent.drain(..written);
        }
    }

    /// Whether the supervisor has to listen in another way than it does.
    pub(super) fn is_room_missed(&self) -> bool {
        self.awaits_room == self.unsent.is_empty()
    }

    /// It will; true when it is to be told of room.
    pub(super) fn toggle_room(&mut self) -> bool {
        self.awaits_room = !self.unsent.is_empty();
        self.awaits_room
    }

    /// Takes an order back; true when it will not be run.
    pub(super) fn revoke(&mut self, index: usize) -> Option<AttemptId> {
        let sent = self.sent.get_mut(index)?;
        if sent.attempt.is_some() && self.claims.revoke(sent.slot) {
            return sent.attempt.take();
        }
        None
    }

    /// Makes sure that the worker starts nothing after the order that it runs; true when it was running it.
    pub(super) fn condemn(&self, index: usize) -> bool {
        self.sent.get(index).is_some_and(|sent| self.claims.condemn(sent.slot))
    }

    /// Whether the worker has begun an order.
    pub(super) fn has_started(&self, slot: usize) -> bool {
        self.claims.is_started(slot)
    }

    /// The order that it runs in a slot; nothing while that is still on its way to it.
    pub(super) fn runs(&self) -> Option<&Sent> {
        let head = self.sent.front().filter(|_| !self.doomed && !self.is_off_slot)?;
        (head.attempt.is_some() && self.has_started(head.slot)).then_some(head)
    }

    /// What the worker itself has to do with its orders, where a test does it.
    #[cfg(test)]
    pub(super) fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Attempts that wait here behind another order.
    pub(super) fn ahead(&self) -> usize {
        self.sent.iter().skip(1).filter(|sent| sent.attempt.is_some()).count()
    }

    /// The report of the oldest order has come. Nothing when it cannot be one.
    pub(super) fn reported(&mut self, slot: usize, now: Instant) -> Option<Sent> {
        if self.sent.front()?.slot != slot || !self.claims.release(slot) {
            return None;
        }
        let sent = self.sent.pop_front()?;
        self.stop_by = None;
        self.free_slots |= 1 << slot;
        // It has ended without a slot: what comes next, if only to be skipped, is in one.
        self.is_used |= self.is_off_slot;
        self.go_on();
        self.is_off_slot = false;
        if let Some(next) = self.sent.front_mut() {
            next.head_since = now;
            if next.attempt.is_none() {
                // Revoked, so it is skipped at once.
                self.must_report(Stop::Cancelled, now);
            }
        }
        Some(sent)
    }

    /// How long the order ran that was reported last.
    pub(super) fn learn(&mut self, ran: Duration) {
        self.last_run = ran;
        self.cpu.unread_seconds += ran.as_secs_f64();
    }

    /// The oldest order was not run, or was stopped. False when nobody had given it up.
    pub(super) fn skipped(&mut self, slot: usize, now: Instant) -> bool {
        self.sent.front().is_some_and(|sent| sent.slot == slot && sent.attempt.is_none())
            && self.reported(slot, now).is_some()
    }

    /// Its oldest order was given up, or says that it has ended: the report follows at once, whatever becomes of the
    /// claims, which a native task can write to.
    pub(super) fn must_report(&mut self, reason: Stop, now: Instant) {
        self.stop_by.get_or_insert((now + STOP_PATIENCE, reason));
    }

    /// It is to be replaced: at once when it has nothing to do, else when it has.
    pub(super) fn retire(&mut self) {
        self.is_retiring = true;
        if self.sent.is_empty() {
            self.kill();
        }
    }

    /// Stops the process and everything it started, because the pool wants it so.
    pub(super) fn kill(&mut self) {
        self.dismissed |= !self.doomed;
        self.hang_up();
    }

    /// A task has got hold of its socket: nothing that it says is worth anything any more.
    pub(super) fn misused(&mut self) {
        self.is_misused = true;
        self.hang_up();
    }

    /// The process cannot be talked to any more: makes sure that it ends.
    pub(super) fn hang_up(&mut self) {
        self.doomed = true;
        process::kill_descendants(self.child.id());
        // The group's id stays taken while the child is not reaped, so this cannot hit another.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
    }

    /// Bytes that the running task has printed so far, on the stream with more.
    pub(super) fn output_bytes(&self) -> u64 {
        // Reserved memory counts as soon as it is more than the file's last page.
        let length = |file: &OwnedFd| {
            fstat(file)
                .map_or(0, |stat| stat.st_size.max(stat.st_blocks * BLOCK_BYTES - PAGE_BYTES).max(0).unsigned_abs())
        };
        length(&self.stdout).max(length(&self.stderr))
    }

    /// What a task printed that cannot report it any more.
    pub(super) fn output(&self) -> (String, String) {
        (read_start(&self.stdout), read_start(&self.stderr))
    }

    /// Where its files are and who holds them, when it is time to look at them; it counts as looked at then.
    pub(super) fn files_to_look_at(&mut self, now: Instant) -> Option<(PathBuf, u32)> {
        if !self.is_used
            || self.doomed
            || self.is_stopped
            || now.saturating_duration_since(self.files_looked_at) < FILES_WATCHED_EVERY
        {
            return None;
        }
        self.files_looked_at = now;
        self.is_used = !self.sent.is_empty() && !self.is_off_slot;
        Some((self.scratch.clone(), self.child.id()))
    }

    /// When its files are to be looked at next; nothing when no task can have changed them.
    pub(super) fn files_due(&self) -> Option<Instant> {
        (self.is_used && !self.doomed && !self.is_stopped).then(|| self.files_looked_at + FILES_WATCHED_EVERY)
    }

    /// Reaps a process that has ended, and says how, and where its folder is.
    pub(super) fn bury(mut self) -> (String, PathBuf) {
        self.kill();
        let status = self.child.wait();
        (status.map_or_else(|error| error.to_string(), describe), self.scratch)
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (_, Some(11)) => "signal 11, segmentation fault".to_owned(),
        (_, Some(signal)) => format!("signal {signal}"),
        _ => status.to_string(),
    }
}

fn read_start(file: &OwnedFd) -> String {
    let mut bytes = vec![0; OUTPUT_BYTES_RETURNED_MAX];
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::io::pread(file, &mut bytes[filled..], filled as u64) {
            Ok(0) | Err(_) => break,
            Ok(count) => filled += count,
        }
    }
    String::from_utf8_lossy(&bytes[..filled]).into_owned()
}
