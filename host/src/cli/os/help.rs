//! What stands below the options in the help of these commands: examples, and what they rest on.

pub(super) const PS: &str = "\
Examples:
  potluck ps
  potluck ps --watch --state running
  potluck ps P7
  potluck ps --all --by local --flat
  potluck --json ps

Those that have ended are left out, unless --all, a PID or --state asks for them. With --json, a PID alone gives the tree
below it; all else gives a list. --limit counts those that are shown.

Every task is a process. CPU is the processor time that it has used so far and MEMORY what its process has, or had at most
when it has ended; tasks that other peers run have neither until they end. AGE is the time since it was created. WHERE is
the peer that runs it.";

pub(super) const KILL: &str = "\
Examples:
  potluck kill P7
  potluck kill P7 P9 --signal kill
  potluck kill --signal pause P7 --tree

All that a process has begun ends with it, on whatever peer it runs. The exit code is 1 when one of the processes could
not be signalled; the others are signalled all the same.";

pub(super) const PAUSE: &str = "\
Examples:
  potluck pause P7
  potluck resume P7 --tree

A paused process keeps its memory and all that it holds, and takes no turn until it is resumed.";

pub(super) const WAIT: &str = "\
Examples:
  potluck wait P7
  potluck wait P7 --timeout 10

The process stays listed among those that have ended: `potluck ps --all`. The exit code is 0 for a process that has done
well, 1 for one that has failed, and 128 and more for one that was ended by a signal, as shells count. When the time-out
is over first, the process goes on: the exit code is 1, and an error says so.";

pub(super) const GROUP: &str = "\
Examples:
  potluck group create lab P7 P8 P9
  potluck group list
  potluck group pause lab
  potluck group kill lab";

pub(super) const RESOURCES: &str = "\
Examples:
  potluck resources
  potluck resources register PRINTER=2
  potluck resources need P1 CPU=3 PRINTER=1
  potluck resources request P1 CPU=2
  potluck resources request P1 PRINTER --wait --timeout 10
  potluck resources release P1 CPU=2

A request is granted only when all processes could still get what they said that they will need, one after the other:
Banker's algorithm. The refusal says why. A resource that is registered again has as many units as it is told then, as
long as that leaves all of them sure to end; what is new goes to those who wait. `preset = \"classroom\"` in
[plugins.deadlock] of plugins.toml gives CPU 4, MEMORY 1000 and DISK 10; else there are the node's own.";

pub(super) const DEADLOCK: &str = "\
Examples:
  potluck deadlock
  potluck deadlock resolve
  potluck deadlock resolve P7 --once

Semaphores, blocks of memory and the resources of `potluck resources` are looked at together. A process that waits with a
time-out is not stuck, and neither is one that waits for a semaphore that anybody may signal; that it was left out is said.
What a process of another node waits for there is not known here. The exit code is 1 when there is a deadlock.";

pub(super) const ALLOC: &str = "\
Examples:
  potluck alloc client-1 64K
  potluck memmap
  potluck free client-1 4096
  potluck free client-1

Blocks belong to a process and are given back when it ends. A name that is no process keeps them until `potluck free`.
Those who --wait are served in the order in which they came, this node's processes before those of other nodes. Who does not
wait takes what is free at once.";

pub(super) const ALLOCATOR: &str = "\
Examples:
  potluck allocator
  potluck allocator set BEST_FIT

The blocks that are in use stay where they are.";

pub(super) const QUEUE: &str = "\
Examples:
  potluck queue create jobs --max-size 10
  potluck queue send jobs '{\"n\": 5}' --as producer
  potluck queue receive jobs --as worker-1 --timeout 10
  potluck queue peek jobs
  potluck queue list
  potluck queue delete jobs

`receive` prints the message and its sender; with --json the whole reply. The exit code is 1 when there is no message.";

pub(super) const SEM: &str = "\
Examples:
  potluck sem create forks --value 5
  potluck sem wait forks --as P1 --timeout 10
  potluck sem signal forks --as P1
  potluck sem list
  potluck sem delete forks

First come, first served. Ctrl-C calls a wait off. What a running process has is given back when it ends; what was taken
in another name stays taken until it is signalled in the same name.";

pub(super) const HISTORY: &str = "\
Examples:
  potluck history
  potluck history --table --status failed --since 2h
  potluck history --peer 192.0.2.7:9000 --text fold
  potluck history --task-id 5f0c6b1e-0000-4000-8000-000000000000
  potluck history --export csv --since 2026-01-01 --save january.csv
  potluck history clear

The newest record comes last.";

pub(super) const TOP: &str = "\
Examples:
  potluck top
  potluck --port 9001 top --every 0.5

Ends with q or Ctrl-C. Where standard output is no terminal it prints the screen once; with --json it prints one object
whose members are status, processes, scheduler, arena, queues and semaphores, null where the node has no plugin for it.";
