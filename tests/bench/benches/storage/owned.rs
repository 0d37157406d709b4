//! Owned files: encrypted by one node, kept by others; beside what encrypting them with `age` takes.

use super::contest::Contest;
use super::place::{Cost, Place, run as run_program};
use super::size;
use crate::Setup;
use crate::process::output_of;
use crate::report::{Budget, Figure, Report, Unit};
use anyhow::{Context, Result};
use std::fs;
use std::process::Command;

const ROUNDS: usize = super::ROUNDS_OF_LARGE;
/// What the issue promises.
const CIPHER_RATIO_MIN: f64 = 0.8;

/// What somebody has spent, in seconds.
type Part = fn(&Cost) -> f64;

const ONE: &str = "upload --replicas 1";
const THREE: &str = "upload --replicas 3";
const AGE: &str = "age";
const DOWN: &str = "download";

pub(super) fn run(setup: &Setup, place: &Place) -> Result<Report> {
    let bytes = setup.large_bytes;
    let source = place.file("owned.bin", bytes)?;
    let recipient = recipient();
    let landing = place.path("landing");

    let mut contest = Contest::new();
    for (name, replicas) in [(ONE, "1"), (THREE, "3")] {
        let source = &source;
        contest.enter(name, move |_| {
            let mut upload = place.potluck();
            let cost =
                place.cost(upload.arg("upload").arg(source).args(["--name", replicas, "--replicas", replicas]))?;
            delete(place, replicas)?;
            Ok(cost)
        });
    }
    contest.enter(DOWN, |_| {
        run_program(place.potluck().arg("upload").arg(&source).args(["--name", "down"]))?;
        let cost = place.cost(place.potluck().args(["download", "down", "--save"]).arg(&landing))?;
        fs::remove_file(&landing)?;
        delete(place, "down")?;
        Ok(cost)
    });
    contest.enter(AGE, |_| {
        let recipient = recipient.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
        let mut age = Command::new("sh");
        // Where age fails, so does the pipe: nothing else would tell.
        age.args(["-c", "{ age -r \"$1\" < \"$2\" || kill $$; } | cat > /dev/null", "sh", recipient]).arg(&source);
        place.cost(&mut age)
    });
    contest.run(setup, ROUNDS)?;

    let rate = |cost: &Cost| bytes as f64 / cost.seconds / 1e6;
    let mut figures = Vec::new();
    for name in [ONE, THREE, DOWN] {
        let budget = |figure: Figure| {
            if name == ONE { figure.budget(Budget::RatioAtLeast(CIPHER_RATIO_MIN)) } else { figure }
        };
        if let Some(failure) = contest.failure(name) {
            figures.push(budget(Figure::missing(name, failure)));
            continue;
        }
        figures.push(contest.figure(format!("{name}, by the clock"), Unit::MegabytesPerSecond, name, AGE, rate));
        let per_second_of_busiest = |cost: &Cost| bytes as f64 / busiest(cost) / 1e6;
        let figure = contest.compare(
            "  by the processor time of its busiest party",
            Unit::MegabytesPerSecond,
            (name, &per_second_of_busiest),
            (AGE, &|cost| bytes as f64 / cost.client / 1e6),
        );
        figures.push(budget(figure));
        let parts: [(&str, Part); 4] = [
            ("  processor time of the client", |cost| cost.client),
            ("  processor time of the owner's node", |cost| cost.owner),
            ("  processor time of the holders together", |cost| cost.holders.iter().sum()),
            ("  processor time of everybody", everybody),
        ];
        for (part, value) in parts {
            figures.push(contest.compare(part, Unit::Seconds, (name, &value), (AGE, &|cost| cost.client)));
        }
    }
    drop(contest);
    fs::remove_file(&source)?;
    Ok(Report {
        name: "storage",
        title: format!(
            "an owned file of {}, beside `age -r KEY < FILE | cat > /dev/null`: medians of {ROUNDS} rounds in turn",
            size(bytes)
        ),
        competitor: "age | cat".to_owned(),
        figures,
        notes: vec![
            "age alone is the cipher's limit. An upload has three parties, on this machine all on the same cores: by the clock".to_owned(),
            "each waits for the others. On machines of their own the one with the most to do sets the pace, so it is".to_owned(),
            "that one's processor time which is judged. age writes nothing; an upload ends when it is on the holders' disks.".to_owned(),
        ],
    })
}

fn delete(place: &Place, name: &str) -> Result<()> {
    run_program(place.potluck().args(["delete-owned", name]))
}

/// Processor time of the party that has the most to do.
fn busiest(cost: &Cost) -> f64 {
    cost.holders.iter().copied().fold(cost.client.max(cost.owner), f64::max)
}

fn everybody(cost: &Cost) -> f64 {
    cost.client + cost.owner + cost.tracker + cost.holders.iter().sum::<f64>()
}

/// A key for age to encrypt to; the one that decrypts is thrown away.
fn recipient() -> Result<String> {
    let pair = output_of(&mut Command::new("age-keygen")).context("age is not installed")?;
    let line = pair.lines().find_map(|line| line.strip_prefix("# public key: "));
    Ok(line.context("age-keygen shows no public key")?.to_owned())
}
