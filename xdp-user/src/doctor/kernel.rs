//! The kernel: what the program needs of it, and what makes it fast.

use std::path::Path;

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use nix::time::{ClockId, clock_getres};

use super::Finding;
use crate::datapath::EgressHook;
use crate::datapath::kernel::egress::hook_of_this_kernel;
pub(super) use crate::datapath::kernel::features::program_name;
use crate::datapath::kernel::features::{Support, support};
use crate::host::file;
use crate::privileges::PINS;

const SYS: &str = "/sys";
const PROC: &str = "/proc";

pub(super) fn look() -> Vec<Finding> {
    let (sys, proc) = (Path::new(SYS), Path::new(PROC));
    let bpffs = Path::new(PINS).parent().unwrap_or(Path::new(PINS));
    let mounted = statfs(bpffs).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC);
    let mut findings = vec![
        version(&support(), &release()),
        jit(file::read_number(&proc.join("sys/net/core/bpf_jit_enable")).ok()),
        bpf_filesystem(mounted, &bpffs.display().to_string()),
        btf(sys),
        clock(file::read(&sys.join(CLOCKSOURCE), 64).ok().as_deref()),
        tick(),
        egress(hook_of_this_kernel()),
    ];
    let lockdown = file::read(&sys.join("kernel/security/lockdown"), 128).ok();
    findings.extend(lockdown.map(|modes| self::lockdown(&modes)));
    findings
}

fn release() -> String {
    let system = nix::sys::utsname::uname();
    system.map_or_else(
        |_refused| "unknown".to_owned(),
        |system| system.release().display().to_string(),
    )
}

fn version(support: &Support, release: &str) -> Finding {
    const CHECK: &str = "kernel";
    match support {
        Support::Complete => Finding::ok(CHECK, format!("Linux {release} has what is needed")),
        Support::Lacks(feature, since) => Finding::fail(
            CHECK,
            format!("Linux {release} lacks {feature}"),
            "the program can't be loaded",
            format!(
                "a kernel of Linux {since} or later; docs/kernels.md has those that are tested"
            ),
        ),
        Support::Unknown => Finding::ok(
            CHECK,
            format!("Linux {release}, not asked for what it has: that takes CAP_BPF"),
        ),
    }
}

fn jit(enabled: Option<i64>) -> Finding {
    const CHECK: &str = "jit";
    match enabled {
        Some(1..) => Finding::ok(CHECK, "BPF programs are compiled"),
        Some(..=0) => Finding::warn(
            CHECK,
            "BPF programs are interpreted",
            "every packet costs several times more",
            "sysctl -w net.core.bpf_jit_enable=1",
        ),
        None => Finding::ok(CHECK, "net.core.bpf_jit_enable can't be read by this user"),
    }
}

fn bpf_filesystem(mounted: bool, path: &str) -> Finding {
    const CHECK: &str = "bpffs";
    if mounted {
        return Finding::ok(CHECK, format!("mounted on {path}"));
    }
    Finding::warn(
        CHECK,
        format!("there is no bpffs on {path}"),
        "nothing can be pinned: what the kernel holds goes with the daemon",
        format!("mount -t bpf bpf {path}"),
    )
}

fn btf(sys: &Path) -> Finding {
    const CHECK: &str = "btf";
    let there = sys.join("kernel/btf/vmlinux").exists();
    // The program reads no kernel structure, so it loads without.
    let what = if there {
        "the kernel describes its types"
    } else {
        "the kernel doesn't describe its types; this program needs none of them"
    };
    Finding::ok(CHECK, what)
}

const CLOCKSOURCE: &str = "devices/system/clocksource/clocksource0/current_clocksource";

fn clock(source: Option<&str>) -> Finding {
    const CHECK: &str = "clock";
    /// Read over the bus or by a call to the hypervisor.
    const SLOW: [&str; 4] = ["hpet", "acpi_pm", "jiffies", "pit"];
    let Some(source) = source.map(str::trim) else {
        return Finding::ok(CHECK, "this kernel doesn't name its clock source");
    };
    if SLOW.contains(&source) {
        return Finding::warn(
            CHECK,
            format!("the clock source is {source}"),
            "it takes about a microsecond to read, for each packet whose limits are too fine for \
             the timer tick",
            "cat /sys/devices/system/clocksource/clocksource0/available_clocksource names others; \
             boot with clocksource=tsc if the CPU's is steady",
        );
    }
    Finding::ok(CHECK, format!("the clock source is {source}"))
}

fn tick() -> Finding {
    let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map(std::time::Duration::from);
    let tick = tick.unwrap_or_default();
    Finding::ok(
        "timer_tick",
        format!("{tick:?}: limits that span sixteen of them are timed by it"),
    )
}

/// What leaves is noted by a second program.
fn egress(hook: EgressHook) -> Finding {
    const CHECK: &str = "egress";
    let what = match hook {
        EgressHook::Tcx => "what leaves is noted at tcx",
        EgressHook::Clsact => {
            "what leaves is noted by a filter of the clsact qdisc (modules sch_ingress and cls_bpf): \
             tcx came with Linux 6.6"
        }
    };
    Finding::ok(CHECK, what)
}

/// `[none] integrity confidentiality`: the one in brackets is in force.
fn lockdown(modes: &str) -> Finding {
    const CHECK: &str = "lockdown";
    let in_force = modes
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'));
    match in_force {
        // It forbids to read kernel memory and to write user memory (security/lockdown), and the
        // program does neither.
        Some((mode, _)) => Finding::ok(
            CHECK,
            format!("{mode}, which forbids nothing that is needed"),
        ),
        None => Finding::ok(CHECK, "unknown"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn an_old_kernel_is_told_what_it_lacks_and_since_when() {
        let lacks = version(&Support::Lacks("XDP over frames", "5.18"), "5.10.0");
        assert_eq!(lacks.level, Level::Fail);
        assert!(lacks.what.contains("5.10.0 lacks XDP over frames"));
        assert!(lacks.fix.unwrap().contains("5.18"));
        assert_eq!(version(&Support::Complete, "6.1").level, Level::Ok);
    }

    #[test]
    fn what_makes_packets_slow_is_named_with_its_switch() {
        let slow = jit(Some(0));
        assert_eq!(slow.level, Level::Warn);
        assert_eq!(
            slow.fix.as_deref(),
            Some("sysctl -w net.core.bpf_jit_enable=1")
        );
        assert_eq!(jit(Some(1)).level, Level::Ok);
        assert_eq!(jit(None).level, Level::Ok);
        assert_eq!(clock(Some("hpet\n")).level, Level::Warn);
        assert_eq!(clock(Some("tsc\n")).what, "the clock source is tsc");
        assert_eq!(clock(None).level, Level::Ok);
    }

    #[test]
    fn the_lockdown_in_force_is_the_one_in_brackets() {
        let found = lockdown("none [integrity] confidentiality\n");
        assert!(found.what.starts_with("integrity,"), "{}", found.what);
        assert_eq!(lockdown("").what, "unknown");
    }

    #[test]
    fn a_missing_bpffs_is_told_with_the_mount() {
        let missing = bpf_filesystem(false, "/sys/fs/bpf");
        assert_eq!(missing.fix.as_deref(), Some("mount -t bpf bpf /sys/fs/bpf"));
        assert_eq!(bpf_filesystem(true, "/sys/fs/bpf").level, Level::Ok);
    }
}
