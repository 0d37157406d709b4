//! The heap against a plain model of it, and what went wrong in the original system.

use super::*;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

/// Operations of each algorithm when `POTLUCK_ALLOCATOR_OPERATIONS` does not say: a second or two.
const OPERATIONS: usize = 150_000;

fn operations() -> usize {
    std::env::var("POTLUCK_ALLOCATOR_OPERATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(OPERATIONS)
}

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(limit)) as u32
    }
}

impl Heap {
    /// Everything that must hold at any time, from the books alone. It takes a step for each block.
    fn check(&self) {
        let vacant: std::collections::HashSet<u32> = self.vacant.iter().copied().collect();
        assert_eq!(vacant.len(), self.vacant.len(), "a place is vacant twice");
        let mut parts: Vec<(u32, Part)> =
            (0..).zip(self.parts.iter().copied()).filter(|(slot, _)| !vacant.contains(slot)).collect();
        parts.sort_by_key(|(_, part)| part.start);
        let (mut end, mut before, mut was_free, mut free, mut free_count, mut largest) = (0, NONE, false, 0, 0, 0);
        for (slot, part) in &parts {
            assert_eq!((part.start, part.before), (end, before), "no gap, and the neighbour before is known");
            assert!(part.size > 0);
            assert!(!(was_free && part.is_free), "two free neighbours at {}", part.start);
            if before != NONE {
                assert_eq!(self.parts[before as usize].behind, *slot, "the neighbour behind is known");
            }
            if part.is_free {
                free += part.size;
                free_count += 1;
                largest = largest.max(part.size);
            }
            (end, before, was_free) = (part.start + part.size, *slot, part.is_free);
        }
        assert_eq!(end, self.total);
        assert_eq!((self.free_granules, self.free.count(), self.free.largest()), (free, free_count, largest));
    }
}

/// The used blocks alone; a search looks at every gap.
struct Model {
    total: u32,
    used: BTreeMap<u32, u32>,
    cursor: u32,
}

impl Model {
    fn gaps(&self) -> Vec<(u32, u32)> {
        let mut gaps = Vec::new();
        let mut end = 0;
        for (&start, &size) in &self.used {
            if start > end {
                gaps.push((end, start - end));
            }
            end = start + size;
        }
        if self.total > end {
            gaps.push((end, self.total - end));
        }
        gaps
    }

    fn allocate(&mut self, size: u32, algorithm: Algorithm) -> Option<u32> {
        let gaps: Vec<(u32, u32)> = self.gaps().into_iter().filter(|gap| gap.1 >= size).collect();
        let (start, _) = *match algorithm {
            Algorithm::FirstFit => gaps.first(),
            Algorithm::BestFit => gaps.iter().min_by_key(|gap| (gap.1, gap.0)),
            Algorithm::WorstFit => gaps.iter().min_by_key(|gap| (u32::MAX - gap.1, gap.0)),
            Algorithm::NextFit => gaps.iter().find(|gap| gap.0 >= self.cursor).or(gaps.first()),
        }?;
        self.used.insert(start, size);
        self.cursor = start + size;
        Some(start)
    }

    fn free(&mut self, start: u32) {
        self.used.remove(&start);
        if let Some(gap) = self.gaps().into_iter().find(|gap| gap.0 <= start && start < gap.0 + gap.1)
            && gap.0 < self.cursor
            && self.cursor < gap.0 + gap.1
        {
            self.cursor = gap.0;
        }
    }
}

/// Random work on a small heap, so that it is full and in pieces most of the time.
fn against_the_model(algorithms: &[Algorithm], operations: usize, seed: u64) {
    const TOTAL: u32 = 700;
    let mut random = Random(seed);
    let mut heap = Heap::new(TOTAL, algorithms[0]);
    let mut model = Model { total: TOTAL, used: BTreeMap::new(), cursor: 0 };
    let mut live: Vec<(Slot, u32)> = Vec::new();
    for number in 0..operations {
        if algorithms.len() > 1 && random.below(50) == 0 {
            heap.set_algorithm(algorithms[random.below(algorithms.len() as u32) as usize]);
        }
        // Now and then nearly all is freed, so that large blocks come together again.
        let frees = if number / 300 % 4 == 3 { 70 } else { 45 };
        if random.below(100) < frees && !live.is_empty() {
            let (slot, start) = live.swap_remove(random.below(live.len() as u32) as usize);
            heap.free(slot);
            model.free(start);
        } else {
            let size = if random.below(20) == 0 { 1 + random.below(200) } else { 1 + random.below(12) };
            let expected = model.allocate(size, heap.algorithm());
            let found = heap.allocate(size);
            assert_eq!(found.map(|found| found.start), expected, "operation {number} of {:?}", heap.algorithm());
            live.extend(found.map(|found| (found.slot, found.start)));
        }
        let free: u32 = model.total - model.used.values().sum::<u32>();
        assert_eq!(heap.free_granules(), free);
        heap.check();
    }
    for (slot, _) in live {
        heap.free(slot);
        heap.check();
    }
    assert_eq!((heap.free_count(), heap.largest_free()), (1, TOTAL), "all has come together again");
}

