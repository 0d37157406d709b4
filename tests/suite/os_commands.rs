//! The commands of the operating system: what they print, what they ask, and how they end.

use potluck_tests::{Cluster, TestNode, potluck_command, task, wait_for, with};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::Stdio;

const ENDLESS: &str = "import time\ndef main():\n    while True: time.sleep(0.01)";

/// Everything of an operating system but what runs tasks: it starts at once.
fn small_node() -> TestNode {
    let ids = ["process", "deadlock", "memory-manager", "ipc", "quota"];
    let mut text: String = ids.iter().map(|id| format!("[plugins.{id}]\n")).collect();
    text = text.replace("[plugins.deadlock]\n", "[plugins.deadlock]\npreset = \"classroom\"\n");
    TestNode::peer().plugins(text).start()
}

fn task_node() -> TestNode {
    TestNode::peer().plugin("process", "").start()
}

/// The output of a command that succeeds.
fn out(node: &TestNode, line: &str) -> String {
    node.cli(line.split(' ')).success().stdout
}

/// The exit code and the error text of one that does not.
fn fails(node: &TestNode, line: &str) -> String {
    let output = node.cli(line.split(' '));
    assert_eq!(output.status, 1, "{line}: {output:?}");
    output.stderr
}

fn process(node: &TestNode, parent: Option<&str>) -> String {
    let reply = node.call(json!({ "type": "CREATE_PROCESS", "parent_pid": parent, "name": "entry" }));
    reply["pid"].as_str().unwrap_or_else(|| panic!("{reply:#}")).to_owned()
}

// Processes.

#[test]
fn processes_are_shown_as_a_tree_and_end_with_their_parents() {
    let node = small_node();
    assert_eq!(out(&node, "ps"), "No processes\n");
    let root = process(&node, None);
    let child = process(&node, Some(&root));
    let grandchild = process(&node, Some(&child));
    let other = process(&node, None);
    let text = out(&node, "ps");
    for line in [format!("{root} "), format!("└─ {child} "), format!("   └─ {grandchild} "), format!("{other} ")]
    {
        assert!(text.lines().any(|row| row.starts_with(&line)), "{line} in {text}");
    }
    let flat = out(&node, "ps --flat");
    assert!(flat.lines().any(|row| row.starts_with(&format!("{grandchild} "))), "{flat}");
    let below = out(&node, &format!("ps {child}"));
    assert!(below.contains(&grandchild) && !below.contains(&format!("{other} ")), "{below}");
    assert_eq!(node.cli(["--json", "ps"]).success().json()["total_processes"], 4);
    let tree = node.cli(["--json", "ps", &root]).success().json();
    assert_eq!(tree["tree"]["children"][0]["pid"], child.as_str(), "{tree:#}");
    assert!(out(&node, &format!("kill {root}")).contains("with 2 processes below it"));
    let left = out(&node, "ps");
    assert!(left.contains(&other) && !left.contains(&grandchild), "{left}");
    assert!(fails(&node, "ps P999").contains("no process P999"));
}

#[test]
fn what_ps_is_asked_for_holds_for_programs_too() {
    let node = small_node();
    let root = process(&node, None);
    let named = node.call(json!({ "type": "CREATE_PROCESS", "parent_pid": root, "name": "needle" }))["pid"].clone();
    let ended = process(&node, None);
    out(&node, &format!("group create lab {root}"));
    out(&node, &format!("kill {ended}"));
    let pids = |line: &str| -> Vec<String> {
        let list = node.cli(["--json"].into_iter().chain(line.split(' '))).success().json();
        assert_eq!(list["type"], "PROCESS_LIST", "{line}: {list:#}");
        let entries = list["processes"].as_array().unwrap();
        entries.iter().map(|process| process["pid"].as_str().unwrap().to_owned()).collect()
    };
    let child = named.as_str().unwrap();
    assert_eq!(pids("ps"), [&*root, child], "those that have ended are left out");
    assert_eq!(pids("ps --all"), [&*root, child, &*ended]);
    assert_eq!(pids("ps --state terminated"), [&*ended]);
    assert_eq!(pids("ps --name needle"), [child]);
    assert_eq!(pids("ps --by local"), [&*root, child]);
    assert!(pids("ps --by nobody").is_empty());
    assert_eq!(pids("ps --group lab"), [&*root]);
    assert_eq!(pids(&format!("ps {root} --name needle")), [child], "of those below one");
    assert_eq!(pids(&format!("ps {child} --flat")), [child]);
    // --limit counts what is shown, and `next` says behind which process the list goes on.
    let list = node.cli(["--json", "ps", "--limit", "1"]).success().json();
    assert_eq!((list["processes"].as_array().unwrap().len(), &list["next"]), (1, &json!(root)), "{list:#}");
    let text = out(&node, "ps --limit 1");
    assert!(text.lines().count() == 3 && text.ends_with("There are more; --limit shows them.\n"), "{text}");
}

