//! The provider `quota`.

use potluck_sdk::{Config, Host, Provider, ProviderError, ProviderInfo, Reply, Request};

/// The provider `quota`.
pub struct Quota;

impl Provider for Quota {
    const INFO: ProviderInfo = ProviderInfo { id: "quota", version: env!("CARGO_PKG_VERSION"), messages: &[] };

    fn start(_host: Host, _config: Config<'_>) -> Result<Quota, ProviderError> {
        Ok(Quota)
    }

    fn handle(&self, request: Request<'_>, reply: Reply<'_>) {
        reply.error(&ProviderError::invalid(format!("{} is not answered here", request.message_type)));
    }
}

potluck_sdk::export_plugin!(Quota);
