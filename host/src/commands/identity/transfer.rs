//! `potluck id export` and `potluck id import`.

use super::super::UsageError;
use super::super::passphrase::{Purpose, passphrase};
use super::super::session::Target;
use super::load;
use crate::cli::{IdExportArgs, IdImportArgs};
use crate::data_dir::DataDir;
use crate::identity::{Identity, key_path, portable};
use crate::key::KeyPair;
use crate::output;
use crate::pool::Pool;
use anyhow::{Context, bail};
use potluck_sdk::PeerId;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Writes the identity of a data directory to a file.
pub(super) fn export(node: &Target, named: Option<&Path>, args: &IdExportArgs) -> anyhow::Result<ExitCode> {
    let folder = node.data_dir(named)?;
    let identity = load(&folder)?;
    let to_stdout = args.file == Path::new("-");
    if !to_stdout && !args.force && args.file.symlink_metadata().is_ok() {
        let text = format!("{} is there already; choose another name, or replace it with --force", args.file.display());
        return Err(UsageError(text).into());
    }
    let passphrase = passphrase(args.passphrase.passphrase_file.as_deref(), Purpose::Protect)?;
    let membership = Pool::portable(&folder);
    let text = portable::export(&identity.key, membership.as_deref(), &passphrase)?;
    if to_stdout {
        output::print(&text)?;
    } else {
        write_file(&args.file, &text, args.force)?;
        if node.json {
            let json = serde_json::json!({
                "type": "IDENTITY_EXPORTED",
                "peer_id": identity.peer_id,
                "file": args.file,
                "membership": membership.is_some(),
            });
            output::print_json(&json.to_string())?;
        } else {
            output::print_line(&format!("Identity {} written to {}", identity.peer_id, args.file.display()))?;
        }
    }
    if pool_folder(&folder).join("pool.key").exists() {
        output::note(&format!(
            "This node is the tracker of its pool. The pool's key is not in the file: move the folder {} too.",
            pool_folder(&folder).display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a file that only its owner can read, whole or not at all.
fn write_file(path: &Path, text: &str, replace: bool) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        // A temporary file is readable by its owner alone.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        if replace { file.persist(path) } else { file.persist_noclobber(path) }.map_err(|error| error.error)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Makes the identity in a file that of a data directory.
pub(super) fn import(node: &Target, named: Option<&Path>, args: &IdImportArgs) -> anyhow::Result<ExitCode> {
    let folder = node.data_dir(named)?;
    let text = read_file(&args.file)?;
    // Before anybody types a passphrase, and until all is done.
    let data_dir = DataDir::open(&folder).context("nothing was imported")?;
    let passphrase = passphrase(args.passphrase.passphrase_file.as_deref(), Purpose::Open)?;
    let done = take_in(&data_dir, &text, &passphrase, args.replace)?;
    if node.json {
        let json = serde_json::json!({
            "type": "IDENTITY_IMPORTED",
            "peer_id": done.peer_id,
            "data_dir": data_dir.path(),
            "membership": done.has_pool,
            "kept": done.kept,
        });
        output::print_json(&json.to_string())?;
    } else {
        output::print_line(&format!("The node of {} is now {}", data_dir.path().display(), done.peer_id))?;
    }
    for kept in &done.kept {
        output::note(&format!("What was there before is kept in {}", kept.display()));
    }
    if let Some(note) = &done.note {
        output::note(&output::printable(note));
    }
    output::note("Do not start a node with this identity anywhere else.");
    Ok(ExitCode::SUCCESS)
}

/// As much of a file as an identity can have, and a byte more, by which a larger one is known.
fn read_file(path: &Path) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let limit = portable::FILE_BYTES_MAX as u64 + 1;
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What an import has changed.
struct Done {
    peer_id: PeerId,
    /// Whether the node has a membership now.
    has_pool: bool,
    /// Where that which was replaced is now.
    kept: Vec<PathBuf>,
    note: Option<String>,
}

fn take_in(data_dir: &DataDir, text: &str, passphrase: &str, replace: bool) -> anyhow::Result<Done> {
    let folder = data_dir.path();
    let imported = portable::import(text, passphrase)?;
    let public = imported.key.public();
    let peer_id = public.peer_id();
    let mut done = Done { peer_id, has_pool: false, kept: Vec::new(), note: None };
    match Present::in_folder(folder) {
        Present::Nothing => {}
        // Its pool may be newer than that of the file.
        Present::Key(present) if present == peer_id => {}
        other if !replace => bail!(
            "the node of {} has {} already; with --replace it becomes {peer_id}, and the former key is kept beside it",
            folder.display(),
            other.words()
        ),
        _ => {}
    }
    done.kept = replace_identity(folder, imported.key)?;
    match imported.membership {
        Some(membership) if Pool::portable(folder).is_none() => {
            if let Err(error) = Pool::import(folder, &membership, &public) {
                done.note = Some(format!("{error:#}; join the pool again, with a new token"));
            }
        }
        _ => {}
    }
    done.has_pool = Pool::portable(folder).is_some();
    Ok(done)
}

/// Makes a key the identity of a data directory, and says where that which was there is now.
pub(in crate::commands) fn replace_identity(folder: &Path, key: KeyPair) -> anyhow::Result<Vec<PathBuf>> {
    let mut kept = Vec::new();
    match Present::in_folder(folder) {
        Present::Key(present) if present == key.public().peer_id() => {}
        Present::Nothing => {
            kept.extend(keep_pool(folder, "unknown")?);
            Identity::replace(folder, key)?;
        }
        other => {
            let former = other.short();
            // First, since a node does not start with the membership of another.
            kept.extend(keep_pool(folder, &former)?);
            Identity::replace(folder, key)?;
            kept.push(folder.join(format!("identity.{former}.key")));
        }
    }
    Ok(kept)
}

/// The identity that a data directory has before an import.
enum Present {
    Nothing,
    Key(PeerId),
    Unreadable,
}

impl Present {
    fn in_folder(folder: &Path) -> Present {
        let path = key_path(folder);
        match KeyPair::load(&path) {
            Ok(key) => Present::Key(key.public().peer_id()),
            Err(_) if path.symlink_metadata().is_ok() => Present::Unreadable,
            Err(_) => Present::Nothing,
        }
    }

    fn words(&self) -> String {
        match self {
            Present::Key(id) => format!("the identity {id}"),
            Present::Unreadable => "an identity that cannot be read".to_owned(),
            Present::Nothing => "no identity".to_owned(),
        }
    }

    /// As in the name of the file under which [`Identity::replace`] keeps it.
    fn short(&self) -> String {
        match self {
            Present::Key(id) => id.short(),
            Present::Unreadable | Present::Nothing => "unreadable".to_owned(),
        }
    }
}

fn pool_folder(folder: &Path) -> PathBuf {
    folder.join("pool")
}

/// Moves the pool of a former identity aside, and says where it is now.
fn keep_pool(folder: &Path, former: &str) -> anyhow::Result<Option<PathBuf>> {
    let pool = pool_folder(folder);
    if pool.symlink_metadata().is_err() {
        return Ok(None);
    }
    // The same identity may have come and gone before.
    let name = |count: u32| match count {
        0 => folder.join(format!("pool.{former}")),
        _ => folder.join(format!("pool.{former}.{count}")),
    };
    let free = (0..1000).map(name).find(|path| path.symlink_metadata().is_err());
    let kept = free.context("too many former pools are kept in the data folder; move some away")?;
    std::fs::rename(&pool, &kept).with_context(|| format!("cannot rename {}", pool.display()))?;
    Ok(Some(kept))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const PASSPHRASE: &str = "correct horse battery";

    fn exported(key: &KeyPair, membership: Option<&[u8]>) -> String {
        portable::export(key, membership, PASSPHRASE).unwrap()
    }

    fn imported(folder: &Path, text: &str, replace: bool) -> anyhow::Result<Done> {
        take_in(&DataDir::open(folder)?, text, PASSPHRASE, replace)
    }

    #[test]
    fn an_identity_and_its_membership_move_to_another_folder() {
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let identity = Identity::load_or_create(old.path()).unwrap();
        Pool::open(old.path(), identity.key.public()).unwrap().create("lab", "n", 1000).unwrap();
        let text = exported(&identity.key, Pool::portable(old.path()).as_deref());
        let done = imported(new.path(), &text, false).unwrap();
        assert_eq!((done.peer_id, done.has_pool, done.note), (identity.peer_id, true, None));
        assert!(done.kept.is_empty());
        let standing = Pool::open(new.path(), identity.key.public()).unwrap().standing().unwrap();
        assert_eq!(standing.pool_name, "lab");
        // Again, as after a second thought.
        assert!(imported(new.path(), &text, false).unwrap().kept.is_empty());
    }

    #[test]
    fn another_identity_is_replaced_only_on_demand_and_kept_with_its_pool() {
        let folder = tempfile::tempdir().unwrap();
        let former = Identity::load_or_create(folder.path()).unwrap();
        Pool::open(folder.path(), former.key.public()).unwrap().create("lab", "n", 1000).unwrap();
        let key = KeyPair::generate().unwrap();
        let text = exported(&key, None);
        let error = imported(folder.path(), &text, false).err().unwrap().to_string();
        assert!(error.contains("--replace") && error.contains(&former.peer_id.to_string()), "{error}");
        assert_eq!(Identity::load(folder.path()).unwrap().peer_id, former.peer_id);

        let done = imported(folder.path(), &text, true).unwrap();
        assert_eq!(done.kept.len(), 2);
        assert!(done.kept.iter().all(|path| path.exists()), "{:?}", done.kept);
        assert!(Pool::open(folder.path(), key.public()).unwrap().standing().is_none());
    }

    #[test]
    fn a_membership_of_no_use_does_not_stop_the_identity() {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let done = imported(folder.path(), &exported(&key, Some(b"nonsense")), false).unwrap();
        assert!(done.note.unwrap().contains("join the pool again") && !done.has_pool);
        assert_eq!(Identity::load(folder.path()).unwrap().peer_id, key.public().peer_id());
    }

    #[test]
    fn nothing_is_imported_while_a_node_runs() {
        let folder = tempfile::tempdir().unwrap();
        let _node = DataDir::open(folder.path()).unwrap();
        assert!(imported(folder.path(), "", true).is_err());
    }

    #[test]
    fn an_exported_file_is_private_and_replaces_nothing_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id.pem");
        write_file(&path, "first", false).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(write_file(&path, "second", false).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first");
        write_file(&path, "second", true).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
