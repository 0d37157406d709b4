//! What the kernel keeps native Python tasks from, and the workers of all runtimes: files, network, processes, itself.

mod calls;
mod files;
mod network;
mod processes;

mod forged;
mod left_behind;
mod others;
mod shown;

use potluck_tests::{TestNode, refused};
use serde_json::json;

/// Runs pieces of code in a native task and expects each to end in an exception. `NODE`, `PORT`, `DATA`, `CPU`
/// and `FOLDER` stand for the node's process, its port, its data, that of the cpu provider, and a folder beside that.
/// Afterwards the node must be as before.
#[track_caller]
fn denied(node: &TestNode, pieces: &[&str]) -> Vec<String> {
    let pid = node.pid();
    let errors = refused(node, json!({}), &fill_in(node, pieces));
    assert!(potluck_tests::is_alive(pid), "the node is gone");
    node.check_serving();
    errors
}

fn fill_in(node: &TestNode, pieces: &[&str]) -> Vec<String> {
    let words = [
        ("NODE", node.pid().to_string()),
        ("PORT", node.port().to_string()),
        ("DATA", node.data_dir().to_str().unwrap().to_owned()),
        ("CPU", node.provider_dir("cpu").to_str().unwrap().to_owned()),
        ("FOLDER", node.folder().to_str().unwrap().to_owned()),
    ];
    let fill = |piece: &&str| words.iter().fold((*piece).to_owned(), |text, (word, value)| text.replace(word, value));
    pieces.iter().map(fill).collect()
}
