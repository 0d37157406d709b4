//! Any operations in any order, against a simple model of what must hold.

use super::{Actor, Effects, NewEntry, Pid, Table, name};
use crate::config::ProcessConfig;
use crate::state::{follows, way};
use potluck_sdk::message::RawValue;
use potluck_sdk::message::process::{Change, ChangeKind, ProcessExit, ProcessState, Signal};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// The processes that the operations are about.
const PIDS: u64 = 24;

#[derive(Clone, Debug)]
enum Step {
    Enter { parent: Pid, group: u8, far: bool },
    Report { pid: Pid, parent: Pid, group: u8, far: bool },
    State { pid: Pid, state: ProcessState },
    Move { pid: Pid, state: ProcessState },
    End { pid: Pid, exit_code: i32 },
    Terminate { pid: Pid, signal: Signal },
    KillGroup { group: u8 },
    JoinGroup { pid: Pid, group: u8, far: bool },
    Reap { pid: Pid },
    GiveUp { pid: Pid },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pid = || 1..PIDS;
    let group = || 0_u8..5;
    let far = any::<bool>;
    let state = || prop::sample::select(ProcessState::ALL.to_vec());
    let signal = || prop::sample::select(vec![Signal::Terminate, Signal::Kill]);
    let exit_code = prop::sample::select(vec![0, 1, 137, 143]);
    let step = prop_oneof![
        3 => (0..PIDS, group(), far()).prop_map(|(parent, group, far)| Step::Enter { parent, group, far }),
        5 => (pid(), 0..PIDS, group(), far())
            .prop_map(|(pid, parent, group, far)| Step::Report { pid, parent, group, far }),
        4 => (pid(), state()).prop_map(|(pid, state)| Step::State { pid, state }),
        3 => (pid(), state()).prop_map(|(pid, state)| Step::Move { pid, state }),
        4 => (pid(), exit_code).prop_map(|(pid, exit_code)| Step::End { pid, exit_code }),
        2 => (pid(), signal()).prop_map(|(pid, signal)| Step::Terminate { pid, signal }),
        1 => group().prop_map(|group| Step::KillGroup { group }),
        1 => (pid(), group(), far()).prop_map(|(pid, group, far)| Step::JoinGroup { pid, group, far }),
        2 => pid().prop_map(|pid| Step::Reap { pid }),
        1 => pid().prop_map(|pid| Step::GiveUp { pid }),
    ];
    prop::collection::vec(step, 1..120)
}

fn group_name(group: u8) -> &'static str {
    ["", "g", "h", "i", "j"][usize::from(group)]
}

fn requested_by(far: bool) -> &'static str {
    if far { "far" } else { "local" }
}

fn run(table: &mut Table, step: &Step, now: u64) -> Effects {
    let mut effects = Effects::default();
    let change = |kind: ChangeKind, pid: Pid| Change { change: kind, pid: name(pid).into(), ..Change::default() };
    match step {
        Step::Enter { parent, group, far } => {
            let new = NewEntry {
                parent: Some(*parent).filter(|parent| *parent > 0),
                group: Some(group_name(*group)).filter(|group| !group.is_empty()),
                priority: 0,
                name: "",
                requested_by: requested_by(*far),
                creator: None,
                has_task: false,
                task_data: RawValue::from_string("1".repeat(now as usize % 4 + 1)).ok(),
            };
            let _ = table.create(new, now);
        }
        Step::Report { pid, parent, group, far } => {
            let created = Change {
                parent_pid: name(*parent).into(),
                group_id: group_name(*group).into(),
                requested_by: requested_by(*far).into(),
                ..change(ChangeKind::Created, *pid)
            };
            table.apply(&created, now, &mut effects);
        }
        Step::State { pid, state } => {
            let changed = Change { state: Some(*state), ..change(ChangeKind::State, *pid) };
            table.apply(&changed, now, &mut effects);
        }
        Step::Move { pid, state: ProcessState::Zombie | ProcessState::Terminated } => {
            if table.get(*pid).is_some_and(|entry| entry.task.is_none()) {
                let exit = ProcessExit { unix_milliseconds: now, ..ProcessExit::default() };
                table.end(*pid, exit, &mut effects);
            }
        }
        Step::Move { pid, state } => drop(table.step(*pid, *state, now)),
        Step::End { pid, exit_code } => {
            let ended = Change { exit_code: Some(*exit_code), ..change(ChangeKind::Ended, *pid) };
            table.apply(&ended, now, &mut effects);
        }
        Step::Terminate { pid, signal } => {
            let order = table.with_descendants(&[*pid]);
            let place = |pid: Pid| order.iter().position(|known| *known == pid);
            for pid in &order {
                let parent = table.get(*pid).and_then(|entry| entry.parent).and_then(place);
                assert!(parent.is_none_or(|parent| place(*pid) < Some(parent)), "children come first");
            }
            let stopping = table.terminate(&[*pid], *signal, now, &mut effects);
            assert_eq!(stopping.ended + stopping.pending.len(), order.len());
            let asked: Vec<_> = effects.signals.iter().map(|(pid, _)| place(*pid)).collect();
            assert!(asked.is_sorted_by(|one, next| one > next), "tasks are asked for parents first");
        }
        Step::KillGroup { group } => {
            let members = table.members(&Actor::All, group_name(*group));
            table.kill_group(&Actor::All, group_name(*group), now);
            table.terminate(&members, Signal::Kill, now, &mut effects);
        }
        Step::JoinGroup { pid, group, far } => {
            if *group > 0 {
                let actor = if *far { Actor::Peer("far".to_owned()) } else { Actor::All };
                let _ = table.make_group(&actor, group_name(*group), &[*pid]);
            }
        }
        Step::Reap { pid } => table.reap(*pid, now),
        Step::GiveUp { pid } => table.give_up(*pid, "lost", now, &mut effects),
    }
    effects
}

