//! `status`: the whole picture on one page.

use jiff::Timestamp;
use xdp_common::reason::{Class, Reason};

use super::Session;
use super::classes::render_mitigation;
use super::table::{Table, numbers, words};
use super::{flows, format, host, not_ip, reach};
use crate::api::types::{
    InterfaceStatus, ListStatus, MapStatus, PinStatus, PrivilegeStatus, ReasonCount, Status,
    TableStatus, WaitReason,
};

const EXAMPLES: &str = "\
Examples:
  xdp-throttle status
  xdp-throttle status --all                  also the reasons that no packet had, and all maps
  xdp-throttle status --output json | jq '.reasons[] | select(.packets > 0)'
  watch -n1 xdp-throttle status

Every packet is counted under exactly one reason. `observed` is what would have been dropped or
answered if that weren't switched to observe; `answered` is a SYN that got a cookie in the host's
place. Service classes are shown that are pressed or have refused something; `classes` shows all.
What was lost before and behind the program is counted by the link, its driver and the kernel, and
is no part of its counts.";

/// Show what the daemon protects, what it dropped and why, and how full its tables are
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Show the reasons and faults that were never counted, too, and the memory of every map
    #[arg(long)]
    all: bool,
}

impl Args {
    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        let status = session.client.status().await?;
        let now = Timestamp::now();
        let page = |status: &Status| render(status, self.all, now);
        session.output.show(&status, page)
    }
}

fn render(status: &Status, all: bool, now: Timestamp) -> String {
    let sections = [
        render_head(status, now),
        render_warnings(&status.warnings),
        render_interfaces(&status.interfaces),
        render_reasons(&status.reasons, all),
        render_mitigation(&status.mitigation, all, now),
        render_tables(&status.tables),
        render_maps(&status.maps, all),
        render_lists(&status.lists),
        host::render(&status.host, all),
        reach::render(&status.reach, all),
        not_ip::render(&status.not_ip),
        render_faults(status, all),
    ];
    let sections = sections.into_iter().filter(|section| !section.is_empty());
    sections.collect::<Vec<_>>().join("\n")
}

fn render_head(status: &Status, now: Timestamp) -> String {
    let up = format::span(format::seconds_between(status.started, now));
    let config = &status.config;
    let observed = if status.observe_reasons.is_empty() {
        String::new()
    } else {
        format!(", only counted: {}", status.observe_reasons.join(", "))
    };
    let verified = status.verified_instructions.map(|instructions| {
        let instructions = format::count(instructions.into());
        let stages = if status.stages.is_empty() {
            String::new()
        } else {
            format!(" with {}", status.stages.join(", "))
        };
        format!(", program verified in {instructions} instructions{stages}")
    });
    let mut text = format!(
        "xdp-throttle {}, pid {}, up {up}\n\
         mode     {}{observed}\n\
         config   {}, in force since {}, {}, {} refused\n",
        status.version,
        status.pid,
        status.mode,
        config_name(&config.path),
        format::time(config.loaded),
        format::plural(config.reloads, "reload", "reloads"),
        format::count(config.refused),
    );
    if let Some(pending) = &status.pending {
        text += &format!(
            "         not confirmed: the one before comes back in {} s, `xdp-throttle confirm` keeps it\n",
            pending.seconds_left
        );
    }
    if let Some(error) = &config.last_error {
        let mut lines = error.lines();
        let first = lines.next().unwrap_or_default();
        text += &format!(
            "         the last reload was refused: {}\n",
            format::printable(first)
        );
        for line in lines {
            text += &format!("           {}\n", format::printable(line.trim_end()));
        }
    }
    text + &format!(
        "kernel   {}{}\n\
         memory   {} in kernel maps\n\
         bans     {} in force\n\
         sources  {} protected from newcomers\n\
         flows    {}\n\
         rights   {}\n\
         pins     {}\n",
        format::printable(&status.kernel),
        verified.unwrap_or_default(),
        format::bytes(status.memory_bytes),
        format::count(status.bans),
        format::count(status.protected_sources),
        flows::standing(&status.flow_memory),
        rights(&status.privileges),
        pins(&status.pins),
    )
}

fn rights(privileges: &PrivilegeStatus) -> String {
    let capabilities = match privileges.capabilities.as_slice() {
        [] => "no capability".to_owned(),
        held => held.join(" "),
    };
    let why = privileges.files_why.as_deref();
    let why = why.map_or_else(String::new, |why| format!(": {}", format::printable(why)));
    format!(
        "{}, {capabilities}, files {}{why}",
        format::printable(&privileges.user),
        privileges.files,
    )
}

fn pins(pins: &PinStatus) -> String {
    let Some(directory) = &pins.directory else {
        return "none: what is attached ends with the daemon".to_owned();
    };
    let start = match (pins.start.as_str(), &pins.why) {
        ("took_over", _) => "took over what was in force".to_owned(),
        ("refilled", Some(why)) => format!("new tables, because {}", format::printable(why)),
        _ => "begun anew".to_owned(),
    };
    let end = match pins.on_exit.as_str() {
        "detach" => "detached at the end",
        _ => "kept at the end",
    };
    format!("{}, {start}, {end}", format::printable(directory))
}

