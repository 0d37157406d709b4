//! What a cargo inherits that is not meant for it. We run under `cargo run`, which tells its children which compiler,
//! which build folder and which package they belong to; users add flags for their own machine. None of that is right
//! for another toolchain or for WebAssembly.

use std::env;
use std::process::Command;

/// Whose cargo it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Toolchain {
    /// That of the toolchain that runs us, so it needs to know which one that is.
    Own,
    /// Another one.
    Other,
}

/// How users say where crates come from; everything else of cargo's is about this build.
const KEPT: [&str; 6] = ["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR", "CARGO_SOURCE_", "CARGO_TERM_"];
/// What says which toolchain is meant.
const CHOICE: [&str; 5] = ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN", "RUST_RECURSION_COUNT", "LD_LIBRARY_PATH"];

/// The command without what is not meant for it.
pub(super) fn cleaned(mut command: Command, toolchain: Toolchain) -> Command {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| is_foreign(name, toolchain)) {
            command.env_remove(name);
        }
    }
    command
}

fn is_foreign(name: &str, toolchain: Toolchain) -> bool {
    if CHOICE.contains(&name) {
        // A library path of rustup's would give another compiler the wrong libraries.
        return toolchain == Toolchain::Other;
    }
    let is_about_a_build = name.starts_with("CARGO") || name.starts_with("RUSTC") || name.starts_with("RUSTFLAGS");
    is_about_a_build && !KEPT.iter().any(|kept| name.starts_with(kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_one_build_gets_into_another() {
        for toolchain in [Toolchain::Own, Toolchain::Other] {
            let foreign = |name: &str| is_foreign(name, toolchain);
            for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "CARGO_MANIFEST_DIR"] {
                assert!(foreign(name), "{name}");
            }
            for name in ["RUSTC_WRAPPER", "CARGO_PROFILE_RELEASE_LTO", "CARGO_TARGET_DIR", "CARGO_PKG_NAME"] {
                assert!(foreign(name), "{name}");
            }
            for name in ["CARGO_HOME", "CARGO_HTTP_PROXY", "CARGO_NET_OFFLINE", "CARGO_REGISTRIES_MY_INDEX", "PATH"] {
                assert!(!foreign(name), "{name}");
            }
            for name in ["RUSTUP_TOOLCHAIN", "RUSTC", "CARGO", "LD_LIBRARY_PATH"] {
                assert_eq!(foreign(name), toolchain == Toolchain::Other, "{name}");
            }
        }
    }
}
