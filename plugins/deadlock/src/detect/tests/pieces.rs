//! Memory, which is given out in one piece: states whose answer is known, and random ones in a small arena, whose answer
//! comes from a search through all that can happen, wherever the blocks are put.

use super::*;
use potluck_sdk::message::resources::{HeldBlock, Places};

/// Blocks of an arena: who has them, from where, how many units.
type Blocks<'a> = &'a [(&'a str, u64, u64)];

fn memory(total: u64, blocks: Blocks<'_>, waiters: &[(&str, u64)]) -> (ResourceState, Places) {
    let mut holders: BTreeMap<&str, u64> = BTreeMap::new();
    for (pid, _, size) in blocks {
        *holders.entry(*pid).or_default() += size;
    }
    let holders: Vec<(&str, u64)> = holders.into_iter().collect();
    let mut state = resource("memory", total, &holders, waiters);
    state.kind = "memory".to_owned();
    let block =
        |(pid, address, size): &(&str, u64, u64)| HeldBlock { pid: (*pid).to_owned(), address: *address, size: *size };
    (state, Places { resource_id: "memory".to_owned(), blocks: blocks.iter().map(block).collect() })
}

fn with_memory((state, places): (ResourceState, Places), others: Vec<ResourceState>) -> Detection {
    let resources = [vec![state], others].concat();
    detect(&Snapshot { resources, places: vec![places], bank: empty_bank() }, None, &HashSet::new())
}

/// Two that have a quarter each of an arena of 1024, and wait for 300.
fn quarters(second: u64, more: Blocks<'_>) -> Detection {
    let blocks = [&[("P1", 0, 256), ("P2", second, 256)], more].concat();
    with_memory(memory(1024, &blocks, &[("P1", 300), ("P2", 300)]), Vec::new())
}

#[test]
fn enough_bytes_that_are_in_pieces_are_not_enough() {
    let found = quarters(512, &[]);
    assert_eq!(names(&found), ["P1", "P2"]);
    let wait = &found.stuck[0].waits[0];
    assert_eq!((wait.why, wait.free), (Why::Pieces(256), 512));
    assert_eq!(circle(&found), [("P1", "memory", "P2"), ("P2", "memory", "P1")]);
    assert!(quarters(256, &[]).stuck.is_empty(), "the upper half is one piece");
}

#[test]
fn who_can_end_may_make_a_piece_that_is_large_enough() {
    assert!(quarters(768, &[("P3", 256, 512)]).stuck.is_empty());
    assert_eq!(names(&quarters(512, &[("P3", 256, 256)])), ["P1", "P2"], "what P3 gives back is too small");
}

#[test]
fn who_stands_behind_a_request_that_can_never_be_met_is_behind_it() {
    let blocks = [("P1", 256, 256), ("P2", 768, 256)];
    let found = with_memory(memory(1024, &blocks, &[("P1", 300), ("P2", 300), ("P3", 16)]), Vec::new());
    assert_eq!(names(&found), ["P1", "P2", "P3"]);
    let wait = &found.stuck[2].waits[0];
    assert_eq!((wait.why, wait.held_by.as_slice()), (Why::Behind, [("P1".to_owned(), 0)].as_slice()));
}

#[test]
fn a_deadlock_by_pieces_goes_on_over_a_semaphore() {
    // P2 has the block in the middle and waits for what P1 has.
    let semaphore = |holder| vec![resource("semaphore:s", 1, &[(holder, 1)], &[("P2", 1)])];
    let arena = || memory(10, &[("P2", 5, 1)], &[("P1", 6)]);
    let found = with_memory(arena(), semaphore("P1"));
    assert_eq!(names(&found), ["P1", "P2"]);
    assert_eq!(circle(&found), [("P1", "memory", "P2"), ("P2", "semaphore:s", "P1")]);
    assert!(with_memory(arena(), semaphore("P3")).stuck.is_empty());
}

/// An arena whose units belong to somebody or nobody, its queue, and semaphores with one permit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    cells: Vec<Option<usize>>,
    queue: Vec<(usize, usize)>,
    semaphores: Vec<(Option<usize>, Option<usize>)>,
    ended: Vec<bool>,
}

impl World {
    fn waits(&self, process: usize) -> usize {
        self.queue.iter().filter(|(waiter, _)| *waiter == process).count()
            + self.semaphores.iter().filter(|(_, waiter)| *waiter == Some(process)).count()
    }

    fn left(&self) -> BTreeSet<usize> {
        (0..self.ended.len()).filter(|process| !self.ended[*process]).collect()
    }

    /// Serves the queue, with each block in every place where it fits.
    fn served(self) -> Vec<World> {
        let Some(&(process, size)) = self.queue.first() else { return vec![self] };
        let fits = |start: &usize| self.cells[*start..start + size].iter().all(Option::is_none);
        let places: Vec<usize> = (0..=self.cells.len() - size).filter(fits).collect();
        if places.is_empty() {
            return vec![self];
        }
        let placed = places.into_iter().map(|start| {
            let mut world = self.clone();
            world.queue.remove(0);
            world.cells[start..start + size].fill(Some(process));
            world
        });
        placed.flat_map(World::served).collect()
    }

    fn end(&self, process: usize) -> Vec<World> {
        let mut world = self.clone();
        world.ended[process] = true;
        for cell in world.cells.iter_mut().filter(|cell| **cell == Some(process)) {
            *cell = None;
        }
        for (holder, waiter) in &mut world.semaphores {
            if *holder == Some(process) {
                *holder = waiter.take();
            }
        }
        world.served()
    }

    /// Where nothing can happen any more, for every way that leads there.
    fn ends(&self) -> Vec<World> {
        let (mut open, mut seen, mut ends) = (self.clone().served(), HashSet::new(), Vec::new());
        while let Some(world) = open.pop() {
            if !seen.insert(world.clone()) {
                continue;
            }
            let can_end: Vec<usize> = world.left().into_iter().filter(|process| world.waits(*process) == 0).collect();
            open.extend(can_end.iter().flat_map(|process| world.end(*process)));
            if can_end.is_empty() {
                ends.push(world);
            }
        }
        ends
    }

    /// Whom the search names; without `is_placed` it is not told where the blocks lie.
    fn stuck(&self, is_placed: bool) -> BTreeSet<usize> {
        let pids: Vec<String> = (0..self.ended.len()).map(|process| format!("P{process}")).collect();
        // Neighbours of one owner are one block here and two there: that makes no difference.
        let cells = (0_u64..).zip(&self.cells).filter_map(|(unit, cell)| Some((pids[(*cell)?].as_str(), unit, 1)));
        let blocks: Vec<(&str, u64, u64)> = cells.collect();
        let waiters: Vec<(&str, u64)> =
            self.queue.iter().map(|(process, size)| (pids[*process].as_str(), *size as u64)).collect();
        let (state, mut places) = memory(self.cells.len() as u64, &blocks, &waiters);
        if !is_placed {
            places.blocks.clear();
        }
        let semaphores = self.semaphores.iter().enumerate().map(|(index, (holder, waiter))| {
            let of = |process: &Option<usize>| process.map(|process| (pids[process].as_str(), 1));
            let (holders, waiters): (Vec<_>, Vec<_>) =
                (of(holder).into_iter().collect(), of(waiter).into_iter().collect());
            resource(&format!("semaphore:{index}"), 1, &holders, &waiters)
        });
        let found = with_memory((state, places), semaphores.collect());
        found.stuck.into_iter().map(|stuck| stuck.pid[1..].parse().unwrap()).collect()
    }
}

const PROCESSES: usize = 4;

fn small_arena() -> impl Strategy<Value = World> {
    let piece = (prop::option::of(0..PROCESSES), 1_usize..=3);
    let pieces = prop::collection::vec(piece, 1..=6);
    let queue = prop::collection::vec((0..PROCESSES, 1_usize..=6), 0..=4);
    let semaphores = prop::collection::vec((0..PROCESSES, prop::option::of(0..PROCESSES)), 0..=2);
    (pieces, queue, semaphores).prop_map(|(pieces, queue, semaphores)| {
        let cells: Vec<Option<usize>> =
            pieces.into_iter().flat_map(|(owner, size)| std::iter::repeat_n(owner, size)).collect();
        let queue = queue.into_iter().filter(|(_, size)| *size <= cells.len()).collect();
        let semaphores = semaphores.into_iter().map(|(holder, waiter)| (Some(holder), waiter)).collect();
        World { cells, queue, semaphores, ended: vec![false; PROCESSES] }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(2000)))]

    /// Never a false alarm: whoever is named is stuck at the end of every way, wherever blocks are put. And never a miss when
    /// nobody waits for two things at once, nor where nothing can happen any more.
    #[test]
    fn a_search_through_all_places_of_a_small_arena_finds_the_same(world in small_arena()) {
        let stuck = world.stuck(true);
        for end in world.ends() {
            let left = end.left();
            prop_assert!(stuck.is_subset(&left), "{stuck:?} can end: only {left:?} are left in {end:?}");
            prop_assert_eq!(end.stuck(true), left.clone(), "all who are left where nothing can happen are deadlocked");
            if (0..PROCESSES).all(|process| world.waits(process) <= 1) {
                prop_assert_eq!(&left, &stuck);
            }
        }
        prop_assert!(world.stuck(false).is_subset(&stuck), "blocks that are left out hide a deadlock and make none");
    }
}
