//! The command line: one file and one `Args` for each verb.

mod allow;
mod apply;
mod audit;
mod ban;
mod block;
mod capture;
mod change;
mod check;
mod classes;
mod completions;
mod detach;
mod doctor;
mod entries;
mod events;
pub mod exit;
mod explain;
mod export;
mod flows;
mod format;
mod generate_docs;
mod host;
mod lifetime;
mod limit;
mod list;
mod man;
mod not_ip;
mod output;
mod reach;
mod replay;
mod run;
mod sources;
mod status;
mod suggest;
mod table;
mod test;
mod token;
pub mod top;
mod trouble;

use std::future::Future;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::api::client::{Client, Remote};
use crate::failure::{Failure, FailureKind};
use exit::ExitCode;
pub use output::Output;

const ABOUT: &str = "\
Drop unwanted packets at the network interface, before the kernel spends memory on them.

One process, `xdp-throttle run`, loads a small program into the kernel and attaches it to your
network interfaces. That program looks at every packet that comes in and decides by its source
address: pass the allowlist, drop the blocklist, drop what is over its source's limits, and ban
for a while who keeps going over them. Service classes bound what strangers may send together, so
that a flood whose sources never repeat ends there, too. All other commands talk to that process
over a socket.";

const FIRST_STEPS: &str = "\
First steps:
  xdp-throttle check /etc/xdp-throttle/config.toml   find mistakes before they matter
  xdp-throttle doctor --interface eth0               find what this host lacks, and the fix
  xdp-throttle run --iface eth0 --observe            count what would be dropped, drop nothing
  xdp-throttle status                                see what happens
  xdp-throttle top                                   watch it as it happens, ban and allow
  xdp-throttle classes                               what strangers may send, and who is flooded
  xdp-throttle allow add 198.51.100.7                never lock yourself out
  xdp-throttle block add 203.0.113.0/24 --for 1h     drop a network for an hour
  xdp-throttle explain 203.0.113.9                   what would happen to a packet, and why
  xdp-throttle replay attack.pcap                    what the policy would do to a capture
  xdp-throttle events --follow                       what happens, as it happens

Exit codes:
  0  it worked
  1  it failed
  2  wrong usage or invalid configuration
  3  a capability or a permission is missing
  4  the kernel or a network driver lacks something

Under --output json an error is one JSON object on standard error:
  {\"error\": {\"kind\": \"failed\", \"code\": 1, \"message\": \"…\"}}

`xdp-throttle help COMMAND` says more about a command, with examples.";

/// What everybody types after `xdp-throttle`.
#[derive(Debug, Parser)]
#[command(
    name = "xdp-throttle",
    version,
    about = "Drop unwanted packets at the network interface, before the kernel spends memory on them",
    long_about = ABOUT,
    after_help = FIRST_STEPS,
    max_term_width = 100,
    infer_long_args = false
)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// Socket of the daemon to talk to; not for `run`, whose `[control]` names it
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "XDP_THROTTLE_SOCKET",
        hide_env_values = true,
        default_value = "/run/xdp-throttle/control.sock"
    )]
    socket: PathBuf,
    /// Address of a daemon to talk to over TCP, in place of a socket: `https://HOST:PORT`
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "XDP_THROTTLE_URL",
        hide_env_values = true,
        requires = "token_file"
    )]
    url: Option<String>,
    /// File with the token for --url, as `token add` prints it
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "XDP_THROTTLE_TOKEN_FILE",
        hide_env_values = true
    )]
    token_file: Option<PathBuf>,
    /// PEM file with the only authorities to trust for --url; those of the system unless given
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "XDP_THROTTLE_CA_FILE",
        hide_env_values = true
    )]
    ca_file: Option<PathBuf>,
    /// Print a table for people, or JSON for programs
    #[arg(
        long,
        global = true,
        value_name = "table|json",
        value_enum,
        hide_possible_values = true,
        default_value_t
    )]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Check(check::Args),
    Doctor(doctor::Args),
    Detach(detach::Args),
    Apply(apply::Args),
    Confirm(apply::ConfirmArgs),
    Rollback(apply::RollbackArgs),
    Status(status::Args),
    Sources(sources::Args),
    Classes(classes::Args),
    Top(top::Args),
    Explain(explain::Args),
    Events(events::Args),
    Capture(capture::Args),
    Replay(replay::Args),
    Suggest(suggest::Args),
    Block(block::Args),
    Allow(allow::Args),
    Ban(ban::Args),
    Limit(limit::Args),
    List(list::Args),
    Audit(audit::Args),
    Token(token::Args),
    Completions(completions::Args),
    Man(man::Args),
    #[command(hide = true)]
    GenerateDocs(generate_docs::Args),
}

