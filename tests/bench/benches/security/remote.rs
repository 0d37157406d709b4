//! Trivial Python tasks on another node: client, own node, other node, and back. In a pool the way between the nodes is
//! encrypted and the work is another's; without one they talk in plain frames. Both stand side by side, with as many
//! nodes, and the client speaks to its own node in plain frames either way.

use super::{NODE_SETTINGS, PLAIN, ROUNDS};
use crate::Setup;
use crate::client::Client;
use crate::load;
use crate::report::{Budget, Report, Table, Unit};
use crate::samples::{in_turn, percentile};
use crate::trivial::Trivial;
use anyhow::{Context, Result};
use potluck_tests::{Cluster, NodeBuilder};
use std::time::Duration;

/// What the issue promises.
const P50_RATIO_MAX: f64 = 1.3;
/// Tasks in flight where it is not one after the other.
const WINDOW: usize = 64;
/// The client's node, and the one that works.
const PEERS: usize = 2;
/// Until the workers, the code they keep and the nodes' picture of both are warm.
const WARM_UP: Duration = Duration::from_secs(1);

pub(super) fn run(setup: &Setup) -> Result<Report> {
    let python = setup.python.to_str().context("the path of the interpreter is not UTF-8")?;
    let configure = |_, builder: NodeBuilder| builder.node(NODE_SETTINGS).python(python);
    let mut encrypted = Side::new(Cluster::start_with(PEERS, configure))?;
    let mut plain = Side::new(Cluster::start_plain(PEERS, configure))?;
    for side in [&mut encrypted, &mut plain] {
        side.one_after_the_other(WARM_UP)?;
        side.in_flight(WARM_UP)?;
    }

    let duration = Duration::from_secs_f64(setup.seconds / ROUNDS as f64);
    let mut table = Table::default();
    for round in 0..ROUNDS {
        setup.interrupt.check()?;
        let (ours, theirs) =
            in_turn(round, || encrypted.one_after_the_other(duration), || plain.one_after_the_other(duration))?;
        for (name, share) in [("one after the other, p50", 0.50), ("one after the other, p99", 0.99)] {
            table.put(name, Unit::Microseconds, percentile(&ours, share), percentile(&theirs, share));
        }
        let (ours, theirs) = in_turn(round, || encrypted.in_flight(duration), || plain.in_flight(duration))?;
        table.put(format!("{WINDOW} in flight over 1 connection"), Unit::PerSecond, ours, theirs);
    }
    Ok(Report {
        name: "security",
        title: format!("x * x in Python on another node, client to result, warm: medians of {ROUNDS} rounds in turn"),
        competitor: PLAIN.to_owned(),
        figures: table.figures(&[("one after the other, p50", Budget::RatioAtMost(P50_RATIO_MAX))]),
        notes: Vec::new(),
    })
}

struct Side {
    cluster: Cluster,
    client: Client,
    task: Trivial,
}

impl Side {
    fn new(cluster: Cluster) -> Result<Side> {
        let client = Client::connect(cluster.peers[0].port())?;
        let task = Trivial::python().sent_to(cluster.peers[1].peer_id());
        Ok(Side { cluster, client, task })
    }

    fn one_after_the_other(&mut self, duration: Duration) -> Result<Vec<f64>> {
        self.task.latencies(&mut self.client, duration, Duration::ZERO)
    }

    /// Tasks a second.
    fn in_flight(&self, duration: Duration) -> Result<f64> {
        let port = self.cluster.peers[0].port();
        Ok(load::run(port, self.task.windows(1, WINDOW), duration)?.per_second)
    }
}
