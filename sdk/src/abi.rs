//! The C ABI between the host and a plugin library, version 2.
//!
//! A plugin exports one symbol, [`ENTRY_SYMBOL`], a function without arguments that returns a pointer to a
//! [`PluginTable`]. The host reads `magic`, `abi_version` and `struct_size` first and touches nothing else until they
//! fit. Only C types cross: integers, pointers, and bytes as pointer and length. `include/potluck.h` is generated from
//! this file.
//!
//! # Who owns what, for how long, on which thread
//!
//! | item | owner | valid | thread |
//! |---|---|---|---|
//! | [`PluginTable`] and all it points to | plugin | until the process ends (libraries are never unmapped) | any |
//! | [`HostTable`] given to `create` | host | until the process ends | any |
//! | [`Slice`] arguments | the side that passes them | until the called function returns | the calling thread |
//! | [`Buffer`] | the side that receives it; `free` of its maker releases it | until freed | any |
//! | [`Call`] | host | until `handle` returns | the thread that called `handle` |
//! | [`FileBody`] | the side that receives it; it closes the descriptor | until closed | any |
//! | [`Completion`] from `defer` | plugin | until `done` or `done_file`, one of which must be called exactly once | any |
//! | [`Hook`], [`CallDone`] | the side that receives it; it uses exactly one of its functions, once | until then | any |
//! | `instance` | plugin | from `create` to `destroy` | any, several at once |
//!
//! No function of the plugin may unwind or block, `create` and `stop` excepted from the latter. [`crate::export_plugin`]
//! builds the table for a Rust [`crate::Provider`] and stops panics.

use std::ffi::c_void;
use std::fs::File;
use std::os::fd::{FromRawFd, IntoRawFd};

pub(crate) mod export;

/// First field of every [`PluginTable`]: the bytes `POTLUCK\0`, read as a little-endian number.
pub const MAGIC: u64 = u64::from_le_bytes(*b"POTLUCK\0");
/// Version of the layout in this file. A host refuses a plugin of another version.
///
/// * 1: the first.
/// * 2: a declaration says when it holds and whether `data` may be spooled; a reply may come from a file; `secret`, `sign`.
pub const ABI_VERSION: u32 = 2;
/// The one symbol that a plugin library exports.
pub const ENTRY_SYMBOL: &str = "potluck_plugin";

/// `handle` has written its reply.
pub const ANSWERED: u32 = 0;
/// `handle` has called `defer` and answers through the [`Completion`].
pub const DEFERRED: u32 = 1;
/// `handle` panicked; the reply's JSON holds the text of the panic.
pub const PANICKED: u32 = 2;

/// A reply that is a result.
pub const REPLY_OK: u32 = 0;
/// A reply whose JSON is an object of type `ERROR`.
pub const REPLY_ERROR: u32 = 1;
/// A deferred reply was dropped without an answer; its JSON is empty.
pub const REPLY_DROPPED: u32 = 2;

/// `create` succeeded.
pub const CREATED: u32 = 0;
/// `create` failed; the error buffer holds one sentence.
pub const CREATE_FAILED: u32 = 1;
/// `create` refused its configuration; the error buffer names the key. The node does not start.
pub const CREATE_REFUSED_CONFIG: u32 = 2;

/// `health` found nothing wrong.
pub const HEALTH_OK: u32 = 0;
/// The provider works with less than it should; the reason says what is missing.
pub const HEALTH_DEGRADED: u32 = 1;

/// Borrowed bytes. `data` may be null when `length` is 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Slice {
    /// First byte.
    pub data: *const u8,
    /// Number of bytes.
    pub length: usize,
}

// SAFETY: a slice is two plain words; whoever reads through it upholds the table at the top of this file.
unsafe impl Send for Slice {}
// SAFETY: as above; the bytes behind a slice are never written through it.
unsafe impl Sync for Slice {}

impl Slice {
    /// The empty slice.
    pub const EMPTY: Slice = Slice { data: std::ptr::null(), length: 0 };

