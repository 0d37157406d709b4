//! The built node, from outside: through the command line and over the wire, as everybody else would use it.
//!
//! Each module is one view of it; the helpers are in `potluck_tests`.
#![allow(clippy::unwrap_used, reason = "in a test a failure is a panic that somebody reads")]

/// The cache of results: which runs are made once, and which are not.
mod cache;
/// `potluck`, the command line: what it prints, and how it ends.
mod cli;
/// Programs that mean harm: each ends as its file says, and the node is as it was.
mod corpus;
/// CPU_TASK and its companions: results, errors, order, cancelling, retries, batches, isolation, the worker processes.
mod cpu;
/// Banker's algorithm, and deadlocks over all resources of a node: found, explained, ended.
mod deadlock;
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
/// TASK_HISTORY: what becomes of tasks, kept through the end of the node.
mod history;
/// Clients that mean harm: malformed, huge, slow, silent and far too many.
mod hostile;
/// Queues and semaphores: several connections, connections that close, other peers.
mod ipc;
/// Frames that are larger than others may be, of this machine's user: read into a file, answered from one.
mod large_frames;
/// Tasks that mean harm: each limit stops its task, and the node serves on.
mod limits;
/// plugins.toml and the libraries that it names: what is refused, and what a failing plugin leaves behind.
mod loading;
/// SET_MEM and its companions: round trips, expiry, versions, paging, limits.
mod memory;
/// Blocks of the arena: ALLOCATE_MEMORY and its companions, bounds, waiting, the four algorithms.
mod memory_manager;
/// Attacks on the operating system: those who speak for others, poison the cache, or flood.
mod os_attacks;
/// The commands of the operating system: what they print, what they ask, and how they end.
mod os_commands;
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
/// Philosophers, producers and consumers, readers and writers, as tasks from the command line on one peer and on two.
mod philosophers;
/// The table of processes by hand: trees, groups, waiting, zombies.
mod processes;
/// The client of the original system, unchanged in what it sends and expects.
mod protocol_client;
/// Quotas: refused at exactly the limit, also after a restart and a kill.
mod quotas;
/// The runtime `sandbox`: what a task sees of the world, results, freshness, limits.
mod sandbox;
/// The scenarios and workflows of the original's documentation, through the command line; what a killed task leaves behind.
mod scenarios;
/// Scheduling algorithms compared, in simulation and with real processes.
mod schedule_lab;
/// Round Robin, preemption, switching: who gets the slot, and what becomes of tasks that have lost theirs.
mod scheduling;
mod security;
/// Storage that meets full and failing disks.
mod storage_faults;
/// Storage whose node is killed at any moment.
mod storage_kills;
/// What running tasks ask of their node: `import potluck`, and guests that call it.
mod system_calls;
/// Tasks as processes: states, signals, children, and what cache, quota and history have to do with each.
mod task_processes;
/// House rules that a program can check: manifests, arrows between crates, files.
mod tidy;
/// Many tasks that wait at once, and those that run meanwhile.
mod waiting_tasks;
/// Frames, ids, order of replies, attachments, `to`, and the messages that every node answers.
mod wire;
/// Tasks that have found the socket of their worker: what they write there ends the worker, and harms nobody else.
mod worker_rules;
