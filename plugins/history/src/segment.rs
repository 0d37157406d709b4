//! Records as they lie on the disk: up to 64 in one row of the table `segments`, one behind the other, each without what it
//! has in common with the one before. A row for each record would cost a busy node more than all else that the history does.
//!
//! Numbers are variable-length integers of seven bits a byte, the lowest first. A record is: a mask of what follows; the
//! numbers of the caller and of the place, unless they are those of the record before; by how many milliseconds it ended
//! later, with the sign in the lowest bit; the times and the attempts that are known; each text that is not the one of the
//! record before, behind its length in bytes. This may not change: files of before have it.

use crate::books::Outcome;
use crate::database::BLOCK_BITS;
use crate::error::HistoryError;
use rusqlite::{Connection, OptionalExtension};
use std::ops::Range;

/// Most records of a segment. The last one is written anew with each commit until it is full, so it may not be long.
const RECORDS_MAX: usize = 64;
/// Bytes after which a segment is full, for the same reason.
const BYTES_FULL: usize = 16 << 10;

/// Texts of a record.
pub(crate) const TEXTS: usize = 9;
/// Their places in [`Stored::texts`].
pub(crate) const TASK_ID: usize = 0;
pub(crate) const FUNCTION: usize = 1;
pub(crate) const TASK_TYPE: usize = 2;
pub(crate) const ROLE: usize = 3;
pub(crate) const PID: usize = 4;
pub(crate) const RUNTIME: usize = 5;
pub(crate) const CODE: usize = 6;
pub(crate) const RESULT: usize = 7;
pub(crate) const ERROR: usize = 8;

// Bits of the mask; the lowest TEXTS say which texts are those of the record before.
const OUTCOME_SHIFT: u32 = 9;
const CACHED: u64 = 1 << 11;
const CONFIDENTIAL: u64 = 1 << 12;
const EXECUTION: u64 = 1 << 13;
const WAITING: u64 = 1 << 14;
const CPU: u64 = 1 << 15;
const ATTEMPTS: u64 = 1 << 16;
const SAME_ORIGIN: u64 = 1 << 17;

/// A record of a segment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stored<'a> {
    pub(crate) number: i64,
    pub(crate) caller: i64,
    pub(crate) place: i64,
    pub(crate) outcome: Outcome,
    pub(crate) finished_ms: u64,
    pub(crate) execution_us: Option<u64>,
    pub(crate) waiting_us: Option<u64>,
    pub(crate) cpu_us: Option<u64>,
    pub(crate) attempts: Option<u32>,
    pub(crate) cached: bool,
    pub(crate) confidential: bool,
    /// UTF-8, if the file is in order.
    pub(crate) texts: [&'a [u8]; TEXTS],
}

/// What a record is compared with.
#[derive(Clone, Debug, Default)]
struct Before {
    caller: i64,
    place: i64,
    finished_ms: u64,
    /// Where its texts are in the segment.
    texts: [Range<usize>; TEXTS],
}

/// Consecutive records, the last of which may be still to come.
#[derive(Debug, Default)]
pub(crate) struct Segment {
    /// Number of the first record.
    first: i64,
    count: usize,
    bytes: Vec<u8>,
    before: Before,
    is_changed: bool,
}

impl Segment {
    /// The newest one, to go on with; an empty one when there is none.
    pub(crate) fn newest(connection: &Connection) -> Result<Segment, HistoryError> {
        let row: Option<(i64, Vec<u8>)> = connection
            .prepare_cached("SELECT first, records FROM segments ORDER BY first DESC LIMIT 1")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((first, bytes)) = row else { return Ok(Segment::default()) };
        let mut reading = Reading::new(first, &bytes);
        while reading.next()?.is_some() {}
        let Reading { count, before, .. } = reading;
        Ok(Segment { first, count, bytes, before, is_changed: false })
    }

    /// Number of the first record; none of an empty one.
    pub(crate) fn first(&self) -> Option<i64> {
        (self.count > 0).then_some(self.first)
    }

    /// Number of the last record; 0 of an empty one.
    pub(crate) fn last(&self) -> i64 {
        if self.count == 0 { 0 } else { self.first + self.count as i64 - 1 }
    }

    /// Puts a record behind the others. When it cannot be in one segment with them, they are written and it begins another.
    pub(crate) fn push(&mut self, connection: &Connection, record: &Stored<'_>) -> Result<(), HistoryError> {
        let is_full = self.count == RECORDS_MAX || self.bytes.len() >= BYTES_FULL;
        let is_next = self.count > 0
            && record.number == self.first + self.count as i64
            && record.number >> BLOCK_BITS == self.first >> BLOCK_BITS;
        if is_full || !is_next {
            self.write(connection)?;
            let bytes = std::mem::take(&mut self.bytes);
            *self = Segment { first: record.number, bytes, ..Segment::default() };
            self.bytes.clear();
        }
        self.append(record);
        Ok(())
    }