/// The daemon to ask, and how to print its answers.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    output: Output,
}

/// Runs the command that the process was started with.
pub fn main() -> std::process::ExitCode {
    let parsed = Cli::command().try_get_matches().and_then(|matches| {
        let socket_named = matches.value_source("socket") == Some(ValueSource::CommandLine);
        Ok((Cli::from_arg_matches(&matches)?, socket_named))
    });
    let (cli, socket_named) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            let output = trouble::wanted_output(std::env::args_os().skip(1));
            return trouble::tell_usage(&error, output);
        }
    };
    let output = cli.global.output;
    match cli.execute(socket_named) {
        Ok(()) => ExitCode::Ok.into(),
        Err(error) => trouble::tell(&error, output).into(),
    }
}

impl Cli {
    fn execute(self, socket_named: bool) -> anyhow::Result<()> {
        let Global {
            socket,
            output,
            url,
            token_file,
            ca_file,
        } = self.global;
        let session = || -> anyhow::Result<Session> {
            let client = match (&url, &token_file) {
                (Some(url), Some(token)) => {
                    Client::remote(&Remote::new(url, token, ca_file.as_deref())?)?
                }
                (_, _) => Client::new(&socket)?,
            };
            Ok(Session { client, output })
        };
        match self.command {
            Command::Run(_) if socket_named => Err(Failure::new(
                FailureKind::Invalid,
                "run doesn't take --socket: write `socket = \"PATH\"` under `[control]` in the \
                 configuration",
            )
            .into()),
            Command::Run(args) => args.run(),
            Command::Check(args) => args.run(output),
            Command::Replay(args) => args.run(output),
            Command::Suggest(args) => wait(args.run(session, output)),
            Command::Doctor(args) => args.run(output),
            Command::Detach(args) => args.run(&socket, output),
            Command::Apply(args) => wait(async { args.run(&session()?).await }),
            Command::Confirm(args) => wait(async { args.run(&session()?).await }),
            Command::Rollback(args) => wait(async { args.run(&session()?).await }),
            Command::Status(args) => wait(async { args.run(&session()?).await }),
            Command::Sources(args) => wait(async { args.run(&session()?).await }),
            Command::Top(args) => wait(async { args.run(&session()?).await }),
            Command::Classes(args) => wait(async { args.run(&session()?).await }),
            Command::Explain(args) => wait(async { args.run(&session()?).await }),
            Command::Events(args) => wait(async { args.run(&session()?).await }),
            Command::Capture(args) => wait(async { args.run(&session()?).await }),
            Command::Block(args) => wait(async { args.run(&session()?).await }),
            Command::Allow(args) => wait(async { args.run(&session()?).await }),
            Command::Ban(args) => wait(async { args.run(&session()?).await }),
            Command::Limit(args) => wait(async { args.run(&session()?).await }),
            Command::List(args) => wait(async { args.run(&session()?).await }),
            Command::Audit(args) => wait(async { args.run(&session()?).await }),
            Command::Token(args) => wait(async { args.run(&session()?).await }),
            Command::Completions(args) => args.run(),
            Command::Man(args) => args.run(),
            Command::GenerateDocs(args) => args.run(),
        }
    }
}

fn wait(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(work);
    // A read from standard input may hang for good: don't wait for it.
    runtime.shutdown_background();
    result
}

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
