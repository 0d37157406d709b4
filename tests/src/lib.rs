//! What tests and benchmarks share: real nodes, started from the built tree, and sockets to talk to them.
//!
//! ```no_run
//! use potluck_tests::{TestNode, task};
//! use serde_json::json;
//!
//! let node = TestNode::peer().cpu("workers = 1").start();
//! let reply = node.call(task("def main(x): return x * x", json!([5])));
//! assert_eq!(reply["result"], 25);
//! ```
//!
//! Every node has a free port and a folder of its own, so tests may run side by side. Nothing sleeps for a fixed time:
//! [`wait_for`] looks again and again, with a limit that only a defect reaches. Helpers panic when something goes
//! wrong, and say what, with the end of the node's log.
#![allow(clippy::unwrap_used, reason = "in a test a failure is a panic that somebody reads")]

mod dist;
mod node;
mod output;

pub mod corpus;
pub mod fuzz;

mod attempts;
mod cluster;
mod gate;
mod network;
mod stranger;
mod wire;

mod processes;
mod source;
mod wait;

pub use attempts::{outcomes, refused};
pub use cluster::{Cluster, create_pool, join_as};
pub use dist::{dist, fixture};
pub use gate::Gate;
pub use network::{Host, Network, other_user_command};
pub use node::{NodeBuilder, NotStarted, TestNode};
pub use output::{Output, potluck, potluck_command, potluck_with_input, run};
pub use processes::{children, command_line, is_alive, raise_descriptor_limit, resident_bytes, status_line};
pub use source::{c_library, c_library_as, fixture_source, workspace_root};
pub use stranger::{Stranger, TlsWire, hello};
pub use wait::{LIMIT, wait_for, wait_for_some};
pub use wire::{Frame, Wire, frame_bytes};

use serde_json::{Value, json};

/// A CPU_TASK that calls `main` with these arguments; add members as needed.
pub fn task(program: &str, args: Value) -> Value {
    json!({ "type": "CPU_TASK", "program": program, "args": args })
}

/// As [`task`], for the sandbox.
pub fn sandboxed(program: &str, args: Value) -> Value {
    with(task(program, args), json!({ "runtime": "sandbox" }))
}

/// `message` with more members, or with others in place of those it has.
pub fn with(mut message: Value, members: Value) -> Value {
    let Value::Object(members) = members else { panic!("members must be an object: {members}") };
    message.as_object_mut().unwrap().extend(members);
    message
}