    /// Writes what has changed.
    pub(crate) fn write(&mut self, connection: &Connection) -> Result<(), HistoryError> {
        if std::mem::take(&mut self.is_changed) {
            connection
                .prepare_cached("INSERT OR REPLACE INTO segments (first, records) VALUES (?, ?)")?
                .execute(rusqlite::params![self.first, self.bytes])?;
        }
        Ok(())
    }

    fn append(&mut self, record: &Stored<'_>) {
        let Segment { bytes, before, count, .. } = self;
        let is_first = *count == 0;
        let mut mask = (record.outcome as u64) << OUTCOME_SHIFT;
        let is_same_origin = record.caller == before.caller && record.place == before.place;
        let flags = [
            (record.cached, CACHED),
            (record.confidential, CONFIDENTIAL),
            (record.execution_us.is_some(), EXECUTION),
            (record.waiting_us.is_some(), WAITING),
            (record.cpu_us.is_some(), CPU),
            (record.attempts.is_some(), ATTEMPTS),
            (is_same_origin && !is_first, SAME_ORIGIN),
        ];
        for (is_set, flag) in flags {
            mask |= if is_set { flag } else { 0 };
        }
        for (place, text) in record.texts.iter().enumerate() {
            // Before the first one there are only empty texts.
            if bytes.get(before.texts[place].clone()) == Some(text) {
                mask |= 1 << place;
            }
        }
        put(bytes, mask);
        if mask & SAME_ORIGIN == 0 {
            put(bytes, record.caller as u64);
            put(bytes, record.place as u64);
        }
        put(bytes, zigzag(record.finished_ms.wrapping_sub(before.finished_ms) as i64));
        let numbers = [record.execution_us, record.waiting_us, record.cpu_us, record.attempts.map(u64::from)];
        for number in numbers.into_iter().flatten() {
            put(bytes, number);
        }
        for (place, text) in record.texts.iter().enumerate() {
            if mask & 1 << place == 0 {
                put(bytes, text.len() as u64);
                before.texts[place] = bytes.len()..bytes.len() + text.len();
                bytes.extend_from_slice(text);
            }
        }
        (before.caller, before.place, before.finished_ms) = (record.caller, record.place, record.finished_ms);
        *count += 1;
        self.is_changed = true;
    }
}

/// The records of a segment, the oldest first.
pub(crate) fn read(first: i64, bytes: &[u8]) -> Result<Vec<Stored<'_>>, HistoryError> {
    let mut records = Vec::with_capacity(RECORDS_MAX);
    let mut reading = Reading::new(first, bytes);
    while let Some(record) = reading.next()? {
        records.push(record);
    }
    Ok(records)
}

/// When the first record of all ended.
pub(crate) fn oldest_ms(connection: &Connection) -> Result<Option<u64>, HistoryError> {
    let mut statement = connection.prepare_cached("SELECT first, records FROM segments ORDER BY first LIMIT 1")?;
    let mut rows = statement.query([])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let bytes = row.get_ref(1)?.as_blob().unwrap_or_default();
    Ok(Reading::new(row.get(0)?, bytes).next()?.map(|record| record.finished_ms))
}

/// One record after the other.
struct Reading<'a> {
    first: i64,
    count: usize,
    bytes: &'a [u8],
    at: usize,
    before: Before,
}

