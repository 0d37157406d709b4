//! The order in which a node starts and stops.

use crate::access::Access;
use crate::access_token::AccessToken;
use crate::addresses::{Addresses, Listening};
use crate::audit::{Audit, AuditEvent, AuditTopic};
use crate::config::{Config, NodeConfig, Plaintext, PluginConfig};
use crate::data_dir::{self, DataDir, write_private};
use crate::events::EventLog;
use crate::identity::Identity;
use crate::net::frame::FrameBudget;
use crate::net::present::Present;
use crate::net::tls::Tls;
use crate::net::{Credentials, Links, Server};
use crate::node::Node;
use crate::peers::Peers;
use crate::plugin::{Plugin, StartError};
use crate::pool::Pool;
use crate::pool::token::JoinToken;
use crate::routes::Routes;
use crate::{announcement, membership, output, pool_messages, services};
use anyhow::{Context, bail};
use parking_lot::{Mutex, RwLock};
use potluck_sdk::message::node::HOST_MESSAGES;
use potluck_sdk::message::pool::PoolJoin;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
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
    /// Do without a tracker while the node is in no pool.
    pub no_tracker: bool,
    /// A token of a pool to join.
    pub join: Option<String>,
    /// What people call this node in the pool.
    pub name: Option<String>,
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
    let (node, server) = start(&options)?;
    if let Some(token) = options.join.as_ref().filter(|token| !is_member_by(&node, token)) {
        let request = PoolJoin { token: token.clone(), name: options.name.clone(), address: options.tracker.clone() };
        if let Err(error) = pool_messages::join(&node, request).await {
            node.stop_plugins();
            bail!("this node could not join the pool: {}", error.message);
        }
    }
    let serving = tokio::spawn(server.serve(Arc::clone(&node)));
    let following = tokio::spawn(membership::follow(Arc::clone(&node)));
    tokio::spawn(membership::renew_own(Arc::clone(&node)));
    tokio::spawn(announcement::keep(Arc::clone(&node)));
    announce(&node, options.role)?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("interrupted: stopping"),
    }
    stop(&node, following).await;
    serving.abort();
    Ok(())
}

/// Whether the node is in the pool of a token already, so that a service may keep the token on its command line.
fn is_member_by(node: &Node, token: &str) -> bool {
    let pool_id = JoinToken::from_str(token).map(|token| token.pool_id);
    node.pool.standing().is_some_and(|standing| pool_id == Ok(standing.pool_id))
}

/// The router and the providers of a node in this process, which nobody can connect to: for benchmarks of the way between
/// them. Runs within a tokio runtime. The providers stay until the process ends.
pub fn start_in_process(options: &NodeOptions) -> anyhow::Result<Arc<Node>> {
    start(options).map(|(node, _)| node)
}

