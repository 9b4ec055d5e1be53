//! Builds the bench's BPF programs from source and leaves the object as
//! `OUT_DIR/xdp-bench.bpf.o`, with the compiler and the linker that the real program is built with.

#[path = "../xdp-user/build/compiler.rs"]
mod compiler;
#[path = "../xdp-user/build/linker.rs"]
mod linker;
#[path = "../xdp-user/build/object.rs"]
mod object;

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
};

const OBJECT: &str = "xdp-bench.bpf.o";

/// Everything in the repository that the object is made from.
const SOURCES: [&str; 4] = [
    "tests/bpf",
    "Cargo.toml",
    "Cargo.lock",
    ".cargo/config.toml",
];

fn main() -> ExitCode {
    match run() {
        Ok(watched) => {
            for variable in [compiler::EXPLICIT, linker::EXPLICIT, "RUSTC"] {
                println!("cargo::rerun-if-env-changed={variable}");
            }
            // A watched path that isn't there would make cargo run this script every time.
            for path in watched.iter().filter(|path| path.exists()) {
                println!("cargo::rerun-if-changed={}", path.display());
            }
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
    let workspace = variable("CARGO_MANIFEST_DIR")?.join("..");
    let compiler = compiler::find()?;
    let linker = linker::find()?;
    object::Build {
        package: "xdp-bench-ebpf",
        bin: "xdp-bench-ebpf",
        workspace: &workspace,
        compiler: &compiler,
        linker: &linker,
        target_dir: &object::shared_target_dir(&out_dir),
    }
    .run(&Path::new(&out_dir).join(OBJECT))?;

    let mut watched = SOURCES.map(|path| workspace.join(path)).to_vec();
    watched.extend([compiler.rustc, compiler.core.path, linker]);
    Ok(watched)
}

fn variable(name: &str) -> Result<PathBuf, String> {
    env::var_os(name)
        .map(PathBuf::from)
        .ok_or_else(|| format!("{name} is not set: this is a build script, run it through cargo"))
}
