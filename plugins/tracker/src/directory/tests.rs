//! The directory through its life; every case ends by checking that its tables agree.

use super::*;

const DEAD_AFTER: Duration = Duration::from_secs(30);

struct Fixture {
    directory: Directory,
    now: Now,
    events: Vec<PeerEvent>,
}

fn directory() -> Fixture {
    let now = Now { instant: Instant::now(), wall: SystemTime::now() };
    Fixture { directory: Directory::new(DEAD_AFTER, 1000), now, events: Vec::new() }
}

fn at(port: u16) -> Address {
    Address { ip: "10.0.0.7".to_owned(), port }
}

fn id(number: u8) -> PeerId {
    PeerId::from_hash([number; 16])
}

fn busy(running: u32) -> Load {
    Load { workers: 2, running, ..Load::default() }
}

impl Fixture {
    fn report(&mut self, port: u16, peer_id: Option<PeerId>, load: Load) {
        self.directory.report(from_there(port), peer_id, load, self.now, &mut self.events).unwrap();
    }

    fn advance(&mut self, seconds: u64) {
        self.now.instant += Duration::from_secs(seconds);
        self.now.wall += Duration::from_secs(seconds);
        self.directory.remove_dead(self.now.instant, &mut self.events);
    }

    fn choose(&mut self) -> u16 {
        self.directory.choose().unwrap().port
    }

    /// The events since the last call, as `topic port`.
    fn events(&mut self) -> Vec<String> {
        std::mem::take(&mut self.events).iter().map(|event| format!("{} {}", event.topic, event.port)).collect()
    }

    fn changed_since(&self, version: u64) -> Vec<u16> {
        let mut ports: Vec<u16> = self.directory.changed_since(version).iter().map(|entry| entry.port).collect();
        ports.sort_unstable();
        ports
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.directory.check_invariants();
        }
    }
}

impl Directory {
    fn check_invariants(&self) {
        let count = self.peers.len();
        assert_eq!((self.members.len(), self.by_address.len(), self.by_last_seen.len()), (count, count, count));
        assert_eq!(self.selection.ranks().count(), count);
        assert_eq!(self.peers.values().filter(|peer| peer.entry.peer_id.is_some()).count(), self.by_id.len());
        for (key, peer) in &self.peers {
            let address = Address { ip: peer.entry.ip.clone(), port: peer.entry.port };
            assert_eq!(self.by_address.get(&address), Some(key));
            assert_eq!(self.members[peer.position], *key);
            assert!(self.by_last_seen.contains(&(peer.last_seen, *key)));
            assert!(self.selection.ranks().any(|rank| *rank == peer.rank));
            assert!(peer.entry.peer_id.is_none_or(|peer_id| self.by_id.get(&peer_id) == Some(key)));
            assert!(peer.changed_in <= self.version());
        }
    }
}

fn from_there(port: u16) -> Claim {
    Claim { address: at(port), is_from_there: true }
}

#[test]
fn a_claim_from_elsewhere_does_not_drive_out_who_is_heard_from_an_address() {
    let mut pool = directory();
    pool.report(1, Some(id(1)), Load::default());
    let claim = Claim { is_from_there: false, ..from_there(1) };
    let refused = pool.directory.report(claim, Some(id(2)), Load::default(), pool.now, &mut Vec::new());
    assert_eq!(refused, Err(TrackerError::AddressTaken));
    assert_eq!(pool.directory.id_at(&at(1)), Some(id(1)));
}

#[test]
fn a_peer_that_was_revoked_is_gone_at_once() {
    let mut pool = directory();
    pool.report(1, Some(id(1)), Load::default());
    pool.directory.expel(id(1), &mut pool.events);
    pool.directory.expel(id(2), &mut pool.events);
    assert_eq!(pool.directory.len(), 0);
}