/// What holds after every operation.
fn check(table: &Table) {
    let mut counts: BTreeMap<ProcessState, usize> = BTreeMap::new();
    let mut taskless = 0;
    let (mut data, mut data_of_far) = (0, 0);
    for (pid, entry) in &table.entries {
        *counts.entry(entry.state).or_default() += 1;
        taskless += usize::from(entry.is_alive() && entry.task.is_none());
        let bytes = entry.task_data.as_ref().map_or(0, |data| data.json.get().len());
        assert!(bytes == 0 || entry.is_alive(), "P{pid} has ended and keeps something");
        data += bytes;
        data_of_far += if *entry.requested_by == *"far" { bytes } else { 0 };
        assert_eq!(entry.exit.is_some(), !entry.is_alive(), "P{pid} is {:?}", entry.state);
        assert_eq!(entry.state == ProcessState::Zombie, table.zombies.contains(&(entry.state_milliseconds, *pid)));
        if let Some(parent) = entry.parent {
            let parent = table.get(parent).expect("a parent is in the table");
            assert!(
                parent.is_alive() && parent.children.contains(pid),
                "P{pid} has a parent that is alive and knows it"
            );
        }
        assert!(entry.state != ProcessState::Zombie || entry.parent.is_some(), "a zombie has somebody to wait for");
        assert!(entry.is_alive() || entry.children.is_empty(), "P{pid} has ended and has children");
        for child in &entry.children {
            assert_eq!(table.get(*child).and_then(|child| child.parent), Some(*pid));
        }
        // Whoever descends from one that is to end, is to end.
        let parent_is_doomed = entry.parent.and_then(|parent| table.get(parent)).is_some_and(|p| p.doomed.is_some());
        assert!(!parent_is_doomed || !entry.is_alive() || entry.doomed.is_some(), "P{pid} outlives its parent's end");
        // No cycles: the way up ends.
        let (mut seen, mut next) = (BTreeSet::new(), Some(*pid));
        while let Some(pid) = next {
            assert!(seen.insert(pid), "P{pid} descends from itself");
            next = table.get(pid).and_then(|entry| entry.parent);
        }
        if let Some(group) = &entry.group {
            assert!(entry.is_alive() && table.groups.by_name[group].members.contains(pid));
        }
    }
    for state in ProcessState::ALL {
        assert_eq!(table.count(state), counts.get(&state).copied().unwrap_or_default(), "{state:?}");
    }
    assert_eq!(table.zombies.len(), table.count(ProcessState::Zombie));
    assert_eq!(table.finished.len(), table.count(ProcessState::Terminated));
    assert_eq!(table.taskless.values().sum::<usize>(), taskless);
    assert_eq!((table.task_data_bytes, table.task_data_shares.of("far", 0)), (data, data_of_far));
    assert!(data <= table.limits.task_data_bytes_max);
    let mut of_far = 0;
    for (group_id, group) in &table.groups.by_name {
        of_far += usize::from(group.owner.is_some());
        let maker = group.maker.as_deref().map(|maker| (maker == "far").then_some(maker));
        assert!(maker.is_none_or(|maker| maker == group.owner.as_deref()), "{group_id} counts for its maker");
        assert!(!group.members.is_empty() || group.maker.is_some(), "{group_id} is empty and nobody made it");
        for member in &group.members {
            assert_eq!(table.get(*member).and_then(|entry| entry.group.as_ref()), Some(group_id));
        }
    }
    assert!(of_far <= table.limits.groups_per_peer_max && table.groups.by_name.len() <= table.limits.groups_max);
    assert_eq!(table.groups.by_owner.values().sum::<usize>(), of_far);
    assert_eq!(table.groups.by_owner.len(), usize::from(of_far > 0), "who has nothing takes no memory");
    let forest = table.forest(&Actor::All);
    assert_eq!(forest.total_processes, table.alive() + table.count(ProcessState::Zombie));
    let nodes: usize = forest.roots.iter().map(count_nodes).sum();
    assert_eq!(nodes, forest.total_processes, "everybody is in one tree, once");
}

