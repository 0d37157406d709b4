//! The provider `deadlock`.

use potluck_sdk::{Config, Host, Provider, ProviderError, ProviderInfo, Reply, Request};

/// The provider `deadlock`.
pub struct Deadlock;

impl Provider for Deadlock {
    const INFO: ProviderInfo = ProviderInfo { id: "deadlock", version: env!("CARGO_PKG_VERSION"), messages: &[] };

    fn start(_host: Host, _config: Config<'_>) -> Result<Deadlock, ProviderError> {
        Ok(Deadlock)
    }

    fn handle(&self, request: Request<'_>, reply: Reply<'_>) {
        reply.error(&ProviderError::invalid(format!("{} is not answered here", request.message_type)));
    }
}

potluck_sdk::export_plugin!(Deadlock);
