//! Messages over one connection that stays open.

use super::{Member, PING, PLAIN, ROUNDS};
use crate::Setup;
use crate::client::{Client, frame};
use crate::report::{Report, Table, Unit};
use crate::samples::{in_turn, microseconds, percentile};
use anyhow::{Result, ensure};
use potluck_tests::TestNode;
use serde_json::json;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

/// Sizes of values, and what they are called.
const SIZES: [(usize, &str); 2] = [(1_000, "1 kB"), (1_000_000, "1 MB")];
/// Requests in flight where it is not one after the other.
const WINDOW: usize = 16;
const WARM_UP: Duration = Duration::from_millis(200);

pub(super) fn run(setup: &Setup, node: &TestNode, member: &Member) -> Result<Report> {
    let mut encrypted = member.connect()?;
    let mut plain = Client::connect(node.port())?;
    let mut requests = vec![("PING".to_owned(), frame(PING))];
    for (bytes, size) in SIZES {
        let set = json!({ "type": "SET_MEM", "key": size, "value": "x".repeat(bytes) });
        requests.push((format!("SET_MEM of {size}"), frame(&set.to_string())));
        let get = json!({ "type": "GET_MEM", "key": size });
        requests.push((format!("GET_MEM of {size}"), frame(&get.to_string())));
    }

    let duration = Duration::from_secs_f64(setup.seconds / ROUNDS as f64);
    let mut table = Table::default();
    for (name, request) in &requests {
        for in_flight in [1, WINDOW] {
            exchange(&mut encrypted, request, in_flight, WARM_UP)?;
            exchange(&mut plain, request, in_flight, WARM_UP)?;
            for round in 0..ROUNDS {
                setup.interrupt.check()?;
                let (ours, theirs) = in_turn(
                    round,
                    || exchange(&mut encrypted, request, in_flight, duration),
                    || exchange(&mut plain, request, in_flight, duration),
                )?;
                if in_flight == 1 {
                    let [ours, theirs] = [ours, theirs].map(|exchanged| percentile(&exchanged.microseconds, 0.50));
                    table.put(format!("{name}, one after the other, p50"), Unit::Microseconds, ours, theirs);
                } else {
                    let name = format!("{name}, {in_flight} in flight");
                    table.put(name, Unit::PerSecond, ours.per_second, theirs.per_second);
                }
            }
        }
    }
    Ok(Report {
        name: "security",
        title: format!("messages over one open connection: medians of {ROUNDS} rounds in turn"),
        competitor: PLAIN.to_owned(),
        figures: table.figures(&[]),
        notes: vec![
            "Both ends are in these figures: what one encrypts, the other decrypts. A small message alone takes as long".to_owned(),
            "as a core needs to wake up, or not, so its ratio moves a lot; 16 in flight show what the work costs.".to_owned(),
        ],
    })
}

/// Messages that were answered.
struct Exchanged {
    /// From the request to the answer; with more than one in flight the answers before it too.
    microseconds: Vec<f64>,
    per_second: f64,
}

/// Keeps so many requests in flight for a while.
fn exchange<S: Read + Write>(
    client: &mut Client<S>,
    request: &[u8],
    in_flight: usize,
    duration: Duration,
) -> Result<Exchanged> {
    let mut reply = Vec::new();
    let mut microseconds_each = Vec::new();
    // When those in flight were sent; without ids they are answered in this order.
    let mut sent = VecDeque::with_capacity(in_flight);
    let begun = Instant::now();
    let mut over = None;
    for _ in 0..in_flight {
        sent.push_back(Instant::now());
        client.send(request)?;
    }
    while let Some(since) = sent.pop_front() {
        client.receive_into(&mut reply)?;
        ensure!(!reply.starts_with(br#"{"type":"ERROR""#), "the node answers {}", String::from_utf8_lossy(&reply));
        if over.is_some() {
            continue;
        }
        microseconds_each.push(microseconds(since.elapsed()));
        if begun.elapsed() < duration {
            sent.push_back(Instant::now());
            client.send(request)?;
        } else {
            over = Some(begun.elapsed());
        }
    }
    let elapsed = over.unwrap_or_else(|| begun.elapsed()).as_secs_f64();
    Ok(Exchanged { per_second: microseconds_each.len() as f64 / elapsed, microseconds: microseconds_each })
}
