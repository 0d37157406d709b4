//! The table and its searches against a model that is too simple to be wrong.

use crate::batch::Batch;
use crate::books::Outcome;
use crate::config::Retention;
use crate::query::{Search, search, task};
use crate::table::Table;
use crate::{database, query};
use potluck_sdk::message::history::TaskRecord;
use proptest::prelude::*;
use rusqlite::Connection;
use std::path::PathBuf;
use std::time::Instant;
use tempfile::TempDir;

const START_MS: u64 = 1_767_323_045_678;

struct Fixture {
    folder: TempDir,
    table: Table,
    batches: u64,
}

impl Fixture {
    fn new(records_max: u64) -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let retention = Retention { records_max, keep_ms: None };
        let table = Table::open(&folder.path().join("history.sqlite"), retention).unwrap();
        Fixture { folder, table, batches: 0 }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("history.sqlite")
    }

    fn record(&mut self, records: Vec<TaskRecord>) {
        self.batches += 1;
        let batch = Batch::of(&format!("b{}", self.batches), &records);
        let count = batch.len();
        assert_eq!(self.table.record(&[&batch], START_MS).unwrap(), [count]);
    }

    fn reader(&self) -> Connection {
        database::open_to_read(&self.path()).unwrap()
    }
}

/// All pages of a search, in one list with the newest last.
fn all(connection: &Connection, wanted: &Search) -> Vec<TaskRecord> {
    let mut wanted = wanted.clone();
    let mut found: Vec<TaskRecord> = Vec::new();
    loop {
        let page = search(connection, &wanted, &|| false).unwrap();
        found.splice(0..0, page.records);
        match page.next {
            Some(next) => wanted.before = Some(next),
            None => return found,
        }
    }
}

fn outcome(number: u64) -> Outcome {
    [Outcome::Success, Outcome::Success, Outcome::Failed, Outcome::Cancelled][number as usize % 4]
}

fn sample(number: u64) -> TaskRecord {
    TaskRecord {
        task_id: format!("T{number}"),
        task_type: "CPU_TASK".to_owned(),
        status: outcome(number).word().to_owned(),
        finished_unix_ms: START_MS + number * 10,
        execution_time: Some(0.5),
        peer_info: Some("10.0.0.7:9000".to_owned()),
        requested_by: Some("local".to_owned()),
        role: Some("EXECUTOR".to_owned()),
        result: Some(number.to_string()),
        pid: Some(format!("P{number}")),
        function: Some("main".to_owned()),
        runtime: Some("python".to_owned()),
        peer_id: Some("abababab-abab-8bab-abab-abababababab".to_owned()),
        waiting_time: Some(0.25),
        ..TaskRecord::default()
    }
}

#[test]
fn a_record_comes_back_as_it_was_and_too_long_texts_are_cut() {
    let mut fixture = Fixture::new(100);
    let mut record = TaskRecord { attempts: Some(3), cpu_seconds: Some(0.125), cached: true, ..sample(1) };
    let long = TaskRecord {
        task_id: "é".repeat(1000),
        result: Some("x".repeat(1000)),
        error: Some("y".repeat(1000)),
        ..sample(2)
    };
    let secret = TaskRecord { confidential: true, error: Some("secret".to_owned()), ..sample(3) };
    fixture.record(vec![record.clone(), long, secret]);
    let found = all(&fixture.reader(), &Search { limit: 10, ..Search::default() });
    (record.number, record.timestamp) = (1, crate::time::local_time(record.finished_unix_ms));
    assert_eq!(found[0], record);
    assert_eq!(found[1].task_id, "é".repeat(256));
    assert_eq!(found[1].result.as_ref().map(String::len), Some(100));
    assert_eq!(found[1].error.as_ref().map(String::len), Some(500));
    assert_eq!((found[2].result.as_ref(), found[2].error.as_ref(), found[2].confidential), (None, None, true));
}

