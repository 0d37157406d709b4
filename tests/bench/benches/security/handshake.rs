//! A new connection for each message: TCP, with TLS the handshake and the proof of membership, a PING and its answer.

use super::{Member, PING, PLAIN, PONG};
use crate::Setup;
use crate::client::{Client, frame};
use crate::report::{Report, Table, Unit};
use crate::samples::{in_turn, microseconds, percentile, rounds};
use anyhow::{Result, anyhow, ensure};
use potluck_tests::TestNode;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

/// How many connect at the same time.
const CLIENTS: [usize; 2] = [1, 8];
const WARM_UP: Duration = Duration::from_millis(200);

pub(super) fn run(setup: &Setup, node: &TestNode, member: &Member) -> Result<Report> {
    let port = node.port();
    let encrypted = || ping(member.connect()?);
    let plain = || ping(Client::connect(port)?);
    let (count, duration) = rounds(setup.seconds);
    let mut table = Table::default();
    for clients in CLIENTS {
        visits(clients, WARM_UP, &encrypted)?;
        visits(clients, WARM_UP, &plain)?;
        for round in 0..count {
            setup.interrupt.check()?;
            let (ours, theirs) =
                in_turn(round, || visits(clients, duration, &encrypted), || visits(clients, duration, &plain))?;
            let name = if clients == 1 { "1 client".to_owned() } else { format!("{clients} clients at once") };
            for (percent, share) in [("p50", 0.50), ("p99", 0.99)] {
                let value = |visits: &Visits| percentile(&visits.microseconds, share);
                table.put(format!("{name}, {percent}"), Unit::Microseconds, value(&ours), value(&theirs));
            }
            table.put(format!("{name}, all"), Unit::PerSecond, ours.per_second, theirs.per_second);
        }
    }
    Ok(Report {
        name: "security",
        title: format!("connect, HELLO with TLS, PING, close: medians of {count} rounds in turn"),
        competitor: PLAIN.to_owned(),
        figures: table.figures(&[]),
        notes: vec!["Both ends are in these figures, and share the cores.".to_owned()],
    })
}

fn ping<S: Read + Write>(mut client: Client<S>) -> Result<()> {
    client.send(&frame(PING))?;
    let answer = client.receive()?;
    ensure!(answer == PONG, "the node answers {answer}");
    Ok(())
}

/// Connections that were made and closed again.
struct Visits {
    microseconds: Vec<f64>,
    per_second: f64,
}

/// Visits one after the other by each of some clients.
fn visits(clients: usize, duration: Duration, visit: &(impl Fn() -> Result<()> + Sync)) -> Result<Visits> {
    let begun = Instant::now();
    let one = || {
        let mut samples = Vec::new();
        while begun.elapsed() < duration {
            let begun = Instant::now();
            visit()?;
            samples.push(microseconds(begun.elapsed()));
        }
        anyhow::Ok(samples)
    };
    let all = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(one)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<Vec<f64>>>| {
            thread.join().unwrap_or_else(|_| Err(anyhow!("a client has failed")))
        };
        threads.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    let elapsed = begun.elapsed().as_secs_f64();
    let microseconds = all.concat();
    Ok(Visits { per_second: microseconds.len() as f64 / elapsed, microseconds })
}
