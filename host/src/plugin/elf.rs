//! Looks at a library before the dynamic linker maps it: a truncated file would end the process with SIGBUS, and one for
//! another machine is reported by the linker as a missing file.

use object::elf::{ET_DYN, FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use object::{Endianness, elf};
use std::path::Path;

#[cfg(target_arch = "x86_64")]
const MACHINE: (elf::Machine, &str) = (elf::EM_X86_64, "x86-64");
#[cfg(target_arch = "aarch64")]
const MACHINE: (elf::Machine, &str) = (elf::EM_AARCH64, "64-bit Arm");

/// Checks that the file is a whole shared library for this machine.
pub fn check(path: &Path) -> Result<(), String> {
    let data = std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            "there is no such library; build it with `cargo xtask dist`, or name it with the key `path`".to_owned()
        }
        _ => format!("the library cannot be read: {error}"),
    })?;
    if !data.starts_with(&elf::ELFMAG) {
        return Err("the file is not a shared library (no ELF header)".to_owned());
    }
    let damaged = || "the library is truncated or damaged; build or copy it again".to_owned();
    let truncated = |_| damaged();
    let header = FileHeader64::<Endianness>::parse(data.as_slice()).map_err(truncated)?;
    let endian = header.endian().map_err(truncated)?;
    if header.e_machine(endian) != MACHINE.0 {
        return Err(format!("the library is for another kind of machine; this one is {}", MACHINE.1));
    }
    if header.e_type(endian) != ET_DYN {
        return Err("the file is a program, not a shared library".to_owned());
    }
    let file_length = data.len() as u64;
    for segment in header.program_headers(endian, data.as_slice()).map_err(truncated)? {
        let end = segment.p_offset(endian).checked_add(segment.p_filesz(endian));
        if segment.p_type(endian) == PT_LOAD && end.is_none_or(|end| end > file_length) {
            return Err(damaged());
        }
    }
    // The section table stands last in what linkers write, so a file that was cut anywhere has lost some of it.
    let sections = header.section_headers(endian, data.as_slice()).map_err(truncated)?;
    for section in sections {
        if let Some((offset, size)) = section.file_range(endian)
            && offset.checked_add(size).is_none_or(|end| end > file_length)
        {
            return Err(damaged());
        }
    }
    Ok(())
}
