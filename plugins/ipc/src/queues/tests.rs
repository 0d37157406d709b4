//! Random operations on one queue, against a model that looks at every message each time.

use super::*;
use crate::waiting::{Giver, Turn};
use proptest::prelude::*;
use std::time::Duration;

const QUEUE: &str = "q";
const PROCESSES: [&str; 4] = ["P1", "P2", "P3@far", "P4@far"];
const RECEIVERS_MAX: usize = 3;
/// What the other node may have of the messages and of the receivers.
const PART: f64 = 0.5;
/// What it may have of the receivers.
const RECEIVERS_SHARE: usize = 1;
/// Word for who is refused because of that.
const SHARE_FULL: &str = "limit_reached";

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

/// One who waits to send.
struct Waits {
    ticket: Ticket,
    sender: usize,
    receiver: usize,
    gives_up: u64,
    /// Not because of its node's share.
    in_line: bool,
}

impl Waits {
    fn is_far(&self) -> bool {
        owner(PROCESSES[self.sender]).is_some()
    }
}

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
    sending: Vec<Waits>,
    /// Whether the other node has made the queue, and may have all of it.
    is_theirs: bool,
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

    /// Whether one more message of this sender may be in the queue or in line.
    fn may_join(&self, sender: usize) -> bool {
        let has_waiting = self.sending.iter().any(|waits| waits.is_far() && !waits.in_line);
        owner(PROCESSES[sender]).is_none() || self.is_theirs || (!has_waiting && self.has_share_left())
    }

    fn has_share_left(&self) -> bool {
        let there = self.messages.iter().filter(|(number, _)| self.far_bytes.contains_key(number)).count();
        let in_line = self.sending.iter().filter(|waits| waits.is_far() && waits.in_line).count();
        there + in_line < (self.messages_max / 2).max(1)
    }

    fn send(&mut self, ticket: Ticket, sender: usize, receiver: usize, gives_up: u64) {
        let (may_join, is_full) = (self.may_join(sender), self.messages.len() >= self.messages_max);
        if may_join && !is_full && !self.sending.iter().any(|waits| waits.in_line) {
            let number = self.accept(sender, receiver);
            self.told.push((ticket, format!("sent {number}")));
        } else {
            self.sending.push(Waits { ticket, sender, receiver, gives_up, in_line: may_join });
        }
    }

    fn admit(&mut self) {
        loop {
            while let Some(place) = self.sending.iter().position(|waits| !waits.in_line)
                && self.has_share_left()
            {
                self.sending[place].in_line = true;
            }
            let first = self.sending.iter().position(|waits| waits.in_line);
            let Some(place) = first.filter(|_| self.messages.len() < self.messages_max) else { return };
            let Waits { ticket, sender, receiver, .. } = self.sending.remove(place);
            let number = self.accept(sender, receiver);
            self.told.push((ticket, format!("sent {number}")));
        }
    }

    /// False when it may not become known.
    fn ask(&mut self, process: &'static str) -> bool {
        if self.known.contains(&process) {
            self.known.retain(|name| *name != process);
        } else {
            let is_bounded = owner(process).is_some() && !self.is_theirs;
            let has_share = is_bounded && self.far_receivers() >= RECEIVERS_SHARE;
            if has_share || self.known.len() >= RECEIVERS_MAX {
                let waits = |name: &str| self.receiving.iter().any(|(_, waiting, _)| *waiting == name);
                let may_go = |name: &str| !is_bounded || owner(name).is_some();
                match self.known.iter().find(|name| !waits(name) && may_go(name)).copied() {
                    Some(idle) => self.leave(idle, "no_message"),
                    None if is_bounded => return false,
                    None => {}
                }
            }
        }
        self.known.push(process);
        true
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
        self.sending.retain(|waits| {
            if PROCESSES[waits.sender] == process {
                told.push((waits.ticket, word.to_owned()));
            }
            PROCESSES[waits.sender] != process
        });
        self.admit();
    }

    /// Receivers, those to whom something was sent alone, and senders that wait.
    fn involved(&self) -> BTreeSet<&'static str> {
        let letters =
            self.messages.iter().filter_map(|(_, to)| if let To::One(name) = to { Some(*name) } else { None });
        let senders = self.sending.iter().map(|waits| PROCESSES[waits.sender]);
        self.known.iter().copied().chain(letters).chain(senders).collect()
    }

    fn far_receivers(&self) -> usize {
        self.known.iter().filter(|process| owner(process).is_some()).count()
    }

    fn far_waits(&self) -> usize {
        let receiving = self.receiving.iter().filter(|(_, process, _)| owner(process).is_some()).count();
        receiving + self.sending.iter().filter(|waits| waits.is_far()).count()
    }

    /// Of messages that are there and of those of senders that wait.
    fn far_bytes(&self) -> usize {
        let there: usize = self.messages.iter().filter_map(|(number, _)| self.far_bytes.get(number)).sum();
        let waiting = self.sending.iter().filter(|waits| waits.is_far());
        there + waiting.map(|waits| message(waits.sender, waits.receiver).bytes()).sum::<usize>()
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

fn refused(error: &IpcError) {
    assert_eq!(ProviderError::from(error.clone()).code, SHARE_FULL);
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

fn run(messages_max: usize, maker: Owner<'_>, steps: Vec<Step>) {
    let start = Instant::now();
    let at = |milliseconds| start + Duration::from_millis(milliseconds);
    let mut table: Queues<Caller> =
        Queues::new(Limits { receivers_max: RECEIVERS_MAX, peer_share: PART, ..Limits::default() });
    table.create(QUEUE, messages_max as u64, false, maker).unwrap();
    let mut model = Model { messages_max, is_theirs: maker.is_some(), ..Model::default() };
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
                model.send(ticket, sender, receiver, now + timeout);
                let wish = wish(&mut turns, Some(now + timeout));
                table.send(QUEUE, &message(sender, receiver), owner(PROCESSES[sender]), wish, &mut outbox);
            }
            Step::Receive(receiver, timeout) => {
                let (process, deadline) = (PROCESSES[receiver], timeout.map(|timeout| now + timeout));
                if !model.ask(process) {
                    model.told.push((ticket, SHARE_FULL.to_owned()));
                } else if let Some(number) = model.take_one(process) {
                    model.told.push((ticket, format!("message {number}")));
                    model.admit();
                } else {
                    model.receiving.push((ticket, process, deadline));
                }
                let wish = wish(&mut turns, deadline);
                table.receive(QUEUE, &Arc::from(process), owner(process), wish, &mut outbox);
            }
            Step::TryReceive(receiver) => {
                let process = PROCESSES[receiver];
                let peeked = table.peek(QUEUE, Some(process)).unwrap().map(|(number, _)| number);
                let was_known = model.known.contains(&process);
                let is_known = model.ask(process);
                let taken = table.try_receive(QUEUE, &Arc::from(process), owner(process), &mut outbox);
                if is_known {
                    let number = model.take_one(process);
                    model.admit();
                    assert_eq!(taken.unwrap().map(|(number, _)| number), number);
                    // A newcomer may have made room for itself, and got what another one left.
                    if was_known {
                        assert_eq!(peeked, number);
                    }
                } else {
                    refused(&taken.unwrap_err());
                }
            }
            Step::Join(receiver) => {
                let process = PROCESSES[receiver];
                let was_known = model.known.contains(&process);
                let is_known = model.ask(process);
                match table.join(QUEUE, &Arc::from(process), owner(process), &mut outbox) {
                    Ok(is_new) => assert_eq!((is_known, is_new), (true, !was_known)),
                    Err(error) => {
                        assert!(!is_known);
                        refused(&error);
                    }
                }
            }
            Step::Leave(receiver) => {
                model.leave(PROCESSES[receiver], "no_message");
                table.leave(QUEUE, &Arc::from(PROCESSES[receiver]), &mut outbox).unwrap();
            }
            Step::CallOff(index) if !turns.is_empty() => {
                let ticket = index.index(turns.len()) as Ticket;
                model.receiving.retain(|(waiting, ..)| *waiting != ticket);
                model.sending.retain(|waits| waits.ticket != ticket);
                model.admit();
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
                // One after the other: the next of its node may come into the line.
                let due = |model: &Model| {
                    let due = model.sending.iter().filter(|waits| waits.gives_up <= now);
                    due.map(|waits| (waits.gives_up, waits.ticket)).min()
                };
                while let Some((_, ticket)) = due(&model) {
                    let place = model.sending.iter().position(|waits| waits.ticket == ticket).unwrap();
                    let in_line = model.sending.remove(place).in_line;
                    model.told.push((ticket, if in_line { "queue_full" } else { SHARE_FULL }.to_owned()));
                    model.admit();
                }
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
            let is_known = model.ask(process);
            let taken = table.try_receive(QUEUE, &Arc::from(process), owner(process), &mut Outbox::default());
            if !is_known {
                refused(&taken.unwrap_err());
                break;
            }
            let expected = model.take_one(process);
            model.admit();
            assert_eq!(taken.unwrap().map(|(number, _)| number), expected);
            if expected.is_none() {
                break;
            }
        }
    }
    for process in model.involved() {
        table.end(process, false, ended, &mut Outbox::default());
        model.end(process);
    }
    let theirs = table.by_id[QUEUE].peers();
    assert!(theirs == 0 || model.far_bytes() > 0, "a queue remembers who has something there, and nobody else");
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
        [usize::from(model.is_theirs), model.far_receivers(), model.far_waits(), model.far_bytes()]
    );
    let involved: BTreeSet<&str> = table.involved.iter().map(|(process, _)| &**process).collect();
    assert_eq!(involved, model.involved());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]
    #[test]
    fn a_queue_does_what_the_model_does(messages_max in 1..6usize, is_theirs: bool, steps in steps()) {
        run(messages_max, is_theirs.then_some("far"), steps);
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

#[test]
fn bytes_of_a_node_are_bounded_in_a_queue_and_its_small_messages_do_not_overtake_its_large_ones() {
    let limits = Limits { queue_bytes_max: 4000, peer_share: 0.5, ..Limits::default() };
    let mut table: Queues<Caller> = Queues::new(limits);
    table.create("q", 0, false, None).unwrap();
    let mut tickets = 0..;
    let mut send = |table: &mut Queues<Caller>, owner: Owner<'_>, bytes: usize| {
        let mut letter = Arc::into_inner(message(2, PROCESSES.len() + 1)).unwrap();
        letter.message_type = "x".repeat(bytes - letter.bytes() + letter.message_type.len()).into();
        assert_eq!(letter.bytes(), bytes);
        let ticket = tickets.next().unwrap();
        let wish = Wish { waiter: Caller { ticket, turn: Turn::default() }, ticket, deadline: None };
        let mut outbox = Outbox::default();
        table.send("q", &Arc::new(letter), owner, wish, &mut outbox);
        told(outbox)
    };
    let sent = |ticket, number: u64| (ticket, format!("sent {number}"));
    let far = Some("far");
    assert_eq!(send(&mut table, far, 1500), [sent(0, 1)]);
    assert_eq!(send(&mut table, far, 1000), [], "2000 are its share");
    assert_eq!(send(&mut table, far, 400), [], "the other came first");
    assert_eq!(send(&mut table, None, 2000), [sent(3, 2)], "there is room for others");
    let receive = |table: &mut Queues<Caller>| {
        let mut outbox = Outbox::default();
        table.try_receive("q", &Arc::from("P1"), None, &mut outbox).unwrap().unwrap();
        told(outbox)
    };
    assert_eq!(receive(&mut table), [sent(1, 3), sent(2, 4)]);
    assert_eq!(send(&mut table, far, 3000), [], "larger than its share: when it has nothing else there");
    assert_eq!([receive(&mut table), receive(&mut table), receive(&mut table)].concat(), [sent(4, 5)]);
    receive(&mut table);
    assert_eq!((table.bytes(), table.by_id["q"].peers()), (0, 0));
}
