//! Memory for the maps of a configuration, against what is there.

use std::path::Path;

use super::Finding;
use crate::config::Config;
use crate::daemon;
use crate::datapath::Memory;
use crate::host::file;

const MEGABYTE: u64 = 1_000_000;

/// What the maps take, in bytes.
#[derive(Clone, Copy, Debug)]
struct Need {
    /// At the start.
    start: u64,
    /// When every table is full.
    full: u64,
}

pub(super) fn look(config: &Config) -> Finding {
    let full = Memory::when_full(&daemon::capacity(config));
    let need = Need {
        start: full.total() - full.allow - full.block - full.overrides,
        full: full.total(),
    };
    let meminfo = file::read(Path::new("/proc/meminfo"), 64 << 10).ok();
    judge(need, meminfo.as_deref().and_then(available), cgroup_room())
}

/// `room` is what the control group leaves, where it has a bound: maps count against it.
fn judge(need: Need, available: Option<u64>, room: Option<u64>) -> Finding {
    const CHECK: &str = "memory";
    let mb = |bytes: u64| format!("{} MB", bytes.div_ceil(MEGABYTE));
    let takes = format!(
        "the maps take {} at the start and about {} when all is full",
        mb(need.start),
        mb(need.full)
    );
    let Some(available) = available else {
        return Finding::ok(CHECK, format!("{takes}; what is free can't be told"));
    };
    let (left, whose) = match room {
        Some(room) if room < available => (room, "this control group"),
        Some(_) | None => (available, "this host"),
    };
    let what = format!("{takes}; {whose} has {} left", mb(left));
    let fix = "smaller tables under [capacity]: xdp-throttle check shows what each takes";
    if need.start > left {
        return Finding::fail(CHECK, what, "the daemon can't start", fix);
    }
    if need.full > left {
        let why = "entries would be refused, or the kernel would look for memory elsewhere, once \
                   the lists have grown";
        return Finding::warn(CHECK, what, why, fix);
    }
    Finding::ok(CHECK, what)
}

/// `MemAvailable` in bytes.
fn available(meminfo: &str) -> Option<u64> {
    let mut lines = meminfo.lines();
    let line = lines.find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kilobytes.saturating_mul(1024))
}

/// What this process's own control group leaves (cgroup v2, `memory.max`). A service has another one.
fn cgroup_room() -> Option<u64> {
    let own = file::read(Path::new("/proc/self/cgroup"), 4096).ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let directory = Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/'));
    let number = |name: &str| -> Option<u64> {
        let text = file::read(&directory.join(name), 32).ok()?;
        text.trim().parse().ok()
    };
    Some(number("memory.max")?.saturating_sub(number("memory.current")?))
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    const NEED: Need = Need {
        start: 40 * MEGABYTE,
        full: 200 * MEGABYTE,
    };

    #[test]
    fn what_is_left_decides() {
        let level = |available, room| judge(NEED, available, room).level;
        assert_eq!(level(Some(NEED.full), None), Level::Ok);
        assert_eq!(level(Some(NEED.full - 1), None), Level::Warn);
        assert_eq!(level(Some(NEED.start - 1), None), Level::Fail);
        assert_eq!(level(Some(u64::MAX), Some(NEED.start - 1)), Level::Fail);
        assert_eq!(level(None, None), Level::Ok);
        let found = judge(NEED, Some(u64::MAX), Some(50 * MEGABYTE));
        assert!(found.what.contains("control group has 50 MB"), "{found:?}");
    }

    #[test]
    fn available_memory_is_read_in_kibibytes() {
        let text = "MemTotal:  8000 kB\nMemFree: 1 kB\nMemAvailable:    3000 kB\n";
        assert_eq!(available(text), Some(3000 * 1024));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
    }

    #[test]
    fn larger_tables_need_more_at_the_start() {
        let config = |sources| {
            let text = format!("[capacity]\nsources = {sources}\n");
            Config::parse(&text, "test").unwrap().config
        };
        let need = |config: &Config| Memory::when_full(&daemon::capacity(config)).total();
        assert!(need(&config(16_777_216)) > 2_000 * MEGABYTE);
        assert_eq!(look(&config(1024)).check, "memory");
    }
}