impl<'a> Reading<'a> {
    fn new(first: i64, bytes: &'a [u8]) -> Reading<'a> {
        Reading { first, count: 0, bytes, at: 0, before: Before::default() }
    }

    fn next(&mut self) -> Result<Option<Stored<'a>>, HistoryError> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        if self.count == RECORDS_MAX {
            return Err(damaged());
        }
        self.record().map(Some).ok_or_else(damaged)
    }

    fn record(&mut self) -> Option<Stored<'a>> {
        let mask = self.integer()?;
        if mask & SAME_ORIGIN == 0 {
            self.before.caller = self.integer()? as i64;
            self.before.place = self.integer()? as i64;
        }
        let later_ms = unzigzag(self.integer()?);
        self.before.finished_ms = self.before.finished_ms.wrapping_add(later_ms as u64);
        let mut known = |flag| if mask & flag == 0 { Some(None) } else { self.integer().map(Some) };
        let (execution_us, waiting_us, cpu_us) = (known(EXECUTION)?, known(WAITING)?, known(CPU)?);
        let attempts = known(ATTEMPTS)?.map(u32::try_from).transpose().ok()?;
        let mut texts = [&[][..]; TEXTS];
        for (place, text) in texts.iter_mut().enumerate() {
            if mask & 1 << place == 0 {
                let len = usize::try_from(self.integer()?).ok()?;
                let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len())?;
                self.before.texts[place] = self.at..end;
                self.at = end;
            }
            *text = self.bytes.get(self.before.texts[place].clone())?;
        }
        let number = self.first.checked_add(self.count as i64)?;
        self.count += 1;
        Some(Stored {
            number,
            caller: self.before.caller,
            place: self.before.place,
            outcome: Outcome::from_number((mask >> OUTCOME_SHIFT & 3) as i64),
            finished_ms: self.before.finished_ms,
            execution_us,
            waiting_us,
            cpu_us,
            attempts,
            cached: mask & CACHED != 0,
            confidential: mask & CONFIDENTIAL != 0,
            texts,
        })
    }

    fn integer(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

fn damaged() -> HistoryError {
    HistoryError::Damaged("a row of `segments` is not as it was written".to_owned())
}

fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Small numbers of either sign as small ones without.
fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::{RECORDS_MAX, Segment, Stored, TEXTS, read};
    use crate::books::Outcome;
    use crate::database;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    struct Owned {
        origin: (u32, u32),
        outcome: i64,
        finished_ms: u64,
        numbers: (Option<u64>, Option<u64>, Option<u64>, Option<u32>),
        flags: (bool, bool),
        texts: Vec<String>,
    }

    fn owned() -> impl Strategy<Value = Owned> {
        let numbers = (
            any::<Option<u64>>(),
            any::<Option<u64>>(),
            proptest::option::of(0..200u64),
            proptest::option::of(0..9u32),
        );
        let text = prop_oneof![Just(String::new()), Just("python".to_owned()), ".{0,300}"];
        let texts = proptest::collection::vec(text, TEXTS);
        ((0..3u32, 0..3u32), 0..3i64, any::<u64>(), numbers, any::<(bool, bool)>(), texts).prop_map(
            |(origin, outcome, finished_ms, numbers, flags, texts)| Owned {
                origin,
                outcome,
                finished_ms,
                numbers,
                flags,
                texts,
            },
        )
    }

    fn stored(number: i64, owned: &Owned) -> Stored<'_> {
        Stored {
            number,
            caller: owned.origin.0.into(),
            place: owned.origin.1.into(),
            outcome: Outcome::from_number(owned.outcome),
            finished_ms: owned.finished_ms,
            execution_us: owned.numbers.0,
            waiting_us: owned.numbers.1,
            cpu_us: owned.numbers.2,
            attempts: owned.numbers.3,
            cached: owned.flags.0,
            confidential: owned.flags.1,
            texts: std::array::from_fn(|place| owned.texts[place].as_bytes()),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        /// With the segment taken up again from the disk now and then.
        #[test]
        fn records_come_back_from_their_segments(
            records in proptest::collection::vec((owned(), proptest::bool::weighted(0.1)), 1..150),
            first in 1..2000i64,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let connection = database::open(&folder.path().join("history.sqlite")).unwrap();
            let mut segment = Segment::default();
            for (place, (owned, is_reopened)) in records.iter().enumerate() {
                segment.push(&connection, &stored(first + place as i64, owned)).unwrap();
                if *is_reopened {
                    segment.write(&connection).unwrap();
                    segment = Segment::newest(&connection).unwrap();
                }
            }
            segment.write(&connection).unwrap();
            prop_assert_eq!(segment.last(), first + records.len() as i64 - 1);
            let mut next = first;
            let mut statement = connection.prepare("SELECT first, records FROM segments ORDER BY first").unwrap();
            let mut rows = statement.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                let (begin, bytes): (i64, Vec<u8>) = (row.get(0).unwrap(), row.get(1).unwrap());
                prop_assert_eq!(begin, next);
                let found = read(begin, &bytes).unwrap();
                prop_assert!((1..=RECORDS_MAX).contains(&found.len()));
                prop_assert_eq!(begin >> 10, found.last().unwrap().number >> 10);
                for record in found {
                    prop_assert_eq!(record, stored(next, &records[(next - first) as usize].0));
                    next += 1;
                }
            }
            prop_assert_eq!(next, first + records.len() as i64);
        }

        #[test]
        fn what_is_damaged_is_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..300), first: i64) {
            let _ = read(first, &bytes);
        }
    }
}