    /// Borrows `bytes`.
    pub const fn new(bytes: &[u8]) -> Slice {
        Slice { data: bytes.as_ptr(), length: bytes.len() }
    }

    /// The bytes.
    ///
    /// # Safety
    /// `data` points to `length` readable bytes that nobody writes during `'a`.
    pub unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.length == 0 {
            return &[];
        }
        // SAFETY: promised by the caller.
        unsafe { std::slice::from_raw_parts(self.data, self.length) }
    }

    /// The bytes as text; empty when they are not UTF-8.
    ///
    /// # Safety
    /// As for [`Slice::bytes`].
    pub unsafe fn text<'a>(self) -> &'a str {
        // SAFETY: promised by the caller.
        std::str::from_utf8(unsafe { self.bytes() }).unwrap_or("")
    }
}

/// Owned bytes. Whoever holds the buffer calls `free(data, length, capacity)` once; `free` may be null for an empty one.
#[repr(C)]
pub struct Buffer {
    /// First byte.
    pub data: *mut u8,
    /// Number of bytes in use.
    pub length: usize,
    /// Number of bytes allocated; only `free` reads it.
    pub capacity: usize,
    /// Releases the bytes; belongs to the module that made them.
    pub free: Option<unsafe extern "C" fn(data: *mut u8, length: usize, capacity: usize)>,
}

// SAFETY: the buffer is the only owner of its bytes, and `free` may run on any thread.
unsafe impl Send for Buffer {}
// SAFETY: shared access only reads.
unsafe impl Sync for Buffer {}

unsafe extern "C" fn free_vec(data: *mut u8, length: usize, capacity: usize) {
    // SAFETY: `Buffer::from(Vec)` below is the only place that names this function, with the parts of a vector.
    drop(unsafe { Vec::from_raw_parts(data, length, capacity) });
}

