//! Log lines on standard error. Levels: see `potluck_sdk::Level`. Never logged: programs, arguments, results, stored
//! values, keys.

use tracing_subscriber::EnvFilter;

/// Installs the subscriber. `POTLUCK_LOG` chooses what is written, such as `debug` or `potluck_host::net=trace`; `info`
/// when it is not set.
pub fn init() {
    let filter = EnvFilter::try_from_env("POTLUCK_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let format = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let _ = format.with_target(false).with_ansi(colours).try_init();
}