#[test]
fn a_long_list_is_one_document_for_programs() {
    const MANY: usize = 1100;
    let text = "[plugins.process]\n[plugins.deadlock]\npreset = \"classroom\"\nprocesses_max = 2000\n";
    let node = TestNode::peer().plugins(format!("{text}[plugins.memory-manager]\n[plugins.ipc]\n")).start();
    let mut wire = node.wire();
    let pids: Vec<String> = (0..MANY).map(|number| format!("p{number:04}")).collect();
    for pid in &pids {
        for message in [
            json!({ "type": "CREATE_QUEUE", "queue_id": pid }),
            json!({ "type": "CREATE_SEMAPHORE", "sem_id": pid }),
            json!({ "type": "CREATE_PROCESS", "name": pid }),
            json!({ "type": "REGISTER_PROCESS", "pid": pid, "max_need": { "CPU": 1 } }),
            json!({ "type": "ALLOCATE_MEMORY", "pid": pid, "size": 16 }),
        ] {
            let reply = wire.call(&message);
            assert_ne!(reply["type"], "ERROR", "{message}: {reply}");
        }
    }
    for (line, list, name) in [
        ("queue list", "queues", "queue_id"),
        ("sem list", "semaphores", "sem_id"),
        ("ps --limit 5000", "processes", "name"),
        ("resources", "processes", "pid"),
        ("memmap", "blocks", "pid"),
    ] {
        let output = node.cli(["--json"].into_iter().chain(line.split(' '))).success();
        assert_eq!(output.stdout.lines().count(), 1, "{line}");
        let reply = output.json();
        let listed = reply[list].as_array().unwrap().iter().filter_map(|entry| entry[name].as_str());
        assert!(listed.eq(pids.iter().map(String::as_str)), "{line}: all of them, in their order");
        assert_eq!(reply.get("next"), Some(&Value::Null), "{line}");
    }
}

#[test]
fn killing_several_reports_each_that_is_not_there() {
    let node = small_node();
    let (first, second) = (process(&node, None), process(&node, None));
    let output = node.cli(["kill", &first, "P999", &second]);
    assert_eq!(output.status, 1, "{output:?}");
    assert!(output.stderr.contains("P999"), "{output:?}");
    assert_eq!(output.stdout.lines().count(), 2, "{output:?}");
    let replies = node.cli(["--json", "kill", "P998", "P999"]);
    let replies: Vec<Value> = replies.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(replies.len() == 2 && replies.iter().all(|reply| reply["type"] == "ERROR"), "{replies:?}");
    assert_eq!(node.cli(["kill"]).status, 2);
    assert_eq!(node.cli(["kill", "--signal", "tickle", &first]).status, 2);
}

#[test]
fn groups_are_made_listed_and_killed() {
    let node = small_node();
    assert_eq!(out(&node, "group list"), "No groups\n");
    let (first, second) = (process(&node, None), process(&node, None));
    assert_eq!(out(&node, &format!("group create lab {first} {second}")), "Group lab has 2 processes\n");
    let list = out(&node, "group list");
    assert!(list.contains("lab") && list.contains(&format!("{first}, {second}")), "{list}");
    assert_eq!(out(&node, "ps --group lab").lines().count(), 3);
    assert_eq!(out(&node, "group kill lab"), "Group lab: 2 processes terminated\n");
    assert_eq!(out(&node, "group list"), "No groups\n");
    for line in ["kill", "pause", "resume"] {
        assert!(fails(&node, &format!("group {line} nobody")).contains("potluck group list"), "{line}");
    }
    assert!(node.cli(["group", "create", "lab", "P999"]).success().stderr.contains("passed over"));
}