impl Buffer {
    /// A buffer without bytes.
    pub const EMPTY: Buffer = Buffer { data: std::ptr::null_mut(), length: 0, capacity: 0, free: None };

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        if self.length == 0 {
            return &[];
        }
        // SAFETY: a buffer's maker gives `length` initialised bytes, and they live until `free`.
        unsafe { std::slice::from_raw_parts(self.data, self.length) }
    }

    /// The bytes, without a copy when this module has made the buffer from a vector.
    pub fn into_vec(self) -> Vec<u8> {
        type Free = unsafe extern "C" fn(data: *mut u8, length: usize, capacity: usize);
        if !self.free.is_some_and(|free| std::ptr::fn_addr_eq(free, free_vec as Free)) {
            return self.as_bytes().to_vec();
        }
        let buffer = std::mem::ManuallyDrop::new(self);
        // SAFETY: `Buffer::from(Vec)` of this module is the only place that names this function, with the parts of a
        // vector; the buffer is not dropped, so nobody else has them.
        unsafe { Vec::from_raw_parts(buffer.data, buffer.length, buffer.capacity) }
    }

    /// The bytes as text, with anything that is not UTF-8 replaced.
    pub fn to_text(&self) -> String {
        String::from_utf8_lossy(self.as_bytes()).into_owned()
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Buffer {
        let mut bytes = std::mem::ManuallyDrop::new(bytes);
        Buffer { data: bytes.as_mut_ptr(), length: bytes.len(), capacity: bytes.capacity(), free: Some(free_vec) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(free) = self.free.take() {
            // SAFETY: `take` makes this the only call, with the parts that the maker put in.
            unsafe { free(self.data, self.length, self.capacity) }
        }
    }
}

/// A part of an open file that becomes a member of a reply. The side that receives it owns the descriptor and closes it.
/// All zeros is none.
#[repr(C)]
pub struct FileBody {
    /// 1 when there is one; then `descriptor` is an open file.
    pub is_present: u32,
    /// The file, open for reading.
    pub descriptor: i32,
    /// Where the part begins.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
    /// Name of the member: a string of Base64. Plain text that needs no escapes in JSON.
    pub member: Buffer,
}

impl FileBody {
    /// None.
    pub const NONE: FileBody = FileBody { is_present: 0, descriptor: -1, offset: 0, length: 0, member: Buffer::EMPTY };

    /// Gives a part of a file away.
    pub fn new(member: &str, file: File, offset: u64, length: u64) -> FileBody {
        let member = member.as_bytes().to_vec().into();
        FileBody { is_present: 1, descriptor: file.into_raw_fd(), offset, length, member }
    }

    /// The file, to be closed by the caller; nothing when there is none, or it has been taken.
    pub fn take_file(&mut self) -> Option<File> {
        let is_present = std::mem::replace(&mut self.is_present, 0) != 0;
        // SAFETY: whoever makes a body that is present puts an open descriptor into it and gives it away; it is taken once.
        (is_present && self.descriptor >= 0).then(|| unsafe { File::from_raw_fd(self.descriptor) })
    }
}

impl Drop for FileBody {
    fn drop(&mut self) {
        drop(self.take_file());
    }
}

/// A job or a notification: exactly one of `run` and `release` is called, once.
#[repr(C)]
pub struct Hook {
    /// Passed to both functions.
    pub context: *mut c_void,
    /// Does the work and frees `context`.
    pub run: unsafe extern "C" fn(context: *mut c_void),
    /// Frees `context` without doing the work.
    pub release: unsafe extern "C" fn(context: *mut c_void),
}

// SAFETY: both functions may be called on any thread.
unsafe impl Send for Hook {}

/// Receives the answer to a call that a plugin made.
#[repr(C)]
pub struct CallDone {
    /// Passed to `done`.
    pub context: *mut c_void,
    /// Called once, on any thread, with one of the `REPLY_` values; frees `context`. It must not block.
    pub done: unsafe extern "C" fn(context: *mut c_void, reply: u32, json: Buffer, attachment: Buffer),
}

// SAFETY: `done` may be called on any thread.
unsafe impl Send for CallDone {}

/// The right, and the duty, to answer one call later.
#[repr(C)]
pub struct Completion {
    /// Passed to the functions below.
    pub context: *mut c_void,
    /// Answers, once, with one of the `REPLY_` values. The completion must not be used afterwards.
    pub done: unsafe extern "C" fn(context: *mut c_void, reply: u32, json: Buffer, attachment: Buffer),
    /// 1 when the caller has gone away and nobody waits for the answer.
    pub is_cancelled: unsafe extern "C" fn(context: *mut c_void) -> u32,
    /// Asks for `hook.run` when the caller goes away; it runs at once if that has happened. One hook a completion.
    pub on_cancel: unsafe extern "C" fn(context: *mut c_void, hook: Hook),
    /// Answers, once, in place of `done`: with a result whose JSON object gets one more member, a part of a file.
    pub done_file: unsafe extern "C" fn(context: *mut c_void, json: Buffer, file: FileBody),
}

// SAFETY: all functions may be called on any thread.
unsafe impl Send for Completion {}
// SAFETY: `is_cancelled` and `on_cancel` may be called from several threads at once.
unsafe impl Sync for Completion {}

/// One message on its way to a provider.
#[repr(C)]
pub struct Call {
    /// Size of this struct in the host; later versions append fields.
    pub struct_size: u32,
    /// Who sent the message, as established by the host: a [`crate::Caller`] as number.
    pub caller: u32,
    /// Peer id, task id or plugin id that belongs to `caller`; empty for the local user.
    pub caller_id: Slice,
    /// The message's `type`.
    pub message_type: Slice,
    /// The whole message: one JSON object in UTF-8.
    pub json: Slice,
    /// The raw bytes that came with it.
    pub attachment: Slice,
    /// Takes over the duty to answer; at most once per call, only before `handle` returns.
    pub defer: unsafe extern "C" fn(call: *mut Call) -> Completion,
    /// The IP address that the message came from over the network; empty when it came from this machine. Hosts before
    /// this field was added have a smaller `struct_size`.
    pub source_ip: Slice,
    /// Path of a file with the decoded bytes of the member `data`, which is then missing in `json`; else empty. The
    /// plugin may move the file away; what is left is removed when the call is answered. Only for messages that are
    /// declared with [`MESSAGE_SPOOLED`].
    pub spooled: Slice,
    /// Name of the process that the caller is, when the caller is a task; else empty. Hosts before this field was added
    /// have a smaller `struct_size`.
    pub process: Slice,
}

/// Where `handle` writes an immediate answer.
#[repr(C)]
pub struct CallReply {
    /// One of the `REPLY_` values.
    pub reply: u32,
    /// The answer: one JSON object.
    pub json: Buffer,
    /// Raw bytes that go with it.
    pub attachment: Buffer,
    /// A part of a file that becomes one more member of `json`; only with [`REPLY_OK`] and without `attachment`.
    pub file: FileBody,
}

impl CallReply {
    /// No answer yet.
    pub const EMPTY: CallReply =
        CallReply { reply: REPLY_DROPPED, json: Buffer::EMPTY, attachment: Buffer::EMPTY, file: FileBody::NONE };
}

/// What the host does for a plugin. Every function may be called from any thread and does not block.
#[repr(C)]
pub struct HostTable {
    /// Size of this struct in the host; later versions append functions.
    pub struct_size: u32,
    /// [`ABI_VERSION`] of the host.
    pub abi_version: u32,
    /// Passed to all functions.
    pub context: *mut c_void,
    /// Facts about the node: one JSON object, see [`crate::NodeFacts`].
    pub node_json: Slice,
    /// Sends a message, to a provider of this node or, with `to` in it, to another peer.
    pub call: unsafe extern "C" fn(context: *mut c_void, json: Slice, attachment: Slice, done: CallDone),
    /// Publishes an event.
    pub publish: unsafe extern "C" fn(context: *mut c_void, topic: Slice, json: Slice),
    /// Asks for events: `event` of the plugin is called for each topic equal to `pattern`, or, when it ends in `*`,
    /// beginning with what stands before the star.
    pub subscribe: unsafe extern "C" fn(context: *mut c_void, pattern: Slice),
    /// Writes to the node's log: 1 error, 2 warn, 3 info, 4 debug, 5 trace.
    pub log: unsafe extern "C" fn(context: *mut c_void, level: u32, message: Slice),
    /// 1 when a message of that level would be written.
    pub log_enabled: unsafe extern "C" fn(context: *mut c_void, level: u32) -> u32,
    /// Runs a job on a thread where it may block.
    pub spawn_blocking: unsafe extern "C" fn(context: *mut c_void, job: Hook),
    /// Runs a job after a delay, on a thread where it must not block. Released, not run, when the node stops first.
    pub run_after: unsafe extern "C" fn(context: *mut c_void, delay_milliseconds: u64, job: Hook),
    /// Writes 32 bytes to `secret` that follow from the node's private key, the plugin's id and `label`.
    pub secret: unsafe extern "C" fn(context: *mut c_void, label: Slice, secret: *mut u8),
    /// Writes 64 bytes to `signature`: that of the node's key over `label` and `message`, see `signature::signed_bytes`.
    pub sign: unsafe extern "C" fn(context: *mut c_void, label: Slice, message: Slice, signature: *mut u8),
    /// Room for later versions; null.
    pub reserved: [*const c_void; 6],
}

// SAFETY: the functions are callable from any thread, and the struct is never written after it was made.
unsafe impl Sync for HostTable {}
// SAFETY: as above.
unsafe impl Send for HostTable {}

/// In `flags` of a declaration: the node's own user may send the message with a member `data` (Base64) that is larger than
/// a frame, and the host puts its bytes into a file, see `spooled` of [`Call`].
pub const MESSAGE_SPOOLED: u32 = 1;
/// Most members that a declaration may name in `when`.
pub const WHEN_COUNT_MAX: usize = 4;

/// One message type that a plugin answers.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MessageDeclaration {
    /// The `type`.
    pub message_type: Slice,
    /// The least caller that may send it: a [`crate::LeastCaller`] as number.
    pub least_caller: u32,
    /// [`MESSAGE_SPOOLED`] or 0.
    pub flags: u32,
    /// Outermost members: the plugin answers only messages that have one of these, not null; all empty for every message.
    /// Two plugins may answer one type, if exactly one of them names members.
    pub when: [Slice; WHEN_COUNT_MAX],
}

