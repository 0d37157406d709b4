//! Tasks as processes: their names, and what the provider of processes is told of them.
//!
//! Names are taken in blocks, and changes go in batches, so that a task costs no message of its own. When nobody keeps a
//! table of processes, tasks have no names, and all else goes on.

use crate::outbox::{Entries, Outbox, Rules};
use parking_lot::Mutex;
use potluck_sdk::message::process::{
    CHANGES_MAX, Change as WireChange, ChangeKind, PidsReserved, ProcessChanges, ProcessState, ReservePids, Signal,
};
use potluck_sdk::message::{cpu::outcome, to_json};
use potluck_sdk::{Host, ProviderError, Response};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Names that are taken at once.
const BLOCK_PIDS: u64 = 1024;
/// With fewer left, the next block is asked for.
const LOW_PIDS: u64 = 256;
/// Without a provider of processes, it is looked for again after this.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Changes that wait: more than the largest queue of tasks makes at once.
const CHANGES_WAITING_MAX: usize = 400_000;
/// Shortest time between two messages about changes.
const PAUSE: Duration = Duration::from_millis(5);
/// What is told of an error.
const ERROR_CHARACTERS_MAX: usize = 500;

/// What others may know of a task.
#[derive(Debug)]
pub(crate) struct Card {
    /// Its process; empty when nobody keeps a table of them.
    pub pid: Arc<str>,
    pub parent_pid: Box<str>,
    pub group_id: Box<str>,
    pub task_id: Box<str>,
    pub function: Box<str>,
    pub runtime: &'static str,
    /// `local`, or the id of a peer.
    pub requested_by: Arc<str>,
    /// Higher first.
    pub priority: AtomicI64,
    pub confidential: bool,
    pub arrived_unix_milliseconds: u64,
    is_over: AtomicBool,
    /// Number of the newest change of state that the pool has told.
    newest: AtomicU64,
}

/// How a process ended.
#[derive(Debug, Default)]
pub(crate) struct Exit {
    pub code: i32,
    /// Code of its CPU_RESULT; empty on success.
    pub outcome: Cow<'static, str>,
    pub error: String,
    pub cpu_seconds: Option<f64>,
    pub peak_memory_bytes: Option<u64>,
    pub context_switches: u32,
}

/// What is told of a process.
enum Change {
    Created(Arc<Card>),
    State {
        card: Arc<Card>,
        /// 0 when it is not the pool's.
        number: u64,
        state: ProcessState,
        reason: Cow<'static, str>,
        executed_by: Box<str>,
        unix_milliseconds: u64,
    },
    Ended {
        card: Arc<Card>,
        exit: Exit,
        unix_milliseconds: u64,
    },
    Joined(Arc<str>),
}

/// Gives names, and tells what has become of who has them.
pub(crate) struct Life {
    host: Host,
    /// A leaf lock.
    names: Mutex<Names>,
    changes: Arc<Outbox<Vec<Change>>>,
}

#[derive(Default)]
struct Names {
    block: Range<u64>,
    next_block: Range<u64>,
    is_asking: bool,
    ask_again: Option<Instant>,
}

impl Card {
    pub(crate) fn new(
        pid: Arc<str>,
        (parent_pid, group_id): (Box<str>, Box<str>),
        (task_id, function, runtime): (&str, &str, &'static str),
        requested_by: Arc<str>,
        priority: i64,
        confidential: bool,
    ) -> Card {
        Card {
            pid,
            parent_pid,
            group_id,
            task_id: task_id.into(),
            function: function.into(),
            runtime,
            requested_by,
            priority: AtomicI64::new(priority),
            confidential,
            arrived_unix_milliseconds: unix_milliseconds(),
            is_over: AtomicBool::new(false),
            newest: AtomicU64::new(0),
        }
    }

    pub(crate) fn is_process(&self) -> bool {
        !self.pid.is_empty()
    }

    /// Number of the newest change of state that the pool has told.
    pub(crate) fn changes_told(&self) -> u64 {
        self.newest.load(Ordering::SeqCst)
    }

    /// The process for a message; nothing when it is none.
    pub(crate) fn pid_on_wire(&self) -> Option<Cow<'_, str>> {
        self.is_process().then_some(Cow::Borrowed(&*self.pid))
    }
}

