//! `limit`: what a source may send.

use clap::Subcommand;

use super::Session;
use super::table::{Table, numbers, words};
use crate::api::types::{LimitFields, LimitList, LimitView, SetLimits};
use crate::domain::{BitRate, Burst, ByteSize, ConnectionRate, PacketRate, Prefix};

const EXAMPLES: &str = "\
Examples:
  xdp-throttle limit show
  xdp-throttle limit set --packets 20kpps --bytes 200Mbps
  xdp-throttle limit set --prefix 198.51.100.0/24 --tcp-new off

A limit holds for each source by itself: every IPv4 address and every IPv6 /64, unless `[source]`
in the configuration says otherwise. A burst is what a source may send at once after a pause.";

const SET_EXAMPLES: &str = "\
Examples:
  xdp-throttle limit set --packets 20kpps --packets-burst 40k
  xdp-throttle limit set --bytes 200Mbps --bytes-burst 4MB --tcp-new 100/s
  xdp-throttle limit set --prefix 198.51.100.0/24 --packets off
  xdp-throttle limit set --prefix 198.51.100.0/24 --reset
  xdp-throttle limit set --reset

What is left out stays as it is. Takes effect at once and outlives a restart, until --reset, which
forgets everything that was set, for prefixes as well; with --prefix only what was set for that one.";

// What clap makes of the group is one line with every option in it.
const SET_USAGE: &str = "\
xdp-throttle limit set [--prefix <PREFIX>] <LIMIT>...
       xdp-throttle limit set [--prefix <PREFIX>] --reset";

const SHOW_EXAMPLES: &str = "\
Examples:
  xdp-throttle limit show
  xdp-throttle limit show --output json";

/// Show and set how much a source may send
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the limits of everybody and of single prefixes
    #[command(after_help = SHOW_EXAMPLES)]
    Show,
    Set(SetArgs),
}

/// Set limits until they are reset
#[derive(Debug, clap::Args)]
#[command(
    after_help = SET_EXAMPLES,
    override_usage = SET_USAGE,
    group = clap::ArgGroup::new("change").required(true).multiple(true)
)]
pub(crate) struct SetArgs {
    /// Only for sources in this prefix; everybody if left out
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<Prefix>,
    /// Forget what was set, for everybody and every prefix, or only for --prefix: the configuration's
    /// limits are in force again
    #[arg(long, group = "change", conflicts_with_all = ["packets", "packets_burst", "bytes", "bytes_burst", "tcp_new", "tcp_new_burst"])]
    reset: bool,
    /// Packets per second: 500pps, 20kpps; or off
    #[arg(long, group = "change", value_name = "RATE", value_parser = or_off::<PacketRate>, help_heading = "Limits")]
    packets: Option<String>,
    /// Packets at once
    #[arg(long, group = "change", value_name = "N", value_parser = checked::<Burst>, help_heading = "Limits")]
    packets_burst: Option<String>,
    /// Bits per second: 64kbps, 200Mbps; or off
    #[arg(long, group = "change", value_name = "RATE", value_parser = or_off::<BitRate>, help_heading = "Limits")]
    bytes: Option<String>,
    /// Bytes at once: 256KiB, 4MB
    #[arg(long, group = "change", value_name = "SIZE", value_parser = checked::<ByteSize>, help_heading = "Limits")]
    bytes_burst: Option<String>,
    /// New TCP connections per second: 100/s; or off
    #[arg(long, group = "change", value_name = "RATE", value_parser = or_off::<ConnectionRate>, help_heading = "Limits")]
    tcp_new: Option<String>,
    /// New TCP connections at once
    #[arg(long, group = "change", value_name = "N", value_parser = checked::<Burst>, help_heading = "Limits")]
    tcp_new_burst: Option<String>,
}

/// The value's own spelling, if it is one.
fn checked<T>(text: &str) -> Result<String, T::Err>
where
    T: std::str::FromStr + ToString,
{
    Ok(text.parse::<T>()?.to_string())
}

fn or_off<T>(text: &str) -> Result<String, T::Err>
where
    T: std::str::FromStr + ToString,
{
    match text {
        "off" => Ok(text.to_owned()),
        rate => checked::<T>(rate),
    }
}

impl Args {
    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        let limits = match self.verb {
            Verb::Show => session.client.limits().await?,
            Verb::Set(args) => session.client.set_limits(&args.request()).await?,
        };
        session.output.show(&limits, render)
    }
}

impl SetArgs {
    fn request(self) -> SetLimits {
        SetLimits {
            prefix: self.prefix,
            reset: self.reset,
            limits: LimitFields {
                packets: self.packets,
                packets_burst: self.packets_burst,
                bytes: self.bytes,
                bytes_burst: self.bytes_burst,
                tcp_new: self.tcp_new,
                tcp_new_burst: self.tcp_new_burst,
            },
        }
    }
}

fn render(list: &LimitList) -> String {
    render_views(&list.limits)
}

/// Also for `explain`.
pub(crate) fn render_views(limits: &[LimitView]) -> String {
    let mut table = Table::new([
        words("sources"),
        numbers("packets"),
        numbers("burst"),
        numbers("bits"),
        numbers("burst"),
        numbers("new TCP"),
        numbers("burst"),
        words("set by"),
    ]);
    for view in limits {
        let everybody = "all others".to_owned();
        let given = |field: &Option<String>| field.clone().unwrap_or_else(|| "-".to_owned());
        let fields = &view.limits;
        table.row([
            view.prefix.map_or(everybody, |prefix| prefix.to_string()),
            given(&fields.packets),
            given(&fields.packets_burst),
            given(&fields.bytes),
            given(&fields.bytes_burst),
            given(&fields.tcp_new),
            given(&fields.tcp_new_burst),
            view.origin.clone(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    #[test]
    fn limits_show_with_their_bursts() {
        let text = render(&samples::limits());
        let lines: Vec<&str> = text.lines().collect();
        for part in ["all others", "20kpps", "200Mbps", "4MB", "100cps", "config"] {
            assert!(lines[1].contains(part), "{part} in {}", lines[1]);
        }
        for part in ["198.51.100.0/24", "off", "-", "runtime"] {
            assert!(lines[2].contains(part), "{part} in {}", lines[2]);
        }
    }

    #[test]
    fn rates_are_checked_before_they_are_sent() {
        assert_eq!(or_off::<ConnectionRate>("100/s").unwrap(), "100cps");
        assert_eq!(or_off::<PacketRate>("off").unwrap(), "off");
        or_off::<PacketRate>("20").unwrap_err();
        checked::<Burst>("off").unwrap_err();
    }
}
