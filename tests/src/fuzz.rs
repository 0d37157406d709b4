//! Bodies of the fuzz targets in `fuzz/`: each takes any bytes, and panics when something is wrong.
//!
//! They are here so that they also run as plain tests, over the files in `fuzz/corpus`. Each returns the word for what
//! became of the input, by which a test can tell that its files get as far as they are meant to.

mod envelope;
mod frame_decoder;
mod join_handshake;
mod keys;
mod membership;
mod plugins_toml;
mod seeds;

pub use envelope::envelope;
pub use frame_decoder::frame_decoder;
pub use join_handshake::join_handshake;
pub use membership::membership;
pub use plugins_toml::plugins_toml;
pub use seeds::{Seed, seeds};

/// A fuzz target.
pub struct Target {
    /// Its name, also that of its file in `fuzz/fuzz_targets` and of its folder in `fuzz/corpus`.
    pub name: &'static str,
    /// What it does with an input.
    pub run: fn(&[u8]) -> &'static str,
    /// What has become of its corpus at least once.
    pub outcomes: &'static [&'static str],
}

/// All of them.
pub const TARGETS: [Target; 5] = [
    Target { name: "envelope", run: envelope, outcomes: envelope::OUTCOMES },
    Target { name: "frame_decoder", run: frame_decoder, outcomes: frame_decoder::OUTCOMES },
    Target { name: "join_handshake", run: join_handshake, outcomes: join_handshake::OUTCOMES },
    Target { name: "membership", run: membership, outcomes: membership::OUTCOMES },
    Target { name: "plugins_toml", run: plugins_toml, outcomes: plugins_toml::OUTCOMES },
];
