//! Ctrl-C: remembered, not obeyed at once, so that nothing that was started stays behind.

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether somebody asked this program to stop. From the first one on, the signals themselves have no other effect.
#[derive(Clone)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on Ctrl-C, SIGTERM and a closed terminal only set a flag.
    pub(crate) fn catch() -> Result<Interrupt> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&flag)).context("cannot catch Ctrl-C")?;
        }
        Ok(Interrupt(flag))
    }

    /// One that nobody ever asks for.
    #[cfg(test)]
    pub(crate) fn never() -> Interrupt {
        Interrupt(Arc::default())
    }

    pub(crate) fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error as soon as somebody asked to stop.
    pub(crate) fn check(&self) -> Result<()> {
        if self.requested() { Err(Interrupted.into()) } else { Ok(()) }
    }
}

/// The user asked to stop: not a failure that needs an explanation.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}