#[test]
fn a_silent_peer_is_lost_and_one_that_reports_stays() {
    let mut pool = directory();
    pool.report(1, Some(id(1)), Load::default());
    pool.report(2, None, Load::default());
    pool.advance(20);
    pool.report(1, None, Load::default());
    assert_eq!(pool.directory.next_death(), Some(pool.now.instant + Duration::from_secs(10)));
    pool.advance(9);
    assert_eq!(pool.directory.len(), 2);
    pool.advance(1);
    assert_eq!(pool.events(), ["peer.joined 1", "peer.joined 2", "peer.lost 2"]);
    assert_eq!(pool.directory.id_at(&at(1)), Some(id(1)), "a heartbeat without an id does not take it away");
    pool.advance(20);
    assert_eq!(pool.directory.choose().err(), Some(TrackerError::NoPeers));
    assert_eq!(pool.directory.next_death(), None);
}

#[test]
fn a_peer_that_comes_from_another_address_has_moved() {
    let mut pool = directory();
    pool.report(1, Some(id(1)), Load::default());
    let registered_at = pool.directory.peers_at([0])[0].registered_at;
    pool.advance(5);
    pool.report(2, Some(id(1)), Load::default());
    assert_eq!(pool.events(), ["peer.joined 1", "peer.left 1", "peer.joined 2"]);
    assert_eq!(pool.directory.len(), 1);
    assert_eq!(pool.directory.peers_at([0])[0].registered_at, registered_at);
}

#[test]
fn a_peer_with_another_id_takes_the_place_of_the_old_one() {
    let mut pool = directory();
    pool.report(1, Some(id(1)), Load::default());
    pool.report(2, Some(id(2)), Load::default());
    pool.report(1, Some(id(3)), Load::default());
    assert_eq!(pool.events()[2..], ["peer.left 1", "peer.joined 1"]);
    pool.report(1, Some(id(2)), Load::default());
    assert_eq!(pool.events(), ["peer.left 2", "peer.left 1", "peer.joined 1"]);
    assert_eq!(pool.directory.len(), 1);
    assert_eq!(pool.directory.id_at(&at(1)), Some(id(2)));
}

#[test]
fn a_peer_can_tell_its_id_later() {
    let mut pool = directory();
    pool.report(1, None, Load::default());
    pool.report(1, Some(id(1)), Load::default());
    assert_eq!(pool.directory.id_at(&at(1)), Some(id(1)));
    assert_eq!(pool.events(), ["peer.joined 1"]);
}

#[test]
fn a_peer_leaves() {
    let mut pool = directory();
    pool.report(1, Some(id(1)), Load::default());
    pool.report(2, None, Load::default());
    pool.directory.leave(&at(1), &mut pool.events).unwrap();
    assert_eq!(pool.directory.leave(&at(1), &mut pool.events), Err(TrackerError::PeerNotFound));
    assert_eq!(pool.events()[2..], ["peer.left 1"]);
    assert_eq!(pool.choose(), 2);
}

#[test]
fn the_number_of_peers_is_bounded() {
    let mut pool = directory();
    for port in 1..=1000 {
        pool.report(port, None, Load::default());
    }
    let refused = pool.directory.report(from_there(1001), None, Load::default(), pool.now, &mut Vec::new());
    assert_eq!(refused, Err(TrackerError::PeersFull(1000)));
    pool.report(7, Some(id(7)), Load::default());
    pool.report(2000, Some(id(7)), Load::default());
    assert_eq!(pool.directory.len(), 1000, "who is known may report and move");
}

#[test]
fn the_least_loaded_peer_is_chosen_and_a_choice_counts() {
    let mut pool = directory();
    pool.report(1, None, busy(2));
    pool.report(2, None, busy(1));
    pool.report(3, None, busy(6));
    // Half a task a worker at 2, one at 1: the first choice makes them equal, and then they take turns.
    let choices: Vec<u16> = (0..5).map(|_| pool.choose()).collect();
    assert_eq!(choices, [2, 1, 2, 1, 2]);
    pool.report(2, None, busy(0));
    assert_eq!(pool.choose(), 2, "a report says what became of the choices");
}

