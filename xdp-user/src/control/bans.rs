//! Bans: restoring, listing, lifting, sweeping. The program begins them.

use anyhow::Result;
use xdp_common::abi::{Ban, Event, SourceKey};
use xdp_common::reason::Reason;

use super::Control;
use super::clock::Moment;
use crate::api::types::{
    BanBegan, BanEnded, BanList, BanView, Happening, LiftBans, LiftReport, UnbanCause,
};
use crate::datapath::keys::{decode_source, source_to_abi};
use crate::domain::Prefix;
use crate::state::BanRow;

/// Whether it is one address of a link, where each is a source.
fn is_link_local(prefix: &Prefix) -> bool {
    match prefix.network() {
        std::net::IpAddr::V6(address) => address.is_unicast_link_local(),
        std::net::IpAddr::V4(_) => false,
    }
}

impl Control {
    /// Bans in force, the latest first.
    pub fn list_bans(&mut self) -> Result<BanList> {
        let now = Self::now();
        let mut current: Vec<(SourceKey, Ban)> = self
            .datapath
            .bans()?
            .into_iter()
            .filter(|(_, ban)| ban.until_ns > now.boot_ns)
            .collect();
        current.sort_by_key(|(_, ban)| std::cmp::Reverse(ban.since_ns));
        let bans = current
            .iter()
            .filter_map(|(key, ban)| Some(ban_view(decode_source(key)?, ban, now)))
            .collect();
        Ok(BanList { bans })
    }

    /// Ends bans now; what was remembered of them goes too.
    pub fn lift_bans(&mut self, request: &LiftBans) -> Result<LiftReport> {
        let mut sources: Vec<(String, Prefix)> = Vec::new();
        for asked in &request.sources {
            sources.push((asked.to_string(), self.source_of(&asked.prefix())));
        }
        if request.all {
            let all = self.datapath.bans()?;
            sources.extend(
                all.iter()
                    .filter_map(|(key, _)| decode_source(key))
                    .map(|p| (p.to_string(), p)),
            );
        }
        let mut report = LiftReport {
            lifted: 0,
            missing: Vec::new(),
        };
        let lifted: Vec<Prefix> = sources.iter().map(|(_, source)| *source).collect();
        // The disk first: a ban that is gone from the kernel must not come back with a restart.
        self.state.remove_bans(&lifted)?;
        for (asked, source) in sources {
            if self.datapath.remove_ban(&source_to_abi(&source))? {
                report.lifted += 1;
                self.note(Happening::Unban(BanEnded {
                    source,
                    cause: UnbanCause::Lifted,
                }));
            } else {
                report.missing.push(asked);
            }
        }
        Ok(report)
    }

    /// Notes bans that the program began, all of them on disk at once.
    pub fn note_events(&mut self, events: &[Event]) -> Result<()> {
        let mut bans = Vec::new();
        for event in events {
            // A ban lifted since would come back with a restart.
            if self.datapath.ban(&event.source)?.is_some() {
                bans.extend(self.banned(event));
            }
        }
        self.state.put_bans(&bans)
    }

    fn banned(&self, event: &Event) -> Option<BanRow> {
        let now = Self::now();
        let source = decode_source(&event.source)?;
        let (since, until) = (now.to_wall(event.time_ns), now.to_wall(event.until_ns));
        let ban = Happening::Ban(BanBegan {
            source,
            until,
            level: event.level,
            reason: reason_name(event.reason).to_owned(),
        });
        self.journal.publish(since, ban);
        Some(BanRow {
            source,
            since,
            until,
            level: event.level,
            reason: event.reason,
        })
    }

    /// The source that an address or prefix counts as under the configuration.
    pub(super) fn source_of(&self, prefix: &Prefix) -> Prefix {
        let length = if prefix.is_ipv4() {
            self.config.source.ipv4_prefix
        } else {
            self.config.source.ipv6_prefix
        };
        if prefix.is_host() && !is_link_local(prefix) {
            Prefix::new(prefix.network(), length).unwrap_or(*prefix)
        } else {
            *prefix
        }
    }

    pub(super) fn restore_bans(&mut self) -> Result<()> {
        let now = Self::now();
        let mut over = Vec::new();
        let (mut lost, mut why) = (0u64, None);
        // A calendar that was wrong when the ban began, or is now, must not make it last for years.
        let latest_ns = now
            .boot_ns
            .saturating_add(self.config.ban.max_duration.as_nanos());
        for row in self.state.bans()? {
            let ban = Ban {
                until_ns: now.to_boot_ns(row.until).min(latest_ns),
                since_ns: now.to_boot_ns(row.since),
                packets: 0,
                bytes: 0,
                level: row.level,
                reason: row.reason,
            };
            if self.is_forgotten(&ban, now) {
                over.push(row.source);
            } else if self.is_in_force(&row.source, &ban)? {
                // In maps that were taken over: with what it counted.
            } else if let Err(error) = self.datapath.put_ban(&source_to_abi(&row.source), &ban) {
                lost += 1;
                why = Some(error);
            }
        }
        if let Some(error) = why {
            self.warnings
                .push(format!("{lost} bans could not be restored: {error}"));
        }
        self.state.remove_bans(&over)
    }

