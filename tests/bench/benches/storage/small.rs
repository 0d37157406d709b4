//! Many small files: what counts is how often the disk is waited for.

use super::contest::Contest;
use super::place::{Place, timed};
use super::rivals::{Rivals, Ssh};
use super::size;
use crate::Setup;
use crate::client::Client;
use crate::report::{Budget, Report, Unit};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

const BYTES: u64 = 1_000;
const FILES: usize = 800;
const ROUNDS: usize = 7;
/// Clients with a connection each, and threads of the bare loop.
const AT_ONCE: usize = 16;

const PUT: &str = "PUT_FILE";
const PUT_ALONE: &str = "PUT_FILE, one after the other";
const LOOP: &str = "the bare loop";
const LOOP_ALONE: &str = "the bare loop, one after the other";
const PUT_SCP: &str = "scp";
const PUT_RSYNC: &str = "rsync";
const GET: &str = "GET_FILE";
const GET_CURL: &str = "curl";

pub(super) fn run(setup: &Setup, place: &Place, rivals: &Rivals) -> Result<Report> {
    let folder = place.path("small");
    fs::create_dir(&folder)?;
    for number in 0..FILES {
        place.file(&format!("small/{number}"), BYTES)?;
    }
    let content = fs::read(folder.join("0"))?;
    let stored = put_all(place, "small-stored", &content, AT_ONCE);
    let landing = place.path("landing");

    let mut contest = Contest::new();
    for (name, at_once) in [(PUT, AT_ONCE), (PUT_ALONE, 1)] {
        let content = &content;
        contest.enter(name, move |_| {
            let seconds = put_all(place, "small-put", content, at_once)?;
            delete_all(place, "small-put")?;
            Ok(seconds)
        });
    }
    for (name, at_once) in [(LOOP, AT_ONCE), (LOOP_ALONE, 1)] {
        let content = &content;
        contest.enter(name, move |_| bare_loop(&place.path("bare"), content, at_once));
    }
    contest.enter(PUT_SCP, |_| gone(timed(&mut rivals.ssh()?.scp(&folder, Ssh::there(&landing)))?, &landing));
    contest.enter(PUT_RSYNC, |_| gone(timed(&mut rivals.ssh()?.rsync(&folder, Ssh::there(&landing)))?, &landing));
    contest.enter(GET, |_| {
        ensure!(stored.is_ok(), "the files could not be stored");
        get_all(place, "small-stored")
    });
    contest.enter(GET_CURL, |_| {
        let all = format!("small/[0-{}]", FILES - 1);
        timed(&mut rivals.nginx()?.curl(&all, Path::new("/dev/null")))
    });
    contest.run(setup, ROUNDS)?;

    let rate = |seconds: &f64| FILES as f64 / seconds;
    let figure = |name: &str, ours: &str, theirs: &str| contest.figure(name, Unit::PerSecond, ours, theirs, rate);
    let figures = vec![
        figure(&format!("put, {AT_ONCE} at a time, beside the bare loop"), PUT, LOOP).budget(Budget::RatioAtLeast(0.8)),
        figure("put, one after the other, beside the bare loop", PUT_ALONE, LOOP_ALONE),
        figure(&format!("put, {AT_ONCE} at a time, beside scp -r"), PUT, PUT_SCP),
        figure(&format!("put, {AT_ONCE} at a time, beside rsync --fsync"), PUT, PUT_RSYNC),
        figure("get, one after the other, beside one curl from nginx", GET, GET_CURL),
    ];
    drop(contest);
    if stored.is_ok() {
        delete_all(place, "small-stored")?;
    }
    fs::remove_dir_all(&folder)?;
    Ok(Report {
        name: "storage",
        title: format!("{FILES} files of {}: medians of {ROUNDS} rounds in turn", size(BYTES)),
        competitor: "the other".to_owned(),
        figures,
        notes: vec![
            format!(
                "The bare loop: in {AT_ONCE} threads, write to a new file, fsync, rename, fsync of the folder. What PUT_FILE"
            ),
            "acknowledges is as safe, and the tracker hears of it besides. scp, rsync and curl are started once for all files,".to_owned(),
            "and their start is in their time.".to_owned(),
        ],
    })
}

/// Puts all files, over so many connections at a time; returns how long that took, in seconds.
fn put_all(place: &Place, prefix: &str, content: &[u8], at_once: usize) -> Result<f64> {
    let put = |client: &mut Client, number: usize| {
        let message = json!({ "type": "PUT_FILE", "filename": format!("{prefix}/{number}") });
        client.request_with(&message, content).map(drop)
    };
    shared_out(at_once, || Client::connect(place.node().port()), put)
}

fn delete_all(place: &Place, prefix: &str) -> Result<()> {
    let delete = |client: &mut Client, number: usize| {
        let reply = client.request(&json!({ "type": "DELETE_FILE", "filename": format!("{prefix}/{number}") }))?;
        ensure!(reply["deleted"] == true, "the node answers {reply}");
        Ok(())
    };
    shared_out(AT_ONCE, || Client::connect(place.node().port()), delete).map(drop)
}

/// Reads all files over one connection; returns how long that took, in seconds.
fn get_all(place: &Place, prefix: &str) -> Result<f64> {
    let get = |client: &mut Client, number: usize| {
        let message = json!({ "type": "GET_FILE", "filename": format!("{prefix}/{number}"), "encoding": "raw" });
        let reply = client.request(&message)?;
        ensure!(reply["attachment"] == BYTES, "the node answers {reply}");
        client.skip(BYTES)
    };
    shared_out(1, || Client::connect(place.node().port()), get)
}

/// What a program does that wants its files to be there after a power loss.
fn bare_loop(folder: &Path, content: &[u8], at_once: usize) -> Result<f64> {
    fs::create_dir(folder)?;
    let write = |folder_file: &mut File, number: usize| {
        let fresh = folder.join(format!("{number}.new"));
        let mut file = File::create(&fresh)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&fresh, folder.join(number.to_string()))?;
        folder_file.sync_all()?;
        Ok(())
    };
    let seconds = shared_out(at_once, || Ok(File::open(folder)?), write)?;
    fs::remove_dir_all(folder)?;
    Ok(seconds)
}

/// Has so many threads, each with a tool of its own, do the work of all files; returns how long that took, in seconds.
fn shared_out<T: Send>(
    threads: usize,
    tool: impl Fn() -> Result<T>,
    work: impl Fn(&mut T, usize) -> Result<()> + Sync,
) -> Result<f64> {
    let mut tools = (0..threads).map(|_| tool()).collect::<Result<Vec<T>>>()?;
    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    thread::scope(|scope| {
        let mut workers = Vec::new();
        for tool in &mut tools {
            workers.push(scope.spawn(|| -> Result<()> {
                loop {
                    match next.fetch_add(1, Ordering::Relaxed) {
                        number if number < FILES => work(tool, number)?,
                        _ => return Ok(()),
                    }
                }
            }));
        }
        workers.into_iter().try_for_each(|worker| worker.join().ok().context("a thread has panicked")?)
    })?;
    Ok(begun.elapsed().as_secs_f64())
}

/// Removes what was made, outside of the time.
fn gone(seconds: f64, folder: &Path) -> Result<f64> {
    fs::remove_dir_all(folder)?;
    Ok(seconds)
}
