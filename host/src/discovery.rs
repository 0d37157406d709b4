//! Trackers on the local network: a tracker says by multicast DNS which pool it serves and where, and others listen.
//!
//! Anybody on the network can say anything, so what is heard is a hint where to try. Only a connection with the right
//! key proves who is there. An announcement tells the network the pool's id, the tracker's id, its addresses and its
//! port; it does not tell the machine's name.
//!
//! The thread that speaks multicast DNS exists only while an [`Announcer`] lives or [`browse`] runs. All of this
//! blocks.

use anyhow::{Context, bail};
use mdns_sd::{DaemonEvent, IfKind, Receiver, ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use potluck_sdk::PeerId;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Most trackers that one [`browse`] keeps; the one that was enough comes on top.
pub const TRACKERS_MAX: usize = 64;
/// Most addresses of one tracker that are kept.
pub const ADDRESSES_MAX: usize = 8;

const SERVICE: &str = "_potluck._tcp.local.";
const VERSION: &str = "1";
/// The three probes for the name and the first announcement take a second.
const ANNOUNCE_LIMIT: Duration = Duration::from_secs(5);
const STOP_LIMIT: Duration = Duration::from_secs(1);
/// A wake-up each time, to find that the machine got a new address.
const ADDRESS_CHECK_SECONDS: u32 = 30;
/// A quiet network of a few hundred machines stays far below this.
const FLOOD_RECORDS: i64 = 10_000;

/// Which of the machine's network interfaces are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interfaces {
    /// All that lead to other machines.
    #[default]
    Network,
    /// Loopback alone, for tests of one machine.
    Loopback,
}

/// What somebody on the network claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The pool.
    pub pool_id: PeerId,
    /// The tracker's own id.
    pub tracker_id: PeerId,
    /// Where it is to be found: as `host:port`, IPv4 first.
    pub addresses: Vec<String>,
}

/// Announces one tracker until it is dropped.
pub struct Announcer {
    daemon: Daemon,
}

impl Announcer {
    /// Announces that the tracker with this id serves a pool on a port, at these addresses; when none are given, at all
    /// that the machine has and gets. Takes about a second. Fails when there is no network now; then it can be tried
    /// again later.
    pub fn announce(
        pool_id: PeerId,
        tracker_id: PeerId,
        port: u16,
        addresses: &[IpAddr],
        interfaces: Interfaces,
    ) -> anyhow::Result<Announcer> {
        let daemon = Daemon::start(interfaces)?;
        let id = tracker_id.to_string();
        let properties = [("pool", pool_id.to_string()), ("v", VERSION.to_owned())];
        let mut service = ServiceInfo::new(SERVICE, &id, &format!("{id}.local."), addresses, port, &properties[..])
            .context("cannot describe the tracker")?;
        if addresses.is_empty() {
            service = service.enable_addr_auto();
        }
        service.set_interfaces(daemon.kinds.clone());
        let events = daemon.mdns.monitor().context("cannot watch the announcement")?;
        daemon.mdns.register(service).context("cannot announce the tracker")?;
        wait_for_announcement(&events)?;
        Ok(Announcer { daemon })
    }

    /// Whether somebody on the network has filled this announcer's memory with records, which nothing else bounds. Ask
    /// now and then; when it is so, drop the announcer and announce anew.
    pub fn is_flooded(&self) -> bool {
        let metrics = self.daemon.mdns.get_metrics().ok().and_then(|reply| reply.recv_timeout(STOP_LIMIT).ok());
        let Some(metrics) = metrics else {
            return true;
        };
        let records = metrics.iter().filter(|(name, _)| name.starts_with("cached-")).map(|(_, count)| *count);
        records.fold(0, i64::saturating_add) > FLOOD_RECORDS
    }
}

/// Listens for so long, or until a tracker is enough, and returns what was said.
pub fn browse(
    limit: Duration,
    interfaces: Interfaces,
    mut enough: impl FnMut(&Heard) -> bool,
) -> anyhow::Result<Vec<Heard>> {
    let daemon = Daemon::start(interfaces)?;
    let events = daemon.mdns.browse(SERVICE).context("cannot ask the network for trackers")?;
    let end = Instant::now() + limit;
    // By name, so that a tracker that speaks again, or on a second interface, is not counted twice.
    let mut heard = BTreeMap::new();
    while let Ok(event) = events.recv_deadline(end) {
        match event {
            ServiceEvent::ServiceResolved(service) => {
                let Some(tracker) = read(&service) else {
                    continue;
                };
                let done = enough(&tracker);
                if done || heard.len() < TRACKERS_MAX || heard.contains_key(&service.fullname) {
                    heard.insert(service.fullname, tracker);
                }
                if done {
                    break;
                }
            }
            ServiceEvent::ServiceRemoved(_, name) => {
                heard.remove(&name);
            }
            _ => {}
        }
    }
    Ok(heard.into_values().collect())
}