#[test]
fn a_task_is_paused_resumed_and_killed_and_its_end_is_waited_for() {
    let node = task_node();
    let mut wire = node.wire();
    wire.send(with(task(ENDLESS, json!([])), json!({ "task_id": "endless" })));
    let shown = || out(&node, "ps --name main");
    wait_for("the task to run", || shown().contains("RUNNING"));
    let list = node.cli(["--json", "ps"]).success().json();
    let pid = list["processes"][0]["pid"].as_str().unwrap().to_owned();
    assert!(out(&node, &format!("pause {pid}")).contains("pause sent to 1 process"));
    wait_for("the task to be paused", || shown().contains("WAITING") && shown().contains("paused"));
    out(&node, &format!("resume {pid}"));
    wait_for("the task to go on", || shown().contains("RUNNING"));
    assert!(out(&node, &format!("priority {pid} 7")).contains("priority 7"));
    let waiting = node.cli(["wait", &pid, "--timeout", "0.05"]);
    assert_eq!(waiting.status, 1, "{waiting:?}");
    out(&node, &format!("kill {pid} --signal kill"));
    let reply = wire.read();
    assert_ne!(reply["error"], Value::Null, "{reply:#}");
    let ended = node.cli(["wait", &pid]);
    assert_eq!(ended.status, 137, "{ended:?}");
    assert!(ended.stdout.starts_with(&format!("{pid} ended with exit code 137")), "{ended:?}");
}

