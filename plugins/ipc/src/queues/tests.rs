//! Random operations on one queue, against a model that looks at every message each time.

use super::*;
use crate::waiting::Turn;
use proptest::prelude::*;
use std::time::Duration;

const QUEUE: &str = "q";
const PROCESSES: [&str; 4] = ["P1", "P2", "P3@far", "P4@far"];
const RECEIVERS_MAX: usize = 3;

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
    fn claim(&self) -> bool {
        self.turn.claim()
    }

    fn is_gone(&self) -> bool {
        self.turn.is_gone()
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Sender, receiver (`PROCESSES`, then everybody, then anybody), milliseconds until it gives up.
    Send(usize, usize, u64),
    /// Receiver, milliseconds until it gives up.
    Receive(usize, Option<u64>),
    TryReceive(usize),
    Join(usize),
    Leave(usize),
    CallOff(prop::sample::Index),
    End(usize),
    EndPeer,
    CancelWaits(usize),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let process = 0..PROCESSES.len();
    let step = prop_oneof![
        12 => (process.clone(), 0..PROCESSES.len() + 2, 1..60u64).prop_map(|(s, r, t)| Step::Send(s, r, t)),
        6 => (process.clone(), prop::option::of(1..40u64)).prop_map(|(r, t)| Step::Receive(r, t)),
        6 => process.clone().prop_map(Step::TryReceive),
        2 => process.clone().prop_map(Step::Join),
        1 => process.clone().prop_map(Step::Leave),
        2 => any::<prop::sample::Index>().prop_map(Step::CallOff),
        1 => process.clone().prop_map(Step::End),
        1 => Just(Step::EndPeer),
        1 => process.prop_map(Step::CancelWaits),
        2 => (1..25u64).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..150)
}

