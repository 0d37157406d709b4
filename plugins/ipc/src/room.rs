//! What the provider is made of: the tables behind their locks, the clock, and how waits begin and end.

use crate::config::Limits;
use crate::error::IpcError;
use crate::handler;
use crate::queues::{self, Message, Queues};
use crate::semaphores::{self, Semaphores};
use crate::shares::Owner;
use crate::waiting::{Answer, Giver, Outbox, Ticket, Turn, Waiter};
use parking_lot::Mutex;
use potluck_sdk::message::deadlock::WAITING_TOPIC;
use potluck_sdk::message::process::ProcessEnded;
use potluck_sdk::{Alarm, Host, PeerId, PendingReply, ProviderError, Reply, Request, shares};
use serde::Serialize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long somebody has waited for a permit when that is told. A busy semaphore has somebody waiting many thousand times
/// a second, and a deadlock lasts.
const WAITING_DELAY: Duration = Duration::from_millis(50);
/// Waits that one run of the timer ends: more would keep the others of that thread waiting.
const EXPIRE_BATCH: usize = 1024;
/// Answers that are sent at once; more are sent by a thread for long work.
const ANSWERS_AT_ONCE: usize = 1024;

/// Body of an event on [`WAITING_TOPIC`].
#[derive(Serialize)]
struct Waiting {
    kind: &'static str,
}

/// A request whose answer is kept.
pub(crate) struct Pending {
    reply: PendingReply,
    turn: Turn,
}

impl Waiter for Pending {
    fn claim(&self, giver: Giver) -> bool {
        self.turn.claim(giver)
    }

    fn is_gone(&self) -> bool {
        self.turn.is_gone()
    }
}

/// See the top of this file. The two locks are never held together, and neither while the host is called.
pub(crate) struct Room {
    pub(crate) host: Host,
    pub(crate) own_id: PeerId,
    own_name: String,
    pub(crate) limits: Limits,
    pub(crate) semaphores: Mutex<Semaphores<Pending>>,
    pub(crate) queues: Mutex<Queues<Pending>>,
    clock: Box<dyn Fn() -> Instant + Send + Sync>,
    alarm: Alarm,
    tickets: AtomicU64,
    /// Whether it is about to be told that somebody waits.
    is_telling: AtomicBool,
}

impl Room {
    pub(crate) fn new(host: Host, limits: Limits, clock: Box<dyn Fn() -> Instant + Send + Sync>) -> Room {
        Room {
            host,
            own_id: host.node().peer_id,
            own_name: host.node().peer_id.to_string(),
            semaphores: Mutex::new(Semaphores::new(limits.clone())),
            queues: Mutex::new(Queues::new(limits.clone())),
            limits,
            clock,
            alarm: Alarm::default(),
            tickets: AtomicU64::new(0),
            is_telling: AtomicBool::new(false),
        }
    }

