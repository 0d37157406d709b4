//! Random takings and givings back, against a plain list of what is there.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const KINDS: usize = 3;
const OWNERS: [Owner<'static>; 4] = [None, Some("near"), Some("far"), Some("away")];
const TOTAL: usize = 40;
const SHARE: usize = 10;

#[derive(Clone, Debug)]
enum Step {
    /// Owner, kind, amount.
    Take(usize, usize, usize),
    GiveBack(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..OWNERS.len(), 0..KINDS, 1..8usize).prop_map(|(owner, kind, amount)| Step::Take(owner, kind, amount)),
        2 => any::<prop::sample::Index>().prop_map(Step::GiveBack),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]
    #[test]
    fn an_account_is_what_is_there_and_never_more_than_the_share(steps in steps()) {
        let shares = Shares::<KINDS>::new(0.25);
        let mut there: Vec<(&str, usize, usize, Place<KINDS>)> = Vec::new();
        let sum = |there: &[(&str, usize, usize, Place<KINDS>)], peer: &str, kind| {
            there.iter().filter(|one| one.0 == peer && one.1 == kind).map(|one| one.2).sum::<usize>()
        };
        for step in steps {
            match step {
                Step::Take(owner, kind, amount) => {
                    let owner = OWNERS[owner];
                    let taken = shares.take(owner, kind, TOTAL, amount);
                    let Some(peer) = owner else {
                        assert!(taken.unwrap().is_none(), "this node is bounded by the totals alone");
                        continue;
                    };
                    assert_eq!(taken.is_ok(), sum(&there, peer, kind) + amount <= SHARE);
                    there.extend(taken.ok().flatten().map(|place| (peer, kind, amount, place)));
                }
                Step::GiveBack(index) if !there.is_empty() => {
                    there.swap_remove(index.index(there.len()));
                }
                Step::GiveBack(_) => {}
            }
            let have_something: BTreeSet<&str> = there.iter().filter(|one| one.2 > 0).map(|one| one.0).collect();
            assert_eq!(shares.peers(), have_something.len(), "who has nothing takes no memory");
            for peer in OWNERS.into_iter().flatten() {
                for kind in 0..KINDS {
                    assert_eq!(shares.of(peer, kind), sum(&there, peer, kind));
                }
            }
        }
        there.clear();
        assert_eq!(shares.peers(), 0);
    }
}

#[test]
fn a_share_is_at_least_one_and_at_most_all() {
    let share = |part, total| {
        let shares = Shares::<1>::new(part);
        let places: Vec<Place<1>> = (0..100).map_while(|_| shares.take(Some("far"), 0, total, 1).ok()?).collect();
        places.len()
    };
    assert_eq!([share(0.25, 1), share(0.25, 7), share(0.25, 8), share(1.0, 8)], [1, 1, 2, 8]);
}

#[test]
fn a_share_is_more_than_nothing_and_at_most_all() {
    for part in [0.0, -1.0, 1.1, f64::NAN] {
        assert_eq!(check_peer_share(part).unwrap_err().code, ProviderError::INVALID_CONFIG);
    }
    assert!(check_peer_share(0.001).is_ok() && check_peer_share(1.0).is_ok());
}

#[test]
fn a_task_counts_for_the_node_that_it_works_for() {
    use crate::Caller;
    assert_eq!(owner(&Caller::Task("far"), "near"), Some("far"));
    assert_eq!(owner(&Caller::Member("far"), "near"), Some("far"));
    assert_eq!(owner(&Caller::Task("near"), "near"), None);
    assert_eq!(owner(&Caller::Local, "near"), None);
}