/// Everything up to the moment when the node can serve: nothing is accepted before all providers have started.
fn start(options: &NodeOptions) -> anyhow::Result<(Arc<Node>, Server)> {
    let home = installation()?;
    let port = options.port.unwrap_or(match options.role {
        Role::Peer => 9000,
        Role::Tracker => 8888,
    });
    let config = read_config(options, port, &home)?;
    let listening = listening(options.host.as_deref(), &config.node)?;
    // Port 0 is decided by the system, and the data directory may depend on it.
    let early = (port == 0).then(|| Server::bind(SocketAddr::new(listening.wanted(false), 0))).transpose()?;
    let port = early.as_ref().map_or(port, |server| server.address.port());
    let data_dir = match &options.data_dir {
        Some(path) => path.clone(),
        None => data_dir::default_path(port)?,
    };
    let data_dir = DataDir::open(&data_dir)?;
    let identity = Identity::load_or_create(data_dir.path())?;
    let tls = Arc::new(Tls::new(&identity.key)?);
    let pool = Arc::new(Pool::open(data_dir.path(), identity.key.public())?);
    let server = match early {
        Some(server) => server,
        None => Server::bind(SocketAddr::new(listening.wanted(pool.standing().is_some()), port))?,
    };
    let access =
        Access::new(&config.access, identity.peer_id).with_context(|| format!("{}: [access]", config.source))?;
    let (named_tracker, tracker_without_pool) = trackers(options, config.node.tracker.as_deref());
    let node = Arc::new(Node {
        id_text: identity.peer_id.to_string(),
        addresses: Addresses::new(listening, server.address),
        tracker: Mutex::new(if pool.standing().is_some() { None } else { tracker_without_pool.clone() }),
        tracker_target: Mutex::new(None),
        named_tracker,
        tracker_without_pool,
        access,
        access_token: AccessToken::load_or_create(data_dir.path())?,
        audit_log: Audit::open(data_dir.path())?,
        present: Present::default(),
        links: Links::new(Credentials {
            tls: Arc::clone(&tls),
            pool: Arc::clone(&pool),
            frames: FrameBudget::new(config.node.frame_bytes_total_max),
        }),
        identity,
        tls,
        pool,
        config: config.node,
        data_dir,
        lib_dir: home.join("lib"),
        routes: Routes::default(),
        events: EventLog::default(),
        peers: Peers::default(),
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
    warn_of_settings(&node);
    Ok((node, server))
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

/// The tracker that the command line names, else plugins.toml; and the one to use without a pool, which is the usual one
/// where nobody has said anything.
fn trackers(options: &NodeOptions, configured: Option<&str>) -> (Option<String>, Option<String>) {
    if options.no_tracker || options.role == Role::Tracker {
        return (None, None);
    }
    let said = options.tracker.as_deref().or(configured);
    let address = said.unwrap_or(DEFAULT_TRACKER);
    let used = (!address.is_empty()).then(|| address.to_owned());
    (said.and(used.clone()), used)
}

/// Where to listen, as the command line and plugins.toml say.
fn listening(host: Option<&str>, config: &NodeConfig) -> anyhow::Result<Listening> {
    let configured = host.or(config.host()).map(address_of).transpose()?;
    let without_pool = config.plaintext == Plaintext::Anywhere;
    Ok(Listening { configured, advertised: config.advertised(), without_pool })
}

/// The address that a host name means; the older kind where it means both.
fn address_of(host: &str) -> anyhow::Result<IpAddr> {
    use std::net::ToSocketAddrs;
    if let Ok(ip) = host.parse() {
        return Ok(ip);
    }
    let found: Vec<SocketAddr> = (host, 0)
        .to_socket_addrs()
        .with_context(|| format!("cannot resolve the host name {host:?}; use an address such as 127.0.0.1"))?
        .collect();
    let found = found.iter().find(|address| address.is_ipv4()).or(found.first());
    found.map(SocketAddr::ip).with_context(|| format!("the host name {host:?} has no address"))
}

/// Tells of settings that do not do what they seem to, or more than their owner may think.
fn warn_of_settings(node: &Node) {
    let mut declared: Vec<_> = HOST_MESSAGES.to_vec();
    for plugin in node.plugins() {
        declared.extend(plugin.messages());
    }
    for warning in node.access.ineffective(&declared) {
        tracing::warn!("[access] of plugins.toml: {warning}");
    }
    if node.config.plaintext == Plaintext::Anywhere {
        tracing::warn!("plaintext = \"anywhere\": whoever is on the way can read and change what clients say");
    }
    node.audit(&AuditEvent {
        topic: AuditTopic::Start,
        action: "start",
        caller: None,
        message_type: "",
        address: Some(node.addresses.bound()),
        reason: env!("CARGO_PKG_VERSION"),
    });
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
    let address = node.address();
    let facts = serde_json::json!({
        "ip": address.ip().to_string(),
        "port": address.port(),
        "peer_id": node.identity.peer_id,
        "pid": std::process::id(),
    });
    let standing = node.pool.standing();
    let mut text = match (role, node.tracker.lock().as_ref(), &standing) {
        (Role::Tracker, ..) => format!("Starting tracker on {}", node.addresses.bound()),
        (Role::Peer, Some(tracker), _) => {
            format!("Starting peer on port {}\nConnecting to tracker at {tracker}", address.port())
        }
        (Role::Peer, None, Some(standing)) => {
            format!("Starting peer on port {} in the pool {}", address.port(), standing.pool_name)
        }
        (Role::Peer, None, None) => format!("Starting peer on port {} without a tracker", address.port()),
    };
    if standing.is_none() {
        let how = match role {
            Role::Tracker => "create one with `potluck pool create`",
            Role::Peer => "join one with `potluck join TOKEN`",
        };
        text += &format!("\nThis node is in no pool, so it serves this machine alone; {how}");
    }
    // Whoever started it may not read that, and needs the node all the same.
    let _ = output::print(&format!("{text}\nPress Ctrl+C to stop\n"));
    write_private(&node.data_dir.path().join("node.json"), facts.to_string().as_bytes())
}

/// Leaves the pool and stops the providers, which answer what is in flight, after a while of their own choice.
async fn stop(node: &Arc<Node>, following: tokio::task::JoinHandle<()>) {
    // Connections end when nothing is in flight on them; the server and the membership end at once.
    node.stopping.send_replace(true);
    let _ = tokio::time::timeout(LEAVE_LIMIT, following).await;
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
    node.pool.close();
    node.audit_log.close();
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
