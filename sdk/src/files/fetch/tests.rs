//! Downloads from sources that do what a test tells them.

use super::*;
use crate::files::{BLOCK_BYTES, Folder};
use parking_lot::Mutex;
use std::io::Read;
use std::sync::Arc;

const BLOCK: usize = BLOCK_BYTES as usize;
const NEVER: Duration = Duration::from_secs(3600);

struct Bench {
    _root: tempfile::TempDir,
    folder: Folder,
    bytes: Arc<Vec<u8>>,
    hashes: BlockHashes,
    /// Name of the source and the block, in the order in which they were asked for.
    asked: Arc<Mutex<Vec<(&'static str, usize)>>>,
    limits: FetchLimits,
    cancel: AtomicBool,
}

impl Bench {
    fn new(length: usize) -> Bench {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let bytes: Vec<u8> = (0..length).map(|place| (place / 7 % 251) as u8).collect();
        let hashes = BlockHashes::read(length as u64, bytes.as_slice()).unwrap();
        let limits = FetchLimits { silence: NEVER, ..FetchLimits::default() };
        let (asked, cancel) = (Arc::default(), AtomicBool::new(false));
        Bench { _root: root, folder, bytes: Arc::new(bytes), hashes, asked, limits, cancel }
    }

    /// A source that does with each answer, and the right bytes for it, what `script` says.
    fn source(&self, name: &'static str, mut script: impl FnMut(Answer, Vec<u8>) + Send + 'static) -> Source {
        let (bytes, asked) = (Arc::clone(&self.bytes), Arc::clone(&self.asked));
        Source::new(name, move |block, answer| {
            asked.lock().push((name, block.index));
            let begin = block.offset as usize;
            script(answer, bytes[begin..begin + block.length as usize].to_vec());
        })
    }

    fn honest(&self, name: &'static str) -> Source {
        self.source(name, |answer, bytes| answer.send(Ok(bytes)))
    }

    /// Answers from another thread, as peers do.
    fn distant(&self, name: &'static str) -> Source {
        self.source(name, |answer, bytes| drop(std::thread::spawn(move || answer.send(Ok(bytes)))))
    }

    /// Takes requests and never answers them, until the test is over.
    fn mute(&self, name: &'static str) -> Source {
        let mut kept = Vec::new();
        self.source(name, move |answer, _| kept.push(answer))
    }

    fn run_into(&self, sources: Vec<Source>, file: &mut NewFile) -> Result<Vec<FetchSource>, FetchError> {
        fetch(&self.hashes, sources, file, self.limits, &self.cancel, |_| {})
    }

    /// Runs a download that ends well, and checks the file.
    fn run(&self, sources: Vec<Source>) -> Vec<FetchSource> {
        let mut file = self.folder.create().unwrap();
        let report = self.run_into(sources, &mut file).unwrap();
        self.check(file);
        assert_eq!(report.iter().map(|source| source.bytes).sum::<u64>(), self.bytes.len() as u64);
        report
    }

    fn check(&self, file: NewFile) {
        let name = "done".parse().unwrap();
        self.folder.publish(file, &name).unwrap().settle().unwrap();
        let mut bytes = Vec::new();
        self.folder.read(&name).unwrap().read_to_end(&mut bytes).unwrap();
        assert!(bytes == *self.bytes, "{} bytes of {}", bytes.len(), self.bytes.len());
    }

