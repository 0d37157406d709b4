//! plugins.toml: what a node is made of. Errors name the file, the table and the key.

use crate::access::AccessConfig;
use anyhow::{Context, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// A node's composition.
#[derive(Debug)]
pub struct Config {
    /// Where it was read from, for error texts.
    pub source: String,
    /// `[node]`.
    pub node: NodeConfig,
    /// `[access]`.
    pub access: AccessConfig,
    /// `[plugins.<id>]`, in the order of the file.
    pub plugins: Vec<PluginConfig>,
}

/// `[node]`: what belongs to the host. What is missing has its default; the command line overrides.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// Address to listen on; loopback when missing, and everywhere once the node is in a pool.
    pub host: String,
    /// The address that other nodes are told, where they reach this one by another than it knows itself.
    pub advertise: String,
    /// From where plain frames are accepted.
    pub plaintext: Plaintext,
    /// Which accounts of this machine count as the node's user.
    pub local_users: LocalUsers,
    /// Whether the tracker of a pool tells the local network that it is there, and members listen for it when it does not
    /// answer.
    pub discovery: bool,
    /// Seconds for which a membership is good that this node issues, as the authority of a pool.
    pub membership_seconds: u64,
    /// `host:port` of the tracker; none with an empty text.
    pub tracker: Option<String>,
    /// Seconds between two heartbeats to the tracker.
    pub heartbeat_seconds: f64,
    /// Seconds after which a connection is closed that sends nothing and waits for nothing.
    pub idle_seconds: f64,
    /// Most connections at a time.
    pub connections_max: usize,
    /// Most connections at a time from which it is not known yet who is at the other end.
    pub unknown_connections_max: usize,
    /// Most bytes that frames in transit may hold, over all connections.
    pub frame_bytes_total_max: usize,
}

impl Default for NodeConfig {
    fn default() -> NodeConfig {
        NodeConfig {
            host: String::new(),
            advertise: String::new(),
            plaintext: Plaintext::Loopback,
            local_users: LocalUsers::Own,
            discovery: true,
            membership_seconds: 86_400,
            tracker: None,
            heartbeat_seconds: 10.0,
            idle_seconds: 30.0,
            connections_max: 10_000,
            unknown_connections_max: 256,
            frame_bytes_total_max: 256 << 20,
        }
    }
}

/// From where plain frames are accepted; everything else must come inside TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Plaintext {
    /// From nowhere.
    Never,
    /// From this machine.
    Loopback,
    /// From everywhere, where they prove nothing: every such connection must show the node's token, which then anybody on
    /// the way can read.
    Anywhere,
}

/// Which accounts of this machine count as the node's user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LocalUsers {
    /// The one that the node runs as, and root.
    Own,
    /// All.
    All,
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
        let node: NodeConfig = table(&mut file, "node", source)?;
        node.check().with_context(|| format!("{source}: [node]"))?;
        let access: AccessConfig = table(&mut file, "access", source)?;
        access.check().with_context(|| format!("{source}: [access]"))?;
        let plugin_tables = match file.remove("plugins") {
            None => toml::Table::new(),
            Some(toml::Value::Table(tables)) => tables,
            Some(other) => bail!("{source}: `plugins` must be tables, [plugins.<id>], not {}", other.type_str()),
        };
        if let Some(key) = file.keys().next() {
            bail!("{source}: unknown table or key `{key}`, expected [node], [access] or [plugins.<id>]");
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
            if let Some(key) = number_without_json("", &settings) {
                bail!("{table}: key `{key}`: expected a finite number, neither nan nor inf");
            }
            let settings_json = serde_json::to_string(&settings).with_context(|| table.clone())?;
            plugins.push(PluginConfig { id, path, settings_json });
        }
        Ok(Config { source: source.to_owned(), node, access, plugins })
    }
}

/// The key of a number that JSON cannot say: a plugin would take it for missing.
fn number_without_json(place: &str, settings: &toml::Table) -> Option<String> {
    settings.iter().find_map(|(key, value)| unwritable(&format!("{place}{key}"), value))
}

fn unwritable(place: &str, value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::Float(number) if !number.is_finite() => Some(place.to_owned()),
        toml::Value::Table(table) => number_without_json(&format!("{place}."), table),
        toml::Value::Array(list) => {
            list.iter().enumerate().find_map(|(number, value)| unwritable(&format!("{place}[{number}]"), value))
        }
        _ => None,
    }
}

/// Takes one of the host's own tables out of the file.
fn table<T: Default + DeserializeOwned>(file: &mut toml::Table, name: &str, source: &str) -> anyhow::Result<T> {
    let Some(table) = file.remove(name) else { return Ok(T::default()) };
    table.try_into().map_err(|error| {
        // What follows the first line repeats the key, without the text of the file around it.
        let text = error.to_string();
        anyhow::anyhow!("{source}: [{name}]: {}", text.trim().replace('\n', " "))
    })
}

impl NodeConfig {
    /// Where to listen, if that is said.
    pub fn host(&self) -> Option<&str> {
        Some(self.host.as_str()).filter(|host| !host.is_empty())
    }

    /// The address that others are told, if one is said; it has been checked.
    pub fn advertised(&self) -> Option<IpAddr> {
        self.advertise.parse().ok()
    }

    fn check(&self) -> anyhow::Result<()> {
        if !self.advertise.is_empty() && self.advertised().is_none() {
            bail!("key `advertise`: expected an IP address, found {:?}", self.advertise);
        }
        let seconds = [("heartbeat_seconds", self.heartbeat_seconds), ("idle_seconds", self.idle_seconds)];
        for (key, value) in seconds {
            if !(0.05..=86_400.0).contains(&value) {
                bail!("key `{key}`: expected seconds from 0.05 to 86400, found {value}");
            }
        }
        for (key, value) in
            [("connections_max", self.connections_max), ("unknown_connections_max", self.unknown_connections_max)]
        {
            if !(1..=1_000_000).contains(&value) {
                bail!("key `{key}`: expected from 1 to 1000000, found {value}");
            }
        }
        if !(1..=31_536_000).contains(&self.membership_seconds) {
            bail!("key `membership_seconds`: expected from 1 to 31536000 (a year), found {}", self.membership_seconds);
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
    fn numbers_that_plugins_would_not_see_are_refused_by_their_key() {
        for (text, key) in [
            ("[plugins.quota]\nx = nan\n", "`x`"),
            ("[plugins.quota.limits.cpu_tasks]\nwindow_seconds = inf\n", "`limits.cpu_tasks.window_seconds`"),
            ("[plugins.disk]\nsizes = [1.5, { y = -inf }]\n", "`sizes[1].y`"),
        ] {
            let error = format!("{:#}", parse(text).err().unwrap());
            assert!(error.starts_with("plugins.toml: [plugins.") && error.contains(key), "{error}");
        }
        parse("[plugins.quota]\nx = 1e308\n").unwrap();
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
