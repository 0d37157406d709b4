//! Where the built tree is.

use std::env;
use std::path::PathBuf;

/// The tree that `cargo xtask dist` builds: `$POTLUCK_DIST`, else `dist` in the target folder.
///
/// # Panics
/// When it is not there.
pub fn dist() -> PathBuf {
    let named = env::var_os("POTLUCK_DIST").map(PathBuf::from);
    let target = env::var_os("CARGO_TARGET_DIR").map(|target| PathBuf::from(target).join("dist"));
    let program = env::current_exe().unwrap();
    // target/debug/deps/suite-0123: the target folder is an ancestor.
    let beside = program.ancestors().map(|folder| folder.join("dist"));
    let places: Vec<PathBuf> = match named {
        Some(named) => vec![named],
        None => target.into_iter().chain(beside).collect(),
    };
    let found = places.iter().find(|place| place.join("bin/potluck").is_file());
    let found = found.and_then(|place| place.canonicalize().ok());
    found
        .unwrap_or_else(|| panic!("the built tree is missing (looked at {places:?}); build it with `cargo xtask dist`"))
}

/// A library that only tests load, such as `libfixture_panicker.so`: from `$POTLUCK_FIXTURES`, else from `fixtures` in
/// the target folder, else from where cargo puts it.
///
/// # Panics
/// When it is not there.
pub fn fixture(file_name: &str) -> PathBuf {
    let named = env::var_os("POTLUCK_FIXTURES").map(PathBuf::from);
    let program = env::current_exe().unwrap();
    let beside = program.ancestors().skip(1).flat_map(|folder| [folder.join("fixtures"), folder.to_owned()]);
    let examples = program.ancestors().skip(1).map(|folder| folder.join("examples"));
    let places: Vec<PathBuf> = match named {
        Some(named) => vec![named],
        None => beside.chain(examples).collect(),
    };
    let found = places.iter().map(|place| place.join(file_name)).find(|path| path.is_file());
    let Some(found) = found else {
        panic!(
            "{file_name} is missing (looked at {places:?}); `cargo xtask test` builds it, as does `cargo build --workspace --examples`"
        );
    };
    found.canonicalize().unwrap()
}