#[test]
fn what_is_kept_cut_is_found_by_its_whole_name() {
    let mut fixture = Fixture::new(100);
    let (id, function) = ("i".repeat(256), "f".repeat(1024));
    let (longer, other) = ("é".repeat(1000), format!("{}-", "f".repeat(199)));
    fixture.record(vec![
        TaskRecord { task_id: id.clone(), function: Some(function.clone()), ..sample(1) },
        TaskRecord { task_id: longer.clone(), function: Some(other), ..sample(2) },
    ]);
    let reader = fixture.reader();
    let number = |id: &str| task(&reader, id, None).unwrap().map(|record| record.number);
    assert_eq!((number(&id), number(&longer), number(&id[1..])), (Some(1), Some(2), None));
    let by_text = |text: &str| -> Vec<u64> {
        let wanted = Search { limit: 10, text: Some(text.to_owned()), ..Search::default() };
        all(&reader, &wanted).iter().map(|record| record.number).collect()
    };
    assert_eq!((by_text(&id), by_text(&longer), by_text(&function)), (vec![1], vec![2], vec![1]));
}

#[test]
fn the_newest_record_of_a_task_is_found_in_any_block() {
    let mut fixture = Fixture::new(100_000);
    fixture.record((0..5000).map(sample).collect());
    fixture.record(vec![TaskRecord { requested_by: Some("bert".to_owned()), ..sample(7) }]);
    let reader = fixture.reader();
    let number = |id: &str, of| task(&reader, id, of).unwrap().map(|record| record.number);
    assert_eq!(number("T7", None), Some(5001));
    assert_eq!(number("T7", Some("local")), Some(8));
    assert_eq!(number("T7", Some("bert")), Some(5001));
    assert_eq!(number("T7", Some("nobody")), None);
    assert_eq!(number("T4999", Some("bert")), None);
    assert_eq!(number("T4999", None), Some(5000));
    assert_eq!(number("T5000", None), None);
}

#[test]
fn text_is_looked_for_as_it_is() {
    let mut fixture = Fixture::new(100);
    let named = |task_id: &str, function: &str| TaskRecord {
        task_id: task_id.to_owned(),
        function: Some(function.to_owned()),
        ..sample(0)
    };
    fixture.record(vec![named("a%b", "main"), named("axb", "main"), named("c_d", "Fold"), named("cxd\\", "x")]);
    let reader = fixture.reader();
    let count =
        |text: &str| all(&reader, &Search { limit: 10, text: Some(text.to_owned()), ..Search::default() }).len();
    assert_eq!([count("%"), count("_"), count("\\"), count("MAIN"), count("fold"), count("zz")], [1, 1, 1, 2, 1, 0]);
}

#[test]
fn sums_are_those_of_the_records_after_opening_again() {
    let mut fixture = Fixture::new(100_000);
    fixture.record((0..3000).map(sample).collect());
    let before = fixture.table.books();
    drop(fixture.table);
    fixture.table =
        Table::open(&fixture.folder.path().join("history.sqlite"), Retention { records_max: 100_000, keep_ms: None })
            .unwrap();
    let after = fixture.table.books();
    assert_eq!(before.all, after.all);
    assert_eq!(after.all.statistics().success_rate, Some(0.5));
    assert_eq!(after.all.statistics().average_execution_time, 0.5);
    fixture.record((0..10).map(sample).collect());
    let reader = fixture.reader();
    assert_eq!(all(&reader, &Search { limit: 10_000, ..Search::default() }).len(), 3010);
    assert_eq!(task(&reader, "T9", None).unwrap().map(|record| record.number), Some(3010));
}

#[test]
fn a_full_disk_is_told_and_the_batch_can_be_sent_again() {
    let mut fixture = Fixture::new(100_000);
    fixture.record((0..10).map(sample).collect());
    fixture.table.limit_pages(1);
    let batch = Batch::of("later", &(10..5000).map(sample).collect::<Vec<TaskRecord>>());
    let error = fixture.table.record(&[&batch], START_MS).unwrap_err();
    assert!(!error.is_damage() && error.to_string().contains("disk is full"), "{error}");
    let retention = Retention { records_max: 100_000, keep_ms: None };
    fixture.table = Table::open(&fixture.path(), retention).unwrap();
    assert_eq!(fixture.table.books().all.total(), 10);
    assert_eq!(fixture.table.record(&[&batch, &batch], START_MS).unwrap(), [4990, 0]);
    assert_eq!(all(&fixture.reader(), &Search { limit: 10_000, ..Search::default() }).len(), 5000);
}