#[test]
fn idle_peers_take_turns() {
    let mut pool = directory();
    for port in 1..=4 {
        pool.report(port, None, Load::default());
    }
    let mut choices = Vec::new();
    for _ in 0..3 {
        choices.push(pool.choose());
        choices.push(pool.choose());
        for port in 1..=4 {
            pool.report(port, None, Load::default());
        }
    }
    assert_eq!(choices, [1, 2, 3, 4, 1, 2], "even when reports come in between");
}

#[test]
fn only_what_watchers_see_is_a_change() {
    let mut pool = directory();
    pool.report(1, None, busy(1));
    let version = pool.directory.version();
    pool.report(1, None, busy(1));
    pool.choose();
    assert_eq!(pool.directory.version(), version);
    pool.report(2, None, busy(1));
    pool.report(1, None, busy(2));
    assert_eq!(pool.changed_since(version), [1, 2]);
    assert_eq!(pool.changed_since(version + 1), [1]);
    pool.directory.leave(&at(2), &mut pool.events).unwrap();
    assert_eq!(pool.directory.removed_since(version), ["10.0.0.7:2"]);
    pool.report(2, None, busy(1));
    assert!(pool.directory.removed_since(version).is_empty(), "it is back");
    assert_eq!(pool.changed_since(version), [1, 2]);
    assert!(pool.directory.remembers(1));
}

#[test]
fn what_is_forgotten_is_known_to_be() {
    let mut pool = directory();
    pool.report(1, None, Load::default());
    let version = pool.directory.version();
    for _ in 0..300 {
        pool.report(2, None, Load::default());
        pool.directory.leave(&at(2), &mut pool.events).unwrap();
    }
    assert!(!pool.directory.remembers(version));
    assert!(pool.directory.remembers(pool.directory.version() - 100));
}

#[test]
fn a_version_of_a_large_pool_is_not_remembered() {
    let mut pool = directory();
    let large = SMALL_POOL_MAX as u16 + 1;
    for port in 1..=large {
        pool.report(port, None, Load::default());
    }
    assert!(pool.directory.is_large());
    let version = pool.directory.version();
    pool.directory.leave(&at(1), &mut pool.events).unwrap();
    assert!(!pool.directory.is_large());
    assert!(!pool.directory.remembers(version), "who has it holds a sample");
    assert!(pool.directory.remembers(version + 1));
}

#[test]
fn random_lives_keep_the_tables_in_order() {
    let mut pool = directory();
    let mut state = 11_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for _ in 0..5000 {
        let port = 1 + random(80) as u16;
        match random(8) {
            0 => drop(pool.directory.leave(&at(port), &mut pool.events)),
            1 => pool.advance(random(6)),
            2 => drop(pool.directory.choose()),
            3 => pool.report(port, None, busy(random(5) as u32)),
            _ => pool.report(port, Some(id(random(60) as u8)), busy(random(5) as u32)),
        }
        pool.directory.check_invariants();
    }
}

#[test]
fn a_hundred_thousand_peers_fit() {
    let mut pool = directory();
    pool.directory.peers_max = 100_000;
    for number in 0..100_000_u32 {
        let address = Address { ip: format!("10.{}.0.1", number / 50_000), port: (number % 50_000) as u16 + 1 };
        let claim = Claim { address, is_from_there: true };
        pool.directory.report(claim, None, Load::default(), pool.now, &mut Vec::new()).unwrap();
    }
    let chosen: std::collections::HashSet<(String, u16)> =
        (0..100_000).map(|_| pool.directory.choose().map(|peer| (peer.ip, peer.port)).unwrap()).collect();
    assert_eq!(chosen.len(), 100_000, "each is chosen once before any is chosen twice");
    pool.advance(30);
    assert_eq!(pool.directory.len(), 0);
}