#[test]
fn first_fit_does_what_the_model_does() {
    against_the_model(&[Algorithm::FirstFit], operations(), 1);
}

#[test]
fn best_fit_does_what_the_model_does() {
    against_the_model(&[Algorithm::BestFit], operations(), 2);
}

#[test]
fn worst_fit_does_what_the_model_does() {
    against_the_model(&[Algorithm::WorstFit], operations(), 3);
}

#[test]
fn next_fit_does_what_the_model_does() {
    against_the_model(&[Algorithm::NextFit], operations(), 4);
}

#[test]
fn algorithms_can_be_switched_at_any_time() {
    against_the_model(&Algorithm::ALL, operations(), 5);
}

#[test]
fn freeing_a_block_that_fitted_exactly_does_not_hang() {
    for algorithm in Algorithm::ALL {
        let mut heap = Heap::new(100, algorithm);
        let whole = heap.allocate(100).unwrap();
        assert_eq!((heap.free_granules(), heap.free_count(), heap.largest_free()), (0, 0, 0));
        assert_eq!(heap.allocate(1), None);
        heap.free(whole.slot);
        heap.check();
        let parts: Vec<Found> = (0..4).map(|_| heap.allocate(25).unwrap()).collect();
        heap.check();
        heap.free(parts[1].slot);
        let again = heap.allocate(25).unwrap();
        assert_eq!(again.start, 25, "{algorithm:?}");
        for slot in [again.slot, parts[0].slot, parts[3].slot, parts[2].slot] {
            heap.free(slot);
            heap.check();
        }
        assert_eq!(heap.largest_free(), 100);
    }
}

#[test]
fn the_algorithms_choose_as_the_textbook_says() {
    // Free blocks of 100, 500, 200, 300 and 600; then 212, 417, 112 and 426 are asked for (Silberschatz, exercise 9.x).
    let holes = [100, 500, 200, 300, 600];
    let choices = |algorithm: Algorithm| {
        let total = holes.iter().sum::<u32>() + holes.len() as u32;
        let mut heap = Heap::new(total, Algorithm::FirstFit);
        let mut slots = Vec::new();
        for size in holes {
            slots.push(heap.allocate(size).unwrap().slot);
            heap.allocate(1).unwrap();
        }
        slots.into_iter().for_each(|slot| heap.free(slot));
        heap.set_algorithm(algorithm);
        let starts = [0, 101, 602, 803, 1104];
        let hole_of = |start: u32| starts.iter().rposition(|&hole| hole <= start).map(|index| holes[index]);
        [212, 417, 112, 426].map(|size| heap.allocate(size).and_then(|found| hole_of(found.start)))
    };
    assert_eq!(choices(Algorithm::FirstFit), [Some(500), Some(600), Some(500), None]);
    assert_eq!(choices(Algorithm::BestFit), [Some(300), Some(500), Some(200), Some(600)]);
    assert_eq!(choices(Algorithm::WorstFit), [Some(600), Some(500), Some(600), None]);
}

#[test]
fn names_of_algorithms_are_read_in_any_spelling() {
    for name in ["BEST_FIT", "best-fit", "BestFit", "best fit"] {
        assert_eq!(name.parse(), Ok(Algorithm::BestFit));
    }
    assert_eq!("BUDDY".parse::<Algorithm>(), Err(()));
}

/// `cargo nextest run -p provider-memory-manager --run-ignored only --no-capture`
#[test]
#[ignore = "it prints how fast the allocator is, and asserts nothing"]
fn pairs_of_allocate_and_free_per_second() {
    const LIVE: usize = 100_000;
    const PAIRS: usize = 2_000_000;
    for algorithm in Algorithm::ALL {
        let mut random = Random(7);
        let mut heap = Heap::new(1 << 26, algorithm);
        let mut live: Vec<Slot> = (0..LIVE).map(|_| heap.allocate(1 + random.below(64)).unwrap().slot).collect();
        // Into pieces first.
        let mut pair = |heap: &mut Heap| {
            let index = random.below(LIVE as u32) as usize;
            heap.free(live[index]);
            live[index] = black_box(heap.allocate(1 + random.below(64))).unwrap().slot;
        };
        (0..PAIRS / 2).for_each(|_| pair(&mut heap));
        let start = Instant::now();
        (0..PAIRS).for_each(|_| pair(&mut heap));
        let per_second = PAIRS as f64 / start.elapsed().as_secs_f64();
        println!(
            "{:10} {per_second:>12.0} pairs/s, {LIVE} blocks are used and {} free",
            algorithm.name(),
            heap.free_count()
        );
    }
}
