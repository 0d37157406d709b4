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
use wasmtime::{AsContextMut, Caller, Extern, Linker, format_err};
use wasmtime_wasi::p1::wasi_snapshot_preview1::{self as wasi, WasiSnapshotPreview1};
use wiggle::GuestMemory;

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
}

/// Puts functions in place of those of WASI: each calls that, and changes or notes what it has answered.
pub(super) fn replace(linker: &mut Linker<State>) -> Result<()> {
    linker.allow_shadowing(true);
    linker.func_wrap_async(WASI, "fd_filestat_get", |mut caller: Caller<'_, State>, (fd, place): (i32, i32)| {
        Box::new(async move {
            let (bytes, state) = memory(&mut caller)?;
            let error = wasi::fd_filestat_get(&mut state.wasi, &mut GuestMemory::Unshared(bytes), fd, place).await?;
            if error == 0 {
                state.change_filestat(bytes, place).ok_or_else(outside)?;
            }
            Ok(error)
        })
    })?;
    linker.func_wrap_async(
        WASI,
        "path_filestat_get",
        |mut caller: Caller<'_, State>, (fd, flags, path, path_length, place): (i32, i32, i32, i32, i32)| {
            Box::new(async move {
                let (bytes, state) = memory(&mut caller)?;
                let error = wasi::path_filestat_get(
                    &mut state.wasi,
                    &mut GuestMemory::Unshared(bytes),
                    fd,
                    flags,
                    path,
                    path_length,
                    place,
                )
                .await?;
                if error == 0 {
                    state.change_filestat(bytes, place).ok_or_else(outside)?;
                }
                Ok(error)
            })
        },
    )?;
    linker.func_wrap_async(
        WASI,
        "fd_readdir",
        |mut caller: Caller<'_, State>, (fd, place, room, cookie, length): (i32, i32, i32, i64, i32)| {
            Box::new(async move {
                let (bytes, state) = memory(&mut caller)?;
                let error = wasi::fd_readdir(
                    &mut state.wasi,
                    &mut GuestMemory::Unshared(bytes),
                    fd,
                    place,
                    room,
                    cookie,
                    length,
                )
                .await?;
                if error == 0 {
                    state.change_list(bytes, place, length).ok_or_else(outside)?;
                }
                Ok(error)
            })
        },
    )?;
    linker.func_wrap_async(
        WASI,
        "path_unlink_file",
        |mut caller: Caller<'_, State>, (fd, path, path_length): (i32, i32, i32)| {
            Box::new(async move {
                let (bytes, state) = memory(&mut caller)?;
                let error =
                    wasi::path_unlink_file(&mut state.wasi, &mut GuestMemory::Unshared(bytes), fd, path, path_length)
                        .await?;
                if error == 0 {
                    state.meter.observation.note();
                }
                Ok(error)
            })
        },
    )?;
    linker.func_wrap_async(
        WASI,
        "path_remove_directory",
        |mut caller: Caller<'_, State>, (fd, path, path_length): (i32, i32, i32)| {
            Box::new(async move {
                let (bytes, state) = memory(&mut caller)?;
                let error = wasi::path_remove_directory(
                    &mut state.wasi,
                    &mut GuestMemory::Unshared(bytes),
                    fd,
                    path,
                    path_length,
                )
                .await?;
                if error == 0 {
                    state.meter.observation.note();
                }
                Ok(error)
            })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The memory of the instance that calls, and its state, made ready for one call of WASI.
fn memory<'a>(caller: &'a mut Caller<'_, State>) -> wasmtime::Result<(&'a mut [u8], &'a mut State)> {
    let memory = caller.get_export("memory").and_then(Extern::into_memory);
    let memory = memory.ok_or_else(|| format_err!("the module exports no memory"))?;
    // How much the host may copy for it.
    let fuel = caller.as_context_mut().hostcall_fuel();
    let (bytes, state) = memory.data_and_store_mut(caller);
    state.wasi.set_hostcall_fuel(fuel);
    Ok((bytes, state))
}

/// Cannot be: WASI has just written there.
fn outside() -> wasmtime::Error {
    format_err!("an answer outside the memory")
}