/// Milliseconds since 1970.
pub(crate) fn unix_milliseconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The exit code of a task, by the code of its result and the signal that has ended it.
pub(crate) fn exit_code(code: Option<&str>, signal: Option<Signal>) -> i32 {
    match (code, signal) {
        (None, _) => 0,
        (Some(outcome::CANCELLED), Some(signal)) => signal.exit_code(),
        (Some(outcome::CANCELLED | ProviderError::NODE_STOPPING), None) => Signal::Terminate.exit_code(),
        (Some(code), _) if is_ended_from_outside(code) => Signal::Kill.exit_code(),
        (Some(_), _) => 1,
    }
}

/// Whether a task with such a result did not end by itself.
pub(crate) fn is_ended_from_outside(code: &str) -> bool {
    [
        outcome::CANCELLED,
        outcome::TIMEOUT,
        outcome::CPU_LIMIT,
        outcome::MEMORY_LIMIT,
        outcome::OUTPUT_LIMIT,
        outcome::SCRATCH_LIMIT,
        outcome::THREAD_LIMIT,
        ProviderError::LIMIT_REACHED,
        ProviderError::NODE_STOPPING,
    ]
    .contains(&code)
}

impl Life {
    pub(crate) fn new(host: Host) -> Life {
        let rules = Rules {
            what: "changes of processes",
            entries_max: CHANGES_WAITING_MAX,
            batch_max: CHANGES_MAX,
            pause: PAUSE,
            at_once: 1,
            insist: false,
            compose: Box::new(|changes: &Vec<Change>, _| compose(changes)),
        };
        Life { host, names: Mutex::default(), changes: Arc::new(Outbox::new(host, rules)) }
    }

    /// A name for a process that is about to be; empty when nobody keeps a table of them.
    pub(crate) fn name(self: &Arc<Life>) -> Arc<str> {
        let (mut number, ask) = self.names.lock().take();
        if ask {
            self.ask();
            if number.is_none() {
                // Whoever answers does so at once, unless in a process of its own.
                number = self.names.lock().take().0;
            }
        }
        let Some(number) = number else { return Arc::from("") };
        let mut text = [0_u8; 24];
        Arc::from(pid_text(number, &mut text))
    }

    fn ask(self: &Arc<Life>) {
        let life = Arc::clone(self);
        let json = to_json(&ReservePids { count: BLOCK_PIDS });
        self.host.call_with(&json, b"", move |answer| life.names.lock().answered(answer));
    }

    pub(crate) fn created(&self, card: &Arc<Card>) {
        self.tell(card, || Change::Created(Arc::clone(card)));
    }

    /// The pool has moved a task; changes may come in another order than they happened, which `number` tells.
    pub(crate) fn moved(&self, card: &Arc<Card>, number: u64, state: ProcessState, reason: Cow<'static, str>) {
        card.newest.fetch_max(number, Ordering::SeqCst);
        self.state(card, number, state, reason, "");
    }

    /// A task is at a peer, or at none; `executed_by` is that peer.
    pub(crate) fn is_elsewhere(&self, card: &Arc<Card>, state: ProcessState, reason: &'static str, executed_by: &str) {
        self.state(card, 0, state, Cow::Borrowed(reason), executed_by);
    }

    fn state(&self, card: &Arc<Card>, number: u64, state: ProcessState, reason: Cow<'static, str>, executed_by: &str) {
        self.tell(card, || Change::State {
            card: Arc::clone(card),
            number,
            state,
            reason,
            executed_by: executed_by.into(),
            unix_milliseconds: unix_milliseconds(),
        });
    }

    pub(crate) fn ended(&self, card: &Arc<Card>, exit: Exit) {
        card.is_over.store(true, Ordering::SeqCst);
        self.tell(card, || Change::Ended { card: Arc::clone(card), exit, unix_milliseconds: unix_milliseconds() });
    }

    /// The parent of a process has its result.
    pub(crate) fn joined(&self, pid: Arc<str>) {
        if !pid.is_empty() {
            self.changes.push(|changes| changes.push(Change::Joined(pid)));
        }
    }

    /// Tells all that has not been told yet.
    pub(crate) fn drain(&self, patience: Duration) {
        self.changes.drain(patience);
    }