    /// The other node that a message counts for.
    pub(crate) fn owner<'a>(&self, request: &Request<'a>) -> Owner<'a> {
        shares::owner(&request.caller, &self.own_name)
    }

    /// Keeps a reply until there is a permit.
    pub(crate) fn wait_for_permit(
        self: &Arc<Room>,
        id: &str,
        process: Arc<str>,
        owner: Owner<'_>,
        timeout: Option<Duration>,
        reply: Reply<'_>,
    ) {
        let (ticket, deadline) = self.begin(timeout);
        let (place, name) = (Arc::<str>::from(id), Arc::clone(&process));
        let waiter = self.pending(reply, move |room, given_by| {
            let mut outbox = Outbox::default();
            room.semaphores.lock().leave(&place, &name, ticket, given_by, &mut outbox);
            room.send(outbox);
        });
        let since_unix_milliseconds = unix_milliseconds();
        let wish = semaphores::Wish { process, waiter, ticket, since_unix_milliseconds, deadline };
        let mut outbox = Outbox::default();
        let is_first_endless = self.semaphores.lock().wait(id, wish, owner, &mut outbox);
        self.send(outbox);
        if is_first_endless {
            self.tell_that_somebody_waits();
        }
        self.arm(deadline);
    }

    /// Whoever looks for deadlocks begins to when somebody waits without a time-out, unless that was for a moment only.
    fn tell_that_somebody_waits(self: &Arc<Room>) {
        if self.is_telling.swap(true, Ordering::AcqRel) {
            return;
        }
        let room = Arc::downgrade(self);
        self.host.run_after(WAITING_DELAY, move || {
            let Some(room) = room.upgrade() else { return };
            // First, so that a wait which begins from here on is told again.
            room.is_telling.store(false, Ordering::Release);
            let somebody_waits = room.semaphores.lock().endless_count() > 0;
            if somebody_waits {
                room.host.publish(WAITING_TOPIC, &Waiting { kind: "semaphore" });
            }
        });
    }

    /// Keeps a reply until there is a message.
    pub(crate) fn wait_for_message(
        self: &Arc<Room>,
        id: &str,
        process: &Arc<str>,
        owner: Owner<'_>,
        timeout: Option<Duration>,
        reply: Reply<'_>,
    ) {
        let wish = self.queue_wish(id, timeout, reply);
        let deadline = wish.deadline;
        let mut outbox = Outbox::default();
        self.queues.lock().receive(id, process, owner, wish, &mut outbox);
        self.send(outbox);
        self.arm(deadline);
    }

    /// Keeps a reply until there is room.
    pub(crate) fn wait_for_room(
        self: &Arc<Room>,
        id: &str,
        message: &Arc<Message>,
        owner: Owner<'_>,
        timeout: Duration,
        reply: Reply<'_>,
    ) {
        let wish = self.queue_wish(id, Some(timeout), reply);
        let deadline = wish.deadline;
        let mut outbox = Outbox::default();
        self.queues.lock().send(id, message, owner, wish, &mut outbox);
        self.send(outbox);
        self.arm(deadline);
    }

    fn queue_wish(self: &Arc<Room>, id: &str, timeout: Option<Duration>, reply: Reply<'_>) -> queues::Wish<Pending> {
        let (ticket, deadline) = self.begin(timeout);
        let place = Arc::<str>::from(id);
        let waiter = self.pending(reply, move |room, _| {
            let mut outbox = Outbox::default();
            room.queues.lock().call_off(&place, ticket, &mut outbox);
            room.send(outbox);
        });
        queues::Wish { waiter, ticket, deadline }
    }

    fn begin(&self, timeout: Option<Duration>) -> (Ticket, Option<Instant>) {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        (ticket, timeout.and_then(|timeout| (self.clock)().checked_add(timeout)))
    }

    /// Takes a reply along. `leave` runs when the caller goes away, with who had given what it waited for, if somebody had;
    /// it may run before the wait is in its table, which is why a table asks whether it still makes sense.
    fn pending(
        self: &Arc<Room>,
        reply: Reply<'_>,
        leave: impl FnOnce(Arc<Room>, Option<Giver>) + Send + 'static,
    ) -> Pending {
        let (turn, room): (Turn, Weak<Room>) = (Turn::default(), Arc::downgrade(self));
        let reply = reply.later();
        let gone = turn.clone();
        reply.on_cancel(move || {
            let given_by = gone.leave();
            if let Some(room) = room.upgrade() {
                leave(room, given_by);
            }
        });
        Pending { reply, turn }
    }

    /// Sees to it that [`Room::ring`] runs at that time.
    fn arm(self: &Arc<Room>, deadline: Option<Instant>) {
        let Some(deadline) = deadline else { return };
        let room = Arc::downgrade(self);
        self.alarm.set(&self.host, (self.clock)(), deadline, move || {
            if let Some(room) = room.upgrade() {
                room.ring();
            }
        });
    }

    /// Ends the waits whose time is over.
    fn ring(self: &Arc<Room>) {
        let now = (self.clock)();
        let mut outbox = Outbox::default();
        let next_permit = self.semaphores.lock().expire(now, EXPIRE_BATCH, &mut outbox);
        let next_queue = self.queues.lock().expire(now, EXPIRE_BATCH, &mut outbox);
        self.send(outbox);
        self.arm([next_permit, next_queue].into_iter().flatten().min());
    }

    /// Releases what a process held, and ends its waits.
    pub(crate) fn process_ended(&self, ended: &ProcessEnded<'_>) {
        let why = |process: &str| {
            IpcError::ProcessEnded { process: process.to_owned(), reason: ended.reason.to_string() }.into()
        };
        let mut outbox = Outbox::default();
        self.semaphores.lock().end(&ended.pid, why, &mut outbox);
        self.queues.lock().end(&ended.pid, false, why, &mut outbox);
        self.send(outbox);
    }

    /// Ends the waits of a process with an error, and releases what it held; returns how many of each.
    pub(crate) fn cancel_waits(&self, process: &str, error: &ProviderError) -> (u64, u64) {
        let mut outbox = Outbox::default();
        let (waits, permits) = self.semaphores.lock().end(process, |_| error.clone(), &mut outbox);
        let queue_waits = self.queues.lock().end(process, true, |_| error.clone(), &mut outbox);
        self.send(outbox);
        (waits + queue_waits, permits)
    }

    /// Answers everybody who waits: the node stops.
    pub(crate) fn close(&self) {
        let mut outbox = Outbox::default();
        self.semaphores.lock().close(&mut outbox);
        self.queues.lock().close(&mut outbox);
        send_all(outbox.answers);
    }

    /// Sends answers, without any lock.
    pub(crate) fn send(&self, outbox: Outbox<Pending>) {
        if outbox.answers.len() <= ANSWERS_AT_ONCE {
            return send_all(outbox.answers);
        }
        self.host.spawn_blocking(move || send_all(outbox.answers));
    }
}

fn send_all(answers: Vec<(Pending, Answer)>) {
    for (waiter, answer) in answers {
        match handler::text(&answer) {
            Some(Ok(json)) => waiter.reply.send_json(json),
            Some(Err(error)) => waiter.reply.error(error),
            // Nobody reads what the host says when the reply is dropped.
            None => drop(waiter),
        }
    }
}

fn unix_milliseconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
