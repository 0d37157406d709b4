//! Wakes the supervisor at a point of time more exactly than its poll does.

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

const NO_TIME: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// A timer of the kernel's. epoll counts in whole milliseconds, and a thread that sleeps in it may be woken later for the
/// sake of the battery; this one is neither rounded nor put off.
pub(super) struct Alarm {
    timer: OwnedFd,
    /// When it goes off; nothing when it does not.
    at: Option<Instant>,
}

impl Alarm {
    /// An alarm that makes a poll return with `token`.
    pub(super) fn new(registry: &Registry, token: Token) -> std::io::Result<Alarm> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Alarm { timer, at: None })
    }

    /// Sets it to another time, which is never too early: the kernel counts from a little later than `now`.
    pub(super) fn set(&mut self, at: Option<Instant>, now: Instant) {
        if self.at == at {
            return;
        }
        self.at = at;
        // A time of 0 would take it back.
        let left = at.map(|at| at.saturating_duration_since(now).max(Duration::from_nanos(1)));
        let it_value = left.map_or(NO_TIME, |left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        // Should it fail, the turn is over at the next tick.
        let _ =
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: NO_TIME, it_value });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};

    #[test]
    fn it_goes_off_at_the_last_time_that_was_set_and_never_earlier() {
        let mut poll = Poll::new().unwrap();
        let mut events = Events::with_capacity(4);
        let mut alarm = Alarm::new(poll.registry(), Token(7)).unwrap();
        for wait_micros in [0, 300, 2_700] {
            let now = Instant::now();
            let at = now + Duration::from_micros(wait_micros);
            alarm.set(Some(now + Duration::from_secs(60)), now);
            alarm.set(Some(at), now);
            poll.poll(&mut events, Some(Duration::from_secs(30))).unwrap();
            assert!(Instant::now() >= at);
            assert_eq!(events.iter().map(mio::event::Event::token).collect::<Vec<_>>(), [Token(7)]);
        }
    }

    #[test]
    fn one_that_is_taken_back_does_not_go_off() {
        let mut poll = Poll::new().unwrap();
        let mut events = Events::with_capacity(4);
        let mut alarm = Alarm::new(poll.registry(), Token(7)).unwrap();
        let now = Instant::now();
        alarm.set(Some(now + Duration::from_millis(5)), now);
        alarm.set(None, now);
        poll.poll(&mut events, Some(Duration::from_millis(20))).unwrap();
        assert!(events.is_empty());
    }
}
