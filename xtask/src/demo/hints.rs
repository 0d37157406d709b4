//! What to try next.

use super::pool::Pool;
use crate::dist::Dist;
use crate::process::quoted;
use std::env;
use std::path::{Component, Path, PathBuf};

/// Prints commands that work as they stand, in the folder in which the demo was started.
pub(super) fn print(pool: &Pool, dist: &Dist) {
    let ports: Vec<String> = pool.peer_ports().map(|port| port.to_string()).collect();
    let (Some(first), Some(last)) = (ports.first(), ports.last()) else { return };
    let potluck = quoted(&shown(&dist.potluck()));
    let guest = quoted(&shown(&dist.guest("prime_sum.wasm")));
    println!(
        r#"
The pool goes on: tracker on port {tracker}, peers on ports {all}. In another terminal, in this folder:

  {potluck} --port {first} status
  {potluck} --port {first} cpu --program 'def main(x): return x * x' --args '[12]'
  {potluck} --port {first} cpu --runtime sandbox --program 'def main(): return open("/etc/passwd").read()'
  {potluck} --port {first} cpu --module {guest} --function primes --args '[10, 50]'
  {potluck} --port {first} set-mem --key greeting --value hello
  {potluck} --port {first} get-mem --key greeting
  {potluck} --port {first} put-file {guest} prime_sum.wasm
  {potluck} --port {first} files
  {potluck} --port {first} upload {guest} --replicas 2
  {potluck} --port {first} files status
  {potluck} --port {first} ps --all
  {potluck} --port {first} top
  {potluck} --port {first} scheduler
  {potluck} --port {first} history
  {potluck} --port {first} peers
  {potluck} --port {first} plugins
  {potluck} --port {first} events
  {potluck} --port {first} id
  {potluck} --port {tracker} pool members
  {potluck} --port {tracker} pool token
  {potluck} --port {last} selftest

Ctrl-C here stops everything."#,
        tracker = pool.tracker_port(),
        all = ports.join(", "),
    );
}

/// A path as somebody in the current folder would type it.
pub(super) fn shown(path: &Path) -> String {
    match env::current_dir() {
        Ok(folder) => relative(path, &folder).display().to_string(),
        Err(_) => path.display().to_string(),
    }
}

/// `path` as seen from `folder`; unchanged when they have nothing but the root in common.
fn relative(path: &Path, folder: &Path) -> PathBuf {
    let common = path.components().zip(folder.components()).take_while(|(one, other)| one == other).count();
    if common <= 1 {
        return path.to_owned();
    }
    let up = folder.components().skip(common).map(|_| Component::ParentDir);
    up.chain(path.components().skip(common)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_shown_from_the_current_folder() {
        let path = Path::new("/home/anna/potluck/target/dist/bin/potluck");
        for (folder, expected) in [
            ("/home/anna/potluck", "target/dist/bin/potluck"),
            ("/home/anna/potluck/sdk/src", "../../target/dist/bin/potluck"),
            ("/home/bert", "../anna/potluck/target/dist/bin/potluck"),
            ("/srv", "/home/anna/potluck/target/dist/bin/potluck"),
        ] {
            assert_eq!(relative(path, Path::new(folder)), Path::new(expected));
        }
    }
}