/// What a plugin is and does.
#[repr(C)]
pub struct PluginTable {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`ABI_VERSION`] that the plugin was built with.
    pub abi_version: u32,
    /// Size of this struct in the plugin.
    pub struct_size: u32,
    /// The provider's id, as in `[plugins.<id>]`.
    pub id: Slice,
    /// The plugin's own version.
    pub version: Slice,
    /// First of `message_count` declarations.
    pub messages: *const MessageDeclaration,
    /// Number of message types that the plugin answers.
    pub message_count: usize,
    /// Starts the provider. `config_json` is its table of `plugins.toml`. Returns a `CREATE` value; writes `instance` when
    /// it is [`CREATED`], else `error`. May block for a short while.
    pub create: unsafe extern "C" fn(
        host: *const HostTable,
        config_json: Slice,
        instance: *mut *mut c_void,
        error: *mut Buffer,
    ) -> u32,
    /// Answers a message: [`ANSWERED`], [`DEFERRED`] or [`PANICKED`]. Called from many threads at once; must not block.
    pub handle: unsafe extern "C" fn(instance: *mut c_void, call: *mut Call, reply: *mut CallReply) -> u32,
    /// Writes the provider's members of the node's STATUS reply: one JSON object, `{}` when there are none. A provider that
    /// writes nothing counts as degraded. Must not block.
    pub status: unsafe extern "C" fn(instance: *mut c_void, json: *mut Buffer),
    /// An event that the plugin subscribed to. Must not block.
    pub event: unsafe extern "C" fn(instance: *mut c_void, topic: Slice, json: Slice),
    /// Returns a `HEALTH_` value and writes the reason when something is wrong. Must not block.
    pub health: unsafe extern "C" fn(instance: *mut c_void, reason: *mut Buffer) -> u32,
    /// Stops the provider: what it holds is answered or given up. May block for a short while. Called once.
    pub stop: unsafe extern "C" fn(instance: *mut c_void),
    /// Frees the instance, after `stop`, when no call is running.
    pub destroy: unsafe extern "C" fn(instance: *mut c_void),
    /// JSON schema of the messages; empty until a later version defines its use.
    pub schema_json: Slice,
    /// Room for state hand-over and what later versions need; null.
    pub reserved: [*const c_void; 8],
}

// SAFETY: the table is never written after it was made, and its functions are callable from any thread.
unsafe impl Sync for PluginTable {}
// SAFETY: as above.
unsafe impl Send for PluginTable {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_buffer_gives_its_vector_back() {
        let bytes = b"abc".to_vec();
        let place = bytes.as_ptr();
        let again = Buffer::from(bytes).into_vec();
        assert_eq!((again.as_ptr(), &*again), (place, &b"abc"[..]));
        assert!(Buffer::EMPTY.into_vec().is_empty());
    }

    #[test]
    fn a_buffer_of_another_module_is_copied_and_freed_by_it() {
        static FREED: AtomicUsize = AtomicUsize::new(0);
        unsafe extern "C" fn free(data: *mut u8, length: usize, capacity: usize) {
            FREED.fetch_add(1, Ordering::SeqCst);
            // SAFETY: the buffer below has the parts of a vector.
            drop(unsafe { Vec::from_raw_parts(data, length, capacity) });
        }
        let mut foreign = Buffer::from(b"abc".to_vec());
        foreign.free = Some(free);
        assert_eq!(foreign.into_vec(), b"abc");
        assert_eq!(FREED.load(Ordering::SeqCst), 1);
    }
}
