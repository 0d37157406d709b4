//! What stands beside the records: for whom and where they ran, their sums, and what occurs in which block. It is kept in
//! memory while records come, and written once for each transaction.

use crate::books::{Counters, Outcome};
use crate::database::BLOCK_BITS;
use crate::error::HistoryError;
use crate::segment;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::{BTreeSet, HashMap, HashSet};

/// What an [`Index`] knows of one that tasks ran for.
struct Caller {
    name: String,
    counters: Counters,
}

/// What an [`Index`] knows of a place where tasks ran.
struct Place {
    peer_id: String,
    address: String,
    records: u64,
}

/// The block that the next record goes into.
#[derive(Default)]
struct Block {
    number: i64,
    oldest_ms: i64,
    newest_ms: i64,
    statuses: i64,
    hashes: Vec<u8>,
    callers: HashSet<i64>,
    places: HashSet<i64>,
    /// Callers and places that are not on the disk yet.
    new_callers: Vec<i64>,
    new_places: Vec<i64>,
    is_changed: bool,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Index {
    pub(crate) all: Counters,
    /// Number of the newest record.
    last: i64,
    /// When the first record ended.
    pub(crate) oldest_ms: Option<u64>,
    caller_numbers: HashMap<String, i64>,
    callers: HashMap<i64, Caller>,
    place_numbers: HashMap<String, HashMap<String, i64>>,
    places: HashMap<i64, Place>,
    last_caller: i64,
    last_place: i64,
    /// Whose rows are to be written.
    changed_callers: BTreeSet<i64>,
    changed_places: BTreeSet<i64>,
    /// Whose sums have changed, to be told to the books.
    unpublished: HashMap<String, Option<Counters>>,
    block: Block,
    /// The caller and the place of the newest record, which are mostly those of the next one.
    recent_caller: Option<(String, i64)>,
    recent_place: Option<((String, String), i64)>,
}

impl Index {
    /// Reads it, with the number of the newest record.
    pub(crate) fn load(connection: &Connection, last: i64) -> Result<Index, HistoryError> {
        let mut index = Index { last, ..Index::default() };
        let mut statement = connection
            .prepare("SELECT number, name, successful, failed, cancelled, timed, execution_us FROM callers")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let count = |column| row.get::<_, i64>(column).map(|count| count as u64);
            let counters = Counters {
                successful: count(2)?,
                failed: count(3)?,
                cancelled: count(4)?,
                timed: count(5)?,
                execution_us: count(6)?,
            };
            index.all.successful += counters.successful;
            index.all.failed += counters.failed;
            index.all.cancelled += counters.cancelled;
            index.all.timed += counters.timed;
            index.all.execution_us += counters.execution_us;
            let (number, name): (i64, String) = (row.get(0)?, row.get(1)?);
            index.last_caller = index.last_caller.max(number);
            index.caller_numbers.insert(name.clone(), number);
            index.callers.insert(number, Caller { name, counters });
        }
        let mut statement = connection.prepare("SELECT number, peer_id, address, records FROM places")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let number: i64 = row.get(0)?;
            let place = Place { peer_id: row.get(1)?, address: row.get(2)?, records: row.get::<_, i64>(3)? as u64 };
            index.last_place = index.last_place.max(number);
            index.place_numbers.entry(place.peer_id.clone()).or_default().insert(place.address.clone(), number);
            index.places.insert(number, place);
        }
        index.oldest_ms = segment::oldest_ms(connection)?;
        index.block = Block::load(connection, index.last >> BLOCK_BITS)?;
        Ok(index)
    }

    /// Number of the newest record.
    pub(crate) fn last(&self) -> i64 {
        self.last
    }

    /// Number of one that tasks run for.
    pub(crate) fn caller(&mut self, name: &str) -> i64 {
        if let Some((recent, number)) = &self.recent_caller
            && recent == name
        {
            return *number;
        }
        let number = self.caller_numbers.get(name).copied().unwrap_or_else(|| {
            self.last_caller += 1;
            self.caller_numbers.insert(name.to_owned(), self.last_caller);
            self.callers.insert(self.last_caller, Caller { name: name.to_owned(), counters: Counters::default() });
            self.last_caller
        });
        self.recent_caller = Some((name.to_owned(), number));
        number
    }

    /// Number of a place where tasks run.
    pub(crate) fn place(&mut self, peer_id: &str, address: &str) -> i64 {
        if let Some(((recent_peer, recent_address), number)) = &self.recent_place
            && recent_peer == peer_id
            && recent_address == address
        {
            return *number;
        }
        let known = self.place_numbers.get(peer_id).and_then(|of_peer| of_peer.get(address)).copied();
        let number = known.unwrap_or_else(|| {
            self.last_place += 1;
            self.place_numbers.entry(peer_id.to_owned()).or_default().insert(address.to_owned(), self.last_place);
            let place = Place { peer_id: peer_id.to_owned(), address: address.to_owned(), records: 0 };
            self.places.insert(self.last_place, place);
            self.last_place
        });
        self.recent_place = Some(((peer_id.to_owned(), address.to_owned()), number));
        number
    }

    /// Counts a record; returns its number.
    #[allow(clippy::too_many_arguments, reason = "they are what is indexed of a record, and there is one caller")]
    pub(crate) fn add(
        &mut self,
        connection: &Connection,
        caller: i64,
        place: i64,
        outcome: Outcome,
        execution_us: Option<u64>,
        finished_ms: u64,
        task_id: &str,
    ) -> Result<i64, HistoryError> {
        self.last += 1;
        self.oldest_ms.get_or_insert(finished_ms);
        if self.last >> BLOCK_BITS != self.block.number {
            self.block.write(connection)?;
            self.block = Block { number: self.last >> BLOCK_BITS, ..Block::default() };
        }
        self.block.add(caller, place, outcome, finished_ms as i64, task_id);
        self.all.add(outcome, execution_us);
        if let Some(row) = self.callers.get_mut(&caller) {
            row.counters.add(outcome, execution_us);
            self.changed_callers.insert(caller);
        }
        if let Some(row) = self.places.get_mut(&place) {
            row.records += 1;
            self.changed_places.insert(place);
        }
        Ok(self.last)
    }

    /// Takes a record that is removed out of the sums.
    pub(crate) fn remove(&mut self, caller: i64, place: i64, outcome: Outcome, execution_us: Option<u64>) {
        self.all.remove(outcome, execution_us);
        if let Some(row) = self.callers.get_mut(&caller) {
            row.counters.remove(outcome, execution_us);
            self.changed_callers.insert(caller);
        }
        if let Some(row) = self.places.get_mut(&place) {
            row.records = row.records.saturating_sub(1);
            self.changed_places.insert(place);
        }
    }

    /// Forgets the blocks before one.
    pub(crate) fn drop_blocks_before(&mut self, connection: &Connection, block: i64) -> Result<(), HistoryError> {
        if connection.prepare_cached("DELETE FROM blocks WHERE block < ?")?.execute([block])? > 0 {
            connection.prepare_cached("DELETE FROM block_tasks WHERE block < ?")?.execute([block])?;
            connection.prepare_cached("DELETE FROM block_callers WHERE block < ?")?.execute([block])?;
            connection.prepare_cached("DELETE FROM block_places WHERE block < ?")?.execute([block])?;
        }
        Ok(())
    }

    /// Writes what has changed.
    pub(crate) fn write(&mut self, connection: &Connection) -> Result<(), HistoryError> {
        // Those without records are forgotten below.
        (self.recent_caller, self.recent_place) = (None, None);
        self.block.write(connection)?;
        let mut put = connection.prepare_cached("INSERT OR REPLACE INTO callers VALUES (?, ?, ?, ?, ?, ?, ?)")?;
        let mut delete = connection.prepare_cached("DELETE FROM callers WHERE number = ?")?;
        for number in std::mem::take(&mut self.changed_callers) {
            let Some(caller) = self.callers.get(&number) else { continue };
            let sums = caller.counters;
            if sums.total() > 0 {
                let counts = [sums.successful, sums.failed, sums.cancelled, sums.timed, sums.execution_us];
                let [successful, failed, cancelled, timed, execution_us] = counts.map(|count| count as i64);
                put.execute(params![number, caller.name, successful, failed, cancelled, timed, execution_us])?;
                match self.unpublished.get_mut(&caller.name) {
                    Some(told) => *told = Some(sums),
                    None => drop(self.unpublished.insert(caller.name.clone(), Some(sums))),
                }
                continue;
            }
            delete.execute([number])?;
            if let Some(caller) = self.callers.remove(&number) {
                self.caller_numbers.remove(&caller.name);
                self.unpublished.insert(caller.name, None);
            }
        }
        let mut put = connection.prepare_cached("INSERT OR REPLACE INTO places VALUES (?, ?, ?, ?)")?;
        let mut delete = connection.prepare_cached("DELETE FROM places WHERE number = ?")?;
        for number in std::mem::take(&mut self.changed_places) {
            let Some(place) = self.places.get(&number) else { continue };
            if place.records > 0 {
                put.execute(params![number, place.peer_id, place.address, place.records as i64])?;
                continue;
            }
            delete.execute([number])?;
            if let Some(place) = self.places.remove(&number)
                && let Some(of_peer) = self.place_numbers.get_mut(&place.peer_id)
            {
                of_peer.remove(&place.address);
                if of_peer.is_empty() {
                    self.place_numbers.remove(&place.peer_id);
                }
            }
        }
        Ok(())
    }

    /// The sums that have been written since the last time; none for one that has no records any more.
    pub(crate) fn take_published(&mut self) -> HashMap<String, Option<Counters>> {
        std::mem::take(&mut self.unpublished)
    }

    /// The sums of all.
    pub(crate) fn sums(&self) -> impl Iterator<Item = (String, Counters)> {
        self.callers.values().map(|caller| (caller.name.clone(), caller.counters))
    }
}

