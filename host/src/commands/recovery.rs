//! `potluck recovery`: how a node and its owned files come back when the machine is lost. All of it works without a node, on
//! a data directory.

mod phrase;

use super::UsageError;
use super::identity::{load, replace_identity};
use super::session::Target;
use crate::cli::{RecoveryArgs, RecoveryCommand, RecoveryExportArgs, RecoveryRestoreArgs};
use crate::data_dir::DataDir;
use crate::identity::Identity;
use crate::key::KeyPair;
use crate::output;
use anyhow::Context;
use potluck_sdk::files::age_identity;
use potluck_sdk::message::owned_files::AGE_IDENTITY_LABEL;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

/// The provider whose secret the key of owned files is.
const OWNED_FILES: &str = "owned-files";
/// Most bytes of a recovery key that are read.
const KEY_BYTES_MAX: u64 = 4096;

/// Carries out one of the subcommands.
pub(super) fn run(node: &Target, args: RecoveryArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        RecoveryCommand::Export(export) => self::export(node, args.data_dir.as_deref(), &export),
        RecoveryCommand::Restore(restore) => self::restore(node, args.data_dir.as_deref(), &restore),
    }
}

fn export(node: &Target, named: Option<&Path>, args: &RecoveryExportArgs) -> anyhow::Result<ExitCode> {
    let identity = load(&node.data_dir(named)?)?;
    if let Some(path) = &args.age_identity {
        write_age_identity(path, &identity)?;
    }
    let key = phrase::encode(&identity.key.seed());
    if node.json {
        let json = serde_json::json!({
            "type": "RECOVERY_KEY",
            "peer_id": identity.peer_id,
            "recovery_key": key,
            "age_identity": args.age_identity,
        });
        output::print_json(&json.to_string())?;
    } else {
        output::print_line(&key)?;
    }
    output::note(&format!(
        "Whoever has this key is the node {} and can read all its owned files. Write it down, and keep it in a safe place \
         away from this machine.",
        identity.peer_id
    ));
    if let Some(path) = &args.age_identity {
        output::note(&format!(
            "{} decrypts owned files, with `age -d -i {}`; keep it as safe as the key.",
            path.display(),
            path.display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes what `age` takes for an identity to a new file that only its owner can read.
fn write_age_identity(path: &Path, identity: &Identity) -> anyhow::Result<()> {
    let secret = identity.key.secret(OWNED_FILES, AGE_IDENTITY_LABEL);
    let text =
        format!("# decrypts the owned files of the Potluck node {}\n{}\n", identity.peer_id, age_identity(secret));
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    match write() {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let text = format!("{} is there already; choose another name, or move it away", path.display());
            Err(UsageError(text).into())
        }
        outcome => outcome.with_context(|| format!("cannot write {}", path.display())),
    }
}

fn restore(node: &Target, named: Option<&Path>, args: &RecoveryRestoreArgs) -> anyhow::Result<ExitCode> {
    let folder = node.data_dir(named)?;
    let text = if args.key == "-" {
        let mut text = String::new();
        let input = std::io::stdin().lock();
        input.take(KEY_BYTES_MAX).read_to_string(&mut text).context("cannot read the recovery key")?;
        text
    } else {
        args.key.clone()
    };
    let seed = phrase::decode(&text).map_err(|error| UsageError(error.to_string()))?;
    let key = KeyPair::from_seed(&seed).context("the recovery key is no key; look at it again")?;
    // Locked until all is done: a node that runs there would go on as who it was.
    let data_dir = DataDir::open(&folder).context("nothing was restored")?;
    let peer_id = key.public().peer_id();
    let kept = replace_identity(data_dir.path(), key)?;
    let folder = data_dir.path().display();
    if node.json {
        let json = serde_json::json!({
            "type": "IDENTITY_RESTORED",
            "peer_id": peer_id,
            "data_dir": data_dir.path(),
            "kept": kept,
        });
        output::print_json(&json.to_string())?;
    } else {
        output::print_line(&format!("The node of {folder} is now {peer_id}"))?;
    }
    for kept in &kept {
        output::note(&format!("What was there before is kept in {}", kept.display()));
    }
    output::note(
        "Do not start a node with this identity anywhere else. Next: start it here with `potluck peer`, join the pool with \
         `potluck join TOKEN` (`potluck pool token` at the tracker prints one), and see its files with `potluck owned`.",
    );
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::key_path;
    use std::os::unix::fs::PermissionsExt;

    fn target() -> Target {
        Target { json: true, ..Target::default() }
    }

    fn restore_into(folder: &Path, key: &str) -> anyhow::Result<ExitCode> {
        restore(&target(), Some(folder), &RecoveryRestoreArgs { key: key.to_owned() })
    }

    #[test]
    fn a_node_comes_back_in_an_empty_folder_and_beside_another() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let identity = Identity::load_or_create(first.path()).unwrap();
        let key = phrase::encode(&identity.key.seed());
        for _ in 0..2 {
            restore_into(&second.path().join("new"), &key.to_lowercase()).unwrap();
            assert_eq!(Identity::load(&second.path().join("new")).unwrap().peer_id, identity.peer_id);
        }
        let other = Identity::load_or_create(second.path()).unwrap().peer_id;
        restore_into(second.path(), &key).unwrap();
        assert_eq!(Identity::load(second.path()).unwrap().peer_id, identity.peer_id);
        assert!(second.path().join(format!("identity.{}.key", other.short())).exists());
    }

    #[test]
    fn nothing_is_restored_where_a_node_runs_or_from_a_wrong_key() {
        let folder = tempfile::tempdir().unwrap();
        let key = phrase::encode(&[7; 32]);
        let lock = DataDir::open(folder.path()).unwrap();
        assert!(restore_into(folder.path(), &key).is_err());
        drop(lock);
        let wrong = if key.ends_with('7') {
            format!("{}8", &key[..key.len() - 1])
        } else {
            format!("{}7", &key[..key.len() - 1])
        };
        assert!(restore_into(folder.path(), &wrong).unwrap_err().is::<UsageError>());
        assert!(!key_path(folder.path()).exists());
    }

    #[test]
    fn the_age_identity_is_private_and_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        Identity::load_or_create(folder.path()).unwrap();
        let path = folder.path().join("age.txt");
        let export_it = || {
            let args = RecoveryExportArgs { age_identity: Some(path.clone()) };
            export(&target(), Some(folder.path()), &args)
        };
        export_it().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.lines().nth(1).unwrap().starts_with("AGE-SECRET-KEY-1"), "{}", text.lines().count());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(export_it().unwrap_err().is::<UsageError>());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}