impl State {
    fn change_filestat(&mut self, memory: &mut [u8], place: i32) -> Option<()> {
        let filestat = slice(memory, place, FILESTAT_BYTES)?;
        let number = self.number(read(filestat, NUMBER));
        filestat[NUMBER].copy_from_slice(&number.to_le_bytes());
        filestat[LINKS].copy_from_slice(&1_u64.to_le_bytes());
        let mut time = TIME_NS;
        if filestat[KIND] == FOLDER {
            // How large one is depends on the file system.
            filestat[SIZE].fill(0);
            self.told.looks += 1;
            time = time.saturating_add(self.told.looks.saturating_mul(SECOND_NS));
        }
        for member in TIMES {
            filestat[member].copy_from_slice(&time.to_le_bytes());
        }
        Some(())
    }

    fn change_list(&mut self, memory: &mut [u8], place: i32, length: i32) -> Option<()> {
        let length = u32::from_le_bytes(slice(memory, length, 4)?.try_into().ok()?) as usize;
        let mut entries = slice(memory, place, length)?;
        // The last one may have been cut off.
        while entries.len() >= DIRENT_BYTES {
            if read(entries, NEXT) > FIRST {
                self.meter.observation.note();
            }
            let number = self.number(read(entries, DIRENT_NUMBER));
            entries[DIRENT_NUMBER].copy_from_slice(&number.to_le_bytes());
            let name = u32::from_le_bytes(entries[NAME_LENGTH].try_into().ok()?) as usize;
            entries = entries.get_mut(DIRENT_BYTES.saturating_add(name)..).unwrap_or_default();
        }
        Some(())
    }

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

fn slice(memory: &mut [u8], place: i32, length: usize) -> Option<&mut [u8]> {
    let place = place.cast_unsigned() as usize;
    memory.get_mut(place..place.checked_add(length)?)
}

fn read(bytes: &[u8], member: Range<usize>) -> u64 {
    bytes[member].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::Places;

    fn state(folder: &std::path::Path) -> State {
        let places = Places { library: folder.to_owned(), plot_data: folder.to_owned() };
        State::new(0, &places, folder).unwrap()
    }

    fn dirent(next: u64, number: u64, name: &str) -> Vec<u8> {
        let length = (name.len() as u64).to_le_bytes();
        [&next.to_le_bytes(), &number.to_le_bytes(), &length, name.as_bytes()].concat()
    }

    #[test]
    fn a_file_has_the_number_with_which_it_came_and_always_the_same_time() {
        let folder = tempfile::tempdir().unwrap();
        let mut state = state(folder.path());
        let mut told = |number: u64, kind: u8| {
            let mut memory = [0xff; FILESTAT_BYTES + 8];
            memory[8..][NUMBER].copy_from_slice(&number.to_le_bytes());
            memory[8 + KIND] = kind;
            state.change_filestat(&mut memory, 8).unwrap();
            (read(&memory[8..], NUMBER), read(&memory[8..], 48..56) - TIME_NS, read(&memory[8..], SIZE))
        };
        assert_eq!([told(77, 4), told(5, 4), told(77, 4)], [(1, 0, u64::MAX), (2, 0, u64::MAX), (1, 0, u64::MAX)]);
        assert_eq!([told(9, FOLDER), told(9, FOLDER)], [(3, SECOND_NS, 0), (3, 2 * SECOND_NS, 0)]);
        assert!(state.meter.observation.is_deterministic());
        assert_eq!(state.change_filestat(&mut [0; FILESTAT_BYTES], 1), None);
        assert_eq!(state.change_filestat(&mut [0; FILESTAT_BYTES], -1), None);
    }

    #[test]
    fn the_order_of_several_files_is_noted_and_a_list_that_was_cut_off_is_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut state = state(folder.path());
        let mut list = |entries: &[Vec<u8>], cut: usize| {
            let list = entries.concat();
            let mut memory = [&(list.len() as u32 - cut as u32).to_le_bytes(), list.as_slice()].concat();
            state.change_list(&mut memory, 4, 0).unwrap();
            (read(&memory[4..], DIRENT_NUMBER), state.meter.observation.is_deterministic())
        };
        let few = [dirent(1, 70, "."), dirent(2, 70, ".."), dirent(3, 71, "tmp")];
        assert_eq!(list(&few, 0), (1, true));
        assert_eq!(list(&[dirent(3, 71, "tmp"), dirent(4, 72, "more")], 5), (2, true));
        assert_eq!(list(&[dirent(3, 72, "more"), dirent(4, 71, "tmp")], 0), (3, false));
    }
}