fn wait_for_announcement(events: &Receiver<DaemonEvent>) -> anyhow::Result<()> {
    let end = Instant::now() + ANNOUNCE_LIMIT;
    loop {
        match events.recv_deadline(end) {
            Ok(DaemonEvent::Announce(..)) => return Ok(()),
            Ok(DaemonEvent::Error(error)) => return Err(error).context("cannot announce the tracker"),
            Ok(_) => {}
            Err(_) => bail!(
                "no network interface took the announcement of the tracker; is multicast possible here, and UDP port \
                 {} free to share?",
                mdns_sd::MDNS_PORT
            ),
        }
    }
}

/// What a record says; nothing when it is not from a tracker as we know them, or of no use.
fn read(service: &ResolvedService) -> Option<Heard> {
    let name = service.fullname.strip_suffix(SERVICE)?.strip_suffix('.')?;
    if service.get_property_val_str("v") != Some(VERSION) || service.port == 0 {
        return None;
    }
    let addresses = service.addresses.iter().map(mdns_sd::ScopedIp::to_ip_addr);
    Some(Heard {
        pool_id: service.get_property_val_str("pool")?.parse().ok()?,
        tracker_id: name.parse().ok()?,
        addresses: reachable(addresses, service.port)?,
    })
}

/// The addresses that one can connect to from here; nothing when there are none.
fn reachable(addresses: impl Iterator<Item = IpAddr>, port: u16) -> Option<Vec<String>> {
    let usable = |address: &IpAddr| match address {
        IpAddr::V4(address) => !(address.is_unspecified() || address.is_multicast() || address.is_broadcast()),
        // A link-local address means nothing without the number of the interface, which differs between machines.
        IpAddr::V6(address) => !(address.is_unspecified() || address.is_multicast() || address.is_unicast_link_local()),
    };
    let mut addresses: Vec<IpAddr> = addresses.filter(usable).collect();
    addresses.sort();
    addresses.truncate(ADDRESSES_MAX);
    let texts: Vec<String> = addresses.into_iter().map(|address| SocketAddr::new(address, port).to_string()).collect();
    if texts.is_empty() { None } else { Some(texts) }
}

/// The thread that speaks multicast DNS. It would outlive every handle to it, so it is told to end.
struct Daemon {
    mdns: ServiceDaemon,
    kinds: Vec<IfKind>,
}

