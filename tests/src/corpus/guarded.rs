//! What no program may touch: a folder of somebody else, the node's own files, and the places where files are planted.

use crate::TestNode;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::time::{SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// Places where a program could leave a file, if nothing held it back.
const OPEN_TO_ALL: [&str; 8] = ["/", "/etc", "/root", "/run", "/tmp", "/var/tmp", "/dev/shm", "/usr/lib"];
/// How such files are called in the corpus.
const PLANTED: [&str; 2] = ["potluck-hostile", "planted"];
/// Folders in the node's data that change while it works.
const CHANGING: [&str; 2] = ["providers/cpu/scratch", "providers/cpu/modules"];

/// A canary folder, which is somebody else's, and a look at everything else that must stay as it was.
pub struct Guarded {
    folder: TempDir,
    word: String,
    secret: String,
    before: Vec<Entries>,
    data: PathBuf,
}

/// The files of a folder: path, and all that a change would change.
type Entries = BTreeMap<PathBuf, String>;

impl Guarded {
    /// A new canary folder. The secret is for the node's environment; everything is guarded from [`Guarded::watch`] on.
    pub fn new() -> Guarded {
        let folder = tempfile::Builder::new().prefix("potluck-canary-").tempdir().unwrap();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let word = format!("canary-{}-{since}", process::id());
        for name in ["secret.txt", "witness.txt", "folder/deeper.txt"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, format!("{word}\n")).unwrap();
        }
        // What would be run, if it could be read.
        fs::write(folder.path().join("stranger.py"), format!("word = '{word}'\n")).unwrap();
        // As everybody's file would be: only the protections keep a task away from it.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let secret = format!("secret-{}-{since}", process::id());
        Guarded { folder, word, secret, before: Vec::new(), data: PathBuf::new() }
    }

    /// The canary folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What is in its files. Whoever says it has read them.
    pub fn word(&self) -> &str {
        &self.word
    }

    /// A word for the node's environment.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// Remembers how everything is.
    pub fn watch(&mut self, node: &TestNode) {
        self.data = node.data_dir().to_owned();
        self.before = self.look();
    }

    /// What has changed since, one complaint each.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        for (before, after) in self.before.iter().zip(self.look()) {
            for (path, was) in before {
                match after.get(path) {
                    None => complaints.push(format!("{} is gone", path.display())),
                    Some(is) if is != was => complaints.push(format!("{} was {was} and is {is}", path.display())),
                    _ => {}
                }
            }
            let new = after.keys().filter(|path| !before.contains_key(*path));
            complaints.extend(new.map(|path| format!("{} is new", path.display())));
        }
        let home = std::env::var("HOME").unwrap_or_else(|_| "/root".to_owned());
        let folders = OPEN_TO_ALL.iter().map(PathBuf::from).chain([home.into(), self.data.join("..")]);
        for folder in folders {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if PLANTED.iter().any(|name| entry.file_name().to_string_lossy().starts_with(name)) {
                    complaints.push(format!("{} was planted", entry.path().display()));
                }
            }
        }
        complaints
    }

    fn look(&self) -> Vec<Entries> {
        let mut canary = Entries::new();
        collect(self.folder.path(), &mut canary, &|_| true);
        let mut data = Entries::new();
        collect(&self.data, &mut data, &|path| !CHANGING.iter().any(|changing| path == self.data.join(changing)));
        vec![canary, data]
    }
}

impl Default for Guarded {
    fn default() -> Guarded {
        Guarded::new()
    }
}

fn collect(folder: &Path, found: &mut Entries, is_wanted: &dyn Fn(&Path) -> bool) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if !is_wanted(&path) {
            continue;
        }
        let content = if metadata.is_file() { fs::read(&path).unwrap_or_default() } else { Vec::new() };
        let is = format!(
            "mode {:o} of user {}, links {}, {:?}",
            metadata.mode(),
            metadata.uid(),
            metadata.nlink(),
            String::from_utf8_lossy(&content).chars().take(40).collect::<String>()
        );
        found.insert(path.clone(), is);
        if metadata.is_dir() {
            collect(&path, found, is_wanted);
        }
    }
}
