//! Which state of a process can follow which.

use potluck_sdk::message::process::ProcessState::{self, *};

/// What can follow a state, at once.
pub(crate) const fn successors(state: ProcessState) -> &'static [ProcessState] {
    match state {
        New => &[Ready, Terminated, Zombie],
        Ready => &[Running, Waiting, Terminated, Zombie],
        Running => &[Ready, Waiting, Terminated, Zombie],
        // Who wakes up waits for its turn like everybody else.
        Waiting => &[Ready, Terminated, Zombie],
        Zombie => &[Terminated],
        Terminated => &[],
    }
}

/// Whether `to` can follow `from`, at once.
pub(crate) fn follows(from: ProcessState, to: ProcessState) -> bool {
    successors(from).contains(&to)
}

/// The states to pass on the way, the last included: a report may leave out a READY that lasted no time. Nothing when
/// there is no way.
pub(crate) fn way(from: ProcessState, to: ProcessState) -> Option<&'static [ProcessState]> {
    let way: &[ProcessState] = match (from, to) {
        (New | Waiting, Running) => &[Ready, Running],
        (New, Waiting) => &[Ready, Waiting],
        (New | Running | Waiting, Ready) => &[Ready],
        (Ready, Running) => &[Running],
        (Ready | Running, Waiting) => &[Waiting],
        (New | Ready | Running | Waiting, Zombie) => &[Zombie],
        (New | Ready | Running | Waiting | Zombie, Terminated) => &[Terminated],
        _ => return None,
    };
    Some(way)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_is_made_of_steps_that_can_follow_each_other() {
        for from in ProcessState::ALL {
            for to in ProcessState::ALL {
                let Some(way) = way(from, to) else {
                    assert!(!follows(from, to), "{from:?} to {to:?} is a step and no way");
                    continue;
                };
                assert_eq!(way.last(), Some(&to), "{from:?} to {to:?}");
                let mut at = from;
                for step in way {
                    assert!(follows(at, *step), "{at:?} to {step:?} on the way from {from:?} to {to:?}");
                    at = *step;
                }
                assert!(way.len() == 1 || !follows(from, to), "{from:?} to {to:?} makes a detour");
            }
        }
    }

    #[test]
    fn nothing_comes_back_to_life() {
        for to in ProcessState::ALL {
            assert!(way(Terminated, to).is_none());
            assert_eq!(way(Zombie, to).is_some(), to == Terminated);
            assert!(way(to, New).is_none());
        }
    }
}
