//! What an instance is told of its files.
//!
//! Their sizes and contents are the program's own doing, but their numbers and times are the machine's: they would tell
//! where and when an image was installed, and make two runs of a program differ. So a file has the number with which it
//! came among those that the instance has looked at, and always the same time. A folder seems to have changed whenever it
//! is looked at: Python lists one again only then, and would miss a module that the task has just written.
//!
//! What is left to the machine counts as an observation: the order of files in a folder with more than one, and whether a
//! new file gets the number of one that was removed.

use super::State;
use anyhow::Result;
use std::collections::HashMap;
use std::ops::Range;
use wasmtime::{Caller, Engine, Extern, Func, FuncType, Linker, Val, ValType, format_err};

/// The module whose functions are replaced.
const WASI: &str = "wasi_snapshot_preview1";
/// Files whose numbers are remembered.
const NUMBERS_MAX: usize = 65_536;
/// When each file was made, in nanoseconds since 1970: the first day of 1980, the earliest that zip archives know.
const TIME_NS: u64 = 315_532_800_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// The members of a `filestat`.
const FILESTAT_BYTES: usize = 64;
const NUMBER: Range<usize> = 8..16;
const KIND: usize = 16;
const LINKS: Range<usize> = 24..32;
const SIZE: Range<usize> = 32..40;
const TIMES: [Range<usize>; 3] = [40..48, 48..56, 56..64];
/// The kind of a folder.
const FOLDER: u8 = 3;

/// The members of a `dirent`, behind which its name stands.
const DIRENT_BYTES: usize = 24;
const NEXT: Range<usize> = 0..8;
const DIRENT_NUMBER: Range<usize> = 8..16;
const NAME_LENGTH: Range<usize> = 16..20;
/// What `NEXT` is for the first entry behind `.` and `..`.
const FIRST: u64 = 3;

/// What an instance was told so far.
#[derive(Default)]
pub(super) struct Told {
    /// By the machine's number.
    numbers: HashMap<u64, u64>,
    next_number: u64,
    looks: u64,
    /// WASI's own functions, in the order of [`REPLACED`], once they were needed.
    originals: [Option<Func>; REPLACED.len()],
}

/// Changes an answer, or notes it.
type Change = fn(&mut State, &mut [u8], &[Val]) -> Option<()>;

/// The functions that are replaced, each with the types of its parameters (`I` has 64 bits) and what is done with its
/// answer. Each returns an error number.
const REPLACED: [(&str, &str, Change); 5] = [
    ("fd_filestat_get", "ii", |state, memory, arguments| change_filestat(state, memory, &arguments[1])),
    ("path_filestat_get", "iiiii", |state, memory, arguments| change_filestat(state, memory, &arguments[4])),
    ("fd_readdir", "iiiIi", |state, memory, arguments| change_list(state, memory, &arguments[1], &arguments[4])),
    ("path_unlink_file", "iii", |state, _, _| note(state)),
    ("path_remove_directory", "iii", |state, _, _| note(state)),
];

/// Puts functions in place of those that WASI has put there.
pub(super) fn replace(engine: &Engine, linker: &mut Linker<State>) -> Result<()> {
    let originals = linker.clone();
    linker.allow_shadowing(true);
    for (index, (name, parameters, change)) in REPLACED.into_iter().enumerate() {
        let parameters = parameters.chars().map(|letter| if letter == 'I' { ValType::I64 } else { ValType::I32 });
        let shape = FuncType::new(engine, parameters, [ValType::I32]);
        let originals = originals.clone();
        linker.func_new_async(WASI, name, shape, move |mut caller, arguments, results| {
            let original = original(&mut caller, &originals, index);
            Box::new(async move {
                original?.call_async(&mut caller, arguments, results).await?;
                if let Some(Val::I32(0)) = results.first() {
                    let memory = caller.get_export("memory").and_then(Extern::into_memory);
                    let (memory, state) =
                        memory.ok_or_else(|| format_err!("no memory"))?.data_and_store_mut(&mut caller);
                    // The original has just written there.
                    change(state, memory, arguments).ok_or_else(|| format_err!("an answer outside the memory"))?;
                }
                Ok(())
            })
        })?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

/// WASI's own function, of which a store keeps one.
fn original(caller: &mut Caller<'_, State>, originals: &Linker<State>, index: usize) -> wasmtime::Result<Func> {
    if let Some(original) = caller.data().told.originals[index] {
        return Ok(original);
    }
    let found = originals.get(&mut *caller, WASI, REPLACED[index].0)?.into_func();
    let found = found.ok_or_else(|| format_err!("WASI lacks a function"))?;
    caller.data_mut().told.originals[index] = Some(found);
    Ok(found)
}

fn change_filestat(state: &mut State, memory: &mut [u8], place: &Val) -> Option<()> {
    let filestat = slice(memory, place, FILESTAT_BYTES)?;
    let number = state.number(read(filestat, NUMBER));
    filestat[NUMBER].copy_from_slice(&number.to_le_bytes());
    filestat[LINKS].copy_from_slice(&1_u64.to_le_bytes());
    let mut time = TIME_NS;
    if filestat[KIND] == FOLDER {
        // How large one is depends on the file system.
        filestat[SIZE].fill(0);
        state.told.looks += 1;
        time = time.saturating_add(state.told.looks.saturating_mul(SECOND_NS));
    }
    for member in TIMES {
        filestat[member].copy_from_slice(&time.to_le_bytes());
    }
    Some(())
}

fn change_list(state: &mut State, memory: &mut [u8], place: &Val, length: &Val) -> Option<()> {
    let bytes = slice(memory, length, 4)?;
    let length = u32::from_le_bytes(bytes.try_into().ok()?) as usize;
    let mut entries = slice(memory, place, length)?;
    // The last one may have been cut off.
    while entries.len() >= DIRENT_BYTES {
        if read(entries, NEXT) > FIRST {
            note(state);
        }
        let number = state.number(read(entries, DIRENT_NUMBER));
        entries[DIRENT_NUMBER].copy_from_slice(&number.to_le_bytes());
        let name = u32::from_le_bytes(entries[NAME_LENGTH].try_into().ok()?) as usize;
        entries = entries.get_mut(DIRENT_BYTES.saturating_add(name)..).unwrap_or_default();
    }
    Some(())
}

fn note(state: &mut State) -> Option<()> {
    state.meter.observation.note();
    Some(())
}

impl State {
    /// The number that a file has for the instance.
    fn number(&mut self, of_machine: u64) -> u64 {
        let told = &mut self.told;
        if let Some(number) = told.numbers.get(&of_machine) {
            return *number;
        }
        if told.numbers.len() == NUMBERS_MAX {
            told.numbers.clear();
            self.meter.observation.note();
        }
        told.next_number += 1;
        told.numbers.insert(of_machine, told.next_number);
        told.next_number
    }
}

fn slice<'a>(memory: &'a mut [u8], place: &Val, length: usize) -> Option<&'a mut [u8]> {
    let place = place.i32()?.cast_unsigned() as usize;
    memory.get_mut(place..place.checked_add(length)?)
}

fn read(bytes: &[u8], member: Range<usize>) -> u64 {
    bytes[member].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
