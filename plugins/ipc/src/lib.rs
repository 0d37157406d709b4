//! The provider `ipc`.

use potluck_sdk::{Config, Host, Provider, ProviderError, ProviderInfo, Reply, Request};

/// The provider `ipc`.
pub struct Ipc;

impl Provider for Ipc {
    const INFO: ProviderInfo = ProviderInfo { id: "ipc", version: env!("CARGO_PKG_VERSION"), messages: &[] };

    fn start(_host: Host, _config: Config<'_>) -> Result<Ipc, ProviderError> {
        Ok(Ipc)
    }

    fn handle(&self, request: Request<'_>, reply: Reply<'_>) {
        reply.error(&ProviderError::invalid(format!("{} is not answered here", request.message_type)));
    }
}

potluck_sdk::export_plugin!(Ipc);