#[test]
fn ps_watches_until_it_is_interrupted() {
    let node = small_node();
    let port = node.port().to_string();
    let mut child = potluck_command()
        .args(["--port", &port, "ps", "--watch", "--every", "0.1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "No processes");
    let pid = process(&node, None);
    assert!(lines.by_ref().map(Result::unwrap).any(|line| line.starts_with(&pid)));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    drop(lines);
    assert!(child.wait().unwrap().success());
}

#[test]
fn who_reads_no_further_hears_no_complaint() {
    let node = small_node();
    let port = node.port().to_string();
    for line in ["ps --watch --every 0.1", "--json ps --watch --every 0.1", "plugins", "--help", "completions bash"] {
        // Nobody reads from the beginning: a pipe takes what is short before a reader can go.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = potluck_command();
        command.args(["--port", &port]).args(line.split(' ')).stdout(writer).stderr(Stdio::piped());
        let output = command.spawn().unwrap().wait_with_output().unwrap();
        // As shells count a program that SIGPIPE has ended.
        assert_eq!(output.status.code(), Some(141), "{line}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{line}");
    }
}

#[test]
fn a_quantum_that_cannot_be_is_refused_as_it_was_typed() {
    let node = TestNode::peer().start();
    for quantum in ["99999999s", "61s", "4ms"] {
        let output = node.cli(["scheduler", "set", "RR", "--quantum", quantum]);
        assert_eq!(output.status, 2, "{output:?}");
        for text in [&format!("'{quantum}'"), "5 ms at least and 60 s at most"] {
            assert!(output.stderr.contains(text), "{text}: {output:?}");
        }
    }
    // What the command line takes for possible is what the node takes for possible.
    for (milliseconds, possible) in [(4.9, false), (5.0, true), (60_000.0, true), (60_001.0, false)] {
        let reply = node.call(json!({ "type": "SET_SCHEDULER", "algorithm": "RR", "quantum_ms": milliseconds }));
        assert_eq!(reply["type"] != "ERROR", possible, "{milliseconds}: {reply}");
    }
    assert_eq!(out(&node, "scheduler set RR --quantum 60s"), "Scheduler set: RR, quantum 60000 ms\n");
}

// Resources and deadlocks.

#[test]
fn resources_are_requested_by_the_rules_of_the_banker() {
    let node = small_node();
    let list = out(&node, "resources");
    for text in ["CPU", "MEMORY", "DISK", "1000", "Safe state"] {
        assert!(list.contains(text), "{text} in {list}");
    }
    out(&node, "resources register PRINTER=2 --kind DISK");
    out(&node, "resources need P1 PRINTER=2 CPU=1");
    out(&node, "resources need P2 PRINTER=2");
    assert!(fails(&node, "resources request P9 PRINTER").contains("not registered"));
    assert_eq!(out(&node, "resources request P1 PRINTER"), "Granted; P1 has 1 PRINTER\n");
    assert!(fails(&node, "resources request P2 PRINTER").contains("unsafe state"));
    assert!(fails(&node, "resources request P1 CPU=2").contains("Request exceeds need"));
    assert!(fails(&node, "resources request P1 CPU=-1").contains("Error"));
    let output = node.cli(["resources", "request", "P1", "CPU", "2"]);
    assert!(output.status == 2 && output.stderr.contains("CPU=2"), "{output:?}");
    assert_eq!(out(&node, "resources request P1 PRINTER CPU"), "Granted; P1 has 1 CPU, 2 PRINTER\n");
    assert!(out(&node, "resources").contains("P1 "));
    assert_eq!(out(&node, "resources release P1 PRINTER=2 CPU"), "Released; P1 has nothing\n");
    assert_eq!(out(&node, "resources request P2 PRINTER=2 --wait --timeout 5"), "Granted; P2 has 2 PRINTER\n");
    for pid in ["P1", "P2"] {
        out(&node, &format!("resources forget {pid}"));
    }
    out(&node, "resources unregister PRINTER");
    assert!(!out(&node, "resources").contains("PRINTER"));
}

#[test]
fn a_deadlock_of_two_is_named_and_resolved() {
    let node = small_node();
    assert_eq!(out(&node, "deadlock").lines().next(), Some("No deadlock"));
    for sem in ["left", "right"] {
        out(&node, &format!("sem create {sem} --binary"));
    }
    for (sem, name) in [("left", "ada"), ("right", "bob")] {
        out(&node, &format!("sem wait {sem} --as {name}"));
    }
    let waits: Vec<_> = [("right", "ada"), ("left", "bob")]
        .map(|(sem, name)| {
            let mut wire = node.wire();
            wire.send(json!({ "type": "SEMAPHORE_WAIT", "sem_id": sem, "process_id": name }));
            wire
        })
        .into();
    wait_for("the deadlock", || node.cli(["deadlock"]).status == 1);
    let found = node.cli(["deadlock"]).stdout;
    for text in ["Deadlock: ", "ada", "bob", "semaphore:left", "semaphore:right", "would end"] {
        assert!(found.contains(text), "{text} in {found}");
    }
    let json = node.cli(["--json", "deadlock", "check"]);
    assert_eq!((json.status, &json.json()["deadlock"]), (1, &json!(true)));
    let resolved = out(&node, "deadlock resolve bob");
    assert!(resolved.starts_with("bob ended, because it was named in the message"), "{resolved}");
    assert!(resolved.ends_with("\nNo deadlock is left\n") && resolved.matches("bob").count() == 1, "{resolved}");
    assert_eq!(node.cli(["deadlock"]).status, 0);
    let replies: Vec<Value> = waits.into_iter().map(|mut wire| wire.read()).collect();
    assert_eq!(replies[0]["status"], "OK", "{replies:#?}");
    assert_eq!(replies[1]["type"], "ERROR", "{replies:#?}");
    assert_eq!(out(&node, "deadlock resolve").lines().next(), Some("No deadlock, so nothing was ended"));
}

#[test]
fn every_circle_of_a_deadlock_has_a_table() {
    let node = small_node();
    let pairs = [["ada", "bob"], ["eve", "joe"]];
    let wait = |sem: &str, pid: &str| json!({ "type": "SEMAPHORE_WAIT", "sem_id": sem, "process_id": pid });
    for pid in pairs.concat() {
        out(&node, &format!("sem create of-{pid} --binary"));
        node.call(wait(&format!("of-{pid}"), pid));
    }
    let waits: Vec<_> = pairs
        .iter()
        .flat_map(|[one, other]| [(one, other), (other, one)])
        .map(|(pid, of)| {
            let mut wire = node.wire();
            wire.send(wait(&format!("of-{of}"), pid));
            wire
        })
        .collect();
    let found = || node.cli(["--json", "deadlock"]).json();
    wait_for("both circles", || found()["cycle_count"] == 2);
    let found = found();
    assert_eq!((&found["cycles"][0], &found["cycles"][1][0]["pid"]), (&found["cycle"], &json!("eve")));
    let text = node.cli(["deadlock"]).stdout;
    assert_eq!(text.matches("WAITS FOR").count(), 2, "{text}");
    assert!(text.contains("eve and joe wait for one another in a circle of their own."), "{text}");
    assert!(!text.contains("stuck behind"), "{text}");
    let resolved = out(&node, "deadlock resolve");
    assert_eq!(resolved.lines().count(), 3, "{resolved}");
    drop(waits);
}

// Memory.

#[test]
fn the_arena_is_allocated_drawn_and_freed() {
    let node = small_node();
    assert!(out(&node, "allocator").starts_with("FIRST_FIT: 0 B of 1.0 GiB used"));
    let block = out(&node, "alloc client-1 16MiB");
    assert!(block.starts_with("client-1: 16777216 bytes at address "), "{block}");
    out(&node, "alloc client-2 1K");
    let map = out(&node, "memmap");
    for text in ["FIRST_FIT", "########", "client-1", "client-2", "16.0 MiB", "each"] {
        assert!(map.contains(text), "{text} in {map}");
    }
    assert_eq!(out(&node, "allocator set BEST_FIT"), "Allocator: BEST_FIT (was FIRST_FIT)\n");
    assert!(fails(&node, "allocator set ANY_FIT").contains("ANY_FIT"));
    assert!(fails(&node, "alloc client-3 2GiB").contains("Memory allocation failed"));
    assert!(out(&node, "free client-1").contains("1 block given back, 16.0 MiB"));
    assert!(fails(&node, "free client-1").contains("Memory deallocation failed"));
    assert_eq!(node.cli(["alloc", "client-1", "much"]).status, 2);
    // Behind an @ stands the id of a peer, and nothing else.
    let of_peer = format!("P7@{}", "5f0c6b1e-0000-4000-8000-000000000000");
    assert!(out(&node, &format!("alloc {of_peer} 1K")).starts_with(&format!("{of_peer}: 1024 bytes")));
    for line in ["alloc a@b 1K", "alloc P7@127.0.0.1:9000 1K", "sem wait door --as a@b", "queue send q x --as a@b"] {
        let output = node.cli(line.split(' '));
        assert!(output.status == 2 && output.stderr.contains("PROCESS@PEER"), "{line}: {output:?}");
    }
    assert!(out(&node, "alloc --help").contains("P7@PEER"));
}

// Queues and semaphores.

#[test]
fn messages_go_through_a_queue() {
    let node = small_node();
    assert_eq!(out(&node, "queue list"), "No queues\n");
    assert!(out(&node, "queue create jobs --max-size 2").contains("it holds 2 messages at most"));
    assert!(fails(&node, "queue create jobs").contains("Queue already exists"));
    out(&node, "queue create jobs --exist-ok");
    assert_eq!(out(&node, "queue send jobs hello --as ann --receiver bob"), "Sent as MSG1\n");
    out(&node, "queue send jobs {\"n\":5} --as ann --receiver ? --message-type TASK");
    assert!(fails(&node, "queue send jobs more --timeout 0.05").contains("Error"));
    let list = out(&node, "queue list");
    assert!(list.lines().nth(1).is_some_and(|line| line.split_whitespace().take(3).eq(["jobs", "2", "2"])), "{list}");
    assert_eq!(out(&node, "queue peek jobs --as bob"), "MSG1 from ann (DATA): hello\n");
    assert_eq!(out(&node, "queue receive jobs --as bob"), "MSG1 from ann (DATA): hello\n");
    let reply = node.cli(["--json", "queue", "receive", "jobs", "--as", "carl"]).success().json();
    assert_eq!((&reply["data"], &reply["message_type"]), (&json!({ "n": 5 }), &json!("TASK")));
    let none = node.cli(["queue", "receive", "jobs", "--as", "carl", "--timeout", "0.05"]);
    assert_eq!((none.status, none.stdout.as_str()), (1, "No message\n"));
    assert!(out(&node, "queue delete jobs").starts_with("Queue jobs deleted"));
    assert!(fails(&node, "queue receive jobs").contains("Queue jobs not found"));
}

#[test]
fn a_semaphore_is_waited_for_and_signalled() {
    let node = small_node();
    out(&node, "sem create door");
    assert_eq!(out(&node, "sem wait door --as ann"), "ann has door; its value is 0\n");
    let blocked = node.cli(["sem", "wait", "door", "--as", "bob", "--timeout", "0.05"]);
    assert_eq!(blocked.status, 1, "{blocked:?}");
    assert!(blocked.stdout.contains("blocked"), "{blocked:?}");
    let list = out(&node, "sem list");
    assert!(list.contains("door") && list.contains("ann"), "{list}");
    out(&node, "sem signal door --as ann");
    out(&node, "sem wait door --as bob --timeout 5");
    assert!(out(&node, "sem delete door").starts_with("Semaphore door deleted"));
    assert_eq!(out(&node, "sem list"), "No semaphores\n");
    assert!(fails(&node, "sem wait door").contains("Semaphore door not found"));
}

#[test]
fn another_peer_is_asked_with_to() {
    let cluster = Cluster::start_with(2, |_, peer| peer.plugin("ipc", ""));
    let [here, there] = &cluster.peers[..] else { panic!("two peers") };
    out(here, &format!("queue create far --to {}", there.peer_id()));
    assert_eq!(out(here, "queue list"), "No queues\n");
    assert!(out(there, "queue list").contains("far"));
    out(here, &format!("queue send far hello --receiver reader --to {}", there.address()));
    assert!(out(there, "queue receive far --as reader").contains("hello"));
}

// The rest.

#[test]
fn quotas_are_shown() {
    let node = small_node();
    let text = out(&node, "quota");
    for quota in ["cpu_tasks", "memory_keys", "storage_bytes"] {
        assert!(text.contains(quota), "{text}");
    }
    assert_eq!(node.cli(["--json", "quota"]).success().json()["status"], "OK");
}

#[test]
fn top_prints_once_where_there_is_no_terminal() {
    let node = small_node();
    let pid = process(&node, None);
    out(&node, "queue create jobs");
    out(&node, "sem create door --value 3");
    let text = out(&node, "top");
    for part in ["potluck top", "Processes   1", "Arena", &pid, "jobs", "door"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains('\u{1b}'), "{text:?}");
    let json = node.cli(["--json", "top"]).success().json();
    assert_eq!(json["status"]["peer_id"], node.peer_id(), "{json:#}");
    assert_eq!(json["processes"]["processes"][0]["pid"], pid.as_str(), "{json:#}");
    assert_eq!(json["queues"]["queues"][0]["queue_id"], "jobs", "{json:#}");
    assert_eq!(json["semaphores"]["semaphores"][0]["initial_value"], 3, "{json:#}");
    assert_eq!(json["arena"]["type"], "MEMORY_MAP", "{json:#}");
    assert_eq!(json.get("scheduler"), Some(&Value::Null), "nobody runs tasks: {json:#}");
}

#[test]
fn top_fills_a_terminal_and_gives_it_back() {
    let node = small_node();
    let pid = process(&node, None);
    // `script` of util-linux is what gives a program a terminal; where it is missing there is nothing to see.
    let Ok(probe) = std::process::Command::new("script").arg("--version").output() else { return };
    if !probe.status.success() {
        return;
    }
    let command = format!("{} --port {} top --every 0.1", potluck_command().get_program().display(), node.port());
    let mut child = std::process::Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(&pid) {
        assert!(output.read_until(b'\n', &mut seen).unwrap() > 0, "it ended: {}", String::from_utf8_lossy(&seen));
    }
    assert!(String::from_utf8_lossy(&seen).contains("\u{1b}[?1049h"));
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"q").unwrap();
    std::io::Read::read_to_end(&mut output, &mut seen).unwrap();
    assert!(String::from_utf8_lossy(&seen).contains("\u{1b}[?1049l"), "the terminal is given back");
    assert!(child.wait().unwrap().success());
}

#[test]
fn an_error_says_which_command_helps() {
    let node = small_node();
    out(&node, "sem create door");
    out(&node, "queue create jobs");
    for (line, help) in [
        ("kill P999", "Error: Process P999 not found; `potluck ps --all` shows"),
        ("pause P999 P998", "Error: Process P998 not found; `potluck ps --all` shows"),
        ("wait P999", "`potluck ps --all`"),
        ("priority P999 5", "`potluck ps --all`"),
        ("queue peek none", "`potluck queue list`"),
        ("queue create jobs", "--exist-ok"),
        ("sem signal none", "`potluck sem list`"),
        ("sem create door", "--exist-ok"),
        ("resources request P9 CPU", "`potluck resources need`"),
        ("resources unregister NONE", "`potluck resources` shows"),
        ("resources release P9 CPU", "`potluck resources`"),
        ("free P9", "`potluck memmap`"),
        ("history", "name [plugins.history] in its plugins.toml"),
    ] {
        let text = fails(&node, line);
        assert!(text.contains(help), "{line}: {text}");
    }
    assert_eq!(node.cli(["--json", "wait", "P999"]).json()["error"], "Process P999 not found");
    for line in ["alloc P1 -5", "queue create q --max-size -1", "sem create s --value -1", "sem wait s --timeout -1"] {
        let output = node.cli(line.split(' '));
        assert_eq!(output.status, 2, "{line}: {output:?}");
        assert!(output.stderr.contains("invalid value '-"), "{line}: {output:?}");
    }
    for (shell, script) in [("bash", "subcmd__deadlock__subcmd__resolve"), ("fish", "deadlock"), ("zsh", "deadlock")] {
        assert!(node.cli(["completions", shell]).success().stdout.contains(script), "{shell}");
    }
}

/// A text names the plugin that is missing, and no message.
#[track_caller]
fn said_in_words(line: &str, text: &str) {
    assert!(text.contains("has no plugin for ") && text.contains("in its plugins.toml"), "{line}: {text}");
    let mut words = text.split(|character: char| !character.is_ascii_uppercase() && character != '_');
    assert!(!words.any(|word| word.len() > 3 && word.contains('_')), "{line}: {text}");
}

#[test]
fn each_command_has_a_help_and_says_when_nobody_answers() {
    let node = TestNode::peer().plugins("[plugins.memory]\n").start();
    for (command, question) in [
        ("ps", "ps"),
        ("kill", "kill P1"),
        ("pause", "pause P1"),
        ("resume", "resume P1"),
        ("wait", "wait P1"),
        ("group", "group list"),
        ("resources", "resources"),
        ("deadlock", "deadlock"),
        ("alloc", "alloc P1 5"),
        ("free", "free P1"),
        ("memmap", "memmap"),
        ("allocator", "allocator"),
        ("queue", "queue list"),
        ("sem", "sem list"),
        ("history", "history"),
        ("quota", "quota"),
        ("cache", "cache"),
    ] {
        let help = node.cli([command, "--help"]).success().stdout;
        assert!(help.contains("Usage: potluck"), "{help}");
        said_in_words(question, &fails(&node, question));
    }
    for question in [
        "scheduler",
        "cpu --program x",
        "cancel --task-id x",
        "files",
        "del-file x",
        "owned",
        "sandbox list",
        "deadlock resolve",
        "history clear",
        "allocator set BEST_FIT",
        "sem signal s",
        "priority P1 5",
        "kill P1 P2",
        "alloc P1 5 --wait",
    ] {
        said_in_words(question, &fails(&node, question));
    }
    said_in_words("selftest", &out(&node, "selftest"));
    let output = node.cli_with_input(["batch", "-"], "{\"program\": \"x\"}");
    said_in_words("batch", output.stdout.lines().find(|line| line.contains("Error")).unwrap());
    // Programs, and whoever has named a message, get the node's own words.
    assert!(fails(&node, "send LIST_QUEUES").contains("no provider answers LIST_QUEUES"));
    let reply = node.cli(["--json", "queue", "list"]).json();
    assert!(reply["error"].as_str().is_some_and(|text| text.contains("LIST_QUEUES")), "{reply}");
    assert!(out(&node, "top").contains("No provider of processes"));
}
