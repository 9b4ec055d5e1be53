//! Debian's kernels, downloaded and unpacked without touching the system's packages.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::Release;
use crate::process;

const MIRROR: &str = "http://deb.debian.org/debian";
/// Of the package debian-archive-keyring.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Depends on the newest kernel of a suite, in its build for virtual machines.
const NEWEST: &str = "linux-image-cloud-amd64";

/// A kernel that is ready to boot.
pub(super) struct Kernel {
    /// What the boot loader loads.
    pub(super) image: PathBuf,
    /// The modules that the checks need, in the order of loading; compressed or not.
    pub(super) modules: Vec<PathBuf>,
}

/// The kernel of a release: what an earlier run left in `dir`, or a fresh one.
pub(super) fn kernel(release: &Release, dir: &Path, refresh: bool) -> Result<Kernel> {
    let tree = dir.join("tree");
    if refresh || !tree.exists() {
        download(release, dir, &tree)
            .with_context(|| format!("getting the kernel of Debian {}", release.suite))?;
    }
    find(&tree).with_context(|| format!("looking for the kernel in {}", tree.display()))
}

fn download(release: &Release, dir: &Path, tree: &Path) -> Result<()> {
    if !Path::new(KEYRING).exists() {
        bail!("{KEYRING} is missing: install debian-archive-keyring");
    }
    let apt = Apt::new(release.suite, dir)?;
    println!(
        "getting Debian's package lists and kernel of {}",
        release.suite
    );
    process::output(apt.command("apt-get").args(["update", "-q"]))?;
    let image = depends(&apt, NEWEST)?
        .into_iter()
        .find(|name| is_versioned(name, "linux-image-"))
        .with_context(|| format!("{NEWEST} depends on no kernel"))?;
    // From Debian 14 on the image's package only depends on these two.
    let parts = depends(&apt, &image)?
        .into_iter()
        .filter(|name| is_versioned(name, "linux-binary-") || is_versioned(name, "linux-modules-"));
    let packages: Vec<String> = [image.clone()].into_iter().chain(parts).collect();

    let downloaded = fresh(&dir.join("packages"))?;
    let mut get = apt.command("apt-get");
    get.args(["download", "-q"]).args(&packages);
    process::output(get.current_dir(&downloaded))?;

    // Renamed when complete: an interrupted run leaves no half tree for the next one.
    let unpacked = fresh(&dir.join("tree.new"))?;
    for package in entries(&downloaded)? {
        process::run(
            process::command("dpkg-deb")
                .arg("-x")
                .arg(package)
                .arg(&unpacked),
        )?;
    }
    if tree.exists() {
        fs::remove_dir_all(tree).with_context(|| format!("removing {}", tree.display()))?;
    }
    fs::rename(&unpacked, tree).with_context(|| format!("renaming to {}", tree.display()))
}

/// apt with directories of its own; needs no root.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn new(suite: &str, dir: &Path) -> Result<Self> {
        let sources = dir.join("sources.list");
        for sub in ["lists/partial", "archives/partial"] {
            fs::create_dir_all(dir.join(sub))
                .with_context(|| format!("creating {}", dir.display()))?;
        }
        let line = format!("deb [signed-by={KEYRING}] {MIRROR} {suite} main\n");
        write(&sources, &line)?;
        // No installed package: nothing here is about this machine.
        write(&dir.join("status"), "")?;
        let at = |option: &str, path: &str| format!("{option}={}", dir.join(path).display());
        Ok(Self {
            options: vec![
                at("Dir::Etc::sourcelist", "sources.list"),
                "Dir::Etc::sourceparts=/dev/null".into(),
                at("Dir::State", "."),
                at("Dir::State::lists", "lists"),
                at("Dir::State::status", "status"),
                at("Dir::Cache", "."),
                at("Dir::Cache::archives", "archives"),
                // apt's own user may not write here.
                "APT::Sandbox::User=root".into(),
                "APT::Architecture=amd64".into(),
                "APT::Architectures=amd64".into(),
                "Acquire::Retries=2".into(),
                "Acquire::http::Timeout=20".into(),
            ],
        })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = process::command(program);
        command.env("LC_ALL", "C");
        for option in &self.options {
            command.args(["-o", option]);
        }
        command
    }
}

