//! Files: shared ones beside scp, rsync and nginx with curl; owned ones beside `age`, with what their three parties cost;
//! and those that come from several peers at once.

mod contest;
mod fetch;
mod owned;
mod place;
mod rivals;
mod shared;
mod small;

use crate::Setup;
use crate::report::Report;
use anyhow::Result;
use place::Place;
use rivals::Rivals;

/// A medium file: what a program's start still weighs on.
const MEGABYTE: u64 = 1_000_000;
const ROUNDS_OF_MEGABYTES: usize = 11;
/// Few: each moves gigabytes.
const ROUNDS_OF_LARGE: usize = 3;

pub(crate) fn run(setup: &Setup, found: &mut dyn FnMut(Report)) -> Result<()> {
    let place = Place::prepare(setup)?;
    let rivals = Rivals::start(&place);
    found(small::run(setup, &place, &rivals)?);
    for (bytes, rounds) in [(MEGABYTE, ROUNDS_OF_MEGABYTES), (setup.large_bytes, ROUNDS_OF_LARGE)] {
        found(shared::run(setup, &place, &rivals, bytes, rounds)?);
    }
    found(owned::run(setup, &place)?);
    found(fetch::run(setup, &place, &rivals)?);
    Ok(())
}

/// A number of bytes, in the words of a title.
fn size(bytes: u64) -> String {
    match bytes {
        1_000_000_000.. => format!("{} GB", bytes as f64 / 1e9),
        1_000_000.. => format!("{} MB", bytes as f64 / 1e6),
        _ => format!("{} kB", bytes as f64 / 1e3),
    }
}
