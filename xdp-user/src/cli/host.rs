//! The part of `status` about losses that aren't the program's.

use super::format;
use super::table::{Table, numbers, words};
use crate::api::types::{HostStatus, NamedCount};
use crate::host::lost::HostLoss;

/// What the link and the kernel lost, and what the kernel did about floods itself.
pub(crate) fn render(host: &HostStatus, all: bool) -> String {
    let sections = [interfaces(host, all), lost(host, all), cookies(host, all)].concat();
    if sections.is_empty() {
        return String::new();
    }
    format!("before and behind the program, since boot and by the kernel's own count\n{sections}")
}

fn interfaces(host: &HostStatus, all: bool) -> String {
    if host.interfaces.is_empty() {
        return String::new();
    }
    let mut table = Table::new([
        words("interface"),
        numbers("received"),
        numbers("bytes"),
        words("lost by link and driver"),
    ]);
    for interface in &host.interfaces {
        let lost = listed(&interface.lost, all);
        table.row([
            interface.name.clone(),
            format::count(interface.packets),
            format::bytes(interface.bytes),
            lost.unwrap_or_else(|| "nothing".to_owned()),
        ]);
    }
    table.render()
}

fn lost(host: &HostStatus, all: bool) -> String {
    let counts = host.lost.iter();
    let shown: Vec<_> = counts.filter(|one| all || one.count != 0).collect();
    if shown.is_empty() {
        return match host.lost.is_empty() {
            true => String::new(),
            false => "nothing lost by the kernel\n".to_owned(),
        };
    }
    let mut table = Table::new([
        words("lost by the kernel"),
        numbers("times"),
        words("meaning"),
    ]);
    for count in shown {
        let loss = HostLoss::ALL.iter().find(|loss| loss.name() == count.name);
        let meaning = loss.map_or("", |loss| loss.description());
        table.row([
            count.name.clone(),
            format::count(count.count),
            meaning.to_owned(),
        ]);
    }
    table.render()
}

fn cookies(host: &HostStatus, all: bool) -> String {
    let mut text = String::new();
    if let Some(squeezes) = host.time_squeezes.filter(|squeezes| all || *squeezes != 0) {
        text += &format!(
            "a CPU ended its turn with packets left: {}\n",
            format::plural(squeezes, "time", "times")
        );
    }
    if let Some(cookies) = listed(&host.syn_cookies, all) {
        text += &format!("SYN cookies of the kernel: {cookies}\n");
    }
    text
}

/// `missed 12, crc 3`; `None` when there is nothing to list.
fn listed(counts: &[NamedCount], all: bool) -> Option<String> {
    let shown = counts.iter().filter(|one| all || one.count != 0);
    let shown: Vec<String> = shown
        .map(|one| format!("{} {}", one.name, format::count(one.count)))
        .collect();
    (!shown.is_empty()).then(|| shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    #[test]
    fn losses_are_told_by_their_cause_and_zeros_left_out() {
        let text = render(&samples::host(), false);
        let expected = "\
before and behind the program, since boot and by the kernel's own count
INTERFACE   RECEIVED     BYTES  LOST BY LINK AND DRIVER
eth0       1,000,000  900.0 MB  missed 1,200, crc 3
eth1               0       0 B  nothing
LOST BY THE KERNEL  TIMES  MEANING
listen_overflow         7  Connections that found a listener's accept queue full: the service accepts too slowly, or its backlog is too short.
a CPU ended its turn with packets left: 1 time
SYN cookies of the kernel: sent 40, received 2
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_host_that_loses_nothing_says_so_and_all_shows_the_zeros() {
        let mut host = samples::host();
        host.lost.iter_mut().for_each(|count| count.count = 0);
        host.syn_cookies.clear();
        host.time_squeezes = Some(0);
        let text = render(&host, false);
        assert!(text.ends_with("nothing lost by the kernel\n"), "{text}");
        let all = render(&host, true);
        let words: Vec<&str> = all.split_whitespace().collect();
        let words = words.join(" ");
        for zero in ["no_handler 0", "listen_overflow 0", "left: 0 times"] {
            assert!(words.contains(zero), "{all}");
        }
    }

    #[test]
    fn a_daemon_without_figures_has_no_such_section() {
        assert_eq!(render(&HostStatus::default(), true), "");
    }
}
