//! plugins.toml: what a node is made of. Errors name the file, the table and the key.

use anyhow::{Context, bail};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A node's composition.
#[derive(Debug)]
pub struct Config {
    /// Where it was read from, for error texts.
    pub source: String,
    /// `[node]`.
    pub node: NodeConfig,
    /// `[plugins.<id>]`, in the order of the file.
    pub plugins: Vec<PluginConfig>,
}

/// `[node]`: what belongs to the host. What is missing has its default; the command line overrides.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// Address to listen on. Only loopback, until connections are encrypted.
    pub host: String,
    /// `host:port` of the tracker; none with an empty text.
    pub tracker: Option<String>,
    /// Seconds between two heartbeats to the tracker.
    pub heartbeat_seconds: f64,
    /// Seconds after which a connection is closed that sends nothing and waits for nothing.
    pub idle_seconds: f64,
    /// Most connections at a time.
    pub connections_max: usize,
    /// Most bytes that frames in transit may hold, over all connections.
    pub frame_bytes_total_max: usize,
}

impl Default for NodeConfig {
    fn default() -> NodeConfig {
        NodeConfig {
            host: "127.0.0.1".to_owned(),
            tracker: None,
            heartbeat_seconds: 10.0,
            idle_seconds: 30.0,
            connections_max: 10_000,
            frame_bytes_total_max: 256 << 20,
        }
    }
}

/// `[plugins.<id>]`: one provider.
#[derive(Debug)]
pub struct PluginConfig {
    /// The provider's id.
    pub id: String,
    /// `path`: the library, when it is not the one that ships with the node.
    pub path: Option<PathBuf>,
    /// The provider's own keys, as JSON text.
    pub settings_json: String,
}

impl Config {
    /// Reads a file.
    pub fn read(path: &Path) -> anyhow::Result<Config> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}; name another file with --plugins", path.display()))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Config::parse(&text, &path.display().to_string(), folder)
    }

    /// Reads a text; `folder` is what relative paths in it start from.
    pub fn parse(text: &str, source: &str, folder: &Path) -> anyhow::Result<Config> {
        // The parser's own errors show the line, the key and a caret.
        let mut file: toml::Table = toml::from_str(text).map_err(|error| anyhow::anyhow!("{source}: {error}"))?;
        let node = match file.remove("node") {
            None => NodeConfig::default(),
            Some(table) => table.try_into::<NodeConfig>().map_err(|error| {
                // What follows the first line repeats the key, without the text of the file around it.
                let text = error.to_string();
                anyhow::anyhow!("{source}: [node]: {}", text.trim().replace('\n', " "))
            })?,
        };
        node.check().with_context(|| format!("{source}: [node]"))?;
        let plugin_tables = match file.remove("plugins") {
            None => toml::Table::new(),
            Some(toml::Value::Table(tables)) => tables,
            Some(other) => bail!("{source}: `plugins` must be tables, [plugins.<id>], not {}", other.type_str()),
        };
        if let Some(key) = file.keys().next() {
            bail!("{source}: unknown table or key `{key}`, expected [node] or [plugins.<id>]");
        }
        let mut plugins = Vec::new();
        for (id, value) in plugin_tables {
            let table = format!("{source}: [plugins.{id}]");
            if !is_plugin_id(&id) {
                bail!("{table}: a provider's id has small letters, digits and hyphens only");
            }
            let toml::Value::Table(mut settings) = value else {
                bail!("{table}: expected a table, found {}", value.type_str());
            };
            let path = match settings.remove("path") {
                None => None,
                Some(toml::Value::String(path)) => Some(folder.join(path)),
                Some(other) => bail!("{table}: key `path`: expected a text, found {}", other.type_str()),
            };
            let settings_json = serde_json::to_string(&settings).with_context(|| table.clone())?;
            plugins.push(PluginConfig { id, path, settings_json });
        }
        Ok(Config { source: source.to_owned(), node, plugins })
    }
}

impl NodeConfig {
    fn check(&self) -> anyhow::Result<()> {
        let seconds = [("heartbeat_seconds", self.heartbeat_seconds), ("idle_seconds", self.idle_seconds)];
        for (key, value) in seconds {
            if !(0.05..=86_400.0).contains(&value) {
                bail!("key `{key}`: expected seconds from 0.05 to 86400, found {value}");
            }
        }
        if self.connections_max == 0 {
            bail!("key `connections_max`: expected at least 1");
        }
        if self.frame_bytes_total_max < potluck_sdk::message::FRAME_BYTES_MAX {
            bail!(
                "key `frame_bytes_total_max`: expected at least {}, the size of one frame",
                potluck_sdk::message::FRAME_BYTES_MAX
            );
        }
        Ok(())
    }
}

fn is_plugin_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> anyhow::Result<Config> {
        Config::parse(text, "plugins.toml", Path::new("/etc/potluck"))
    }

    #[test]
    fn plugins_keep_the_order_of_the_file_and_lose_the_keys_of_the_host() {
        let config = parse("[plugins.memory]\nentries_max = 5\n[plugins.cpu]\npath = \"x.so\"\n").unwrap();
        assert_eq!(config.plugins[0].id, "memory");
        assert_eq!(config.plugins[0].settings_json, r#"{"entries_max":5}"#);
        assert_eq!(config.plugins[1].path.as_deref(), Some(Path::new("/etc/potluck/x.so")));
        assert_eq!(config.plugins[1].settings_json, "{}");
    }

    #[test]
    fn errors_name_the_file_the_table_and_the_key() {
        for (text, words) in [
            ("[node]\nidle_secs = 3\n", ["plugins.toml", "node", "idle_secs"]),
            ("[node]\nidle_seconds = \"3\"\n", ["plugins.toml", "idle_seconds", "string"]),
            ("[node]\nidle_seconds = -1\n", ["plugins.toml", "[node]", "idle_seconds"]),
            ("[plugin.memory]\n", ["plugins.toml", "plugin", "expected"]),
            ("[plugins]\nmemory = 3\n", ["plugins.toml", "[plugins.memory]", "table"]),
            ("[plugins.Memory]\n", ["plugins.toml", "[plugins.Memory]", "letters"]),
            ("[plugins.memory]\npath = 3\n", ["plugins.toml", "[plugins.memory]", "`path`"]),
            ("[plugins.memory\n", ["plugins.toml", "line 1", ""]),
        ] {
            let error = format!("{:#}", parse(text).err().unwrap());
            for word in words {
                assert!(error.contains(word), "{word:?} is missing in {error}");
            }
        }
    }
}