fn count_nodes(node: &potluck_sdk::message::process::TreeNode) -> usize {
    1 + node.children.iter().map(count_nodes).sum::<usize>()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_books_balance_whatever_happens(steps in steps()) {
        let limits = ProcessConfig {
            entries_max: 15,
            finished_max: 6,
            zombies_max: 4,
            groups_max: 3,
            task_data_bytes_max: 12,
            groups_per_peer_max: 1,
            ..ProcessConfig::default()
        };
        let mut table = Table::new(limits.clone());
        for (number, step) in steps.iter().enumerate() {
            let before: BTreeMap<Pid, (ProcessState, bool)> =
                table.entries.iter().map(|(pid, entry)| (*pid, (entry.state, entry.task.is_some()))).collect();
            let effects = run(&mut table, step, 10 + number as u64);
            check(&table);
            prop_assert!(table.alive() <= limits.entries_max);
            prop_assert!(table.finished.len() <= limits.finished_max && table.zombies.len() <= limits.zombies_max);
            for (pid, entry) in &table.entries {
                let Some((from, _)) = before.get(pid).copied() else { continue };
                let to = entry.state;
                // An end may be followed by a reaping at once.
                let is_reaped = from.is_alive() && to == ProcessState::Terminated;
                prop_assert!(from == to || follows(from, to) || is_reaped || way(from, to).is_some(), "{:?} to {:?}", from, to);
            }
            // Others are told of every end without a task, once, and of no other.
            let ended = |pid: &Pid| {
                let was_alive = before.get(pid).is_some_and(|(state, _)| state.is_alive());
                was_alive && table.get(*pid).is_none_or(|entry| !entry.is_alive())
            };
            for (pid, (_, has_task)) in &before {
                let told = effects.gone.iter().filter(|(gone, _)| gone == pid).count();
                let is_given_up = matches!(step, Step::GiveUp { pid: given } if given == pid);
                let expected = usize::from(ended(pid) && (!has_task || is_given_up));
                prop_assert_eq!(told, expected, "P{} after {:?}", pid, step);
            }
            for (pid, _) in &effects.signals {
                prop_assert!(table.get(*pid).is_some_and(|entry| entry.task.is_some() && entry.doomed.is_some()));
            }
        }
    }
}

#[test]
#[ignore = "prints how long a change takes; run it by name"]
fn how_long_a_change_takes() {
    use potluck_sdk::message::process::ProcessChanges;
    let mut table = Table::new(ProcessConfig::default());
    let batches: Vec<String> = (0..2_000_u64)
        .map(|batch| {
            let mut changes = Vec::new();
            for number in 1..=50 {
                let pid = name(batch * 50 + number);
                changes.push(serde_json::json!({"change": "created", "pid": pid, "unix_milliseconds": 1_720_000_000_000_u64,
                    "task_id": format!("CLIENT_{batch}{number}"), "function": "main", "runtime": "python",
                    "requested_by": "local"}));
                changes.push(serde_json::json!({"change": "state", "pid": pid, "state": "RUNNING", "unix_milliseconds": 1_720_000_000_000_u64}));
                changes.push(serde_json::json!({"change": "ended", "pid": pid, "exit_code": 0, "cpu_seconds": 0.001,
                    "peak_memory_bytes": 10_000_000, "unix_milliseconds": 1_720_000_000_000_u64}));
            }
            serde_json::json!({"type": "PROCESS_CHANGES", "changes": changes}).to_string()
        })
        .collect();
    let begin = std::time::Instant::now();
    for batch in &batches {
        let message: ProcessChanges<'_> = serde_json::from_str(batch).unwrap();
        let mut effects = Effects::default();
        for change in &message.changes {
            table.apply(change, 1, &mut effects);
        }
        table.take_news();
    }
    println!("{:?} a change", begin.elapsed() / (2_000 * 150));
}
