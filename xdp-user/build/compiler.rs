//! Finds a Rust compiler that can build for the BPF target.
//!
//! Shared by the build script and `cargo xtask setup`, so that both agree on what is missing.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The only target: the kernel reads BPF in its own byte order, and we run on little-endian ones.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// Names a compiler to use, and no other.
pub(crate) const EXPLICIT: &str = "XDP_THROTTLE_BPF_RUSTC";

/// The oldest compiler that builds the workspace, as `major.minor`.
const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");

/// A compiler that was found to be able to build for [`TARGET`].
#[derive(Debug)]
pub(crate) struct Compiler {
    pub(crate) rustc: PathBuf,
    /// The cargo of the same toolchain, where there is one (Debian's compiler has none).
    pub(crate) cargo: Option<PathBuf>,
    pub(crate) core: Core,
    /// Whether unstable features work without `RUSTC_BOOTSTRAP`.
    pub(crate) nightly: bool,
    /// Major version of its LLVM; the linker's must be at least that.
    pub(crate) llvm: Option<u32>,
}

/// Where the target's `core` comes from.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) kind: CoreKind,
    pub(crate) path: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CoreKind {
    /// Compiled, in the sysroot: nothing to build.
    Prebuilt,
    /// As source (the `rust-src` component): needs `-Z build-std=core`.
    Source,
}

/// Looks through all compilers of this machine: a prebuilt `core` anywhere wins over one to build.
///
/// # Errors
/// The text names every compiler that was tried with what it lacks, and the commands that install
/// one that works.
pub(crate) fn find() -> Result<Compiler, String> {
    choose(candidates()).map_err(|failures| explain(&failures))
}

/// A compiler to try, or why it isn't one.
#[derive(Debug)]
struct Candidate {
    name: String,
    found: Result<Sysroot, String>,
}

#[derive(Debug)]
struct Sysroot {
    rustc: PathBuf,
    path: PathBuf,
}

/// Why one candidate can't be used.
#[derive(Debug)]
struct Failure {
    name: String,
    why: String,
}

fn candidates() -> Vec<Candidate> {
    if let Some(path) = env::var_os(EXPLICIT) {
        return vec![installed(&format!("${EXPLICIT}"), Path::new(&path))];
    }
    let current = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut candidates = vec![installed("$RUSTC", Path::new(&current))];
    candidates.extend(["nightly", "stable"].map(rustup));
    candidates.push(installed("system", Path::new("/usr/bin/rustc")));
    candidates
}

fn installed(name: &str, rustc: &Path) -> Candidate {
    let found = output(Command::new(rustc).args(["--print", "sysroot"])).map(|sysroot| {
        let path = PathBuf::from(sysroot.trim());
        // Through rustup's proxy the answer depends on the directory and on variables that the
        // inner build doesn't inherit: name the real program instead.
        let real = path.join("bin/rustc");
        let rustc = if real.exists() { real } else { rustc.into() };
        Sysroot { rustc, path }
    });
    Candidate {
        name: format!("{name} ({})", rustc.display()),
        found,
    }
}

fn rustup(toolchain: &str) -> Candidate {
    let found = output(
        Command::new("rustup")
            .args(["which", "--toolchain", toolchain, "rustc"])
            .env("RUSTUP_AUTO_INSTALL", "0"),
    )
    .and_then(|path| {
        let rustc = PathBuf::from(path.trim());
        match rustc.ancestors().nth(2) {
            Some(sysroot) => Ok(Sysroot {
                path: sysroot.into(),
                rustc,
            }),
            None => Err(format!("rustup answered {}", rustc.display())),
        }
    });
    Candidate {
        name: format!("rustup's {toolchain}"),
        found,
    }
}

