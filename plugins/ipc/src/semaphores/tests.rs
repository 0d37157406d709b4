//! Random operations on two semaphores, against a model that does all in the plainest way.

use super::*;
use crate::waiting::{Giver, Turn};
use proptest::prelude::*;
use std::collections::HashMap;
use std::time::Duration;

const IDS: [&str; 2] = ["counting", "binary"];
const PROCESSES: [&str; 5] = ["P1", "P2", "P3@far", "P4@far", "client-1"];
/// What the processes of the other node may hold and wait for together, in every second run.
const SHARE: usize = 3;

/// Who a process counts for.
fn owner(process: &str) -> Owner<'static> {
    process.ends_with("@far").then_some("far")
}

/// Someone who waits, as the tests see it.
struct Caller {
    ticket: Ticket,
    turn: Turn,
}

impl Waiter for Caller {
    fn claim(&self, giver: Giver) -> bool {
        self.turn.claim(giver)
    }

    fn is_gone(&self) -> bool {
        self.turn.is_gone()
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Semaphore, process, milliseconds until it gives up.
    Wait(usize, usize, Option<u64>),
    Signal(usize, usize),
    /// The process gives a permit if it holds one.
    GiveBack(usize, usize),
    /// The caller of one of the waits goes away; it may have been answered.
    Leave(prop::sample::Index),
    /// The caller of one of the waits goes away, and the table hears of it after the next step.
    LeaveLate(prop::sample::Index),
    End(usize),
    EndPeer,
    Pass(u64),
    Delete(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (semaphore, process) = (0..IDS.len(), 0..PROCESSES.len());
    let timeout = prop_oneof![3 => Just(None), 1 => (1..40u64).prop_map(Some)];
    let step = prop_oneof![
        12 => (semaphore.clone(), process.clone(), timeout).prop_map(|(s, p, t)| Step::Wait(s, p, t)),
        8 => (semaphore.clone(), process.clone()).prop_map(|(s, p)| Step::GiveBack(s, p)),
        2 => (semaphore.clone(), process.clone()).prop_map(|(s, p)| Step::Signal(s, p)),
        2 => any::<prop::sample::Index>().prop_map(Step::Leave),
        2 => any::<prop::sample::Index>().prop_map(Step::LeaveLate),
        1 => process.prop_map(Step::End),
        1 => Just(Step::EndPeer),
        2 => (1..30u64).prop_map(Step::Pass),
        1 => semaphore.prop_map(Step::Delete),
    ];
    prop::collection::vec(step, 1..120)
}

#[derive(Clone)]
struct Model {
    kind: SemaphoreKind,
    initial: u64,
    value: u64,
    owned: bool,
    returned: u64,
    held: HashMap<&'static str, u64>,
    /// Ticket, process, and when it gives up.
    waiting: Vec<(Ticket, &'static str, Option<u64>)>,
}

impl Model {
    fn new(kind: SemaphoreKind, initial: u64) -> Model {
        let owned = initial > 0;
        Model { kind, initial, value: initial, owned, returned: 0, held: HashMap::new(), waiting: Vec::new() }
    }

    fn take(&mut self, process: &'static str) {
        self.value -= 1;
        self.returned = self.returned.min(self.value);
        if self.owned {
            *self.held.entry(process).or_default() += 1;
        }
    }

    fn holds(&self, process: &str) -> bool {
        self.held.get(process).is_some_and(|units| *units > 0)
    }

    fn signal(&mut self, process: &str) {
        if let Some(units) = self.held.get_mut(process).filter(|units| **units > 0) {
            *units -= 1;
            self.value += 1;
        } else if self.kind == SemaphoreKind::Binary && self.value == 1 {
        } else if self.returned > 0 {
            self.returned -= 1;
        } else {
            self.owned = false;
            self.held.clear();
            self.value += 1;
        }
    }

    /// How often such processes hold something or wait.
    fn counts(&self, is_meant: impl Fn(&str) -> bool) -> usize {
        let holders = self.held.iter().filter(|(process, units)| **units > 0 && is_meant(process)).count();
        holders + self.waiting.iter().filter(|(_, process, _)| is_meant(process)).count()
    }

    /// Gives what is free; returns who got it.
    fn hand_on(&mut self, gone: &[Ticket]) -> Vec<Ticket> {
        let mut given = Vec::new();
        while self.value > 0 && !self.waiting.is_empty() {
            let (ticket, process, _) = self.waiting.remove(0);
            if !gone.contains(&ticket) {
                self.take(process);
                given.push(ticket);
            }
        }
        given
    }
}

/// What each wait was told, by its ticket.
fn told(outbox: Outbox<Caller>) -> Vec<(Ticket, &'static str)> {
    let mut told: Vec<(Ticket, &'static str)> = outbox
        .answers
        .into_iter()
        .filter_map(|(caller, answer)| match answer {
            Answer::Permit { .. } => Some((caller.ticket, "permit")),
            Answer::Blocked { .. } => Some((caller.ticket, "blocked")),
            Answer::Error(error) => {
                let word = match &*error.code {
                    "semaphore_deleted" => "deleted",
                    ProviderError::LIMIT_REACHED => "refused",
                    _ => "ended",
                };
                Some((caller.ticket, word))
            }
            Answer::Gone => None,
            Answer::Message { .. } | Answer::Sent { .. } => panic!("no queue is here"),
        })
        .collect();
    told.sort_unstable();
    told
}

fn run(initial: u64, is_shared: bool, steps: Vec<Step>) {
    let start = Instant::now();
    let limits = Limits { waits_max: 4 * SHARE, ..Limits::default() };
    let limits = if is_shared { limits } else { Limits::default() };
    let mut table: Semaphores<Caller> = Semaphores::new(limits);
    let mut models = [Model::new(SemaphoreKind::Counting, initial), Model::new(SemaphoreKind::Binary, initial.min(1))];
    for (id, model) in IDS.iter().zip(&models) {
        table.create(id, Some(model.initial), model.kind, false, Some("far")).unwrap();
    }
    let mut now = 0;
    // Every wait so far: semaphore, process, turn.
    let mut waits: Vec<(usize, &'static str, Turn)> = Vec::new();
    let mut gone: Vec<Ticket> = Vec::new();
    let mut late: Option<Ticket> = None;
    for step in steps {
        let mut outbox = Outbox::default();
        let mut expected: Vec<(Ticket, &'static str)> = Vec::new();
        let heard = late.take();
        match step {
            Step::Wait(s, p, timeout) => {
                let (ticket, process) = (waits.len() as Ticket, PROCESSES[p]);
                let turn = Turn::default();
                waits.push((s, process, turn.clone()));
                let counts: usize = models.iter().map(|model| model.counts(|_| true)).sum();
                let far: usize = models.iter().map(|model| model.counts(|process| owner(process).is_some())).sum();
                let is_full = is_shared && (counts >= 4 * SHARE || (owner(process).is_some() && far >= SHARE));
                let model = &mut models[s];
                let deadline = timeout.map(|timeout| now + timeout);
                let needs_place = model.value == 0 || (model.owned && !model.holds(process));
                if is_full && needs_place {
                    expected.push((ticket, "refused"));
                } else if model.value > 0 {
                    model.take(process);
                    expected.push((ticket, "permit"));
                } else {
                    model.waiting.push((ticket, process, deadline));
                }
                let wish = Wish {
                    process: Arc::from(process),
                    waiter: Caller { ticket, turn },
                    ticket,
                    since_unix_milliseconds: 0,
                    deadline: deadline.map(|deadline| start + Duration::from_millis(deadline)),
                };
                table.wait(IDS[s], wish, owner(process), &mut outbox);
            }
            Step::Signal(s, p) => {
                models[s].signal(PROCESSES[p]);
                expected.extend(models[s].hand_on(&gone).into_iter().map(|ticket| (ticket, "permit")));
                let value = table.signal(IDS[s], PROCESSES[p], &mut outbox).unwrap();
                assert_eq!(value, models[s].value);
            }
            Step::GiveBack(s, p) if models[s].holds(PROCESSES[p]) => {
                models[s].signal(PROCESSES[p]);
                expected.extend(models[s].hand_on(&gone).into_iter().map(|ticket| (ticket, "permit")));
                table.signal(IDS[s], PROCESSES[p], &mut outbox).unwrap();
            }
            Step::GiveBack(..) => {}
            Step::Leave(index) | Step::LeaveLate(index) if !waits.is_empty() => {
                let ticket = index.index(waits.len()) as Ticket;
                let (s, process, turn) = waits[ticket as usize].clone();
                let waited = models[s].waiting.iter().any(|(waiting, ..)| *waiting == ticket);
                // One that was answered long ago does not hear of it: the host has dropped its hook.
                if waited && !gone.contains(&ticket) {
                    assert_eq!(turn.leave(), None);
                    gone.push(ticket);
                    if matches!(step, Step::LeaveLate(_)) {
                        late = Some(ticket);
                    } else {
                        models[s].waiting.retain(|(waiting, ..)| *waiting != ticket);
                        table.leave(IDS[s], &Arc::from(process), ticket, None, &mut outbox);
                    }
                }
            }
            Step::Leave(_) | Step::LeaveLate(_) => {}
            Step::End(p) => {
                let process = PROCESSES[p];
                expected.extend(end(&mut models, &gone, |name| name == process));
                table.end(process, |_| IpcError::Stopping.into(), &mut outbox);
            }
            Step::EndPeer => {
                expected.extend(end(&mut models, &gone, |name| name.ends_with("@far")));
                table.end("*@far", |_| IpcError::Stopping.into(), &mut outbox);
            }
            Step::Pass(milliseconds) => {
                now += milliseconds;
                for model in &mut models {
                    model.waiting.retain(|(ticket, _, deadline)| {
                        let is_over = deadline.is_some_and(|deadline| deadline <= now);
                        if is_over {
                            expected.push((*ticket, "blocked"));
                        }
                        !is_over
                    });
                }
                table.expire(start + Duration::from_millis(now), usize::MAX, &mut outbox);
            }
            Step::Delete(s) => {
                let model = &models[s];
                expected.extend(model.waiting.iter().map(|(ticket, ..)| (*ticket, "deleted")));
                models[s] = Model::new(model.kind, model.initial);
                table.delete(IDS[s], &mut outbox).unwrap();
                table.create(IDS[s], Some(models[s].initial), models[s].kind, false, Some("far")).unwrap();
            }
        }
        if let Some(ticket) = heard {
            let (s, process, _) = &waits[ticket as usize];
            models[*s].waiting.retain(|(waiting, ..)| *waiting != ticket);
            table.leave(IDS[*s], &Arc::from(*process), ticket, None, &mut outbox);
        }
        expected.sort_unstable();
        assert_eq!(told(outbox), expected);
        check(&table, &models, &gone);
    }
    // Nobody starves: once all holders have given back, all who waited have had their turn.
    for (id, model) in IDS.iter().zip(&mut models).filter(|(_, model)| model.owned) {
        let mut in_order: Vec<Ticket> = model.waiting.iter().map(|(ticket, ..)| *ticket).collect();
        in_order.retain(|ticket| !gone.contains(ticket));
        let mut served = Vec::new();
        while let Some(holder) = model.held.iter().find(|(_, units)| **units > 0).map(|(process, _)| *process) {
            let mut outbox = Outbox::default();
            model.signal(holder);
            model.hand_on(&gone);
            table.signal(id, holder, &mut outbox).unwrap();
            served.extend(told(outbox).into_iter().map(|(ticket, _)| ticket));
        }
        assert_eq!(served, in_order);
    }
    for id in IDS {
        table.delete(id, &mut Outbox::default()).unwrap();
    }
    assert_eq!(table.shares.peers(), 0, "who has nothing takes no memory");
}

fn end(models: &mut [Model], gone: &[Ticket], is_meant: impl Fn(&str) -> bool) -> Vec<(Ticket, &'static str)> {
    let mut told = Vec::new();
    for model in models {
        model.waiting.retain(|(ticket, process, _)| {
            if is_meant(process) {
                told.push((*ticket, "ended"));
            }
            !is_meant(process)
        });
        for (_, units) in model.held.iter_mut().filter(|(process, _)| is_meant(process)) {
            model.value += *units;
            model.returned += std::mem::take(units);
        }
        told.extend(model.hand_on(gone).into_iter().map(|ticket| (ticket, "permit")));
    }
    told
}

fn check(table: &Semaphores<Caller>, models: &[Model], gone: &[Ticket]) {
    let (infos, _) = table.list("", None, 10);
    let mut held = 0;
    for (id, model) in IDS.iter().zip(models) {
        let info = infos.iter().find(|info| info.sem_id == *id).unwrap();
        let holding = model.held.iter().filter(|(_, units)| **units > 0);
        assert_eq!((info.value, info.owned), (model.value, model.owned), "{id}");
        assert_eq!(info.holder_count, holding.clone().count() as u64);
        if model.owned {
            let units: u64 = holding.clone().map(|(_, units)| *units).sum();
            assert_eq!(model.value + units, model.initial, "permits are conserved");
        }
        let waiting = model.waiting.iter().filter(|(ticket, ..)| !gone.contains(ticket)).count();
        assert!(info.value == 0 || waiting == 0, "nobody waits beside a free permit");
        assert_eq!(info.waiting, model.waiting.len() as u64);
        held += holding.count();
    }
    assert_eq!(table.held_count(), held);
    let far: usize = models.iter().map(|model| model.counts(|process| owner(process).is_some())).sum();
    assert_eq!(table.shares.of("far", Kind::Permits), far);
    assert_eq!((table.shares.of("far", Kind::Semaphores), table.shares.peers()), (IDS.len(), 1));
    assert_eq!(table.wait_count(), models.iter().map(|model| model.waiting.len()).sum::<usize>());
    let timed = models.iter().flat_map(|model| &model.waiting).filter(|(.., deadline)| deadline.is_some()).count();
    assert_eq!(table.deadlines.len(), timed);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]
    #[test]
    fn semaphores_do_what_the_model_does(initial in 0..4u64, is_shared: bool, steps in steps()) {
        run(initial, is_shared, steps);
    }
}

#[test]
fn a_permit_whose_taker_went_away_in_that_moment_goes_to_the_next() {
    let mut table: Semaphores<Caller> = Semaphores::new(Limits::default());
    table.create("m", None, SemaphoreKind::Counting, false, None).unwrap();
    let process: Vec<Arc<str>> = ["P1", "P2", "P3"].into_iter().map(Arc::from).collect();
    assert_eq!(table.try_wait("m", &process[0], None), Ok(Ok(0)));
    let turns = [Turn::default(), Turn::default()];
    let mut outbox = Outbox::default();
    for (ticket, turn) in turns.iter().enumerate() {
        let (ticket, turn) = (ticket as Ticket, turn.clone());
        let process = Arc::clone(&process[ticket as usize + 1]);
        let waiter = Caller { ticket, turn };
        table.wait(
            "m",
            Wish { process, waiter, ticket, since_unix_milliseconds: 0, deadline: None },
            None,
            &mut outbox,
        );
    }
    assert!(outbox.answers.is_empty());
    table.signal("m", "P1", &mut outbox).unwrap();
    assert_eq!(told(outbox), [(0, "permit")]);
    // The answer is on its way when the caller goes.
    let given_by = turns[0].leave();
    assert!(given_by.is_some(), "it had been given the permit");
    let mut outbox = Outbox::default();
    table.leave("m", &process[1], 0, given_by, &mut outbox);
    assert_eq!(told(outbox), [(1, "permit")]);
    assert_eq!(table.list("", None, 1).0[0].holders, ["P3"]);
}

#[test]
fn what_the_dead_producer_took_is_not_given_back_twice() {
    let mut table: Semaphores<Caller> = Semaphores::new(Limits::default());
    table.create("empty", Some(3), SemaphoreKind::Counting, false, None).unwrap();
    let producer: Arc<str> = Arc::from("P1");
    let mut outbox = Outbox::default();
    for _ in 0..2 {
        table.try_wait("empty", &producer, None).unwrap().unwrap();
    }
    table.end("P1", |_| IpcError::Stopping.into(), &mut outbox);
    let values: Vec<u64> = (0..3).map(|_| table.signal("empty", "P2", &mut outbox).unwrap()).collect();
    assert_eq!(values, [3, 3, 4], "two were given back when it ended");
}

#[test]
fn the_free_places_of_a_buffer_are_no_lock_before_the_first_consumer_comes() {
    let owned = |initial, kind, waits_again: bool, given_back: bool| {
        let mut table: Semaphores<Caller> = Semaphores::new(Limits::default());
        table.create("s", Some(initial), kind, false, None).unwrap();
        let producer: Arc<str> = Arc::from("P1");
        let mut outbox = Outbox::default();
        if given_back {
            table.try_wait("s", &producer, None).unwrap().unwrap();
            table.signal("s", "P1", &mut outbox).unwrap();
        }
        for _ in 0..initial {
            table.try_wait("s", &producer, None).unwrap().unwrap();
        }
        let process = if waits_again { producer } else { Arc::from("P2") };
        let waiter = Caller { ticket: 0, turn: Turn::default() };
        table.wait(
            "s",
            Wish { process, waiter, ticket: 0, since_unix_milliseconds: 0, deadline: None },
            None,
            &mut outbox,
        );
        table.resources()[0].owned
    };
    let (counting, binary) = (SemaphoreKind::Counting, SemaphoreKind::Binary);
    assert!(!owned(3, counting, true, false) && !owned(3, counting, false, false) && !owned(1, counting, true, false));
    assert!(owned(3, counting, true, true) && owned(1, counting, false, false) && owned(1, binary, true, false));
}

/// A wait of a process at the semaphore `m`.
fn wait(table: &mut Semaphores<Caller>, process: &str, ticket: Ticket, outbox: &mut Outbox<Caller>) -> Turn {
    let turn = Turn::default();
    let waiter = Caller { ticket, turn: turn.clone() };
    let wish = Wish { process: Arc::from(process), waiter, ticket, since_unix_milliseconds: 0, deadline: None };
    table.wait("m", wish, None, outbox);
    turn
}

#[test]
fn a_permit_goes_with_its_semaphore_when_another_has_the_name_by_then() {
    for initial in [0, 1] {
        let mut table: Semaphores<Caller> = Semaphores::new(Limits::default());
        let mut outbox = Outbox::default();
        table.create("m", Some(initial), SemaphoreKind::Counting, false, None).unwrap();
        let turn = wait(&mut table, "P1", 0, &mut outbox);
        if initial == 0 {
            table.signal("m", "P2", &mut outbox).unwrap();
        }
        assert_eq!(told(outbox), [(0, "permit")]);
        let mut outbox = Outbox::default();
        table.delete("m", &mut outbox).unwrap();
        table.create("m", Some(initial), SemaphoreKind::Counting, false, None).unwrap();
        // One that is not owned takes back whatever it is told to.
        table.signal("m", "P2", &mut outbox).unwrap();
        table.leave("m", &Arc::from("P1"), 0, turn.leave(), &mut outbox);
        assert_eq!(table.list("", None, 1).0[0].value, initial + 1);
    }
}

#[test]
fn a_signal_wakes_who_has_taken_what_the_dead_left() {
    let mut table: Semaphores<Caller> = Semaphores::new(Limits::default());
    table.create("m", Some(1), SemaphoreKind::Counting, false, None).unwrap();
    let mut outbox = Outbox::default();
    table.try_wait("m", &Arc::from("A1"), None).unwrap().unwrap();
    table.end("A1", |_| IpcError::Stopping.into(), &mut outbox);
    table.try_wait("m", &Arc::from("B1"), None).unwrap().unwrap();
    wait(&mut table, "B1", 0, &mut outbox);
    table.signal("m", "C1", &mut outbox).unwrap();
    assert_eq!(told(outbox), [(0, "permit")], "the permit that came back was taken, so the signal gives another");
}

#[test]
fn a_signal_wakes_who_waited_when_a_dead_holders_permit_was_handed_on() {
    let mut table: Semaphores<Caller> = Semaphores::new(Limits::default());
    table.create("m", Some(1), SemaphoreKind::Counting, false, None).unwrap();
    let mut outbox = Outbox::default();
    table.try_wait("m", &Arc::from("A1"), None).unwrap().unwrap();
    wait(&mut table, "B1", 0, &mut outbox);
    wait(&mut table, "B2", 1, &mut outbox);
    table.end("A1", |_| IpcError::Stopping.into(), &mut outbox);
    table.signal("m", "C1", &mut outbox).unwrap();
    assert_eq!(told(outbox), [(0, "permit"), (1, "permit")]);
}
