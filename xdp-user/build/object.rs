//! The inner cargo build that makes the object.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::compiler::{Compiler, CoreKind, TARGET};

/// What the outer build sets for itself and the inner one must not see. With the inherited
/// jobserver the inner build would run serially.
const NOT_INHERITED: [&str; 11] = [
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "CARGO_BUILD_TARGET",
    "CARGO_MAKEFLAGS",
    "MAKEFLAGS",
    "MFLAGS",
    "LD_LIBRARY_PATH",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_RUSTC_WRAPPER",
];

/// One optimised object with full debug information, from which the linker makes BTF: whatever
/// profile the outer build has, and whatever the workspace's own release profile says.
const PROFILE: [(&str, &str); 5] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "2"),
    ("CARGO_PROFILE_RELEASE_LTO", "false"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_STRIP", "none"),
];

pub(crate) struct Build<'a> {
    /// The crate with the programs.
    pub(crate) package: &'a str,
    /// Its binary, which becomes the object.
    pub(crate) bin: &'a str,
    pub(crate) workspace: &'a Path,
    pub(crate) compiler: &'a Compiler,
    pub(crate) linker: &'a Path,
    pub(crate) target_dir: &'a Path,
}

/// `target/ebpf`, whichever profile asks: cargo marks the top of its target directory with
/// `CACHEDIR.TAG`. A target directory of its own also keeps clear of the outer build's lock.
pub(crate) fn shared_target_dir(out_dir: &Path) -> PathBuf {
    out_dir
        .ancestors()
        .find(|dir| dir.join("CACHEDIR.TAG").exists())
        .unwrap_or(out_dir)
        .join("ebpf")
}

impl Build<'_> {
    /// Builds the programs and copies the object to `out`.
    pub(crate) fn run(&self, out: &Path) -> Result<(), String> {
        // Builds of several profiles share the directory: none may copy what another is writing.
        let lock = self.lock()?;
        self.compile()?;
        let object = self.target_dir.join(TARGET).join("release").join(self.bin);
        fs::copy(&object, out).map_err(|error| {
            format!("copying {} to {}: {error}", object.display(), out.display())
        })?;
        drop(lock);
        Ok(())
    }

    fn lock(&self) -> Result<fs::File, String> {
        let path = self.target_dir.join(".object-lock");
        let locked = || {
            fs::create_dir_all(self.target_dir)?;
            let file = fs::File::create(&path)?;
            file.lock()?;
            Ok(file)
        };
        locked().map_err(|error: std::io::Error| format!("locking {}: {error}", path.display()))
    }

    fn compile(&self) -> Result<(), String> {
        let mut command = self.command()?;
        let answer = command
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("running {command:?}: {error}"))?;
        let stderr = String::from_utf8_lossy(&answer.stderr);
        if !answer.status.success() {
            return Err(format!(
                "building {} with {} failed:\n{stderr}{}",
                self.package,
                self.compiler.rustc.display(),
                self.hint(&stderr)
            ));
        }
        // Cargo hides what a successful build script writes.
        for line in stderr.lines().filter(|line| line.starts_with("warning: ")) {
            println!("cargo::warning={}: {line}", self.package);
        }
        Ok(())
    }

    fn command(&self) -> Result<Command, String> {
        let mut command = Command::new(self.cargo());
        command
            .current_dir(self.workspace)
            .args(["build", "--release", "--color", "never"])
            .args(["--package", self.package, "--bin", self.bin])
            .args(["--target", TARGET])
            .arg("--target-dir")
            .arg(self.target_dir);
        if self.compiler.core.kind == CoreKind::Source {
            command.args(["-Z", "build-std=core"]);
        }
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        command
            .envs(PROFILE)
            .env("RUSTC", &self.compiler.rustc)
            .env("CARGO_ENCODED_RUSTFLAGS", self.rustflags()?);
        if !self.compiler.nightly {
            // The program needs `asm_experimental_arch`, and build-std needs `-Z`.
            command.env("RUSTC_BOOTSTRAP", "1");
        }
        Ok(command)
    }

    /// The compiler's own cargo: `-Z build-std` knows the layout of its own version's sources.
    fn cargo(&self) -> PathBuf {
        let outer = || {
            env::var_os("CARGO")
                .unwrap_or_else(|| "cargo".into())
                .into()
        };
        self.compiler.cargo.clone().unwrap_or_else(outer)
    }

    fn rustflags(&self) -> Result<OsString, String> {
        let arch = env::var("CARGO_CFG_TARGET_ARCH")
            .map_err(|error| format!("reading CARGO_CFG_TARGET_ARCH: {error}"))?;
        let mut flags = OsString::from(format!(
            "--cfg=bpf_target_arch=\"{arch}\"\x1f\
             -Cdebuginfo=2\x1f\
             -Clink-arg=--btf\x1f\
             -Ctarget-cpu=v3\x1f\
             -Clinker="
        ));
        flags.push(self.linker);
        Ok(flags)
    }

    /// The linker reads the compiler's LLVM bitcode, which an older LLVM can't.
    fn hint(&self, stderr: &str) -> String {
        match self.compiler.llvm {
            Some(major) if stderr.contains("linking with") => format!(
                "\nif the linker could not read its input: {} must be built with LLVM {major} or \
                 later, that of the compiler\n",
                self.linker.display()
            ),
            Some(_) | None => String::new(),
        }
    }
}
