//! The built node, from outside: through the command line and over the wire, as everybody else would use it.
//!
//! Each module is one view of it; the helpers are in `potluck_tests`.
#![allow(clippy::unwrap_used, reason = "in a test a failure is a panic that somebody reads")]

/// `potluck`, the command line: what it prints, and how it ends.
mod cli;
/// Programs that mean harm: each ends as its file says, and the node is as it was.
mod corpus;
/// CPU_TASK and its companions: results, errors, order, cancelling, retries, batches, isolation, the worker processes.
mod cpu;
/// Shared files of other peers: found through the tracker, fetched from several at once.
mod fetch;
/// Shared files: PUT_FILE and its companions, resumed transfers, names that are refused.
mod files;
/// What fuzzing begins with, and what it has found.
mod fuzz;
/// WebAssembly guests: their forms, the store that keeps them, limits, other peers.
mod guests;
/// What the kernel keeps workers from, and how the node shows it.
mod hardening;
/// Clients that mean harm: malformed, huge, slow, silent and far too many.
mod hostile;
/// Frames that are larger than others may be, of this machine's user: read into a file, answered from one.
mod large_frames;
/// Tasks that mean harm: each limit stops its task, and the node serves on.
mod limits;
/// plugins.toml and the libraries that it names: what is refused, and what a failing plugin leaves behind.
mod loading;
/// SET_MEM and its companions: round trips, expiry, versions, paging, limits.
mod memory;
/// Owned files whose owner, holder or tracker has a full or failing disk.
mod owned_faults;
/// Owned files: kept by others, read by nobody else, there again after restarts and moves.
mod owned_files;
/// One upload that is interrupted by everybody.
mod owned_interruptions;
/// Owned files whose nodes are killed at any moment.
mod owned_kills;
/// Several nodes: the tracker, placement, lost peers, restarts.
mod peers;
/// The client of the original system, unchanged in what it sends and expects.
mod protocol_client;
/// The runtime `sandbox`: what a task sees of the world, results, freshness, limits.
mod sandbox;
mod security;
/// Storage that meets full and failing disks.
mod storage_faults;
/// Storage whose node is killed at any moment.
mod storage_kills;
/// House rules that a program can check: manifests, arrows between crates, files.
mod tidy;
/// Frames, ids, order of replies, attachments, `to`, and the messages that every node answers.
mod wire;