fn depends(apt: &Apt, package: &str) -> Result<Vec<String>> {
    let text = process::output(apt.command("apt-cache").args(["depends", package]))?;
    Ok(dependencies(&text))
}

fn dependencies(apt_cache_depends: &str) -> Vec<String> {
    apt_cache_depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .map(str::to_owned)
        .collect()
}

fn is_versioned(package: &str, prefix: &str) -> bool {
    package
        .strip_prefix(prefix)
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn find(tree: &Path) -> Result<Kernel> {
    // Everything below `usr` since Debian 13.
    let base = [tree.to_path_buf(), tree.join("usr")]
        .into_iter()
        .find(|base| base.join("lib/modules").exists())
        .context("no lib/modules")?;
    let modules = only(&base.join("lib/modules"))?;
    let version = modules.file_name().unwrap_or_default();
    let image = [&tree.join("boot"), &modules]
        .into_iter()
        .flat_map(|dir| entries(dir).unwrap_or_default())
        .find(|path| is_image(path))
        .context("no vmlinuz")?;
    let depmod = process::find("depmod").context("depmod is gone")?;
    // Of lists that only a full installation has it warns.
    process::output(process::command(depmod).arg("-b").arg(&base).arg(version))?;
    let list = modules.join("modules.dep");
    let text = fs::read_to_string(&list).with_context(|| format!("reading {}", list.display()))?;
    let mut order = loading_order(&text, "veth").context("no module veth")?;
    for module in DEVICES {
        let needed = loading_order(&text, module).unwrap_or_default();
        let new: Vec<_> = needed
            .into_iter()
            .filter(|path| !order.contains(path))
            .collect();
        order.extend(new);
    }
    Ok(Kernel {
        image,
        modules: order.iter().map(|path| modules.join(path)).collect(),
    })
}

fn is_image(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"))
}

/// What the suite of devices makes beside veth pairs, and the kernel's answers about sockets. A kernel
/// has them built in or not at all where they are no modules; its tests are skipped then.
const DEVICES: [&str; 7] = [
    "bridge", "8021q", "bonding", "macvlan", "ipvlan", "vrf", "tcp_diag",
];

/// The module's line in `modules.dep` turned round: what others need comes first.
fn loading_order<'a>(modules_dep: &'a str, module: &str) -> Option<Vec<&'a str>> {
    modules_dep.lines().find_map(|line| {
        let (path, needed) = line.split_once(':')?;
        let name = path.rsplit('/').next()?.split('.').next()?;
        let order = needed.split_whitespace().rev().chain([path]);
        (name == module).then(|| order.collect())
    })
}

fn only(dir: &Path) -> Result<PathBuf> {
    match entries(dir)?.as_slice() {
        [one] => Ok(one.clone()),
        found => bail!("{} entries in {}, not one", found.len(), dir.display()),
    }
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let shown = || format!("reading {}", dir.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).with_context(shown)? {
        paths.push(entry.with_context(shown)?.path());
    }
    Ok(paths)
}

/// An empty directory in the place of whatever is there.
pub(super) fn fresh(dir: &Path) -> Result<PathBuf> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("removing {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    Ok(dir.to_path_buf())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernels_packages_are_told_from_the_others() {
        let text = "linux-image-cloud-amd64\n  Depends: linux-base-cloud-amd64\n  \
                    Depends: linux-image-7.2.13+deb14-cloud-amd64\n  Suggests: x\n";
        let versioned: Vec<String> = dependencies(text)
            .into_iter()
            .filter(|name| is_versioned(name, "linux-image-"))
            .collect();
        assert_eq!(versioned, ["linux-image-7.2.13+deb14-cloud-amd64"]);
    }

    #[test]
    fn a_module_is_loaded_after_what_it_needs() {
        let list = "kernel/net/a.ko:\nkernel/drivers/net/veth.ko.xz: kernel/b.ko kernel/net/a.ko\n";
        assert_eq!(
            loading_order(list, "veth").unwrap(),
            [
                "kernel/net/a.ko",
                "kernel/b.ko",
                "kernel/drivers/net/veth.ko.xz"
            ]
        );
        assert_eq!(loading_order(list, "v"), None);
    }
}
