//! The smallest plugin that does something: it answers ECHO with the text that it was sent.

use potluck_sdk::{Config, Host, LeastCaller, MessageInfo, Provider, ProviderError, ProviderInfo, Reply, Request};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

struct Echo;

#[derive(Deserialize)]
struct Echoed<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "ECHOED")]
struct Answer<'a> {
    text: Cow<'a, str>,
}

impl Provider for Echo {
    const INFO: ProviderInfo = ProviderInfo {
        id: "echo",
        version: env!("CARGO_PKG_VERSION"),
        messages: &[MessageInfo::new("ECHO", LeastCaller::Member)],
    };

    fn start(_host: Host, _config: Config<'_>) -> Result<Echo, ProviderError> {
        Ok(Echo)
    }

    fn handle(&self, request: Request<'_>, reply: Reply<'_>) {
        reply.result(request.parse::<Echoed>().map(|message| Answer { text: message.text }));
    }
}

potluck_sdk::export_plugin!(Echo);
