//! How far the making of an image is, told on standard output: a line `PHASE FRACTION` each time another percent is done.

use parking_lot::Mutex;
use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;
use wasmtime::CacheStore;

/// Tells that a phase begins.
pub(crate) fn begin(phase: &str) {
    tell(format_args!("{phase} 0"));
}

/// Whoever listens may have gone; then the end of this process is near anyway.
fn tell(line: std::fmt::Arguments<'_>) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// The functions that this process has compiled.
///
/// An image is compiled twice: as it comes, to be run until it can be frozen, and frozen. Only its data differs then, so
/// all functions of the second time are here already. And since the compiler hands over each of them, this knows how far
/// it is.
pub(crate) struct Functions {
    phase: &'static str,
    functions: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By the compiler's key, a hash of everything that a function's code depends on.
    compiled: HashMap<Box<[u8]>, Vec<u8>>,
    percent: usize,
}

impl Functions {
    /// For WebAssembly with so many functions.
    pub(crate) fn new(phase: &'static str, functions: usize) -> Functions {
        begin(phase);
        Functions { phase, functions, state: Mutex::default() }
    }
}

impl std::fmt::Debug for Functions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Functions({})", self.functions)
    }
}

impl CacheStore for Functions {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        self.state.lock().compiled.get(key).map(|value| Cow::Owned(value.clone()))
    }

    fn insert(&self, key: &[u8], value: Vec<u8>) -> bool {
        let mut state = self.state.lock();
        state.compiled.insert(key.into(), value);
        let percent = (state.compiled.len() * 100 / self.functions.max(1)).min(100);
        if percent > state.percent {
            state.percent = percent;
            tell(format_args!("{} {:.2}", self.phase, percent as f64 / 100.0));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_compiled_once_is_there_the_second_time() {
        let functions = Functions::new("compile", 4);
        assert!(functions.get(b"one").is_none());
        assert!(functions.insert(b"one", vec![1]));
        assert_eq!(functions.get(b"one").as_deref(), Some(&[1][..]));
        assert!(functions.get(b"two").is_none());
        assert_eq!(functions.state.lock().percent, 25);
    }
}
