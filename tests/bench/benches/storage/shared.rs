//! One file of the node's, put and read: by the command line, beside the programs that people use for that; and over a bare
//! connection, which is what the node itself can do.

use super::contest::Contest;
use super::place::{Place, timed};
use super::rivals::{Rivals, Ssh};
use super::size;
use crate::Setup;
use crate::client::{Client, frame};
use crate::report::{Budget, Report, Unit};
use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Bytes that a bare client asks for at once, and how many such requests it keeps in flight.
const PIECE_BYTES: u64 = 1 << 20;
const WINDOW: u64 = 8;

const PUT: &str = "potluck put-file";
const PUT_SCP: &str = "scp to";
const PUT_RSYNC: &str = "rsync --fsync to";
const GET: &str = "potluck get-file";
const GET_CURL: &str = "curl";
const GET_CURL_SYNC: &str = "curl and sync";
const GET_SCP: &str = "scp from";
const GET_RSYNC: &str = "rsync --fsync from";
const OUT: &str = "potluck get-file to standard output";
const BARE: &str = "bare client";
const BARE_CURL: &str = "curl to nowhere";

pub(super) fn run(setup: &Setup, place: &Place, rivals: &Rivals, bytes: u64, rounds: usize) -> Result<Report> {
    let name = format!("{bytes}.bin");
    let source = place.file(&name, bytes)?;
    let landing = place.path("landing");
    // Stored once, to be read in every round.
    let stored = timed(place.potluck().arg("put-file").arg(&source).arg("stored"));

    let mut contest = Contest::new();
    contest.enter(PUT, |_| {
        let seconds = timed(place.potluck().arg("put-file").arg(&source).arg("put"))?;
        delete(place, "put")?;
        Ok(seconds)
    });
    contest.enter(PUT_SCP, |_| gone(timed(&mut rivals.ssh()?.scp(&source, Ssh::there(&landing)))?, &landing));
    contest.enter(PUT_RSYNC, |_| gone(timed(&mut rivals.ssh()?.rsync(&source, Ssh::there(&landing)))?, &landing));
    contest.enter(GET, |_| {
        stored.as_ref().map_err(|error| anyhow!("{error:#}"))?;
        gone(timed(place.potluck().args(["get-file", "stored", "--save"]).arg(&landing))?, &landing)
    });
    contest.enter(GET_CURL, |_| gone(timed(&mut rivals.nginx()?.curl(&name, &landing))?, &landing));
    contest.enter(GET_CURL_SYNC, |_| {
        let curl = rivals.nginx()?.curl(&name, &landing);
        let mut both = Command::new("sh");
        both.args(["-c", "\"$@\" && sync \"$0\""]).arg(&landing).arg(curl.get_program()).args(curl.get_args());
        gone(timed(&mut both)?, &landing)
    });
    contest.enter(GET_SCP, |_| gone(timed(&mut rivals.ssh()?.scp(Ssh::there(&source), &landing))?, &landing));
    contest.enter(GET_RSYNC, |_| gone(timed(&mut rivals.ssh()?.rsync(Ssh::there(&source), &landing))?, &landing));
    contest.enter(OUT, |_| {
        stored.as_ref().map_err(|error| anyhow!("{error:#}"))?;
        timed(place.potluck().args(["get-file", "stored", "--save", "-"]))
    });
    contest.enter(BARE, |_| bare_get(place, "stored", bytes));
    contest.enter(BARE_CURL, |_| timed(&mut rivals.nginx()?.curl(&name, Path::new("/dev/null"))));
    contest.run(setup, rounds)?;

    let rate = |seconds: &f64| bytes as f64 / seconds / 1e6;
    let unit = Unit::MegabytesPerSecond;
    let figure = |name: &str, ours: &str, theirs: &str| contest.figure(name, unit, ours, theirs, rate);
    let mut figures = vec![
        figure("put-file, beside scp", PUT, PUT_SCP),
        figure("put-file, beside rsync --fsync", PUT, PUT_RSYNC),
        figure("get-file --save FILE, beside curl from nginx, then sync FILE", GET, GET_CURL_SYNC)
            .budget(Budget::RatioAtLeast(1.0)),
        figure("get-file --save FILE, beside curl from nginx alone", GET, GET_CURL),
        figure("get-file --save FILE, beside scp", GET, GET_SCP),
        figure("get-file --save FILE, beside rsync --fsync", GET, GET_RSYNC),
        figure("get-file --save -, beside curl from nginx, both to nowhere", OUT, BARE_CURL),
    ];
    // The bare client is a part of this program: with a small file it would win by what it takes to start curl.
    if bytes > super::MEGABYTE {
        figures.push(
            figure("GET_FILE_CHUNK by a bare client, beside the same curl", BARE, BARE_CURL)
                .budget(Budget::RatioAtLeast(1.0)),
        );
    }
    drop(contest);
    if stored.is_ok() {
        delete(place, "stored")?;
    }
    fs::remove_file(&source)?;
    Ok(Report {
        name: "storage",
        title: format!("a file of {}, from start to end of each program: medians of {rounds} rounds in turn", size(bytes)),
        competitor: "the other".to_owned(),
        figures,
        notes: vec![
            "put-file, get-file --save and rsync --fsync end when the file is on the disk, scp and curl when the kernel has".to_owned(),
            "it. put-file and get-file compute the SHA-256 of the file; the ways of scp and rsync are encrypted.".to_owned(),
        ],
    })
}

/// Removes what was made, outside of the time.
fn gone(seconds: f64, path: &Path) -> Result<f64> {
    fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
    Ok(seconds)
}

/// Removes a file of the node's.
pub(super) fn delete(place: &Place, name: &str) -> Result<()> {
    let deleted = Client::connect(place.node().port())?.request(&json!({ "type": "DELETE_FILE", "filename": name }))?;
    ensure!(deleted["deleted"] == true, "the node deletes nothing: {deleted}");
    Ok(())
}

/// Reads a file in pieces, several of them in flight, and throws it away; returns how long that took, in seconds.
fn bare_get(place: &Place, name: &str, bytes: u64) -> Result<f64> {
    let begun = Instant::now();
    let mut client = Client::connect(place.node().port())?;
    let ask = |client: &mut Client, number: u64| {
        let offset = number * PIECE_BYTES;
        let message = json!({
            "type": "GET_FILE_CHUNK", "filename": name, "offset": offset, "length": PIECE_BYTES, "encoding": "raw",
        });
        client.send(&frame(&message.to_string()))
    };
    let pieces = bytes.div_ceil(PIECE_BYTES);
    for number in 0..pieces.min(WINDOW) {
        ask(&mut client, number)?;
    }
    let mut received = 0;
    for number in 0..pieces {
        let reply: Value = serde_json::from_str(&client.receive()?)?;
        ensure!(reply["found"] == true, "the node answers {reply}");
        let length = reply["attachment"].as_u64().context("a piece without its length")?;
        client.skip(length)?;
        received += length;
        if number + WINDOW < pieces {
            ask(&mut client, number + WINDOW)?;
        }
    }
    ensure!(received == bytes, "the node has sent {received} of {bytes} bytes");
    Ok(begun.elapsed().as_secs_f64())
}
