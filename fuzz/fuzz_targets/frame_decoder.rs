//! The inbox of a connection; see tests/src/fuzz/frame_decoder.rs.
#![no_main]

use cap::Cap;
use std::alloc::System;

/// Counts, and limits nothing: whoever reports a finding needs memory too.
#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);
/// The most that a few kilobytes of input may ever take, used or not.
const HEAP_BYTES_MAX: usize = 4 << 20;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    potluck_tests::fuzz::frame_decoder(data);
    let taken = HEAP.max_allocated();
    assert!(taken <= HEAP_BYTES_MAX, "{taken} bytes of memory were taken");
});