    /// Whether the program holds this ban, or one that lasts longer.
    fn is_in_force(&self, source: &Prefix, ban: &Ban) -> Result<bool> {
        let held = self.datapath.ban(&source_to_abi(source))?;
        // The calendar's milliseconds are coarser than the kernel's time.
        const ROUNDED_NS: u64 = 2_000_000;
        Ok(held.is_some_and(|held| held.until_ns + ROUNDED_NS >= ban.until_ns))
    }

    /// Bans that are over, and so long that the next one would start anew, make room.
    pub(super) fn sweep_bans(&mut self) -> Result<()> {
        let now = Self::now();
        let mut gone = Vec::new();
        let told_ns = std::mem::replace(&mut self.bans_told_ns, now.boot_ns);
        let bans = self.datapath.bans()?;
        let crowded = self.over_in_a_crowd(&bans, now);
        for (key, ban) in bans {
            if (told_ns + 1..=now.boot_ns).contains(&ban.until_ns)
                && let Some(source) = decode_source(&key)
            {
                let cause = UnbanCause::Ended;
                self.note(Happening::Unban(BanEnded { source, cause }));
            }
            // Read again: the program may have begun the next ban since the table was read.
            let makes_room = |ban: &Ban| self.is_forgotten(ban, now) || ban.until_ns <= crowded;
            if makes_room(&ban)
                && let Some(ban) = self.datapath.ban(&key)?
                && makes_room(&ban)
            {
                self.datapath.remove_ban(&key)?;
                gone.extend(decode_source(&key));
            }
        }
        if gone.is_empty() {
            Ok(())
        } else {
            self.state.remove_bans(&gone)
        }
    }

    /// Writes what the kernel holds, so that bans whose event was lost are on disk as well.
    pub(super) fn save_bans(&mut self) -> Result<()> {
        let now = Self::now();
        let bans: Vec<BanRow> = self
            .datapath
            .bans()?
            .iter()
            .filter_map(|(key, ban)| {
                Some(BanRow {
                    source: decode_source(key)?,
                    since: now.to_wall(ban.since_ns),
                    until: now.to_wall(ban.until_ns),
                    level: ban.level,
                    reason: ban.reason,
                })
            })
            .collect();
        self.state.put_bans(&bans)
    }

    /// Until when a ban may have lasted to lose its place at once, with the memory of its level: 0 as long as
    /// there is room. In a table that is nearly full the bans that ended first give their places back, so
    /// that forged sources, however many, don't keep the next attacker from being banned.
    fn over_in_a_crowd(&self, bans: &[(SourceKey, Ban)], now: Moment) -> u64 {
        let capacity = self.config.capacity.bans as usize;
        let (crowded, wanted) = (capacity / 8 * 7, capacity / 4 * 3);
        if bans.len() <= crowded {
            return 0;
        }
        let ends = bans.iter().map(|(_, ban)| ban.until_ns);
        let mut ended: Vec<u64> = ends.filter(|end| *end <= now.boot_ns).collect();
        ended.sort_unstable();
        let too_many = bans.len() - wanted;
        let last = ended.get(too_many - 1).or(ended.last());
        last.copied().unwrap_or(0)
    }

    fn is_forgotten(&self, ban: &Ban, now: Moment) -> bool {
        let levels = u64::from(ban.level) + 1;
        let memory_ns = self
            .config
            .ban
            .level_decay
            .as_nanos()
            .saturating_mul(levels);
        ban.until_ns.saturating_add(memory_ns) <= now.boot_ns
    }
}

pub(super) fn ban_view(source: Prefix, ban: &Ban, now: Moment) -> BanView {
    BanView {
        source,
        since: now.to_wall(ban.since_ns),
        until: now.to_wall(ban.until_ns),
        level: ban.level,
        reason: reason_name(ban.reason).to_owned(),
        packets: ban.packets,
        bytes: ban.bytes,
    }
}

fn reason_name(code: u32) -> &'static str {
    u8::try_from(code)
        .ok()
        .and_then(Reason::from_code)
        .map_or("unknown", Reason::name)
}