    fn tell(&self, card: &Card, change: impl FnOnce() -> Change) {
        if card.is_process() {
            self.changes.push(|changes| changes.push(change()));
        }
    }
}

impl Names {
    /// The next name, and whether more have to be asked for.
    fn take(&mut self) -> (Option<u64>, bool) {
        if self.block.is_empty() {
            self.block = std::mem::take(&mut self.next_block);
        }
        let number = self.block.next();
        let left = self.block.end.saturating_sub(self.block.start);
        // Who finds none asks for itself, though another is asking: the first tasks come together, and one without a name
        // could wait for nothing.
        let may_ask =
            (number.is_none() || !self.is_asking) && self.ask_again.is_none_or(|again| Instant::now() >= again);
        let ask = left < LOW_PIDS && self.next_block.is_empty() && may_ask;
        self.is_asking |= ask;
        (number, ask)
    }

    fn answered(&mut self, answer: Result<Response, ProviderError>) {
        self.is_asking = false;
        let block = answer.ok().and_then(|response| serde_json::from_str::<PidsReserved>(&response.json).ok());
        match block {
            // A count that nobody asked for is not believed.
            Some(PidsReserved { first, count }) if (1..=BLOCK_PIDS).contains(&count) => {
                self.next_block = first..first.saturating_add(count);
                self.ask_again = None;
            }
            _ => self.ask_again = Some(Instant::now() + ASK_AGAIN_AFTER),
        }
    }
}

