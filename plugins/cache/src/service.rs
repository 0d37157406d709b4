//! One function a message, the replies that wait, and the one timer.

use crate::config::{CacheConfig, Limits};
use crate::error::CacheError;
use crate::store::{Answer, Lookup, Store};
use parking_lot::Mutex;
use potluck_sdk::message::RawValue;
use potluck_sdk::message::cache::{
    CACHE_KEY_BYTES_MAX, CacheAbandon, CacheAbandoned, CacheCleared, CacheEntry, CacheGet, CachePut, CacheRulesReply,
    CacheStatisticsReply, CacheStored, CacheUsage,
};
use potluck_sdk::message::{STATUS_OK, to_json};
use potluck_sdk::{Host, PendingReply, ProviderError, Reply, Request};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A wait that is longer ends with its lease anyway.
const TIMEOUT_SECONDS_MAX: f64 = 366.0 * 86_400.0;

pub(crate) struct Service {
    host: Host,
    limits: Limits,
    assume_pure: bool,
    now: Box<dyn Fn() -> Instant + Send + Sync>,
    store: Mutex<Store<PendingReply>>,
    /// The moment for which the host's timer is set.
    timer: Mutex<Option<Instant>>,
}

impl Service {
    pub(crate) fn new(host: Host, config: &CacheConfig, now: Box<dyn Fn() -> Instant + Send + Sync>) -> Service {
        let limits = config.limits();
        let store = Mutex::new(Store::new(limits));
        Service { host, limits, assume_pure: config.assume_pure, now, store, timer: Mutex::default() }
    }

    /// Answers one message.
    pub(crate) fn answer(self: &Arc<Self>, request: Request<'_>, reply: Reply<'_>) {
        match request.message_type {
            "CACHE_GET" => self.get(request, reply),
            "CACHE_PUT" => reply.result(self.put(request)),
            "CACHE_ABANDON" => reply.result(self.abandon(request)),
            "CACHE_RULES" => reply.send(&CacheRulesReply { assume_pure: self.assume_pure }),
            "CACHE_STATISTICS" => {
                reply.send(&CacheStatisticsReply { status: STATUS_OK.to_owned(), cache: self.usage() });
            }
            "CACHE_CLEAR" => {
                let removed = self.store.lock().clear((self.now)());
                reply.send(&CacheCleared { status: STATUS_OK, removed });
            }
            other => {
                let text = format!("cache does not answer {other}");
                reply.error(&ProviderError::new(ProviderError::NO_PROVIDER, text));
            }
        }
    }

    fn get(self: &Arc<Self>, request: Request<'_>, reply: Reply<'_>) {
        let message: CacheGet<'_> = match request.parse() {
            Ok(message) => message,
            Err(error) => return reply.error(&error),
        };
        let timeout = match (key(&message.key), duration(message.timeout_seconds, "timeout_seconds")) {
            (Ok(()), Ok(timeout)) => timeout,
            (Err(error), _) | (_, Err(error)) => return reply.error(&error.into()),
        };
        let lookup = self.store.lock().get((self.now)(), &message.key, message.wait);
        match lookup {
            Lookup::Answer(answer) => reply.send_json(entry(&answer)),
            Lookup::UnderWay(number) => {
                let reply = reply.later();
                let service = Arc::downgrade(self);
                reply.on_cancel(move || {
                    let gone = service.upgrade().and_then(|service| service.store.lock().call_off(number));
                    drop(gone);
                });
                let answer = self.store.lock().join((self.now)(), number, &message.key, reply, timeout);
                send(answer);
            }
        }
        self.set_timer();
    }

    fn put(self: &Arc<Self>, request: Request<'_>) -> Result<CacheStored<'static>, ProviderError> {
        let message: CachePut<'_> = request.parse()?;
        key(&message.key)?;
        let time_to_live = duration(message.ttl_seconds, "ttl_seconds")?;
        let value: Arc<RawValue> = Arc::from(message.value.to_owned());
        let (stored, answers) = self.store.lock().put((self.now)(), &message.key, value, message.lease, time_to_live);
        send(answers);
        Ok(CacheStored { status: STATUS_OK, stored })
    }

    fn abandon(self: &Arc<Self>, request: Request<'_>) -> Result<CacheAbandoned<'static>, ProviderError> {
        let message: CacheAbandon<'_> = request.parse()?;
        let answers = self.store.lock().abandon((self.now)(), &message.key, message.lease, message.for_good);
        send(answers);
        self.set_timer();
        Ok(CacheAbandoned { status: STATUS_OK })
    }

    /// The member `cache` of the node's STATUS reply.
    pub(crate) fn usage(&self) -> CacheUsage {
        let usage = self.store.lock().usage((self.now)());
        let lookups = usage.hits + usage.misses;
        CacheUsage {
            size: usage.size,
            max_size: self.limits.entries_max,
            hits: usage.hits,
            misses: usage.misses,
            hit_rate: if lookups == 0 { 0.0 } else { usage.hits as f64 / lookups as f64 },
            bytes: usage.bytes,
            bytes_max: self.limits.bytes_max,
            ttl_seconds: self.limits.time_to_live.as_secs_f64(),
            evictions: usage.dropped.evictions,
            expirations: usage.dropped.expirations,
            waiting: usage.waiting,
            leases: usage.leases,
            assume_pure: self.assume_pure,
        }
    }

    /// Lets everybody go who waits.
    pub(crate) fn close(&self) {
        let answers = self.store.lock().close();
        send(answers);
    }

    /// Sees to it that the host wakes us when the next lease or wait ends. A timer cannot be taken back: one that has
    /// become needless finds nothing to do.
    fn set_timer(self: &Arc<Self>) {
        let Some(due) = self.store.lock().next_due() else { return };
        {
            let mut timer = self.timer.lock();
            if timer.is_some_and(|set| set <= due) {
                return;
            }
            *timer = Some(due);
        }
        let service = Arc::downgrade(self);
        self.host.run_after(due.saturating_duration_since((self.now)()), move || {
            if let Some(service) = service.upgrade() {
                service.timer_rang(due);
            }
        });
    }

    fn timer_rang(self: &Arc<Self>, due: Instant) {
        {
            let mut timer = self.timer.lock();
            if timer.is_some_and(|set| set == due) {
                *timer = None;
            }
        }
        let answers = self.store.lock().expire((self.now)());
        send(answers);
        self.set_timer();
    }
}

fn send(answers: impl IntoIterator<Item = (PendingReply, Answer)>) {
    for (reply, answer) in answers {
        reply.send_json(entry(&answer));
    }
}

fn entry(answer: &Answer) -> Vec<u8> {
    let entry = match answer {
        Answer::Found(value) => CacheEntry { found: true, value: Some(value), lease: None },
        Answer::Missed(lease) => CacheEntry { found: false, value: None, lease: *lease },
    };
    to_json(&entry).into_bytes()
}

fn key(key: &str) -> Result<(), CacheError> {
    if (1..=CACHE_KEY_BYTES_MAX).contains(&key.len()) { Ok(()) } else { Err(CacheError::Key) }
}

fn duration(seconds: Option<f64>, name: &'static str) -> Result<Option<Duration>, CacheError> {
    let Some(seconds) = seconds else { return Ok(None) };
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() && seconds <= TIMEOUT_SECONDS_MAX => Ok(Some(duration)),
        _ => Err(CacheError::Seconds(name)),
    }
}
