//! plugins.toml: whatever is accepted can be used, and whatever is refused is explained.

use potluck_host::config::Config;
use serde::de::IgnoredAny;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

pub(super) const OUTCOMES: &[&str] = &["refused", "a node alone", "a node with plugins"];

/// Where the file would be.
const FOLDER: &str = "/etc/potluck";

/// Reads a file.
pub fn plugins_toml(data: &[u8]) -> &'static str {
    // The file is read as text, so nothing else gets as far as the parser.
    let Ok(text) = std::str::from_utf8(data) else { return "no text" };
    let config = match Config::parse(text, "plugins.toml", Path::new(FOLDER)) {
        Ok(config) => config,
        Err(error) => {
            let text = format!("{error:#}");
            assert!(text.starts_with("plugins.toml: "), "{text}");
            return "refused";
        }
    };
    let node = &config.node;
    for seconds in [node.heartbeat_seconds, node.idle_seconds] {
        // What a Duration cannot hold would panic when the node starts.
        assert!(seconds.is_finite() && (0.0..=1e9).contains(&seconds), "{seconds}");
    }
    assert!(node.connections_max > 0 && node.unknown_connections_max > 0 && node.frame_bytes_total_max > 0);
    assert!(node.membership_seconds > 0 && config.access.check().is_ok());
    let mut ids = HashSet::new();
    for plugin in &config.plugins {
        // An id becomes a folder and the name of a library.
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        assert!(!plugin.id.is_empty() && plugin.id.bytes().all(is_plain), "{:?}", plugin.id);
        assert!(ids.insert(&plugin.id), "{} is there twice", plugin.id);
        let settings: BTreeMap<String, IgnoredAny> = serde_json::from_str(&plugin.settings_json)
            .unwrap_or_else(|error| panic!("{}: {error}", plugin.settings_json));
        assert!(!settings.contains_key("path"), "the provider gets what is the host's");
        if let Some(path) = &plugin.path {
            assert!(path.starts_with(FOLDER) || path.is_absolute(), "{}", path.display());
        }
    }
    if config.plugins.is_empty() { "a node alone" } else { "a node with plugins" }
}
