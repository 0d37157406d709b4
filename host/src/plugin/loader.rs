//! The only file that opens libraries.

use super::elf;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use potluck_sdk::LeastCaller;
use potluck_sdk::abi::{ABI_VERSION, ENTRY_SYMBOL, MAGIC, MESSAGE_SPOOLED, PluginTable};
use std::mem::ManuallyDrop;
use std::path::Path;

/// Opens a library and returns its table, which stays valid until the process ends: libraries are never unmapped, since
/// a thread, a thread-local destructor or an answer may still refer to them.
pub fn open(path: &Path) -> Result<&'static PluginTable, String> {
    elf::check(path)?;
    // SAFETY: loading runs the library's initialisers. Whoever may write plugins.toml and the library decides what runs in
    // this process; that is what an in-process plugin means.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }
        .map_err(|error| format!("the library cannot be loaded: {}", cause(&error)))?;
    let library = ManuallyDrop::new(library);
    // SAFETY: the symbol's name belongs to this ABI, so whoever exports it means a function of this type.
    let entry = unsafe { library.get::<extern "C" fn() -> *const PluginTable>(ENTRY_SYMBOL.as_bytes()) }
        .map_err(|_| format!("the library is not a plugin: it does not export `{ENTRY_SYMBOL}`"))?;
    let table = entry();
    if table.is_null() {
        return Err(format!("`{ENTRY_SYMBOL}` returned no table"));
    }
    // Field by field until magic, version and size are known to be ours.
    // SAFETY: every version of the table begins with these three fields.
    let (magic, version, size) = unsafe {
        (
            (&raw const (*table).magic).read(),
            (&raw const (*table).abi_version).read(),
            (&raw const (*table).struct_size).read(),
        )
    };
    if magic != MAGIC {
        return Err("the library is not a plugin: its table does not begin with the magic number".to_owned());
    }
    if version != ABI_VERSION {
        return Err(format!(
            "the plugin speaks version {version} of the plugin ABI, this node version {ABI_VERSION}; build it with the SDK of this node"
        ));
    }
    if (size as usize) < size_of::<PluginTable>() {
        return Err(format!(
            "the plugin's table has {size} bytes, this node expects {}; build it with the SDK of this node",
            size_of::<PluginTable>()
        ));
    }
    // SAFETY: the table is of this version, complete, and lives as long as the library, which is never unmapped.
    Ok(unsafe { &*table })
}

/// The provider's id.
pub fn id(table: &'static PluginTable) -> &'static str {
    // SAFETY: a table's texts live as long as it does.
    unsafe { table.id.text() }
}

/// The plugin's version.
pub fn version(table: &'static PluginTable) -> &'static str {
    // SAFETY: as above.
    unsafe { table.version.text() }
}

/// One message type that a plugin answers.
pub struct Declared {
    /// The `type`.
    pub name: &'static str,
    /// The least caller that may send it.
    pub least_caller: LeastCaller,
    /// Whether its member `data` may be larger than a frame.
    pub is_spooled: bool,
    /// Outermost members of which a message must have one; none for every message.
    pub when: Vec<&'static str>,
}

/// The messages that the plugin answers.
pub fn messages(table: &'static PluginTable) -> Vec<Declared> {
    if table.message_count == 0 || table.messages.is_null() {
        return Vec::new();
    }
    // SAFETY: the table promises that many declarations, which live as long as it does.
    let declarations = unsafe { std::slice::from_raw_parts(table.messages, table.message_count) };
    declarations
        .iter()
        .map(|message| Declared {
            // SAFETY: as above.
            name: unsafe { message.message_type.text() },
            least_caller: LeastCaller::from_abi(message.least_caller),
            is_spooled: message.flags & MESSAGE_SPOOLED != 0,
            // SAFETY: as above.
            when: message.when.iter().map(|name| unsafe { name.text() }).filter(|name| !name.is_empty()).collect(),
        })
        .collect()
}

/// The dynamic linker's own words.
fn cause(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}