fn choose(candidates: Vec<Candidate>) -> Result<Compiler, Vec<Failure>> {
    let mut failures = Vec::new();
    let mut from_source = Vec::new();
    for Candidate { name, found } in candidates {
        let attempt = found.and_then(|sysroot| {
            let core = probe(&sysroot.path)?;
            Ok((sysroot, core))
        });
        match attempt {
            Ok((sysroot, core)) if core.kind == CoreKind::Source => {
                from_source.push((name, sysroot, core));
            }
            Ok((sysroot, core)) => match describe(sysroot, core) {
                Ok(compiler) => return Ok(compiler),
                Err(why) => failures.push(Failure { name, why }),
            },
            Err(why) => failures.push(Failure { name, why }),
        }
    }
    for (name, sysroot, core) in from_source {
        match describe(sysroot, core) {
            Ok(compiler) => return Ok(compiler),
            Err(why) => failures.push(Failure { name, why }),
        }
    }
    Err(failures)
}

/// Asks a sysroot for the target's `core`.
fn probe(sysroot: &Path) -> Result<Core, String> {
    let prebuilt = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    let has_core = fs::read_dir(&prebuilt).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
    });
    if has_core {
        return Ok(Core {
            kind: CoreKind::Prebuilt,
            path: prebuilt,
        });
    }
    let source = sysroot.join("lib/rustlib/src/rust/library/Cargo.lock");
    if source.exists() {
        return Ok(Core {
            kind: CoreKind::Source,
            path: source,
        });
    }
    Err(format!(
        "{} has neither a prebuilt core for {TARGET} nor the source of core (rust-src)",
        sysroot.display()
    ))
}

fn describe(sysroot: Sysroot, core: Core) -> Result<Compiler, String> {
    let text = output(Command::new(&sysroot.rustc).arg("-vV"))?;
    let version = Version::parse(&text)?;
    if Some(version.release) < major_minor(OLDEST) {
        return Err(format!("{version} is older than {OLDEST}"));
    }
    let cargo = sysroot.path.join("bin/cargo");
    Ok(Compiler {
        rustc: sysroot.rustc,
        cargo: cargo.exists().then_some(cargo),
        core,
        nightly: version.nightly,
        llvm: version.llvm,
    })
}

/// What `rustc -vV` says about itself.
#[derive(Debug, PartialEq, Eq)]
struct Version {
    release: (u32, u32),
    nightly: bool,
    llvm: Option<u32>,
}

impl Version {
    fn parse(text: &str) -> Result<Self, String> {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        let release = field("release: ").ok_or("rustc -vV names no release")?;
        Ok(Self {
            release: major_minor(release)
                .ok_or_else(|| format!("rustc -vV names the release {release:?}"))?,
            nightly: release.contains("nightly") || release.contains("-dev"),
            llvm: field("LLVM version: ")
                .and_then(major_minor)
                .map(|(major, _)| major),
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.release.0, self.release.1)
    }
}

fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Runs a command and returns its standard output; the error is a single line.
fn output(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let answer = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("running {program}: {error}"))?;
    if answer.status.success() {
        return Ok(String::from_utf8_lossy(&answer.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&answer.stderr);
    let line = stderr.lines().find(|line| !line.trim().is_empty());
    Err(format!(
        "{program}: {}",
        line.unwrap_or("failed without a message")
    ))
}

fn explain(failures: &[Failure]) -> String {
    use fmt::Write as _;
    let mut text = format!("no Rust compiler on this machine can build for {TARGET}; tried:\n");
    for Failure { name, why } in failures {
        // Writing to a String does not fail.
        writeln!(text, "  {name}: {why}").ok();
    }
    text.push_str(HOW_TO_INSTALL);
    text
}

/// The ways to a compiler, for this search's message and for `cargo xtask setup`'s.
pub(crate) const HOW_TO_INSTALL: &str = "\
To install what is missing: cargo xtask setup
or by hand, on Debian 12 and later:
  apt-get update
  apt-get install -y --no-install-recommends rustc-web libstd-rust-web-dev-bpf
or with rustup, on any system:
  rustup toolchain install nightly --profile minimal --component rust-src
or set XDP_THROTTLE_BPF_RUSTC to a compiler that has one of the two.";
