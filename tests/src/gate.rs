//! Tasks that run exactly as long as a test wants.

use crate::{TestNode, task};
use serde_json::{Value, json};
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

const PROGRAM: &str = "
import os, time

def main(path):
    while not os.path.exists(path):
        time.sleep(0.002)
    return 'through'
";

/// Holds tasks up until it is opened.
pub struct Gate {
    path: PathBuf,
}

impl Gate {
    /// A closed gate, in a folder that goes with the node.
    pub fn new(node: &TestNode) -> Gate {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Gate { path: node.folder().join(format!("gate-{}", NEXT.fetch_add(1, Ordering::Relaxed))) }
    }

    /// A task that runs until the gate is opened, and then returns `through`. It stays on the node that gets it.
    pub fn task(&self) -> Value {
        crate::with(task(PROGRAM, json!([self.path])), json!({ "timeout": 600, "source_peer": "127.0.0.1:9" }))
    }

    /// Lets the tasks go on.
    pub fn open(&self) {
        File::create(&self.path).unwrap();
    }
}
