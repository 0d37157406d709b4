//! Places for connections from which it is not known yet who is at the other end: few, and fewer still for one source, so
//! that nobody who says nothing keeps out those who would say who they are.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// One source gets this part of all places.
const SHARE_OF_ONE_SOURCE: usize = 8;

/// The places. The network has so many, other accounts of this machine as many, and the node's own user as many.
pub struct Unknown {
    places_max: usize,
    /// A leaf lock.
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    by_source: HashMap<Source, usize>,
    network: usize,
}

/// Whom a place is counted for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The node's own user, on this machine.
    User,
    /// Other accounts of this machine.
    ThisMachine,
    /// One source on the network.
    Network(IpAddr),
}

impl Source {
    /// Who is not known to be the node's user.
    pub fn of(ip: IpAddr) -> Source {
        if ip.to_canonical().is_loopback() { Source::ThisMachine } else { Source::Network(source_of(ip)) }
    }
}

/// A place, until dropped.
pub struct Place {
    unknown: Arc<Unknown>,
    source: Source,
}

impl Unknown {
    /// So many places.
    pub fn new(places_max: usize) -> Arc<Unknown> {
        Arc::new(Unknown { places_max, taken: Mutex::default() })
    }

    /// Takes a place; nothing when there is none.
    pub fn enter(self: &Arc<Unknown>, source: Source) -> Option<Place> {
        let is_network = matches!(source, Source::Network(_));
        let of_source = if is_network { self.places_max.div_ceil(SHARE_OF_ONE_SOURCE) } else { self.places_max };
        let mut taken = self.taken.lock();
        if is_network && taken.network >= self.places_max {
            return None;
        }
        let count = taken.by_source.entry(source).or_default();
        if *count >= of_source {
            return None;
        }
        *count += 1;
        taken.network += usize::from(is_network);
        Some(Place { unknown: Arc::clone(self), source })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.unknown.taken.lock();
        taken.network -= usize::from(matches!(self.source, Source::Network(_)));
        if let Some(count) = taken.by_source.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                taken.by_source.remove(&self.source);
            }
        }
    }
}

/// What counts as one source: with IPv6 whoever has one address has 2^64 of them.
pub fn source_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    #[test]
    fn one_source_leaves_places_to_others_and_to_this_machine() {
        let unknown = Unknown::new(16);
        let first: Vec<Place> = std::iter::from_fn(|| unknown.enter(source("192.0.2.1"))).collect();
        assert_eq!(first.len(), 2);
        let others: Vec<Place> =
            (2..200).filter_map(|last| unknown.enter(source(&format!("192.0.2.{last}")))).collect();
        assert_eq!(first.len() + others.len(), 16);
        let accounts: Vec<Place> = std::iter::from_fn(|| unknown.enter(source("127.0.0.1"))).collect();
        assert_eq!(accounts.len(), 16);
        assert!(unknown.enter(Source::User).is_some());
        drop(accounts);
        drop(first);
        assert!(unknown.enter(source("::ffff:192.0.2.1")).is_some());
        drop(others);
        assert!(unknown.taken.lock().by_source.is_empty());
        assert_eq!(unknown.taken.lock().network, 0);
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_are_one_source() {
        let unknown = Unknown::new(8);
        let _place = unknown.enter(source("2001:db8::1")).unwrap();
        assert!(unknown.enter(source("2001:db8::2")).is_none());
        assert!(unknown.enter(source("2001:db8:0:1::2")).is_some());
    }
}
