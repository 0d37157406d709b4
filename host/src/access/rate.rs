//! How many messages a second another node may send, over all of its connections.

use super::Refusal;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;
use potluck_sdk::PeerId;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// From how many peers on those that went away are looked for.
const PEERS_BEFORE_CLEANING: usize = 64;

/// A rate as the file gives it.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    pub(super) rate_per_second: f64,
    /// From one message to the next.
    pub(super) period: Duration,
    /// How many may come at once.
    pub(super) burst: NonZeroU32,
    /// The table that says so, for error texts.
    pub(super) table: String,
}

/// What one peer has left of its rate.
pub struct PeerRate {
    limiter: DefaultDirectRateLimiter,
    limit: Limit,
}

impl PeerRate {
    fn new(limit: &Limit) -> Option<PeerRate> {
        let quota = Quota::with_period(limit.period)?.allow_burst(limit.burst);
        Some(PeerRate { limiter: RateLimiter::direct(quota), limit: limit.clone() })
    }

    /// Takes one message off what is left.
    pub fn take(&self) -> Result<(), Refusal> {
        self.limiter.check().map_err(|not_until| {
            // Rounded up, so that it is not too early by what the text leaves out.
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            let wait_seconds = (wait.as_secs_f64() * 100.0).ceil() / 100.0;
            let Limit { rate_per_second, table, .. } = &self.limit;
            Refusal(format!(
                "this node takes {rate_per_second} messages a second of a peer ({table} rate_per_second in \
                 plugins.toml); try again in {wait_seconds:.2} s"
            ))
        })
    }

    /// Whether nothing of the rate is used up. Uses all of it when that is so.
    fn is_whole(&self) -> bool {
        matches!(self.limiter.check_n(self.limit.burst), Ok(Ok(())))
    }
}

/// The rates of the peers that have connections, and of those that had one a short while ago.
pub(super) struct PeerRates {
    everybody: Option<Limit>,
    /// Instead of the limit on everybody; nothing for a peer without a limit.
    peers: HashMap<PeerId, Option<Limit>>,
    /// A leaf lock.
    used: Mutex<Used>,
}

struct Used {
    rates: HashMap<PeerId, Arc<PeerRate>>,
    clean_at: usize,
}

impl PeerRates {
    pub(super) fn new(everybody: Option<Limit>, peers: HashMap<PeerId, Option<Limit>>) -> PeerRates {
        let used = Mutex::new(Used { rates: HashMap::new(), clean_at: PEERS_BEFORE_CLEANING });
        PeerRates { everybody, peers, used }
    }

    pub(super) fn get(&self, peer: PeerId) -> Option<Arc<PeerRate>> {
        let limit = match self.peers.get(&peer) {
            Some(own) => own.as_ref()?,
            None => self.everybody.as_ref()?,
        };
        let mut used = self.used.lock();
        if let Some(rate) = used.rates.get(&peer) {
            return Some(Arc::clone(rate));
        }
        if used.rates.len() >= used.clean_at {
            // One that is used up stays although no connection holds it: to come again must not be a way around it.
            used.rates.retain(|_, rate| Arc::strong_count(rate) > 1 || !rate.is_whole());
            used.clean_at = PEERS_BEFORE_CLEANING.max(2 * used.rates.len());
        }
        let rate = Arc::new(PeerRate::new(limit)?);
        used.rates.insert(peer, Arc::clone(&rate));
        Some(rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slow enough that no test lives to see the next message.
    fn slow(burst: u32) -> Limit {
        Limit {
            rate_per_second: 0.001,
            period: Duration::from_secs(1000),
            burst: NonZeroU32::new(burst).unwrap(),
            table: "[access]".to_owned(),
        }
    }

    fn peer(number: u32) -> PeerId {
        let mut hash = [0; 16];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        PeerId::from_hash(hash)
    }

    #[test]
    fn all_connections_of_a_peer_share_its_rate_and_other_peers_do_not() {
        let rates = PeerRates::new(Some(slow(3)), HashMap::new());
        let (one, two) = (rates.get(peer(1)).unwrap(), rates.get(peer(1)).unwrap());
        assert!(one.take().is_ok());
        assert!(two.take().is_ok());
        assert!(one.take().is_ok());
        let refusal = two.take().unwrap_err().to_string();
        let rule = "this node takes 0.001 messages a second of a peer ([access] rate_per_second in plugins.toml)";
        assert!(refusal.starts_with(rule) && refusal.contains("; try again in "), "{refusal}");
        assert!(rates.get(peer(2)).unwrap().take().is_ok());
    }

    #[test]
    fn a_peer_that_comes_again_has_not_got_more() {
        let rates = PeerRates::new(Some(slow(1)), HashMap::new());
        assert!(rates.get(peer(0)).unwrap().take().is_ok());
        for number in 1..1000 {
            drop(rates.get(peer(number)));
        }
        assert!(rates.get(peer(0)).unwrap().take().is_err());
    }

    #[test]
    fn peers_that_went_away_are_forgotten() {
        let rates = PeerRates::new(Some(slow(1)), HashMap::new());
        let held: Vec<_> = (0..100).map(|number| rates.get(peer(number)).unwrap()).collect();
        for number in 100..10_000 {
            drop(rates.get(peer(number)));
        }
        assert!(rates.used.lock().rates.len() <= 2 * held.len().max(PEERS_BEFORE_CLEANING));
        assert!(held.iter().all(|rate| rate.take().is_ok()));
        assert!(held.iter().enumerate().all(|(number, _)| rates.get(peer(number as u32)).unwrap().take().is_err()));
    }

    #[test]
    fn a_peer_with_a_limit_of_its_own_has_that_one() {
        let own = Limit { table: "[access.peers.\"x\"]".to_owned(), ..slow(2) };
        let peers = HashMap::from([(peer(1), Some(own)), (peer(2), None)]);
        let rates = PeerRates::new(Some(slow(1)), peers);
        let rate = rates.get(peer(1)).unwrap();
        assert!(rate.take().is_ok() && rate.take().is_ok());
        assert!(
            rate.take().unwrap_err().to_string().contains("([access.peers.\"x\"] rate_per_second in plugins.toml)")
        );
        assert!(rates.get(peer(2)).is_none());
        assert!(PeerRates::new(None, HashMap::new()).get(peer(1)).is_none());
    }
}
