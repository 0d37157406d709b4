//! Owned files: encrypted by one node, kept by others; beside what encrypting them with `age` takes.

use super::contest::Contest;
use super::place::{Cost, Place, run as run_program};
use super::size;
use crate::Setup;
use crate::process::output_of;
use crate::report::{Budget, Figure, Report, Unit};
use anyhow::{Context, Error, Result, anyhow};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROUNDS: usize = super::ROUNDS_OF_LARGE;
/// What the issue promises.
const CIPHER_RATIO_MIN: f64 = 0.8;

/// What somebody has spent, in seconds.
type Part = fn(&Cost) -> f64;

const ONE: &str = "upload --replicas 1";
const THREE: &str = "upload --replicas 3";
const AGE: &str = "age";
const AGE_DECRYPTS: &str = "age --decrypt";
const DOWN: &str = "download";

pub(super) fn run(setup: &Setup, place: &Place) -> Result<Report> {
    let bytes = setup.large_bytes;
    let source = place.file("owned.bin", bytes)?;
    let key = AgeKey::new(place);
    let landing = place.path("landing");
    let encrypted = place.path("owned.age");

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
    contest.enter(AGE, |_| place.cost(&mut key.as_ref().map_err(again)?.encrypt(&source, "cat > /dev/null")));
    contest.enter(AGE_DECRYPTS, |round| {
        let key = key.as_ref().map_err(again)?;
        if round == 0 {
            run_program(&mut key.encrypt(&source, &format!("cat > '{}'", encrypted.display())))?;
        }
        place.cost(&mut key.decrypt(&encrypted))
    });
    contest.run(setup, ROUNDS)?;

    let rate = |cost: &Cost| bytes as f64 / cost.seconds / 1e6;
    let mut figures = Vec::new();
    for (name, age) in [(ONE, AGE), (THREE, AGE), (DOWN, AGE_DECRYPTS)] {
        let budget = |figure: Figure| {
            if name == ONE { figure.budget(Budget::RatioAtLeast(CIPHER_RATIO_MIN)) } else { figure }
        };
        if let Some(failure) = contest.failure(name) {
            figures.push(budget(Figure::missing(name, failure)));
            continue;
        }
        figures.push(contest.figure(format!("{name}, by the clock"), Unit::MegabytesPerSecond, name, age, rate));
        let per_second_of_busiest = |cost: &Cost| bytes as f64 / busiest(cost) / 1e6;
        let figure = contest.compare(
            format!("{name}, by the processor time of its busiest party"),
            Unit::MegabytesPerSecond,
            (name, &per_second_of_busiest),
            (age, &|cost| bytes as f64 / cost.client / 1e6),
        );
        figures.push(budget(figure));
        let parts: [(&str, Part); 4] = [
            ("  processor time of the client", |cost| cost.client),
            ("  processor time of the owner's node", |cost| cost.owner),
            ("  processor time of the holders together", |cost| cost.holders.iter().sum()),
            ("  processor time of everybody", everybody),
        ];
        for (part, value) in parts {
            figures.push(contest.compare(part, Unit::Seconds, (name, &value), (age, &|cost| cost.client)));
        }
    }
    drop(contest);
    fs::remove_file(&source)?;
    let _ = fs::remove_file(&encrypted);
    Ok(Report {
        name: "storage",
        title: format!(
            "an owned file of {}, beside `age -r KEY < FILE | cat > /dev/null`, or `age -d`: medians of {ROUNDS} rounds in turn",
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

/// A pair of keys of age.
struct AgeKey {
    identity: PathBuf,
    recipient: String,
}

impl AgeKey {
    fn new(place: &Place) -> Result<AgeKey> {
        let pair = output_of(&mut Command::new("age-keygen")).context("age is not installed")?;
        let recipient = pair.lines().find_map(|line| line.strip_prefix("# public key: "));
        let recipient = recipient.context("age-keygen shows no public key")?.to_owned();
        let identity = place.path("age-identity");
        fs::write(&identity, pair)?;
        Ok(AgeKey { identity, recipient })
    }

    fn encrypt(&self, source: &Path, into: &str) -> Command {
        pipe(&["-r", &self.recipient], source, into)
    }

    fn decrypt(&self, source: &Path) -> Command {
        pipe(&["--decrypt", "-i", &self.identity.to_string_lossy()], source, "cat > /dev/null")
    }
}

/// `age ARGUMENTS < SOURCE | INTO`, which fails when age does.
fn pipe(arguments: &[&str], source: &Path, into: &str) -> Command {
    let mut command = Command::new("sh");
    let script = format!("source=$1; shift; {{ age \"$@\" < \"$source\" || kill $$; }} | {into}");
    command.args(["-c", &script, "sh"]).arg(source).args(arguments);
    command
}

fn again(error: &Error) -> Error {
    anyhow!("{error:#}")
}
