//! Builds the eBPF crate from source and leaves the object as `OUT_DIR/xdp-throttle.bpf.o`.
//!
//! Cargo runs this again when a source of the program, a manifest, the lock file, the chosen
//! compiler, the linker or one of the variables below changes, and at no other time.
//!
//! Variables:
//! - `XDP_THROTTLE_BPF_OBJECT_DIR`: a directory with a ready `xdp-throttle.bpf.o`, taken as it is.
//! - `XDP_THROTTLE_BPF_RUSTC`: the compiler to use, and no other.
//! - `BPF_LINKER`: the linker to use, and no other.

#[path = "build/compiler.rs"]
mod compiler;
#[path = "build/linker.rs"]
mod linker;
#[path = "build/object.rs"]
mod object;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

const OBJECT: &str = "xdp-throttle.bpf.o";
const READY_OBJECT_DIR: &str = "XDP_THROTTLE_BPF_OBJECT_DIR";

/// Everything in the repository that the object is made from.
const SOURCES: [&str; 6] = [
    "xdp-ebpf",
    "xdp-common/src",
    "xdp-common/Cargo.toml",
    "Cargo.toml",
    "Cargo.lock",
    ".cargo/config.toml",
];

fn main() -> ExitCode {
    match run() {
        Ok(watched) => {
            // Only now: a failed script runs again anyway, and cargo shows people what it printed.
            print_watched(&watched);
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("\n{message}\n");
            ExitCode::FAILURE
        }
    }
}

/// Leaves the object in `OUT_DIR` and returns the files it was made from.
fn run() -> Result<Vec<PathBuf>, String> {
    let out_dir = variable("OUT_DIR")?;
    let out = out_dir.join(OBJECT);
    if let Some(dir) = env::var_os(READY_OBJECT_DIR) {
        let object = PathBuf::from(dir).join(OBJECT);
        take_ready(&object, &out)?;
        return Ok(vec![object]);
    }

    let workspace = variable("CARGO_MANIFEST_DIR")?.join("..");
    let compiler = compiler::find()?;
    let linker = linker::find()?;
    object::Build {
        package: "xdp-ebpf",
        bin: "xdp-throttle-ebpf",
        workspace: &workspace,
        compiler: &compiler,
        linker: &linker,
        target_dir: &object::shared_target_dir(&out_dir),
    }
    .run(&out)?;

    let mut watched = SOURCES.map(|path| workspace.join(path)).to_vec();
    watched.extend([compiler.rustc, compiler.core.path, linker]);
    Ok(watched)
}

/// Takes an object that somebody built elsewhere, as packagers do.
fn take_ready(object: &Path, out: &Path) -> Result<(), String> {
    fs::copy(object, out).map(drop).map_err(|error| {
        format!(
            "copying the ready eBPF object {} named by {READY_OBJECT_DIR}: {error}",
            object.display()
        )
    })
}

fn print_watched(paths: &[PathBuf]) {
    for variable in [
        READY_OBJECT_DIR,
        compiler::EXPLICIT,
        linker::EXPLICIT,
        "RUSTC",
    ] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    // A watched path that isn't there would make cargo run this script every time.
    for path in paths.iter().filter(|path| path.exists()) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

fn variable(name: &str) -> Result<PathBuf, String> {
    env::var_os(name)
        .map(PathBuf::from)
        .ok_or_else(|| format!("{name} is not set: this is a build script, run it through cargo"))
}