/// Searches of every kind in many records, with rare ones among them. With POTLUCK_HISTORY_BENCH in the environment there
/// are a million, and the times are worth a look.
#[test]
fn rare_records_are_found_among_many() {
    let count: u64 = if std::env::var_os("POTLUCK_HISTORY_BENCH").is_some() { 1_000_000 } else { 60_000 };
    let id = |number: u64| format!("{:016x}-{number}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut fixture = Fixture::new(2_000_000);
    let begun = Instant::now();
    for first in (0..count).step_by(5000) {
        let records = (first..first + 5000).map(|number| {
            let mut record = sample(number);
            record.task_id = id(number);
            record.status = if number % 50_000 == 7 { "FAILED" } else { "SUCCESS" }.to_owned();
            if number % 1000 == 3 {
                record.requested_by = Some("bert".to_owned());
            }
            if number == 11 {
                record.peer_info = Some("10.9.9.9:9000".to_owned());
                record.peer_id = None;
                record.function = Some("needle".to_owned());
            }
            record
        });
        fixture.record(records.collect());
    }
    let bytes = std::fs::metadata(fixture.path()).unwrap().len();
    println!("{count} records in {:?}, {} bytes each", begun.elapsed(), bytes / count);
    let reader = fixture.reader();
    let found = |what: &str, change: &dyn Fn(&mut Search)| {
        let mut wanted = Search { limit: 100, ..Search::default() };
        change(&mut wanted);
        let begun = Instant::now();
        let page = search(&reader, &wanted, &|| false).unwrap();
        println!("{what}: {} records in {:?}", page.records.len(), begun.elapsed());
        if page.records.len() == wanted.limit { wanted.limit } else { all(&reader, &wanted).len() }
    };
    assert_eq!(found("all", &|_| ()), 100);
    let failed = (count / 50_000 + u64::from(count % 50_000 > 7)) as usize;
    assert_eq!(found("failed", &|wanted| wanted.outcome = Some(Outcome::Failed)), failed);
    assert_eq!(found("cancelled", &|wanted| wanted.outcome = Some(Outcome::Cancelled)), 0);
    assert_eq!(found("one peer", &|wanted| wanted.peer = Some("10.9.9.9:9000".to_owned())), 1);
    assert_eq!(found("no peer", &|wanted| wanted.peer = Some("10.0.0.9:9000".to_owned())), 0);
    let of_bert = (count / 1000).min(100) as usize;
    assert_eq!(found("a caller", &|wanted| wanted.callers = vec!["bert".to_owned()]), of_bert);
    assert_eq!(found("the oldest", &|wanted| wanted.until_ms = Some(START_MS + 45)), 5);
    assert_eq!(found("the newest", &|wanted| wanted.since_ms = Some(START_MS + (count - 3) * 10)), 3);
    assert_eq!(found("half", &|wanted| wanted.since_ms = Some(START_MS + count / 2 * 10)), 100);
    assert_eq!(found("text", &|wanted| wanted.text = Some("needle".to_owned())), 1);
    let begun = Instant::now();
    assert_eq!(task(&reader, &id(5), None).unwrap().map(|record| record.number), Some(6));
    println!("a task by its name: {:?}", begun.elapsed());
    assert_eq!(task(&reader, "nothing", None).unwrap(), None);
}

fn records() -> impl Strategy<Value = Vec<TaskRecord>> {
    let one = (0..4u64, 0..3u8, 0..4u8, 0..100u64, proptest::option::of(0..5u32), any::<bool>());
    let one = one.prop_map(|(kind, caller, place, time, seconds, named)| TaskRecord {
        task_id: format!("T{}", time % 10),
        task_type: if kind == 3 { "OTHER" } else { "CPU_TASK" }.to_owned(),
        status: outcome(kind).word().to_owned(),
        finished_unix_ms: START_MS + time * 1000,
        execution_time: seconds.map(f64::from),
        peer_info: (place > 0).then(|| format!("10.0.0.{}:9000", place % 2)),
        peer_id: (place > 1).then(|| format!("peer-{place}")),
        requested_by: (caller > 0).then(|| format!("caller-{caller}")),
        function: named.then(|| format!("f{}", time % 7)),
        ..TaskRecord::default()
    });
    proptest::collection::vec(one, 1..400)
}

fn wanted() -> impl Strategy<Value = Search> {
    (
        1..50usize,
        proptest::option::of(0..4u64),
        proptest::option::of(prop_oneof![Just("peer-2"), Just("10.0.0.1:9000"), Just("10.0.0.0:9000"), Just("no")]),
        proptest::option::of(prop_oneof![Just("caller-1"), Just("caller-2"), Just("no")]),
        proptest::option::of(0..100u64),
        proptest::option::of(0..100u64),
        proptest::option::of(prop_oneof![Just("t3"), Just("F1"), Just("no")]),
        any::<bool>(),
    )
        .prop_map(|(limit, status, peer, caller, since, until, text, of_type)| Search {
            limit,
            task_type: of_type.then(|| "CPU_TASK".to_owned()),
            outcome: status.map(outcome),
            peer: peer.map(str::to_owned),
            callers: caller.into_iter().map(str::to_owned).collect(),
            since_ms: since.map(|since| START_MS + since * 1000),
            until_ms: until.map(|until| START_MS + until * 1000),
            text: text.map(str::to_owned),
            before: None,
        })
}

fn fits(record: &TaskRecord, wanted: &Search) -> bool {
    let has = |text: &str| {
        let names = [Some(&record.task_id), record.function.as_ref()];
        names.into_iter().flatten().any(|name| name.to_ascii_lowercase().contains(&text.to_ascii_lowercase()))
    };
    wanted.task_type.as_ref().is_none_or(|wanted| *wanted == record.task_type)
        && wanted.outcome.is_none_or(|wanted| wanted.word() == record.status)
        && wanted.callers.iter().all(|wanted| Some(wanted) == record.requested_by.as_ref())
        && wanted
            .peer
            .as_ref()
            .is_none_or(|wanted| [&record.peer_id, &record.peer_info].contains(&&Some(wanted.clone())))
        && wanted.since_ms.is_none_or(|since| record.finished_unix_ms >= since)
        && wanted.until_ms.is_none_or(|until| record.finished_unix_ms < until)
        && wanted.text.as_deref().is_none_or(has)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever was recorded and removed, a search finds what fits, and the sums are those of what is there.
    #[test]
    fn a_search_finds_exactly_what_fits(
        batches in proptest::collection::vec(records(), 1..8),
        searches in proptest::collection::vec(wanted(), 1..10),
        records_max in 300..4000u64,
        reopen in any::<bool>(),
    ) {
        let mut fixture = Fixture::new(records_max);
        let mut model: Vec<TaskRecord> = Vec::new();
        for records in batches {
            model.extend(records.iter().cloned());
            fixture.record(records);
            while fixture.table.is_overdue(START_MS) {
                fixture.table.trim(START_MS, 100).unwrap();
            }
            let kept = fixture.table.books().all.total() as usize;
            prop_assert!(kept as u64 <= records_max + records_max / 10);
            model.drain(..model.len() - kept);
            if reopen {
                drop(fixture.table);
                fixture.table = Table::open(
                    &fixture.folder.path().join("history.sqlite"),
                    Retention { records_max, keep_ms: None },
                ).unwrap();
            }
        }
        let reader = fixture.reader();
        let strip = |record: &TaskRecord| (record.task_id.clone(), record.finished_unix_ms, record.status.clone());
        for wanted in searches {
            let expected: Vec<_> = model.iter().filter(|record| fits(record, &wanted)).map(strip).collect();
            let found: Vec<_> = all(&reader, &wanted).iter().map(strip).collect();
            prop_assert_eq!(&found, &expected, "{:?}", wanted);
            let page = query::search(&reader, &wanted, &|| false).unwrap();
            prop_assert!(page.records.len() <= wanted.limit);
        }
        for id in 0..10 {
            let id = format!("T{id}");
            let expected = model.iter().rev().find(|record| record.task_id == id).map(strip);
            prop_assert_eq!(task(&reader, &id, None).unwrap().as_ref().map(strip), expected);
        }
        let books = fixture.table.books();
        for caller in [None, Some("caller-1"), Some("caller-2"), Some("no")] {
            let of: Vec<_> = model
                .iter()
                .filter(|record| caller.is_none_or(|caller| record.requested_by.as_deref() == Some(caller)))
                .collect();
            let count = |status: &str| of.iter().filter(|record| record.status == status).count() as u64;
            let times: Vec<f64> = of.iter().filter_map(|record| record.execution_time).collect();
            let statistics = books.statistics(caller);
            prop_assert_eq!(statistics.total_tasks, of.len() as u64);
            prop_assert_eq!(statistics.successful, count("SUCCESS"));
            prop_assert_eq!(statistics.failed, count("FAILED"));
            prop_assert_eq!(statistics.cancelled, count("CANCELLED"));
            let mean = if times.is_empty() { 0.0 } else { times.iter().sum::<f64>() / times.len() as f64 };
            prop_assert!((statistics.average_execution_time - mean).abs() < 1e-9);
        }
    }
}
