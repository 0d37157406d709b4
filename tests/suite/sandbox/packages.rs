//! `sandbox_packages`: an image of the node's own.

use super::{assert_failed, run};
use potluck_tests::{TestNode, sandboxed};
use serde_json::json;
use std::fs;
use std::path::Path;

/// A package with a module, one more below it, data, and a description.
fn write_package(folder: &Path) {
    fs::create_dir_all(folder.join("shapes/round")).unwrap();
    fs::write(folder.join("shapes/__init__.py"), "import random\nCALLS = []\ndef draw(): return random.random()\n")
        .unwrap();
    fs::write(folder.join("shapes/round/circle.py"), "from shapes import CALLS\nPI = 3\n").unwrap();
    fs::write(folder.join("shapes/names.txt"), "circle\n").unwrap();
    fs::write(folder.join("single.py"), "import shapes\nVALUE = shapes.__name__\n").unwrap();
    fs::write(folder.join("numbers.py"), "raise RuntimeError('in place of the library')\n").unwrap();
}

#[test]
fn packages_that_the_owner_names_are_part_of_every_instance() {
    let folder = tempfile::tempdir().unwrap();
    write_package(folder.path());
    let paths = ["shapes", "single.py", "numbers.py"].map(|name| folder.path().join(name));
    let node = TestNode::peer().cpu(format!("sandbox_packages = {}", json!(paths))).start();
    let program = "
import importlib.resources, numbers
import shapes, single
from shapes.round import circle
def main():
    shapes.CALLS.append(1)
    names = importlib.resources.files('shapes').joinpath('names.txt').read_text()
    return [circle.PI, single.VALUE, len(circle.CALLS), names, numbers.Number.__name__]
";
    // The image is made first, which may take longer than any other task here.
    let reply = node.call(potluck_tests::with(sandboxed(program, json!([])), json!({ "timeout": 600 })));
    assert_eq!(reply["result"], json!([3, "shapes", 1, "circle\n", "Number"]), "{reply:#}");
    // What a task changes in a package is gone with its instance, and each draws numbers of its own.
    assert_eq!(run(&node, program, json!([]))[2], 1);
    let draw = "import shapes\ndef main(): return shapes.draw()";
    let (one, other) = (node.call(sandboxed(draw, json!([]))), node.call(sandboxed(draw, json!([]))));
    assert_ne!(one["result"], other["result"], "{one:#}");
    assert_eq!((&one["deterministic"], &reply["deterministic"]), (&json!(false), &json!(true)));
    let images = node.call(json!({ "type": "SANDBOX_IMAGES" }));
    let own = images["images"].as_array().unwrap().iter().find(|image| image["name"] == "python").unwrap();
    assert_eq!((&own["source"], &own["packages"]), (&json!("own"), &json!(["shapes", "single.py", "numbers.py"])));
}

#[test]
fn a_package_that_cannot_be_added_is_told_to_whoever_sends_a_task() {
    let folder = tempfile::tempdir().unwrap();
    let native = folder.path().join("native");
    fs::create_dir(&native).unwrap();
    fs::write(native.join("_speed.so"), "\x7fELF").unwrap();
    let node = TestNode::peer().cpu(format!("sandbox_packages = {}", json!([native]))).start();
    let reply = node.call(potluck_tests::with(sandboxed("def main(): return 1", json!([])), json!({ "timeout": 600 })));
    assert_failed(&reply, "runtime_unavailable", "only packages that are all Python");
    // The node itself works.
    node.check_serving();
}

#[test]
fn a_relative_path_of_a_package_is_refused_at_the_start() {
    let refused = TestNode::peer().cpu("sandbox_packages = [\"shapes\"]").try_start().err().unwrap();
    assert!(refused.log.contains("sandbox_packages") && refused.log.contains("absolute"), "{}", refused.log);
}
