//! Whose turn it is, with numbers for replies and time moved by hand.

use super::*;

struct Fixture {
    watchers: Watchers<u32>,
    version: u64,
    start: Instant,
    now: Instant,
}

fn watchers() -> Fixture {
    let start = Instant::now();
    Fixture { watchers: Watchers::new(10_000), version: 5, start, now: start }
}

impl Fixture {
    fn add(&mut self, reply: u32, version: u64) -> WatcherId {
        let id = self.watchers.reserve().unwrap();
        self.watchers.add(id, reply, version, self.version, self.now).unwrap();
        id
    }

    fn change(&mut self) {
        self.version += 1;
        self.watchers.note_change();
    }

    fn due(&mut self) -> Vec<u32> {
        self.watchers.take_due(self.now, false).into_iter().map(|watcher| watcher.reply).collect()
    }

    /// Milliseconds from the start to the next turn.
    fn next_turn(&self) -> Option<u128> {
        self.watchers.next_turn(false).map(|turn| (turn - self.start).as_millis())
    }
}

#[test]
fn nobody_is_woken_while_nothing_changes() {
    let mut pool = watchers();
    pool.add(1, 5);
    pool.now += Duration::from_secs(3600);
    assert_eq!(pool.next_turn(), None);
    assert!(pool.due().is_empty());
    pool.change();
    assert_eq!(pool.due(), [1], "who has waited long is answered at once");
    assert_eq!(pool.watchers.len(), 0);
}

#[test]
fn changes_in_quick_succession_make_one_answer() {
    let mut pool = watchers();
    pool.add(1, 5);
    pool.change();
    pool.change();
    assert_eq!((pool.due(), pool.next_turn()), (vec![], Some(50)));
    pool.now += Duration::from_millis(50);
    assert_eq!(pool.due(), [1]);
}

#[test]
fn who_comes_with_an_older_version_waits_for_the_pause_only() {
    let mut pool = watchers();
    pool.add(1, 3);
    assert_eq!(pool.next_turn(), Some(50));
    pool.now += Duration::from_millis(50);
    assert_eq!(pool.due(), [1]);
}

#[test]
fn turns_come_in_the_order_of_arrival() {
    let mut pool = watchers();
    pool.add(1, 5);
    pool.now += Duration::from_millis(10);
    pool.add(2, 4);
    pool.now += Duration::from_millis(10);
    pool.add(3, 5);
    pool.change();
    pool.now = pool.start + Duration::from_millis(60);
    assert_eq!((pool.due(), pool.next_turn()), (vec![1, 2], Some(70)));
}

#[test]
fn one_that_is_cancelled_is_gone() {
    let mut pool = watchers();
    let first = pool.add(1, 5);
    let second = pool.add(2, 4);
    assert_eq!(pool.watchers.remove(first), Some(1));
    assert_eq!(pool.watchers.remove(second), Some(2));
    assert_eq!(pool.watchers.remove(second), None);
    let third = pool.watchers.reserve().unwrap();
    assert_eq!(pool.watchers.len(), 1);
    assert_eq!(pool.watchers.remove(third), None);
    assert_eq!(pool.watchers.add(third, 3, 5, 5, pool.now), Err(3), "cancelled before its reply was there");
    assert_eq!(pool.watchers.len(), 0);
}

#[test]
fn their_number_is_bounded() {
    let mut watchers: Watchers<u32> = Watchers::new(2);
    let first = watchers.reserve().unwrap();
    watchers.reserve().unwrap();
    assert_eq!(watchers.reserve(), Err(TrackerError::WatchersFull(2)));
    watchers.remove(first);
    assert!(watchers.reserve().is_ok());
}

#[test]
fn a_crowd_is_answered_in_batches() {
    let mut pool = watchers();
    for reply in 0..250 {
        pool.add(reply, 5);
    }
    pool.change();
    // 250 watchers at 2,000 a second make a pause of 125 milliseconds.
    assert_eq!(pool.next_turn(), Some(125));
    pool.now += Duration::from_secs(1);
    assert_eq!((pool.due().len(), pool.next_turn()), (100, Some(1050)));
    assert!(pool.due().is_empty());
    pool.now += Duration::from_millis(50);
    assert_eq!((pool.due().len(), pool.next_turn()), (100, Some(1100)));
    pool.now += Duration::from_millis(50);
    assert_eq!((pool.due().len(), pool.next_turn()), (50, None));
}

#[test]
fn pauses_grow_with_the_pool() {
    let mut pool = watchers();
    pool.add(1, 4);
    assert_eq!(pool.watchers.pause(false), Duration::from_millis(50));
    assert_eq!(pool.watchers.pause(true), Duration::from_secs(1));
    for reply in 0..9999 {
        pool.add(reply, 4);
    }
    assert_eq!(pool.watchers.pause(true), Duration::from_secs(5));
}

#[test]
fn at_the_end_all_are_taken_out() {
    let mut pool = watchers();
    pool.add(1, 5);
    pool.add(2, 4);
    pool.watchers.reserve().unwrap();
    assert_eq!(pool.watchers.clear(), [1, 2]);
    assert_eq!(pool.watchers.len(), 0);
}
