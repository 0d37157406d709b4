//! The provider `process`.

use potluck_sdk::{Config, Host, Provider, ProviderError, ProviderInfo, Reply, Request};

/// The provider `process`.
pub struct Process;

impl Provider for Process {
    const INFO: ProviderInfo = ProviderInfo { id: "process", version: env!("CARGO_PKG_VERSION"), messages: &[] };

    fn start(_host: Host, _config: Config<'_>) -> Result<Process, ProviderError> {
        Ok(Process)
    }

    fn handle(&self, request: Request<'_>, reply: Reply<'_>) {
        reply.error(&ProviderError::invalid(format!("{} is not answered here", request.message_type)));
    }
}

potluck_sdk::export_plugin!(Process);
