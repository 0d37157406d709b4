//! The order in which a node starts and stops.

use crate::config::{Config, PluginConfig};
use crate::data_dir::{self, DataDir, write_private};
use crate::events::EventLog;
use crate::identity::Identity;
use crate::net::{Links, Server, resolve_loopback};
use crate::node::Node;
use crate::peers::{Peers, split_address};
use crate::plugin::{Plugin, StartError};
use crate::routes::Routes;
use crate::{membership, services};
use anyhow::{Context, bail};
use parking_lot::RwLock;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Where a peer looks for a tracker when nobody says otherwise.
pub(crate) const DEFAULT_TRACKER: &str = "127.0.0.1:8888";
/// How long leaving the pool may take.
const LEAVE_LIMIT: Duration = Duration::from_secs(3);
/// How long the providers may take to stop; each has limits of its own, so this is for one that is stuck.
const STOP_LIMIT: Duration = Duration::from_secs(90);
/// `potluck tracker` without a file of its own is this node.
const TRACKER_PLUGINS: &str = "[plugins.tracker]\n";

/// What kind of node to run when plugins.toml does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A node with the plugins of plugins.toml.
    Peer,
    /// A node whose only plugin is the tracker.
    Tracker,
}

/// What the command line says about a node; it overrides plugins.toml.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// What to run.
    pub role: Role,
    /// Address to listen on.
    pub host: Option<String>,
    /// Port to listen on; 0 takes any free one.
    pub port: Option<u16>,
    /// `host:port` of the tracker.
    pub tracker: Option<String>,
    /// The data directory.
    pub data_dir: Option<PathBuf>,
    /// plugins.toml.
    pub plugins: Option<PathBuf>,
    /// Do without a tracker.
    pub no_tracker: bool,
}

/// Runs a node until SIGTERM, SIGINT or an error.
pub fn run(options: NodeOptions) -> anyhow::Result<()> {
    crate::descriptors::keep_from_children();
    crate::logging::init();
    raise_descriptor_limit();
    // Two threads serve a small machine; more only where there are more cores to run them.
    let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("potluck")
        .enable_all()
        .build()
        .context("cannot start the threads of the node")?;
    let result = runtime.block_on(serve(options));
    // Whatever still runs on a blocking thread is given up.
    runtime.shutdown_timeout(Duration::from_millis(200));
    result
}

async fn serve(options: NodeOptions) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    let (node, server, tracker) = start(&options)?;
    let serving = tokio::spawn(server.serve(Arc::clone(&node)));
    let following = tracker.map(|tracker| tokio::spawn(membership::follow(Arc::clone(&node), tracker)));
    announce(&node, options.role)?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("interrupted: stopping"),
    }
    stop(&node, following).await;
    serving.abort();
    Ok(())
}

/// The router and the providers of a node in this process, which nobody can connect to: for benchmarks of the way between
/// them. Runs within a tokio runtime. The providers stay until the process ends.
pub fn start_in_process(options: &NodeOptions) -> anyhow::Result<Arc<Node>> {
    start(options).map(|(node, _, _)| node)
}

/// Everything up to the moment when the node can serve: nothing is accepted before all providers have started.
fn start(options: &NodeOptions) -> anyhow::Result<(Arc<Node>, Server, Option<SocketAddr>)> {
    let home = installation()?;
    let port = options.port.unwrap_or(match options.role {
        Role::Peer => 9000,
        Role::Tracker => 8888,
    });
    let config = read_config(options, port, &home)?;
    let host = options.host.as_deref().unwrap_or(&config.node.host);
    let server = Server::bind(host, port)?;
    let data_dir = match &options.data_dir {
        Some(path) => path.clone(),
        None => data_dir::default_path(server.address.port())?,
    };
    let data_dir = DataDir::open(&data_dir)?;
    let identity = Identity::load_or_create(&data_dir)?;
    let tracker = tracker(options, config.node.tracker.as_deref());
    let tracker_address = tracker.as_deref().map(tracker_address).transpose()?;
    let node = Arc::new(Node {
        peer_id: identity.peer_id,
        address: server.address,
        tracker,
        config: config.node,
        data_dir,
        lib_dir: home.join("lib"),
        routes: Routes::default(),
        events: EventLog::default(),
        peers: Peers::default(),
        links: Links::default(),
        load: watch::Sender::new(membership::no_load()),
        stopping: watch::Sender::new(false),
        runtime: tokio::runtime::Handle::current(),
        started: Instant::now(),
        plugins: RwLock::default(),
        subscribers: RwLock::default(),
    });
    for plugin_config in &config.plugins {
        if let Err(reason) = start_plugin(&node, plugin_config) {
            node.stop_plugins();
            bail!("{}: [plugins.{}]: {reason}", config.source, plugin_config.id);
        }
    }
    Ok((node, server, tracker_address))
}

