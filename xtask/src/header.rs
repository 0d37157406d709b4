//! `cargo xtask header`: `sdk/include/potluck.h`, the C view of `sdk/src/abi.rs`.
//!
//! cbindgen translates the types. What it cannot know is added here: the names that C programs see, the text at the
//! top, a magic number that Rust computes, and the function that a plugin exports.

mod layout;
mod source;

use crate::workspace::Workspace;
use anyhow::{Context, Result, anyhow, bail};
use cbindgen::{Builder, Config, DocumentationStyle, Language, Style};
use source::Source;
use std::fs;
use std::path::Path;

const HEADER: &str = "sdk/include/potluck.h";
const ABI: &str = "sdk/src/abi.rs";
/// Defines the numbers for who sends a message and who may.
const CALLERS: &str = "sdk/src/caller.rs";

/// Writes the header, or compares it with what would be written.
pub(crate) fn run(workspace: &Workspace, check: bool) -> Result<()> {
    let wanted = generate(&workspace.root)?;
    let path = workspace.root.join(HEADER);
    if fs::read_to_string(&path).is_ok_and(|present| present == wanted) {
        println!("{HEADER} is up to date");
        return Ok(());
    }
    if check {
        bail!("{HEADER} does not fit {ABI} and {CALLERS}; run: cargo xtask header");
    }
    fs::create_dir_all(path.parent().unwrap_or(&workspace.root))?;
    fs::write(&path, wanted).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{HEADER} written");
    Ok(())
}

fn generate(root: &Path) -> Result<String> {
    let read = |name: &str| fs::read_to_string(root.join(name)).with_context(|| format!("cannot read {name}"));
    let source = Source::read(&read(ABI)?, &read(CALLERS)?)?;
    translate(&source)
}

fn translate(source: &Source) -> Result<String> {
    let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
    let file = folder.path().join("abi.rs");
    fs::write(&file, source.items()).context("cannot write a temporary file")?;
    let bindings = Builder::new()
        .with_config(config(source))
        .with_src(&file)
        .generate()
        .map_err(|error| anyhow!("cbindgen: {error}"))?;
    let mut bytes = Vec::new();
    bindings.write(&mut bytes);
    let header = source.with_c_comments(&String::from_utf8(bytes).context("cbindgen wrote no UTF-8")?);
    // cbindgen leaves out what it does not understand, without a word.
    for name in source.c_names() {
        if !header.contains(&name) {
            bail!("{name} did not get into {HEADER}: cbindgen does not understand its definition");
        }
    }
    Ok(header)
}

fn config(source: &Source) -> Config {
    let mut config = Config {
        language: Language::C,
        header: Some(source.introduction()),
        sys_includes: vec!["stddef.h".into(), "stdint.h".into()],
        no_includes: true,
        after_includes: Some(source.magic()),
        trailer: Some(source.entry_point()),
        style: Style::Both,
        documentation_style: DocumentationStyle::Cxx,
        usize_is_size_t: true,
        line_length: 118,
        tab_width: 4,
        ..Config::default()
    };
    // Nothing in the source is an exported function that would lead cbindgen to the types.
    config.export.include = source.types().map(str::to_owned).collect();
    config.export.prefix = Some(source::TYPE_PREFIX.into());
    config.export.rename = source.constants().map(|name| (name.to_owned(), source::c_constant(name))).collect();
    config.export.renaming_overrides_prefixing = true;
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABI: &str = r#"//! The C ABI.
//!
//! One symbol, [`ENTRY_SYMBOL`], returns a [`Table`].

pub const MAGIC: u64 = u64::from_le_bytes(*b"POTLUCK\0");
/// The one symbol.
pub const ENTRY_SYMBOL: &str = "potluck_plugin";
/// A reply.
pub const REPLY_OK: u32 = 0;

impl Slice {
    pub const EMPTY: Slice = Slice { data: std::ptr::null(), length: 0 };
}

/// Borrowed bytes.
#[repr(C)]
pub struct Slice {
    /// Where. See [`REPLY_OK`] and `REPLY_`.
    pub data: *const u8,
    pub length: usize,
}

/// A table of functions for a [`crate::Caller`].
#[repr(C)]
pub struct Table {
    pub free: Option<unsafe extern "C" fn(data: *mut u8)>,
    pub id: Slice,
}
"#;
    const CALLERS: &str = r#"
pub enum Caller<'a> {
    /// The user of this machine.
    Local,
    /// Another node.
    Member(&'a str),
}

impl<'a> Caller<'a> {
    pub const fn abi_kind(&self) -> u32 {
        match self {
            Caller::Local => 0,
            Caller::Member(_) => 1,
        }
    }
}

#[repr(u32)]
pub enum LeastCaller {
    /// Everybody.
    Task = 0,
}
"#;

    #[test]
    fn types_and_constants_get_their_c_names() {
        let header = translate(&Source::read(ABI, CALLERS).unwrap()).unwrap();
        for line in [
            "#define POTLUCK_MAGIC UINT64_C(0x004b43554c544f50)",
            "#define POTLUCK_REPLY_OK 0",
            "#define POTLUCK_CALLER_MEMBER 1",
            "#define POTLUCK_LEAST_CALLER_TASK 0",
            "    /// Where. See `POTLUCK_REPLY_OK` and `POTLUCK_REPLY_`.",
            "/// A table of functions for a `POTLUCK_CALLER_*`.",
            "    struct PotluckSlice id;",
            " * One symbol, `potluck_plugin`, returns a `PotluckTable`.",
        ] {
            assert!(header.lines().any(|present| present == line), "no line {line:?} in\n{header}");
        }
        assert!(!header.contains("EMPTY"), "{header}");
    }

    #[test]
    fn what_cannot_be_translated_is_an_error() {
        let strange =
            ABI.replace("pub const REPLY_OK: u32 = 0;", "pub const REPLY_OK: u32 = size_of::<Slice>() as u32;");
        let error = translate(&Source::read(&strange, CALLERS).unwrap()).unwrap_err();
        assert!(error.to_string().contains("POTLUCK_REPLY_OK"), "{error}");
    }
}