impl Daemon {
    fn start(interfaces: Interfaces) -> anyhow::Result<Daemon> {
        let present = if_addrs::get_if_addrs().context("cannot list the network interfaces")?;
        let wanted = |interface: &&if_addrs::Interface| {
            interface.is_oper_up()
                && !interface.is_p2p()
                && interface.is_loopback() == (interfaces == Interfaces::Loopback)
        };
        if !present.iter().any(|interface| wanted(&interface)) {
            bail!("no network interface is up; connect this machine to a network, or give the tracker's address");
        }
        let mdns = ServiceDaemon::new().context("cannot start multicast DNS")?;
        let loopback = vec![IfKind::LoopbackV4, IfKind::LoopbackV6];
        let daemon = match interfaces {
            Interfaces::Network => Daemon { mdns, kinds: vec![IfKind::All] },
            Interfaces::Loopback => Daemon { mdns, kinds: loopback.clone() },
        };
        let apply = || -> mdns_sd::Result<()> {
            if interfaces == Interfaces::Loopback {
                daemon.mdns.disable_interface(IfKind::All)?;
                daemon.mdns.enable_interface(loopback)?;
            } else {
                daemon.mdns.disable_interface(loopback)?;
            }
            daemon.mdns.set_ip_check_interval(ADDRESS_CHECK_SECONDS)
        };
        apply().context("cannot choose the network interfaces")?;
        Ok(daemon)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It says goodbye on the network first; a process that ends at once would cut that off.
        if let Ok(done) = self.mdns.shutdown() {
            done.recv_timeout(STOP_LIMIT).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn id(number: u8) -> PeerId {
        PeerId::from_hash([number; 16])
    }

    fn random_id() -> PeerId {
        crate::key::KeyPair::generate().unwrap().public().peer_id()
    }

    fn said(name: &str, addresses: &[&str], port: u16, properties: &[(&str, &str)]) -> Option<Heard> {
        let service = ServiceInfo::new(SERVICE, name, "host.local.", addresses, port, properties).unwrap();
        read(&service.as_resolved_service())
    }

    #[test]
    fn a_tracker_is_heard_until_its_announcer_is_dropped() {
        let (pool_id, tracker_id) = (random_id(), random_id());
        let announcer = Announcer::announce(pool_id, tracker_id, 4711, &[], Interfaces::Loopback).unwrap();
        let heard = browse(LONG, Interfaces::Loopback, |tracker| tracker.tracker_id == tracker_id).unwrap();
        let tracker = heard.iter().find(|tracker| tracker.tracker_id == tracker_id).unwrap();
        assert_eq!(tracker.pool_id, pool_id);
        assert!(tracker.addresses.contains(&"127.0.0.1:4711".to_owned()), "{tracker:?}");
        assert!(!announcer.is_flooded());
        drop(announcer);

        // A second tracker shows that the first one would have been heard.
        let other = random_id();
        let _announcer = Announcer::announce(pool_id, other, 4712, &[], Interfaces::Loopback).unwrap();
        let heard = browse(LONG, Interfaces::Loopback, |tracker| tracker.tracker_id == other).unwrap();
        assert!(heard.iter().all(|tracker| tracker.tracker_id != tracker_id), "{heard:?}");
    }

    #[test]
    fn a_tracker_can_be_announced_at_one_address() {
        let tracker_id = random_id();
        let address = ["127.0.0.1".parse().unwrap()];
        let _announcer = Announcer::announce(id(1), tracker_id, 4713, &address, Interfaces::Loopback).unwrap();
        let heard = browse(LONG, Interfaces::Loopback, |tracker| tracker.tracker_id == tracker_id).unwrap();
        let tracker = heard.iter().find(|tracker| tracker.tracker_id == tracker_id).unwrap();
        assert_eq!(tracker.addresses, ["127.0.0.1:4713"]);
    }

    #[test]
    fn browsing_ends_when_its_time_is_over() {
        browse(Duration::from_millis(1), Interfaces::Loopback, |_| false).unwrap();
    }

    #[test]
    fn what_makes_no_sense_is_not_heard() {
        let (name, pool) = (id(1).to_string(), id(2).to_string());
        let good = [("pool", pool.as_str()), ("v", "1")];
        let address = ["192.0.2.1"];
        let heard = said(&name, &address, 4711, &good).unwrap();
        assert_eq!(heard, Heard { pool_id: id(2), tracker_id: id(1), addresses: vec!["192.0.2.1:4711".to_owned()] });
        assert_eq!(said("printer", &address, 4711, &good), None);
        assert_eq!(said(&format!("{name} (2)"), &address, 4711, &good), None);
        assert_eq!(said(&name, &address, 0, &good), None);
        assert_eq!(said(&name, &[], 4711, &good), None);
        assert_eq!(said(&name, &address, 4711, &[]), None);
        assert_eq!(said(&name, &address, 4711, &[("pool", &pool), ("v", "2")]), None);
        assert_eq!(said(&name, &address, 4711, &[("pool", "mine"), ("v", "1")]), None);
        assert_eq!(said(&name, &address, 4711, &[("v", "1")]), None);
    }

    #[test]
    fn only_addresses_that_mean_something_here_are_kept() {
        let name = id(1).to_string();
        let pool = id(2).to_string();
        let properties = [("pool", pool.as_str()), ("v", "1")];
        let mixed = ["fe80::1", "2001:db8::1", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "192.0.2.1"];
        let heard = said(&name, &mixed, 4711, &properties).unwrap();
        assert_eq!(heard.addresses, ["192.0.2.1:4711", "[2001:db8::1]:4711"]);
        assert_eq!(said(&name, &["fe80::1"], 4711, &properties), None);

        let many: Vec<String> = (1..100).map(|number| format!("192.0.2.{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(said(&name, &many, 4711, &properties).unwrap().addresses.len(), ADDRESSES_MAX);
    }
}
