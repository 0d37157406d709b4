//! The provider `memory-manager`.

use potluck_sdk::{Config, Host, Provider, ProviderError, ProviderInfo, Reply, Request};

/// The provider `memory-manager`.
pub struct MemoryManager;

impl Provider for MemoryManager {
    const INFO: ProviderInfo = ProviderInfo { id: "memory-manager", version: env!("CARGO_PKG_VERSION"), messages: &[] };

    fn start(_host: Host, _config: Config<'_>) -> Result<MemoryManager, ProviderError> {
        Ok(MemoryManager)
    }

    fn handle(&self, request: Request<'_>, reply: Reply<'_>) {
        reply.error(&ProviderError::invalid(format!("{} is not answered here", request.message_type)));
    }
}

potluck_sdk::export_plugin!(MemoryManager);