fn config_name(path: &str) -> String {
    if path.is_empty() {
        return "built-in defaults".to_owned();
    }
    format::printable(path)
}

fn render_warnings(warnings: &[String]) -> String {
    let lines = warnings.iter();
    lines
        .map(|warning| format!("warning: {}\n", format::printable(warning)))
        .collect()
}

fn render_interfaces(interfaces: &[InterfaceStatus]) -> String {
    if interfaces.is_empty() {
        return "no interface is protected\n".to_owned();
    }
    let mut table = Table::new([
        words("interface"),
        words("attached"),
        words("egress"),
        numbers("packets"),
        numbers("refused"),
        numbers("share"),
    ]);
    for interface in interfaces {
        let packets = interface.reasons.iter().map(|count| count.packets).sum();
        let refused = interface.reasons.iter().filter(|count| is_refused(count));
        let refused = refused.map(|count| count.packets).sum();
        table.row([
            name(interface),
            attachment(interface),
            flows::egress(interface),
            format::count(packets),
            format::count(refused),
            format::share(refused, packets),
        ]);
    }
    table.render()
}

fn attachment(interface: &InterfaceStatus) -> String {
    let mode = interface.mode.as_deref();
    match (interface.attached, mode) {
        (true, Some("generic")) => "generic (slow)".to_owned(),
        (true, Some(mode)) => mode.to_owned(),
        (true, None) => "yes".to_owned(),
        (false, _) => match interface.waiting {
            Some(WaitReason::Missing) => "NO, waits: it doesn't exist".to_owned(),
            Some(WaitReason::Occupied) => "NO, waits: another program is on it".to_owned(),
            Some(WaitReason::NoNative) => "NO, waits: no native mode".to_owned(),
            Some(WaitReason::Unreadable) => "NO: of a kind that isn't read".to_owned(),
            Some(WaitReason::Refused) | None => "NO".to_owned(),
        },
    }
}

/// The kernel's name, and the configuration's where that is another one.
fn name(interface: &InterfaceStatus) -> String {
    match &interface.configured {
        Some(configured) => format!("{} (configured as {configured})", interface.name),
        None => interface.name.clone(),
    }
}

/// Dropped, or answered in the host's place: the host didn't see it.
pub(super) fn is_refused(count: &ReasonCount) -> bool {
    ["dropped", "answered"].contains(&count.action.as_str())
}

fn render_reasons(reasons: &[ReasonCount], all: bool) -> String {
    let packets = reasons.iter().map(|count| count.packets).sum();
    let bytes = reasons.iter().map(|count| count.bytes).sum();
    let mut shown: Vec<_> = reasons
        .iter()
        .filter(|count| all || count.packets != 0)
        .collect();
    if shown.is_empty() {
        return "no packets yet\n".to_owned();
    }
    shown.sort_by_key(|count| std::cmp::Reverse(count.packets));
    let mut table = Table::new([
        words("reason"),
        words("action"),
        numbers("packets"),
        numbers("bytes"),
        numbers("share"),
    ]);
    for count in shown {
        table.row([
            count.reason.clone(),
            action(count),
            format::count(count.packets),
            format::bytes(count.bytes),
            format::share(count.packets, packets),
        ]);
    }
    table.row([
        "total".to_owned(),
        String::new(),
        format::count(packets),
        format::bytes(bytes),
        String::new(),
    ]);
    table.render()
}

/// A reason to drop or to answer that passed was only observed.
pub(super) fn action(count: &ReasonCount) -> String {
    let drops = |reason: Reason| reason.class() != Class::Pass;
    if !is_refused(count) && Reason::from_name(&count.reason).is_some_and(drops) {
        "observed".to_owned()
    } else {
        count.action.clone()
    }
}

fn render_tables(tables: &[TableStatus]) -> String {
    let mut table = Table::new([
        words("table"),
        numbers("entries"),
        numbers("capacity"),
        numbers("full"),
        numbers("memory"),
        words("when full"),
    ]);
    for status in tables {
        table.row([
            status.name.clone(),
            format::count(status.entries),
            format::count(status.capacity),
            format::share(status.entries, status.capacity),
            format::bytes(status.memory_bytes),
            status.when_full.clone(),
        ]);
    }
    table.render()
}

fn render_maps(maps: &[MapStatus], all: bool) -> String {
    if !all || maps.is_empty() {
        return String::new();
    }
    let mut table = Table::new([words("other map"), numbers("memory")]);
    for map in maps {
        table.row([
            format::printable(&map.name),
            format::bytes(map.memory_bytes),
        ]);
    }
    table.render()
}

fn render_lists(lists: &[ListStatus]) -> String {
    if lists.is_empty() {
        return String::new();
    }
    let mut table = Table::new([words("list"), words("kind"), numbers("entries")]);
    for list in lists {
        table.row([
            list.name.to_string(),
            list.kind.name().to_owned(),
            format::count(list.entries),
        ]);
    }
    table.render()
}

