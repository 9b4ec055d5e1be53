//! Inputs that once failed, and the seeds that the fuzzer begins with.

use std::fs;
use std::path::Path;

use xdp_fuzz::TARGETS;

#[test]
fn every_input_that_once_failed_passes_now() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    for (name, run) in TARGETS {
        let inputs = fs::read_dir(folder.join(name)).unwrap();
        let mut paths: Vec<_> = inputs.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        assert!(!paths.is_empty(), "no input for {name}");
        for path in paths {
            println!("{name}: {}", path.display());
            run(&fs::read(&path).unwrap());
        }
    }
}

#[test]
fn every_target_has_a_program_of_its_name() {
    let manifest = include_str!("../Cargo.toml");
    let programs: Vec<&str> = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("path = \"targets/"))
        .filter_map(|rest| rest.strip_suffix(".rs\""))
        .collect();
    let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(programs, names);
}
