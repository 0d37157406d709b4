//! A file that other peers have, fetched from one of them and from three at once.

use super::contest::Contest;
use super::place::{Cost, Place, potluck, run as run_program};
use super::rivals::Rivals;
use super::shared::delete;
use super::size;
use crate::Setup;
use crate::report::{Report, Unit};
use anyhow::{Result, anyhow, bail, ensure};
use potluck_tests::TestNode;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const ROUNDS: usize = super::ROUNDS_OF_LARGE;
/// How long the tracker may take to hear who has the file.
const KNOWN_LIMIT: Duration = Duration::from_secs(20);

const ONE: &str = "fetch from 1 peer";
const THREE: &str = "fetch from 3 peers";
const CURL: &str = "curl";

pub(super) fn run(setup: &Setup, place: &Place, rivals: &Rivals) -> Result<Report> {
    let bytes = setup.large_bytes;
    let source = place.file("fetched.bin", bytes)?;
    let landing = place.path("landing");

    let mut contest = Contest::new();
    for (name, file, sources) in [(ONE, "on-one", 1), (THREE, "on-three", 3)] {
        let ready = spread(place, &source, file, &place.others()[..sources]);
        contest.enter(name, move |_| {
            ready.as_ref().map_err(|error| anyhow!("{error:#}"))?;
            let cost = place.cost(place.potluck().args(["fetch", file]))?;
            delete(place, file)?;
            Ok(cost)
        });
    }
    contest.enter(CURL, |_| {
        let cost = place.cost(&mut rivals.nginx()?.curl("fetched.bin", &landing))?;
        fs::remove_file(&landing)?;
        Ok(cost)
    });
    contest.run(setup, ROUNDS)?;

    let rate = |cost: &Cost| bytes as f64 / cost.seconds / 1e6;
    let unit = Unit::MegabytesPerSecond;
    let figures = vec![
        contest.figure(format!("{THREE}, beside 1"), unit, THREE, ONE, rate),
        contest.figure(format!("{ONE}, beside curl from nginx"), unit, ONE, CURL, rate),
        contest.figure(format!("{THREE}, beside curl from nginx"), unit, THREE, CURL, rate),
        contest.alone("  processor time of the node that fetches, from 3", Unit::Seconds, THREE, |cost| cost.owner),
        contest
            .alone("  processor time of the sources together", Unit::Seconds, THREE, |cost| cost.holders.iter().sum()),
    ];
    drop(contest);
    fs::remove_file(&source)?;
    Ok(Report {
        name: "storage",
        title: format!(
            "a file of {} from other peers, encrypted on the way and checked: medians of {ROUNDS} rounds in turn",
            size(bytes)
        ),
        competitor: "the other".to_owned(),
        figures,
        notes: vec![
            "All peers share the cores and the disk of this machine, so more of them add work and no means.".to_owned(),
        ],
    })
}

/// Stores a file on these nodes, and waits until the tracker says that they have it.
fn spread(place: &Place, source: &Path, name: &str, nodes: &[TestNode]) -> Result<()> {
    for node in nodes {
        run_program(potluck(node).arg("put-file").arg(source).arg(name))?;
    }
    let deadline = Instant::now() + KNOWN_LIMIT;
    loop {
        let found = place.node().call(json!({ "type": "FIND_FILE", "filename": name, "to": "tracker" }));
        ensure!(found["error"].is_null() || found["found"] == false, "find-file: {}", found["error"]);
        if found["peers"].as_array().is_some_and(|peers: &Vec<Value>| peers.len() == nodes.len()) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("the tracker does not say who has the file: {found}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