impl Block {
    fn load(connection: &Connection, number: i64) -> Result<Block, HistoryError> {
        let row: Option<(i64, i64, i64)> = connection
            .query_row("SELECT oldest_ms, newest_ms, statuses FROM blocks WHERE block = ?", [number], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?;
        let Some((oldest_ms, newest_ms, statuses)) = row else { return Ok(Block { number, ..Block::default() }) };
        let hashes = connection
            .query_row("SELECT hashes FROM block_tasks WHERE block = ?", [number], |row| row.get(0))
            .optional()?
            .unwrap_or_default();
        let numbers = |sql| -> Result<HashSet<i64>, rusqlite::Error> {
            connection.prepare(sql)?.query_map([number], |row| row.get(0))?.collect()
        };
        Ok(Block {
            number,
            oldest_ms,
            newest_ms,
            statuses,
            hashes,
            callers: numbers("SELECT caller FROM block_callers WHERE block = ?")?,
            places: numbers("SELECT place FROM block_places WHERE block = ?")?,
            ..Block::default()
        })
    }

    fn add(&mut self, caller: i64, place: i64, outcome: Outcome, finished_ms: i64, task_id: &str) {
        if self.statuses == 0 {
            (self.oldest_ms, self.newest_ms) = (finished_ms, finished_ms);
        }
        self.oldest_ms = self.oldest_ms.min(finished_ms);
        self.newest_ms = self.newest_ms.max(finished_ms);
        self.statuses |= outcome.bit();
        self.hashes.extend_from_slice(&task_hash(task_id));
        if self.callers.insert(caller) {
            self.new_callers.push(caller);
        }
        if self.places.insert(place) {
            self.new_places.push(place);
        }
        self.is_changed = true;
    }

    fn write(&mut self, connection: &Connection) -> Result<(), HistoryError> {
        if !std::mem::take(&mut self.is_changed) {
            return Ok(());
        }
        connection.prepare_cached("INSERT OR REPLACE INTO blocks VALUES (?, ?, ?, ?)")?.execute([
            self.number,
            self.oldest_ms,
            self.newest_ms,
            self.statuses,
        ])?;
        connection
            .prepare_cached("INSERT OR REPLACE INTO block_tasks VALUES (?, ?)")?
            .execute(params![self.number, self.hashes])?;
        for caller in self.new_callers.drain(..) {
            connection
                .prepare_cached("INSERT OR IGNORE INTO block_callers VALUES (?, ?)")?
                .execute([caller, self.number])?;
        }
        for place in self.new_places.drain(..) {
            connection
                .prepare_cached("INSERT OR IGNORE INTO block_places VALUES (?, ?)")?
                .execute([place, self.number])?;
        }
        Ok(())
    }
}

/// Four bytes of a task's name (FNV-1a). They are on the disk, so they may not change; who makes names that have the same
/// four makes a search slow and nothing else.
pub(crate) fn task_hash(task_id: &str) -> [u8; 4] {
    let hash = task_id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    ((hash >> 32) as u32 ^ hash as u32).to_le_bytes()
}
