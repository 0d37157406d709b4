//! Scenario 4 and workflow 3: trees of tasks, and their ends.

use super::{begin_task, complete, living, out, wait_for_state};
use potluck_tests::{Cluster, TestNode, wait_for};

/// A root with two branches, and on each two leaves that never end.
const TREE: &str = "
import potluck, time
def leaf():
    while True: time.sleep(0.01)
def branch(name):
    leaves = [potluck.spawn(leaf, task_id=f'{name}-leaf-{n}', timeout=600) for n in range(2)]
    return [leaf.result() for leaf in leaves]
def main(name):
    branches = [potluck.spawn(branch, f'{name}-{n}', task_id=f'{name}-{n}', timeout=600) for n in range(2)]
    return [branch.result() for branch in branches]
";

#[test]
fn scenario_4_a_tree_of_processes_ends_with_its_root() {
    let node = complete(TestNode::peer().cpu("workers = 5")).start();
    for runtime in ["python", "sandbox"] {
        let other = begin_task(&node, "other", runtime, "def main(_):\n    while True: pass\n", "alone");
        let tree = begin_task(&node, "root", runtime, TREE, "tree");
        let mut branches = Vec::new();
        for branch in ["tree-0", "tree-1"] {
            for leaf in [0, 1] {
                wait_for_state(&node, &format!("{branch}-leaf-{leaf}"), "RUNNING", "");
            }
            branches.push(living(&node).into_iter().find(|found| found["task_id"] == branch).unwrap());
        }
        let root = living(&node).into_iter().find(|found| found["task_id"] == "root").unwrap();
        // Who waits for children has no slot.
        assert!([&root, &branches[0], &branches[1]].iter().all(|found| found["state"] == "WAITING"), "{branches:#?}");
        let (root, branch) = (root["pid"].as_str().unwrap(), branches[0]["pid"].as_str().unwrap());
        let text = out(&node, &format!("ps {root}"));
        for line in [format!("{root} "), format!("├─ {branch} "), "│  ├─ P".to_owned(), "   └─ P".to_owned()]
        {
            assert!(text.lines().any(|row| row.starts_with(&line)), "{line} in {text}");
        }
        assert_eq!(living(&node).len(), 8);

        assert!(out(&node, &format!("kill {root}")).contains("with 6 processes below it"));
        let ended = tree.join().unwrap();
        assert!(ended.status == 1 && ended.stdout.contains("cancelled"), "{ended:?}");
        wait_for("only the other to be left", || living(&node).len() == 1);
        let pid = wait_for_state(&node, "other", "RUNNING", "");
        out(&node, &format!("kill {pid}"));
        assert_eq!(other.join().unwrap().status, 1);
        node.wait_for_tasks(0, 0);
        assert_eq!(out(&node, "ps"), "No processes\n");
    }
    node.check_serving();
}

#[test]
fn workflow_3_a_kill_reaches_the_descendants_on_other_peers() {
    let cluster = Cluster::start_with(2, |_, builder| complete(builder.cpu("workers = 1")));
    let [here, there] = &cluster.peers[..] else { unreachable!() };
    let tree = begin_task(here, "root", "python", TREE, "tree");
    for node in [here, there] {
        node.wait_until("a leaf to run", |status| status["scheduler"]["stats"]["active_tasks"] == 1);
    }
    let root = wait_for_state(here, "root", "WAITING", "child P2");
    let text = out(here, &format!("kill {root}"));
    assert!(text.contains("below it"), "{text}");
    let ended = tree.join().unwrap();
    assert!(ended.status == 1 && ended.stdout.contains("cancelled"), "{ended:?}");
    for node in [here, there] {
        node.wait_for_tasks(0, 0);
        wait_for("all processes to have ended", || out(node, "ps") == "No processes\n");
        node.check_serving();
    }
}
