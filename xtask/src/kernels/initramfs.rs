//! What a guest has instead of a disk.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::packages::fresh;
use crate::process;

const INIT: &str = include_str!("init.sh");

/// Everything that goes into the image.
pub(super) struct Contents<'a> {
    /// Programs without libraries and where they go, below `/checks.d`.
    pub(super) programs: &'a [(String, PathBuf)],
    /// Kernel modules in the order of loading.
    pub(super) modules: &'a [PathBuf],
    /// Lines of name, program and arguments.
    pub(super) checks: &'a str,
}

/// Where a program lies in the guest.
pub(super) fn guest_path(program: &str) -> String {
    format!("/checks.d/{program}")
}

/// Packs the image into `dir` and returns its path.
pub(super) fn pack(contents: &Contents<'_>, dir: &Path) -> Result<PathBuf> {
    let root = fresh(&dir.join("root"))?;
    for sub in [
        "proc",
        "sys",
        "dev",
        "tmp",
        "bin",
        "usr/sbin",
        "checks.d",
        "modules.d",
    ] {
        create(&root.join(sub))?;
    }
    let busybox = process::find("busybox").context("busybox is gone")?;
    copy_with_libraries(&busybox, &root, "bin/busybox")?;
    // busybox has an `ip` of its own that knows no veth.
    let ip = process::find("ip").context("ip is gone")?;
    copy_with_libraries(&ip, &root, "usr/sbin/ip")?;
    for (name, program) in contents.programs {
        let to = root.join(guest_path(name).trim_start_matches('/'));
        // A debug build is a hundred megabytes of symbols, and this is the guest's memory.
        process::run(process::command("strip").arg("-o").arg(&to).arg(program))?;
    }
    let mut modules = String::new();
    for (number, module) in contents.modules.iter().enumerate() {
        let to = format!("modules.d/{number}.ko");
        unpack(module, &root.join(&to))?;
        modules.push_str(&format!("/{to}\n"));
    }
    write(&root.join("modules"), &modules)?;
    write(&root.join("checks"), contents.checks)?;
    write(&root.join("init"), INIT)?;
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))
        .context("making init executable")?;
    archive(&root, &dir.join("initramfs"))
}

fn archive(root: &Path, image: &Path) -> Result<PathBuf> {
    let mut pack = process::command("sh");
    // In order, so that the same files give the same image.
    pack.args([
        "-c",
        "find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0",
    ]);
    let file = File::create(image).with_context(|| format!("creating {}", image.display()))?;
    process::run(pack.current_dir(root).stdout(file))?;
    Ok(image.to_path_buf())
}

fn copy_with_libraries(program: &Path, root: &Path, to: &str) -> Result<()> {
    copy(program, &root.join(to))?;
    // Of a static program ldd only says that it is one, and fails.
    let listed = process::output(process::command("ldd").arg(program)).unwrap_or_default();
    for library in libraries(&listed) {
        let to = root.join(library.trim_start_matches('/'));
        create(to.parent().unwrap_or(root))?;
        copy(Path::new(library), &to)?;
    }
    Ok(())
}

/// The files that `ldd` lists: `name => /path (address)`, and the loader without a name.
fn libraries(ldd: &str) -> Vec<&str> {
    ldd.split_whitespace()
        .filter(|word| word.starts_with('/'))
        .collect()
}

fn unpack(module: &Path, to: &Path) -> Result<()> {
    match module.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => copy(module, to),
        Some("xz") => {
            let file = File::create(to).with_context(|| format!("creating {}", to.display()))?;
            process::run(process::command("xz").arg("-dc").arg(module).stdout(file))
        }
        _ => bail!("{} is packed in an unknown way", module.display()),
    }
}

fn create(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("copying {} to {}", from.display(), to.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_libraries_include_the_loader() {
        let text = "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/libc.so.6 (0x2)\n\t\
                    /lib64/ld-linux-x86-64.so.2 (0x3)\n";
        assert_eq!(
            libraries(text),
            ["/lib/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]
        );
    }
}
