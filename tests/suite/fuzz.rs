//! The fuzz targets, run over the files in `fuzz/corpus` without a fuzzer.

use potluck_tests::fuzz::{TARGETS, Target, seeds};
use potluck_tests::workspace_root;
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::PathBuf;

/// All seeds together; a repository is no place for what a fuzzer finds by itself.
const CORPUS_BYTES_MAX: usize = 200_000;

fn folder(target: &str) -> PathBuf {
    workspace_root().join("fuzz/corpus").join(target)
}

fn run(name: &str) {
    let target: &Target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let mut files: Vec<PathBuf> = fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut outcomes = BTreeSet::new();
    for file in files {
        // In case it panics.
        eprintln!("{}", file.display());
        outcomes.insert((target.run)(&fs::read(&file).unwrap()));
    }
    for expected in target.outcomes {
        assert!(outcomes.contains(expected), "no file of {name} comes to {expected:?}, only to {outcomes:?}");
    }
}

#[test]
fn messages_are_taken_for_what_they_are() {
    run("envelope");
}

#[test]
fn frames_do_not_depend_on_the_cuts() {
    run("frame_decoder");
}

#[test]
fn nobody_is_let_in_who_has_no_right() {
    run("join_handshake");
}

#[test]
fn texts_of_a_pool_are_checked() {
    run("membership");
}

#[test]
fn every_plugins_toml_is_used_or_explained() {
    run("plugins_toml");
}

/// `POTLUCK_FUZZ_SEEDS=write` makes it so.
#[test]
fn the_corpus_has_the_seeds_that_are_made_today() {
    let writes = env::var("POTLUCK_FUZZ_SEEDS").is_ok_and(|word| word == "write");
    for seed in seeds() {
        let path = folder(seed.target).join(&seed.name);
        if writes {
            fs::create_dir_all(folder(seed.target)).unwrap();
            fs::write(&path, &seed.bytes).unwrap();
        }
        let is_there = fs::read(&path).is_ok_and(|bytes| bytes == seed.bytes);
        assert!(is_there, "{} is old; write it with POTLUCK_FUZZ_SEEDS=write", path.display());
    }
    let size: usize = seeds().iter().map(|seed| seed.bytes.len()).sum();
    assert!(size <= CORPUS_BYTES_MAX, "{size} bytes");
}

#[test]
fn every_target_can_be_run_by_a_fuzzer() {
    let fuzz = workspace_root().join("fuzz");
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    let stems = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(fuzz.join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect()
    };
    assert_eq!(stems("fuzz_targets"), names);
    assert_eq!(stems("dictionaries"), names);
    let manifest: toml::Table = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap().parse().unwrap();
    let programs = manifest["bin"].as_array().unwrap().iter();
    assert_eq!(programs.map(|program| program["name"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>(), names);
}