    fn blocks_of(&self, name: &str) -> Vec<usize> {
        self.asked.lock().iter().filter(|(asked, _)| *asked == name).map(|(_, index)| *index).collect()
    }
}

fn dropped(source: &FetchSource) -> &str {
    source.dropped.as_deref().unwrap_or_default()
}

#[test]
fn a_file_comes_from_all_sources_together() {
    let bench = Bench::new(20 * BLOCK + 17);
    let report = bench.run(vec![bench.honest("a"), bench.honest("b"), bench.honest("c")]);
    assert!(report.iter().all(|source| source.bytes > 0 && source.dropped.is_none()), "{report:?}");
}

#[test]
fn answers_may_come_from_other_threads() {
    let bench = Bench::new(40 * BLOCK);
    bench.run(vec![bench.distant("a"), bench.distant("b")]);
}

#[test]
fn files_of_no_block_and_of_one_byte_are_fetched() {
    assert_eq!(Bench::new(0).run(Vec::new()), []);
    let bench = Bench::new(1);
    assert_eq!(bench.run(vec![bench.honest("a")])[0].bytes, 1);
}

#[test]
fn a_source_that_lies_is_left_out_and_its_blocks_come_from_others() {
    let bench = Bench::new(8 * BLOCK);
    let liar = bench.source("liar", |answer, mut bytes| {
        bytes[5] ^= 1;
        answer.send(Ok(bytes));
    });
    let short = bench.source("short", |answer, bytes| answer.send(Ok(bytes[1..].to_vec())));
    let report = bench.run(vec![liar, short, bench.honest("good")]);
    for cheat in &report[..2] {
        assert!(cheat.bytes == 0 && dropped(cheat).contains("damaged"), "{cheat:?}");
    }
    assert_eq!(report[2].dropped, None);
    assert!(bench.blocks_of("liar").len() <= bench.limits.window, "nothing more is asked of it");
}

#[test]
fn a_source_may_fail_once() {
    let bench = Bench::new(6 * BLOCK);
    let mut count = 0;
    let report = bench.run(vec![bench.source("a", move |answer, bytes| {
        count += 1;
        answer.send(if count == 3 { Err("busy".to_owned()) } else { Ok(bytes) });
    })]);
    assert_eq!(report[0].dropped, None);
}

#[test]
fn a_source_that_fails_twice_is_left_out_with_its_reason() {
    let bench = Bench::new(4 * BLOCK);
    let failing = bench.source("failing", |answer, _| answer.send(Err("gone away".to_owned())));
    let careless = bench.source("careless", |answer, _| drop(answer));
    let report = bench.run(vec![failing, careless, bench.honest("good")]);
    assert!(dropped(&report[0]).ends_with("gone away") && dropped(&report[1]).ends_with("was dropped"), "{report:?}");
}

#[test]
fn when_no_source_is_left_each_reason_is_told() {
    let bench = Bench::new(2 * BLOCK);
    let failing = bench.source("failing", |answer, _| answer.send(Err("gone away".to_owned())));
    let liar = bench.source("liar", |answer, _| answer.send(Ok(Vec::new())));
    let mut file = bench.folder.create().unwrap();
    let error = bench.run_into(vec![failing, liar], &mut file).unwrap_err().to_string();
    assert!(error.contains("failing: it failed twice, at last with: gone away; liar: block"), "{error}");
    assert!(matches!(bench.run_into(Vec::new(), &mut file), Err(FetchError::NoSourceLeft(_))));
}

#[test]
fn what_a_slow_source_holds_is_asked_of_one_that_has_nothing_to_do() {
    let bench = Bench::new(12 * BLOCK);
    let report = bench.run(vec![bench.mute("slow"), bench.honest("fast")]);
    assert_eq!((report[0].bytes, &report[0].dropped), (0, &None));
    let mut blocks = bench.blocks_of("fast");
    blocks.sort_unstable();
    assert_eq!(blocks, (0..12).collect::<Vec<_>>(), "each once");
}

#[test]
fn a_late_answer_does_no_harm() {
    let bench = Bench::new(6 * BLOCK);
    let kept = Arc::new(Mutex::new(Vec::<(Answer, Vec<u8>)>::new()));
    let keeper = Arc::clone(&kept);
    let slow = bench.source("slow", move |answer, bytes| keeper.lock().push((answer, bytes)));
    // The last of the other one's blocks lets the late ones go first, some of them wrong.
    let mut count = 0;
    let fast = bench.source("fast", move |answer, bytes| {
        count += 1;
        if count == 5 {
            for (number, (late, bytes)) in kept.lock().drain(..).enumerate() {
                late.send(if number % 2 == 0 { Ok(bytes) } else { Err("late".to_owned()) });
            }
        }
        answer.send(Ok(bytes));
    });
    let mut file = bench.folder.create().unwrap();
    bench.run_into(vec![slow, fast], &mut file).unwrap();
    bench.check(file);
}

#[test]
fn a_silent_source_is_left_out_after_its_time() {
    let mut bench = Bench::new(3 * BLOCK);
    bench.limits.silence = Duration::from_millis(20);
    let mut file = bench.folder.create().unwrap();
    let error = bench.run_into(vec![bench.mute("mute")], &mut file).unwrap_err();
    let FetchError::NoSourceLeft(report) = error else { panic!("{error}") };
    assert!(dropped(&report[0]).starts_with("it said nothing"), "{report:?}");
}

#[test]
fn a_download_goes_on_where_it_stopped_and_trusts_nothing_that_is_there() {
    let bench = Bench::new(5 * BLOCK + 3);
    let mut part = bench.folder.unfinished("k").unwrap();
    let mut count = 0;
    let dying = bench.source("dying", move |answer, bytes| {
        count += 1;
        answer.send(if count <= 3 { Ok(bytes) } else { Err("gone".to_owned()) });
    });
    assert!(bench.run_into(vec![dying], &mut part).is_err());
    // A disk that has lost something, and something behind the end.
    part.file().write_all_at(b"x", BLOCK as u64 + 1).unwrap();
    part.file().write_all_at(b"rest", 6 * BLOCK as u64).unwrap();
    drop(part);
    let mut part = bench.folder.unfinished("k").unwrap();
    let mut first = None;
    let sources = vec![bench.honest("a")];
    let note = |state: Fetching| {
        first.get_or_insert(state.received_bytes);
    };
    fetch(&bench.hashes, sources, &mut part, bench.limits, &bench.cancel, note).unwrap();
    bench.check(part);
    assert_eq!(first, Some(2 * BLOCK_BYTES));
    assert_eq!(bench.blocks_of("a"), [1, 3, 4, 5]);
}

#[test]
fn a_cancelled_download_ends_though_nobody_answers() {
    let bench = Arc::new(Bench::new(2 * BLOCK));
    let mut file = bench.folder.create().unwrap();
    let other = Arc::clone(&bench);
    let mute = {
        let mut kept = Vec::new();
        bench.source("mute", move |answer, _| {
            kept.push(answer);
            other.cancel.store(true, Ordering::Relaxed);
        })
    };
    assert!(matches!(bench.run_into(vec![mute], &mut file), Err(FetchError::Cancelled)));
}

#[test]
fn no_more_is_in_flight_than_allowed() {
    let bench = Bench::new(20 * BLOCK);
    let now = Instant::now();
    let count = |limits: FetchLimits| {
        let mut plan = Plan::new(&bench.hashes, vec!["a".to_owned(), "b".to_owned()], limits);
        std::iter::from_fn(|| plan.next(now)).collect::<Vec<_>>()
    };
    let by_window = count(FetchLimits { window: 3, ..bench.limits });
    assert_eq!(by_window, [(0, 0), (1, 1), (0, 2), (1, 3), (0, 4), (1, 5)]);
    assert_eq!(count(FetchLimits { in_flight_bytes: 2 * BLOCK_BYTES, ..bench.limits }).len(), 2);
    assert_eq!(count(FetchLimits { in_flight_bytes: 1, ..bench.limits }).len(), 1);
}

#[test]
fn a_slow_source_is_not_silent() {
    let bench = Bench::new(20 * BLOCK);
    let limits = FetchLimits { silence: Duration::from_secs(10), ..bench.limits };
    let mut plan = Plan::new(&bench.hashes, vec!["slow".to_owned()], limits);
    let start = Instant::now();
    while plan.next(start).is_some() {}
    for step in 1..4 {
        let now = start + step * Duration::from_secs(9);
        plan.leave_out_silent(now);
        assert_eq!(plan.source_count(), 1, "{step}");
        plan.received(0, step as usize - 1, BLOCK_BYTES, now);
    }
    assert_eq!(plan.deadline(), Some(start + Duration::from_secs(37)));
    plan.leave_out_silent(start + Duration::from_secs(37));
    assert_eq!(plan.source_count(), 0);
}
