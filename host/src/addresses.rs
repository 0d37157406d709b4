//! Where a node listens, and under which address others reach it.

use crate::net::{any_address, dial};
use parking_lot::Mutex;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Most addresses that are told of a machine with many.
const ADDRESSES_MAX: usize = 8;
/// An address for documentation (RFC 5737), to ask the routing table which way leads out. Nothing is sent there.
const ELSEWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);

/// What the configuration says of listening.
#[derive(Clone, Copy, Debug, Default)]
pub struct Listening {
    /// Where to listen; nothing for loopback without a pool and everywhere with one.
    pub configured: Option<IpAddr>,
    /// The address that others are told.
    pub advertised: Option<IpAddr>,
    /// Whether other addresses than loopback may be listened on without a pool.
    pub without_pool: bool,
}

/// The addresses of a running node.
pub struct Addresses {
    listening: Listening,
    port: u16,
    /// Leaf locks.
    bound: Mutex<IpAddr>,
    toward_tracker: Mutex<Option<IpAddr>>,
    /// What the providers know.
    told: Mutex<Option<SocketAddr>>,
}

impl Listening {
    /// Where to listen. Without a pool that is loopback: nothing is open to a network before somebody says so.
    pub fn wanted(&self, in_pool: bool) -> IpAddr {
        match self.configured {
            Some(ip) if ip.is_loopback() || in_pool || self.without_pool => ip,
            Some(IpAddr::V6(_)) => Ipv6Addr::LOCALHOST.into(),
            None if in_pool => any_address(),
            _ => Ipv4Addr::LOCALHOST.into(),
        }
    }
}

impl Addresses {
    /// Of a node that has bound `bound`.
    pub fn new(listening: Listening, bound: SocketAddr) -> Addresses {
        Addresses {
            listening,
            port: bound.port(),
            bound: Mutex::new(bound.ip()),
            toward_tracker: Mutex::new(None),
            told: Mutex::new(None),
        }
    }

    /// As [`Listening::wanted`].
    pub fn wanted(&self, in_pool: bool) -> IpAddr {
        self.listening.wanted(in_pool)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address that is bound.
    pub fn bound(&self) -> SocketAddr {
        SocketAddr::new(*self.bound.lock(), self.port)
    }

    /// Notes that another address is bound now.
    pub fn listens_on(&self, ip: IpAddr) {
        *self.bound.lock() = ip;
    }

    /// Notes which of this machine's addresses its tracker sees.
    pub fn reaches_tracker_from(&self, ip: IpAddr) {
        *self.toward_tracker.lock() = Some(ip);
    }

    /// Notes that the providers are told of an address; returns whether it is news to them.
    pub fn tell(&self, address: SocketAddr) -> bool {
        self.told.lock().replace(address) != Some(address)
    }

    /// The address under which others reach this node, once it listens where it should.
    pub fn advertised(&self, in_pool: bool) -> SocketAddr {
        let wanted = self.wanted(in_pool);
        let ip = self.listening.advertised.unwrap_or_else(|| {
            if !wanted.is_unspecified() {
                return wanted;
            }
            let toward_tracker = *self.toward_tracker.lock();
            toward_tracker.or_else(|| dial::local_ip_toward(ELSEWHERE)).unwrap_or(Ipv4Addr::LOCALHOST.into())
        });
        SocketAddr::new(ip, self.port)
    }

    /// All addresses under which others may reach this node, the likeliest first, once it listens as it would in a pool.
    pub fn reachable(&self, in_pool: bool) -> Vec<SocketAddr> {
        let wanted = self.wanted(in_pool);
        if let Some(ip) = self.listening.advertised.or(Some(wanted).filter(|ip| !ip.is_unspecified())) {
            return vec![SocketAddr::new(ip, self.port)];
        }
        let mut ips: Vec<IpAddr> = if_addrs::get_if_addrs()
            .unwrap_or_default()
            .into_iter()
            .filter(|interface| !interface.is_loopback() && !interface.is_link_local())
            .map(|interface| interface.ip())
            .filter(|ip| wanted.is_ipv6() || ip.is_ipv4())
            .collect();
        let outward = dial::local_ip_toward(ELSEWHERE);
        ips.sort_by_key(|ip| (Some(*ip) != outward, ip.is_ipv6()));
        ips.dedup();
        ips.truncate(ADDRESSES_MAX);
        if ips.is_empty() {
            ips.push(Ipv4Addr::LOCALHOST.into());
        }
        ips.into_iter().map(|ip| SocketAddr::new(ip, self.port)).collect()
    }

    /// Whether an address means this node.
    pub fn is_own(&self, ip: IpAddr, port: u16) -> bool {
        port == self.port
            && (ip == *self.bound.lock()
                || ip == self.advertised(true).ip()
                || (ip.is_loopback() && self.serves_loopback()))
    }

    fn serves_loopback(&self) -> bool {
        let bound = *self.bound.lock();
        bound.is_loopback() || bound.is_unspecified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(configured: Option<&str>) -> Listening {
        Listening { configured: configured.map(|ip| ip.parse().unwrap()), ..Listening::default() }
    }

    #[test]
    fn without_a_pool_only_this_machine_is_served() {
        for configured in [None, Some("0.0.0.0"), Some("::"), Some("192.0.2.7"), Some("127.0.0.1"), Some("::1")] {
            assert!(listening(configured).wanted(false).is_loopback(), "{configured:?}");
        }
        let open = Listening { without_pool: true, ..listening(Some("0.0.0.0")) };
        assert!(open.wanted(false).is_unspecified());
    }

    #[test]
    fn with_a_pool_it_is_what_the_configuration_says() {
        assert!(listening(None).wanted(true).is_unspecified());
        for configured in ["0.0.0.0", "192.0.2.7", "127.0.0.1"] {
            assert_eq!(listening(Some(configured)).wanted(true).to_string(), configured);
        }
    }

    #[test]
    fn a_node_knows_itself() {
        let loopback: IpAddr = Ipv4Addr::LOCALHOST.into();
        let other: IpAddr = Ipv4Addr::new(192, 0, 2, 9).into();
        let addresses = Addresses::new(listening(None), SocketAddr::new(any_address(), 9000));
        addresses.reaches_tracker_from(other);
        assert_eq!(addresses.advertised(true), SocketAddr::new(other, 9000));
        assert_eq!(addresses.advertised(false), SocketAddr::new(loopback, 9000));
        assert!(addresses.tell(addresses.advertised(true)) && !addresses.tell(addresses.advertised(true)));
        assert!(addresses.is_own(loopback, 9000) && addresses.is_own(other, 9000));
        assert!(!addresses.is_own(loopback, 9001) && !addresses.is_own(Ipv4Addr::new(192, 0, 2, 8).into(), 9000));
    }
}