#[derive(Clone, Debug, PartialEq)]
enum To {
    One(&'static str),
    First,
    /// Those who have not got it, and whether one has.
    Each(Vec<&'static str>, bool),
}

/// What somebody who waited was told: its ticket, and the number of a message or a word.
type Told = (Ticket, String);

#[derive(Default)]
struct Model {
    messages_max: usize,
    sent: u64,
    messages: Vec<(u64, To)>,
    /// What the messages that were accepted count for at the other node, by their numbers.
    far_bytes: BTreeMap<u64, usize>,
    /// The one that has asked least recently first.
    known: Vec<&'static str>,
    receiving: Vec<(Ticket, &'static str, Option<u64>)>,
    /// Ticket, sender, receiver, and when it gives up.
    sending: Vec<(Ticket, usize, usize, u64)>,
    told: Vec<Told>,
}

impl Model {
    fn to(&self, receiver: usize) -> To {
        match PROCESSES.get(receiver) {
            Some(process) => To::One(process),
            None if receiver == PROCESSES.len() && !self.known.is_empty() => To::Each(self.known.clone(), false),
            None => To::First,
        }
    }

    fn accept(&mut self, sender: usize, receiver: usize) -> u64 {
        self.sent += 1;
        if owner(PROCESSES[sender]).is_some() {
            self.far_bytes.insert(self.sent, message(sender, receiver).bytes());
        }
        self.messages.push((self.sent, self.to(receiver)));
        self.deliver();
        self.sent
    }

    /// Gives what is there to those who wait, the first first.
    fn deliver(&mut self) {
        let mut place = 0;
        while place < self.receiving.len() {
            let (ticket, process, _) = self.receiving[place];
            match self.take_one(process) {
                Some(number) => {
                    self.receiving.remove(place);
                    self.told.push((ticket, format!("message {number}")));
                }
                None => place += 1,
            }
        }
    }

    fn take_one(&mut self, process: &'static str) -> Option<u64> {
        let place = self.messages.iter().position(|(_, to)| match to {
            To::One(name) => *name == process,
            To::First => true,
            To::Each(left, _) => left.contains(&process),
        })?;
        let number = self.messages[place].0;
        if let To::Each(left, given) = &mut self.messages[place].1 {
            left.retain(|name| *name != process);
            *given = true;
            if !left.is_empty() {
                return Some(number);
            }
        }
        self.messages.remove(place);
        Some(number)
    }

    fn admit(&mut self) {
        while !self.sending.is_empty() && self.messages.len() < self.messages_max {
            let (ticket, sender, receiver, _) = self.sending.remove(0);
            let number = self.accept(sender, receiver);
            self.told.push((ticket, format!("sent {number}")));
        }
    }

    fn ask(&mut self, process: &'static str) {
        if self.known.contains(&process) {
            self.known.retain(|name| *name != process);
        } else if self.known.len() >= RECEIVERS_MAX {
            let idle = self.known.iter().find(|name| !self.receiving.iter().any(|(_, waiting, _)| waiting == *name));
            if let Some(idle) = idle.copied() {
                self.leave(idle, "no_message");
            }
        }
        self.known.push(process);
    }

    fn leave(&mut self, process: &'static str, word: &str) {
        if !self.known.contains(&process) {
            return;
        }
        self.known.retain(|name| *name != process);
        self.end_receives(process, word);
        for (_, to) in &mut self.messages {
            if let To::Each(left, given) = to {
                left.retain(|name| *name != process);
                if left.is_empty() && !*given {
                    *to = To::First;
                }
            }
        }
        self.messages.retain(|(_, to)| !matches!(to, To::Each(left, _) if left.is_empty()));
        self.deliver();
        self.admit();
    }

    fn end_receives(&mut self, process: &'static str, word: &str) {
        let told = &mut self.told;
        self.receiving.retain(|(ticket, name, _)| {
            if *name == process {
                told.push((*ticket, word.to_owned()));
            }
            *name != process
        });
    }

    fn end_sends(&mut self, process: &'static str, word: &str) {
        let told = &mut self.told;
        self.sending.retain(|(ticket, sender, ..)| {
            if PROCESSES[*sender] == process {
                told.push((*ticket, word.to_owned()));
            }
            PROCESSES[*sender] != process
        });
    }

    /// Receivers, those to whom something was sent alone, and senders that wait.
    fn involved(&self) -> BTreeSet<&'static str> {
        let letters =
            self.messages.iter().filter_map(|(_, to)| if let To::One(name) = to { Some(*name) } else { None });
        let senders = self.sending.iter().map(|(_, sender, ..)| PROCESSES[*sender]);
        self.known.iter().copied().chain(letters).chain(senders).collect()
    }

    fn far_receivers(&self) -> usize {
        self.known.iter().filter(|process| owner(process).is_some()).count()
    }

    fn far_waits(&self) -> usize {
        let receiving = self.receiving.iter().filter(|(_, process, _)| owner(process).is_some()).count();
        receiving + self.sending.iter().filter(|(_, sender, ..)| owner(PROCESSES[*sender]).is_some()).count()
    }

    /// Of messages that are there and of those of senders that wait.
    fn far_bytes(&self) -> usize {
        let there: usize = self.messages.iter().filter_map(|(number, _)| self.far_bytes.get(number)).sum();
        let waiting = self.sending.iter().filter(|(_, sender, ..)| owner(PROCESSES[*sender]).is_some());
        there + waiting.map(|(_, sender, receiver, _)| message(*sender, *receiver).bytes()).sum::<usize>()
    }

    fn end(&mut self, process: &'static str) {
        self.end_sends(process, "ended");
        self.leave(process, "ended");
        self.messages.retain(|(_, to)| *to != To::One(process));
        self.admit();
    }
}

fn told(outbox: Outbox<Caller>) -> Vec<Told> {
    let word = |answer| match answer {
        Answer::Message { number, .. } => Some(format!("message {number}")),
        Answer::Sent { number, .. } => Some(format!("sent {number}")),
        Answer::Error(error) => Some(error.code.into_owned()),
        Answer::Gone => None,
        other => panic!("no semaphore is here: {other:?}"),
    };
    let mut told: Vec<Told> =
        outbox.answers.into_iter().filter_map(|(caller, answer)| Some((caller.ticket, word(answer)?))).collect();
    told.sort_unstable();
    told
}

fn ended(_: &str) -> ProviderError {
    ProviderError::new("ended", "it has ended")
}

fn message(sender: usize, receiver: usize) -> Arc<Message> {
    let receiver = match PROCESSES.get(receiver) {
        Some(process) => Receiver::Name(Arc::from(*process)),
        None if receiver == PROCESSES.len() => Receiver::Everybody,
        None => Receiver::Anybody,
    };
    let data = RawValue::from_string("1".to_owned()).unwrap();
    Arc::new(Message { sender: Arc::from(PROCESSES[sender]), receiver, message_type: "DATA".into(), data })
}

fn run(messages_max: usize, steps: Vec<Step>) {
    let start = Instant::now();
    let at = |milliseconds| start + Duration::from_millis(milliseconds);
    let mut table: Queues<Caller> = Queues::new(Limits { receivers_max: RECEIVERS_MAX, ..Limits::default() });
    table.create(QUEUE, messages_max as u64, false, Some("far")).unwrap();
    let mut model = Model { messages_max, ..Model::default() };
    let mut turns: Vec<Turn> = Vec::new();
    let mut now = 0;
    for step in steps {
        let mut outbox = Outbox::default();
        let ticket = turns.len() as Ticket;
        let wish = |turns: &mut Vec<Turn>, deadline: Option<u64>| {
            let turn = Turn::default();
            turns.push(turn.clone());
            Wish { waiter: Caller { ticket, turn }, ticket, deadline: deadline.map(at) }
        };
        match step {
            Step::Send(sender, receiver, timeout) => {
                if model.sending.is_empty() && model.messages.len() < messages_max {
                    let number = model.accept(sender, receiver);
                    model.told.push((ticket, format!("sent {number}")));
                } else {
                    model.sending.push((ticket, sender, receiver, now + timeout));
                }
                let wish = wish(&mut turns, Some(now + timeout));
                table.send(QUEUE, &message(sender, receiver), owner(PROCESSES[sender]), wish, &mut outbox);
            }
            Step::Receive(receiver, timeout) => {
                let (process, deadline) = (PROCESSES[receiver], timeout.map(|timeout| now + timeout));
                model.ask(process);
                match model.take_one(process) {
                    Some(number) => {
                        model.told.push((ticket, format!("message {number}")));
                        model.admit();
                    }
                    None => model.receiving.push((ticket, process, deadline)),
                }
                let wish = wish(&mut turns, deadline);
                table.receive(QUEUE, &Arc::from(process), owner(process), wish, &mut outbox);
            }
            Step::TryReceive(receiver) => {
                let process = PROCESSES[receiver];
                let peeked = table.peek(QUEUE, Some(process)).unwrap().map(|(number, _)| number);
                let was_known = model.known.contains(&process);
                model.ask(process);
                let number = model.take_one(process);
                model.admit();
                let taken = table.try_receive(QUEUE, &Arc::from(process), owner(process), &mut outbox).unwrap();
                assert_eq!(taken.map(|(number, _)| number), number);
                // A newcomer may have made room for itself, and got what another one left.
                if was_known {
                    assert_eq!(peeked, number);
                }
            }
            Step::Join(receiver) => {
                model.ask(PROCESSES[receiver]);
                let process = PROCESSES[receiver];
                table.join(QUEUE, &Arc::from(process), owner(process), &mut outbox).unwrap();
            }
            Step::Leave(receiver) => {
                model.leave(PROCESSES[receiver], "no_message");
                table.leave(QUEUE, &Arc::from(PROCESSES[receiver]), &mut outbox).unwrap();
            }
            Step::CallOff(index) if !turns.is_empty() => {
                let ticket = index.index(turns.len()) as Ticket;
                model.receiving.retain(|(waiting, ..)| *waiting != ticket);
                model.sending.retain(|(waiting, ..)| *waiting != ticket);
                turns[ticket as usize].leave();
                table.call_off(QUEUE, ticket, &mut outbox);
            }
            Step::CallOff(_) => {}
            Step::End(process) => {
                model.end(PROCESSES[process]);
                table.end(PROCESSES[process], false, ended, &mut outbox);
            }
            Step::EndPeer => {
                // Those that the queue has to do with at that moment.
                let involved = model.involved();
                for process in involved.into_iter().filter(|process| process.ends_with("@far")) {
                    model.end(process);
                }
                table.end("*@far", false, ended, &mut outbox);
            }
            Step::CancelWaits(process) => {
                model.end_sends(PROCESSES[process], "ended");
                model.end_receives(PROCESSES[process], "ended");
                table.end(PROCESSES[process], true, ended, &mut outbox);
            }
            Step::Pass(milliseconds) => {
                now += milliseconds;
                let told = &mut model.told;
                model.receiving.retain(|(ticket, _, deadline)| {
                    let is_over = deadline.is_some_and(|deadline| deadline <= now);
                    if is_over {
                        told.push((*ticket, "no_message".to_owned()));
                    }
                    !is_over
                });
                model.sending.retain(|(ticket, .., deadline)| {
                    if *deadline <= now {
                        told.push((*ticket, "queue_full".to_owned()));
                    }
                    *deadline > now
                });
                table.expire(at(now), usize::MAX, &mut outbox);
            }
        }
        model.told.sort_unstable();
        assert_eq!(told(outbox), std::mem::take(&mut model.told));
        check(&table, &model);
    }
    // Nobody starves: each receiver gets what is for it, in order, once there are no more.
    for process in PROCESSES {
        loop {
            model.ask(process);
            let expected = model.take_one(process);
            model.admit();
            let taken = table.try_receive(QUEUE, &Arc::from(process), owner(process), &mut Outbox::default()).unwrap();
            assert_eq!(taken.map(|(number, _)| number), expected);
            if expected.is_none() {
                break;
            }
        }
    }
    table.delete(QUEUE, &mut Outbox::default()).unwrap();
    assert_eq!((table.bytes(), table.message_count(), table.wait_count()), (0, 0, 0));
    assert!(table.involved.is_empty() && table.deadlines.len() == 0, "nothing is left of it");
    assert!(table.wait_places.is_empty() && table.shares.peers() == 0, "who has nothing takes no memory");
}

fn check(table: &Queues<Caller>, model: &Model) {
    let info = &table.list("", None, 1).0[0];
    let numbers = [info.messages, info.sent, info.receivers, info.waiting_receivers, info.waiting_senders];
    let expected = [
        model.messages.len() as u64,
        model.sent,
        model.known.len() as u64,
        model.receiving.len() as u64,
        model.sending.len() as u64,
    ];
    assert_eq!(numbers, expected, "messages, sent, receivers, waiting receivers, waiting senders");
    assert!(info.messages <= info.max_size);
    assert_eq!(table.message_count() as u64, info.messages);
    assert_eq!(table.wait_count(), model.receiving.len() + model.sending.len());
    let oldest = table.peek(QUEUE, None).unwrap().map(|(number, _)| number);
    assert_eq!(oldest, model.messages.first().map(|(number, _)| *number));
    let far = |kind| table.shares.of("far", kind);
    assert_eq!(
        [far(Kind::Queues), far(Kind::Receivers), far(Kind::QueueWaits), far(Kind::Bytes)],
        [1, model.far_receivers(), model.far_waits(), model.far_bytes()]
    );
    let involved: BTreeSet<&str> = table.involved.iter().map(|(process, _)| &**process).collect();
    assert_eq!(involved, model.involved());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]
    #[test]
    fn a_queue_does_what_the_model_does(messages_max in 1..6usize, steps in steps()) {
        run(messages_max, steps);
    }
}

#[test]
fn bytes_are_bounded_in_a_queue_and_in_all() {
    let one = message(0, PROCESSES.len() + 1).bytes();
    let limits = Limits { queue_bytes_max: 2 * one, bytes_max: 3 * one, ..Limits::default() };
    let mut table: Queues<Caller> = Queues::new(limits);
    let mut outbox = Outbox::default();
    table.create("a", 0, false, None).unwrap();
    table.create("b", 0, false, None).unwrap();
    let mut send = |queue| table.try_send(queue, &message(0, PROCESSES.len() + 1), None, &mut outbox);
    assert_eq!([send("a"), send("a"), send("a")], [Ok(Some(1)), Ok(Some(2)), Ok(None)]);
    assert_eq!([send("b"), send("b")], [Ok(Some(1)), Err(IpcError::BytesFull)]);
    table.delete("b", &mut outbox).unwrap();
    assert_eq!(table.bytes(), 2 * one);
}

#[test]
fn what_a_node_was_refused_counts_for_nothing() {
    let one = message(2, PROCESSES.len() + 1).bytes();
    let limits = Limits {
        queues_max: 4,
        queue_bytes_max: 8 * one,
        bytes_max: 8 * one,
        message_bytes_max: one,
        waits_max: 4,
        ..Limits::default()
    };
    let mut table: Queues<Caller> = Queues::new(limits);
    let mut outbox = Outbox::default();
    let full = |kind, share| IpcError::ShareFull { peer: "far".to_owned(), kind, share };
    assert_eq!(table.create("q", 1, false, Some("far")), Ok((1, true)));
    assert_eq!(table.create("r", 1, false, Some("far")), Err(full(Kind::Queues, 1)));
    assert_eq!(table.create("q", 1, true, Some("far")), Ok((1, false)), "one that is there can still be used");
    assert_eq!(table.create("r", 1, false, None), Ok((1, true)));
    let mut tickets = 0..;
    let mut send = |table: &mut Queues<Caller>, queue: &str, owner: Owner<'_>| {
        let ticket = tickets.next().unwrap();
        let wish = Wish { waiter: Caller { ticket, turn: Turn::default() }, ticket, deadline: None };
        let mut outbox = Outbox::default();
        table.send(queue, &message(2, PROCESSES.len() + 1), owner, wish, &mut outbox);
        told(outbox).pop().map(|(_, word)| word)
    };
    assert_eq!(send(&mut table, "q", Some("far")).as_deref(), Some("sent 1"));
    assert_eq!(send(&mut table, "q", Some("far")), None, "it waits");
    for _ in 0..3 {
        assert_eq!(
            send(&mut table, "r", Some("far")).as_deref(),
            Some(ProviderError::LIMIT_REACHED),
            "two are its share"
        );
    }
    assert_eq!(table.shares.of("far", Kind::Bytes), 2 * one);
    table.call_off("q", 1, &mut outbox);
    assert_eq!((table.shares.of("far", Kind::Bytes), table.bytes()), (one, one));
    assert_eq!(send(&mut table, "q", Some("far")), None);
    table.delete("q", &mut outbox).unwrap();
    assert_eq!((table.shares.peers(), table.bytes(), table.wait_count()), (0, 0, 0));
}