fn render_faults(status: &Status, all: bool) -> String {
    let mut table = Table::new([words("fault of our own"), numbers("times")]);
    let faults = status.faults.iter();
    let shown: Vec<_> = faults.filter(|fault| all || fault.count != 0).collect();
    if shown.is_empty() {
        return "no faults of our own\n".to_owned();
    }
    for fault in shown {
        table.row([fault.name.clone(), format::count(fault.count)]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    fn line<'t>(text: &'t str, start: &str) -> &'t str {
        let found = text.lines().find(|line| line.starts_with(start));
        found.unwrap_or_else(|| panic!("no line {start:?} in\n{text}"))
    }

    #[test]
    fn the_page_has_everything_an_operator_asks_for() {
        let text = render(&samples::status(), false, samples::now());
        assert_eq!(
            line(&text, "xdp-throttle"),
            "xdp-throttle 0.1.0, pid 4711, up 3h12m"
        );
        assert_eq!(
            line(&text, "mode"),
            "mode     enforce, only counted: rate_bytes"
        );
        assert!(line(&text, "config").contains("2 reloads, 1 refused"));
        assert!(text.contains("the last reload was refused: c.toml:3:1: mode: nonsense"));
        assert!(
            line(&text, "kernel")
                .ends_with("program verified in 1,512 instructions with bans, tcp_flags, classes")
        );
        assert_eq!(line(&text, "memory"), "memory   38.2 MB in kernel maps");
        assert_eq!(line(&text, "bans"), "bans     12 in force");
        assert_eq!(
            line(&text, "sources  4"),
            "sources  40,000 protected from newcomers"
        );
        assert_eq!(
            line(&text, "rights"),
            "rights   xdp-throttle, CAP_BPF CAP_NET_ADMIN, files partly restricted: this kernel's \
             Landlock is an older one"
        );
        assert_eq!(
            line(&text, "warning"),
            "warning: eth1 is attached in generic mode"
        );
        let sources = line(&text, "sources   65,536");
        assert!(
            sources.contains("50.0%  18.0 MB  a new source"),
            "{sources}"
        );
        assert!(line(&text, "spamhaus-drop").contains("block"));
        assert!(line(&text, "event_lost").ends_with("  7"));
        assert!(!text.contains("ban_table_full"));
        assert!(line(&text, "before and behind").ends_with("own count"));
        assert!(line(&text, "eth0       1,000,000").ends_with("missed 1,200, crc 3"));
        assert!(text.lines().all(|line| line == line.trim_end()), "{text}");
    }

    #[test]
    fn the_memory_of_every_map_is_on_the_whole_page_only() {
        let text = |all| render(&samples::status(), all, samples::now());
        assert!(!text(false).contains("class_table"));
        let all = text(true);
        assert!(line(&all, "class_table").ends_with("  790.0 kB"), "{all}");
    }

    #[test]
    fn an_answered_packet_is_refused_and_one_that_passed_is_observed() {
        let count = |action: &str, packets| ReasonCount {
            reason: "syn_cookie".into(),
            action: action.into(),
            packets,
            bytes: 0,
        };
        let text = render_reasons(&[count("answered", 7), count("passed", 3)], false);
        assert!(line(&text, "syn_cookie").contains("answered"), "{text}");
        assert!(text.contains("observed"), "{text}");
        let mut interface = samples::status().interfaces.remove(0);
        interface.reasons = vec![count("answered", 30), count("passed", 10)];
        let text = render_interfaces(&[interface]);
        assert!(line(&text, "eth0").ends_with("30  75.0%"), "{text}");
    }

    #[test]
    fn classes_in_need_are_on_the_page_and_calm_ones_are_not() {
        let text = render(&samples::status(), false, samples::now());
        assert!(line(&text, "tcp-new").contains("attack"), "{text}");
        assert!(!text.contains("\nudp "), "{text}");
        assert!(
            text.contains("eth1 ipv6: classes stand aside: eth1 forwards"),
            "{text}"
        );
        let all = render(&samples::status(), true, samples::now());
        assert!(line(&all, "udp ").contains("normal"), "{all}");
    }

    #[test]
    fn interfaces_say_how_they_are_attached() {
        let text = render_interfaces(&samples::status().interfaces);
        let eth0 = line(&text, "eth0");
        assert!(eth0.contains("native") && eth0.ends_with("50.0%"), "{eth0}");
        assert!(line(&text, "eth1").contains("generic (slow)"));
        assert!(line(&text, "eth9").contains("NO, waits: it doesn't exist"));
    }

    #[test]
    fn reasons_are_sorted_with_their_share_and_zeros_left_out() {
        let text = render_reasons(&samples::status().reasons, false);
        assert_eq!(
            text,
            "REASON       ACTION      PACKETS     BYTES  SHARE\n\
             accepted     passed      900,000  900.0 MB  90.0%\n\
             blocklisted  dropped      90,000    5.8 MB   9.0%\n\
             rate_bytes   observed     10,000   15.0 MB   1.0%\n\
             total                  1,000,000  920.8 MB\n"
        );
        let all = render_reasons(&samples::status().reasons, true);
        assert!(all.contains("\nland "), "{all}");
    }
}
