//! Owned files: encrypted by their owner's node, kept by others as bytes that mean nothing to them.
//!
//! A node has two roles here. The *owner* (`owner`) encrypts files, brings the encrypted bytes to holders and registers them
//! with the tracker. The *holder* (`holder`) keeps what others have signed. They share nothing but the messages that the sdk
//! describes ([`potluck_sdk::message::owned_files`]), `config` and `error`.

mod config;
mod error;
mod holder;
mod owner;

use config::OwnedFilesConfig;
use holder::Holder;
use owner::Owner;
use potluck_sdk::envelope::has_member;
use potluck_sdk::message::tracker::{SESSION_TOPIC, TrackerSession};
use potluck_sdk::{
    Config, Host, LeastCaller, MessageInfo, Provider, ProviderError, ProviderInfo, Reply, Request, Status,
};
use std::sync::Arc;

/// The provider `owned-files`.
pub struct OwnedFiles {
    owner: Arc<Owner>,
    holder: Arc<Holder>,
}

impl Provider for OwnedFiles {
    const INFO: ProviderInfo = ProviderInfo {
        id: "owned-files",
        version: env!("CARGO_PKG_VERSION"),
        messages: &[
            MessageInfo::new("UPLOAD_OWNED_FILE", LeastCaller::Local),
            MessageInfo::new("DOWNLOAD_OWNED_FILE", LeastCaller::Local),
            MessageInfo::new("LIST_OWNED_FILES", LeastCaller::Local),
            MessageInfo::new("REPAIR_OWNED_FILES", LeastCaller::Local),
            MessageInfo::new("DELETE_OWNED_FILE", LeastCaller::Member),
            MessageInfo::new("UPLOAD_TO_PEER", LeastCaller::Member).spooled(),
            MessageInfo::new("GET_OWNED_FILE", LeastCaller::Member),
            MessageInfo::new("AUDIT_OWNED_FILE", LeastCaller::Member),
            MessageInfo::new("REPLICATE_OWNED_FILE", LeastCaller::Member),
        ],
    };

    fn start(host: Host, config: Config<'_>) -> Result<OwnedFiles, ProviderError> {
        let config = OwnedFilesConfig::read(config)?;
        let provider = OwnedFiles { owner: Owner::open(host, &config)?, holder: Holder::open(host, &config)? };
        host.subscribe(SESSION_TOPIC);
        Ok(provider)
    }

    fn handle(&self, request: Request<'_>, reply: Reply<'_>) {
        let is_for_holder = match request.message_type {
            "UPLOAD_TO_PEER" | "GET_OWNED_FILE" | "AUDIT_OWNED_FILE" | "REPLICATE_OWNED_FILE" => true,
            // The node's user names a file; whoever asks a holder says for whom, or shows what its owner has signed.
            "DELETE_OWNED_FILE" => has_member(request.json, &["requester_id", "requester_port", "manifest", "blob"]),
            _ => false,
        };
        if is_for_holder {
            holder::answer(&self.holder, request, reply);
        } else {
            owner::answer(&self.owner, request, reply);
        }
    }

    fn status(&self) -> Status {
        Status::default().with("owned_file_count", self.owner.file_count()).with("holder", self.holder.status())
    }

    fn event(&self, topic: &str, json: &str) {
        if topic != SESSION_TOPIC {
            return;
        }
        if let Ok(TrackerSession { peer_id: Some(tracker) }) = serde_json::from_str(json) {
            self.holder.tracker_session(tracker);
        }
        self.owner.tracker_session();
    }

    fn stop(&self) {
        self.owner.stop();
        self.holder.stop();
    }
}

potluck_sdk::export_plugin!(OwnedFiles);
