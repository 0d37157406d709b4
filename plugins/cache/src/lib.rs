//! The provider `cache`.

use potluck_sdk::{Config, Host, Provider, ProviderError, ProviderInfo, Reply, Request};

/// The provider `cache`.
pub struct Cache;

impl Provider for Cache {
    const INFO: ProviderInfo = ProviderInfo { id: "cache", version: env!("CARGO_PKG_VERSION"), messages: &[] };

    fn start(_host: Host, _config: Config<'_>) -> Result<Cache, ProviderError> {
        Ok(Cache)
    }

    fn handle(&self, request: Request<'_>, reply: Reply<'_>) {
        reply.error(&ProviderError::invalid(format!("{} is not answered here", request.message_type)));
    }
}

potluck_sdk::export_plugin!(Cache);