/// Starts one provider and routes its messages to it. A provider that fails is kept, to be shown with its reason; only a
/// wrong configuration is an error.
fn start_plugin(node: &Arc<Node>, config: &PluginConfig) -> Result<(), String> {
    let path = config.path.clone().unwrap_or_else(|| node.library_path(&config.id));
    let (plugin, started) = Plugin::start(config, path, &|plugin| services::host_table(node, plugin));
    match started.and_then(|()| node.routes.add(&plugin).map_err(StartError::Failed)) {
        Ok(()) => tracing::info!(provider = plugin.id, "a provider has started"),
        Err(StartError::Config(reason)) => return Err(reason),
        Err(StartError::Failed(reason)) => {
            plugin.fail(&reason);
            tracing::error!(provider = plugin.id, path = plugin.path(), reason, "a provider could not be started");
        }
    }
    node.plugins.write().push(plugin);
    Ok(())
}

/// The command line's tracker, else that of plugins.toml, else the usual one.
fn tracker(options: &NodeOptions, configured: Option<&str>) -> Option<String> {
    if options.no_tracker || options.role == Role::Tracker {
        return None;
    }
    let address = options.tracker.as_deref().or(configured).unwrap_or(DEFAULT_TRACKER);
    (!address.is_empty()).then(|| address.to_owned())
}

fn tracker_address(text: &str) -> anyhow::Result<SocketAddr> {
    let (host, port) = split_address(text).with_context(|| {
        format!("{text:?} is not the address of a tracker; use host:port, such as {DEFAULT_TRACKER}")
    })?;
    resolve_loopback(&host, port)
}

/// The tree that the program belongs to: `bin/potluck` beside `lib` and `share`.
pub(crate) fn installation() -> anyhow::Result<PathBuf> {
    let program =
        std::env::current_exe().and_then(|path| path.canonicalize()).context("cannot find the program's own file")?;
    let home = program.parent().and_then(|bin| bin.parent()).context("the program stands in no folder")?;
    Ok(home.to_owned())
}

fn read_config(options: &NodeOptions, port: u16, home: &Path) -> anyhow::Result<Config> {
    if options.role == Role::Tracker && options.plugins.is_none() {
        return Config::parse(TRACKER_PLUGINS, "the built-in composition of a tracker", home);
    }
    Config::read(&plugins_file(options.plugins.as_deref(), options.data_dir.as_deref(), port, home))
}

/// Where a peer's composition is: `--plugins`, else the file in the data directory, else the one that was installed.
pub(crate) fn plugins_file(plugins: Option<&Path>, data_dir: Option<&Path>, port: u16, home: &Path) -> PathBuf {
    if let Some(path) = plugins {
        return path.to_owned();
    }
    let data_dir = data_dir.map(Path::to_owned).or_else(|| data_dir::default_path(port).ok());
    let own = data_dir.map(|folder| folder.join("plugins.toml")).filter(|path| path.exists());
    own.unwrap_or_else(|| home.join("share/plugins.toml"))
}

/// Tells people on standard output, and programs in `node.json`, that the node serves.
fn announce(node: &Node, role: Role) -> anyhow::Result<()> {
    let facts = serde_json::json!({
        "ip": node.address.ip().to_string(),
        "port": node.address.port(),
        "peer_id": node.peer_id,
        "pid": std::process::id(),
    });
    write_private(&node.data_dir.path().join("node.json"), facts.to_string().as_bytes())?;
    match (role, &node.tracker) {
        (Role::Tracker, _) => println!("Starting tracker on {}", node.address),
        (Role::Peer, Some(tracker)) => {
            println!("Starting peer on port {}\nConnecting to tracker at {tracker}", node.address.port());
        }
        (Role::Peer, None) => println!("Starting peer on port {} without a tracker", node.address.port()),
    }
    println!("Press Ctrl+C to stop");
    Ok(())
}

/// Leaves the pool and stops the providers, which answer what is in flight, after a while of their own choice.
async fn stop(node: &Arc<Node>, following: Option<tokio::task::JoinHandle<()>>) {
    // Connections end when nothing is in flight on them; the server and the membership end at once.
    node.stopping.send_replace(true);
    if let Some(following) = following {
        let _ = tokio::time::timeout(LEAVE_LIMIT, following).await;
    }
    let stopped = Arc::clone(node);
    let stopping = tokio::task::spawn_blocking(move || stopped.stop_plugins());
    let _ = tokio::time::timeout(STOP_LIMIT, stopping).await;
    // What the providers have answered while they stopped still has to leave.
    let all_gone = async {
        while node.stopping.receiver_count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), all_gone).await;
    let _ = std::fs::remove_file(node.data_dir.path().join("node.json"));
}

/// As many connections as the system allows: the soft limit is raised to the hard one.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit on open files stays as it was");
    }
}
