//! What the images of the sandbox cost: to start, and to keep instances ready. And what the science image is good for.

use super::{Bed, rest};
use crate::Setup;
use crate::client::Client;
use crate::machine::private_mebibytes;
use crate::node::{Node, cpu_plugins, temporary_folder};
use crate::report::{Figure, Report, Unit};
use crate::samples::{median, milliseconds};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Instant;

/// The image that the node came with, and what a copy of it without compiled code is called.
const STANDARD: &str = "python";
const COPY: &str = "copy";
/// Starts with compiled code.
const STARTS: usize = 5;
/// Instances that a worker keeps ready, in two nodes that are compared.
const FEW: usize = 2;
const MANY: usize = 34;
/// Seconds; compiling takes long on a busy machine.
const TIMEOUT_SECONDS: f64 = 280.0;
const SCIENCE: &str = "science";
const NUMPY: &str = "def main():\n    import numpy\n    return int(numpy.arange(10).sum())\n";
const NUMPY_TIMES: usize = 11;

pub(super) fn run(bed: &mut Bed<'_>) -> Result<Report> {
    let setup = bed.setup;
    let mut figures = vec![first_start(setup)?];
    figures.extend(memory(setup)?);
    figures.extend(science(bed)?);
    Ok(Report {
        name: "sandbox-images",
        title: "images of the sandbox".to_owned(),
        competitor: "compiled before".to_owned(),
        figures,
        notes: Vec::new(),
    })
}

/// From starting a node to the result of the first task, in an image that nobody has compiled and in one that somebody
/// has.
fn first_start(setup: &Setup) -> Result<Figure> {
    let folder = temporary_folder()?;
    let image = folder.path().join(COPY);
    let shipped = setup.dist.join("lib/sandbox").join(STANDARD);
    std::fs::create_dir(&image)?;
    for name in ["image.json", "image.wasm"] {
        symlink(shipped.join(name), image.join(name)).with_context(|| format!("cannot link {name}"))?;
    }
    let without = start(setup, folder.path())?;
    let mut with = Vec::new();
    for _ in 0..STARTS {
        setup.interrupt.check()?;
        with.push(start(setup, folder.path())?);
    }
    let with = median(&with);
    let figure = Figure::new("start of a node to its first result, nothing compiled", Unit::Milliseconds, without);
    Ok(figure.beside(with, without / with))
}

fn start(setup: &Setup, images: &Path) -> Result<f64> {
    let images = Value::from(images.to_string_lossy());
    let begun = Instant::now();
    let node = Node::start(setup, &cpu_plugins(setup, &format!("images_dir = {images}")))?;
    run_in(&mut node.client()?, COPY, "def main():\n    return 45\n")?;
    Ok(milliseconds(begun.elapsed()))
}

fn run_in(client: &mut Client, image: &str, program: &str) -> Result<()> {
    let message = json!({
        "type": "CPU_TASK", "runtime": "sandbox", "image": image, "program": program, "timeout": TIMEOUT_SECONDS, "cache": false
    });
    match client.request(&message)? {
        answer if answer["result"] == 45 => Ok(()),
        answer => bail!("a task in the image {image} is answered with {answer}"),
    }
}

/// Memory that an instance takes while it waits for a task.
fn memory(setup: &Setup) -> Result<Vec<Figure>> {
    let (Some(few), Some(many)) = (memory_of_worker(setup, FEW)?, memory_of_worker(setup, MANY)?) else {
        return Ok(vec![Figure::missing("an instance that waits", "the kernel does not tell")]);
    };
    let each = (many - few) / (MANY - FEW) as f64;
    Ok(vec![
        Figure::new("an instance that waits", Unit::Mebibytes, each),
        Figure::new(format!("a worker with {FEW} of them, not shared"), Unit::Mebibytes, few),
        Figure::new(format!("a worker with {MANY} of them, not shared"), Unit::Mebibytes, many),
    ])
}

fn memory_of_worker(setup: &Setup, spares: usize) -> Result<Option<f64>> {
    let node = Node::start(setup, &cpu_plugins(setup, &format!("workers = 1\nsandbox_spare_instances = {spares}")))?;
    run_in(&mut node.client()?, STANDARD, "def main():\n    return 45\n")?;
    rest(&node)?;
    match node.workers("sandbox")[..] {
        [worker] => Ok(private_mebibytes(worker)),
        ref others => bail!("a node with one slot has {} workers of the sandbox", others.len()),
    }
}

fn science(bed: &mut Bed<'_>) -> Result<Vec<Figure>> {
    let name = format!("`import numpy` in the image {SCIENCE}, client to result");
    let images = bed.client.request(&json!({ "type": "SANDBOX_IMAGES" }))?;
    let is_installed =
        images["images"].as_array().is_some_and(|images| images.iter().any(|image| image["name"] == SCIENCE));
    if !is_installed {
        return Ok(vec![Figure::missing(name, "not installed")]);
    }
    let mut samples = Vec::new();
    for _ in 0..NUMPY_TIMES {
        bed.setup.interrupt.check()?;
        let begun = Instant::now();
        run_in(&mut bed.client, SCIENCE, NUMPY)?;
        samples.push(milliseconds(begun.elapsed()));
        rest(&bed.node)?;
    }
    let (first, later) = (samples[0], &samples[1..]);
    Ok(vec![
        Figure::new(format!("{name}, the node's first"), Unit::Milliseconds, first),
        Figure::new(format!("{name}, median of {}", later.len()), Unit::Milliseconds, median(later)),
    ])
}