/// `P<number>`, written into `text`.
fn pid_text(mut number: u64, text: &mut [u8; 24]) -> &str {
    let mut at = text.len();
    loop {
        at -= 1;
        text[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    at -= 1;
    text[at] = b'P';
    std::str::from_utf8(&text[at..]).unwrap_or_default()
}

/// PROCESS_CHANGES, without what is out of date.
impl Entries for Vec<Change> {
    fn len(&self) -> usize {
        self.len()
    }

    fn take(&mut self, count: usize) -> Vec<Change> {
        let rest = self.split_off(count.min(self.len()));
        std::mem::replace(self, rest)
    }

    fn drop_spare(&mut self) {
        self.retain(|change| !matches!(change, Change::State { .. }));
    }
}

fn compose(changes: &[Change]) -> String {
    let changes = changes.iter().filter_map(on_wire).collect();
    to_json(&ProcessChanges { changes })
}

fn on_wire(change: &Change) -> Option<WireChange<'_>> {
    Some(match change {
        Change::Created(card) => WireChange {
            change: ChangeKind::Created,
            pid: Cow::Borrowed(&card.pid),
            unix_milliseconds: card.arrived_unix_milliseconds,
            parent_pid: Cow::Borrowed(&card.parent_pid),
            group_id: Cow::Borrowed(&card.group_id),
            task_id: Cow::Borrowed(&card.task_id),
            function: Cow::Borrowed(if card.confidential { "" } else { &card.function }),
            runtime: Cow::Borrowed(card.runtime),
            priority: card.priority.load(Ordering::Relaxed),
            requested_by: Cow::Borrowed(&card.requested_by),
            ..WireChange::default()
        },
        Change::State { card, number, .. }
            if card.is_over.load(Ordering::SeqCst) || *number > 0 && *number < card.newest.load(Ordering::SeqCst) =>
        {
            return None;
        }
        Change::State { card, state, reason, executed_by, unix_milliseconds, .. } => WireChange {
            change: ChangeKind::State,
            pid: Cow::Borrowed(&card.pid),
            unix_milliseconds: *unix_milliseconds,
            state: Some(*state),
            reason: Cow::Borrowed(reason),
            executed_by: Cow::Borrowed(executed_by),
            ..WireChange::default()
        },
        Change::Ended { card, exit, unix_milliseconds } => WireChange {
            change: ChangeKind::Ended,
            pid: Cow::Borrowed(&card.pid),
            unix_milliseconds: *unix_milliseconds,
            exit_code: Some(exit.code),
            outcome: Cow::Borrowed(&exit.outcome),
            // Others may read the table.
            error: Cow::Borrowed(if card.confidential { "" } else { cut(&exit.error, ERROR_CHARACTERS_MAX) }),
            cpu_seconds: exit.cpu_seconds,
            peak_memory_bytes: exit.peak_memory_bytes,
            context_switches: (exit.context_switches > 0).then_some(u64::from(exit.context_switches)),
            ..WireChange::default()
        },
        Change::Joined(pid) => WireChange {
            change: ChangeKind::Joined,
            pid: Cow::Borrowed(pid),
            unix_milliseconds: unix_milliseconds(),
            ..WireChange::default()
        },
    })
}

/// The first characters of a text.
pub(crate) fn cut(text: &str, characters_max: usize) -> &str {
    // A text of so many bytes has no more characters.
    if text.len() <= characters_max {
        return text;
    }
    text.char_indices().nth(characters_max).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(pid: &str) -> Arc<Card> {
        let none = || Box::from("");
        Arc::new(Card::new(pid.into(), (none(), none()), ("t", "main", "python"), "local".into(), 3, false))
    }

    fn state(card: &Arc<Card>, number: u64, state: ProcessState) -> Change {
        card.newest.fetch_max(number, Ordering::SeqCst);
        let (card, reason, executed_by) = (Arc::clone(card), Cow::Borrowed("queued"), Box::from(""));
        Change::State { card, number, state, reason, executed_by, unix_milliseconds: 5 }
    }

    #[test]
    fn names_go_on_from_block_to_block_and_are_asked_for_before_they_are_used_up() {
        let mut names = Names::default();
        assert_eq!(names.take(), (None, true));
        assert_eq!(names.take(), (None, true), "nobody goes without a name because another is asking");
        let block = |first| Ok(Response { json: to_json(&PidsReserved { first, count: 300 }), attachment: Vec::new() });
        names.answered(block(7));
        let taken: Vec<(Option<u64>, bool)> = (0..300).map(|_| names.take()).collect();
        assert_eq!(taken[0], (Some(7), false));
        assert_eq!(taken.iter().filter(|(_, ask)| *ask).count(), 1);
        names.answered(block(1000));
        assert_eq!(names.take().0, Some(1000));
    }

    #[test]
    fn without_a_provider_nobody_is_asked_for_a_while() {
        let mut names = Names::default();
        assert!(names.take().1);
        names.answered(Err(ProviderError::new(ProviderError::NO_PROVIDER, "")));
        assert_eq!(names.take(), (None, false));
        names.ask_again = None;
        assert_eq!(names.take(), (None, true));
    }

    #[test]
    fn a_name_is_p_and_its_number() {
        let mut text = [0; 24];
        assert_eq!(pid_text(0, &mut text), "P0");
        assert_eq!(pid_text(1024, &mut text), "P1024");
        assert_eq!(pid_text(u64::MAX, &mut text), format!("P{}", u64::MAX));
    }

    #[test]
    fn only_the_newest_state_of_a_process_is_told_and_none_of_one_that_is_over() {
        let (one, other) = (card("P1"), card("P2"));
        let changes = [
            Change::Created(Arc::clone(&one)),
            state(&one, 2, ProcessState::Running),
            state(&one, 1, ProcessState::Ready),
            state(&other, 3, ProcessState::Running),
            Change::Ended { card: Arc::clone(&other), exit: Exit::default(), unix_milliseconds: 6 },
        ];
        other.is_over.store(true, Ordering::SeqCst);
        let json = compose(&changes);
        let told: ProcessChanges = serde_json::from_str(&json).unwrap();
        let kinds: Vec<_> = told.changes.iter().map(|change| (&*change.pid, change.change, change.state)).collect();
        assert_eq!(
            kinds,
            [
                ("P1", ChangeKind::Created, None),
                ("P1", ChangeKind::State, Some(ProcessState::Running)),
                ("P2", ChangeKind::Ended, None),
            ]
        );
    }

    #[test]
    fn an_exit_code_says_whether_it_ended_by_itself() {
        assert_eq!(exit_code(None, None), 0);
        assert_eq!(exit_code(Some(outcome::TASK_FAILED), None), 1);
        assert_eq!(exit_code(Some(outcome::CANCELLED), None), 143);
        assert_eq!(exit_code(Some(outcome::CANCELLED), Some(Signal::Kill)), 137);
        assert_eq!(exit_code(Some(outcome::TIMEOUT), None), 137);
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("ääää", 2), "ää");
        assert_eq!(cut("ab", 2), "ab");
    }
}
