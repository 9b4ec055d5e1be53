//! `cargo xtask pictures`: the pictures of the docs.

use anyhow::Result;

use crate::{
    programs::{self, DAEMON, PICTURES},
    setup::{self, Purpose},
    workspace,
};

/// Make the pictures in docs/pictures, each of a real run in network namespaces of its own.
///
/// `page` is the status page under an attack, in headless Chromium; `top` the live view in the
/// terminal; `dashboards` the queries of the Grafana dashboards, drawn from a real Prometheus and not
/// by Grafana. Each takes a minute or two. Look at a new picture before you commit it. Needs root:
/// uses sudo otherwise.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which ones: page, top, dashboards. All, if none is named.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::ensure(Purpose::Watch)?;
    setup::ensure(Purpose::Pictures)?;
    programs::build(&[DAEMON, PICTURES])?;
    let daemon = DAEMON.path()?;
    let folder = workspace::root().join("docs/pictures");
    match PICTURES.start(|command| {
        command.args(&arguments.names);
        command.arg("--daemon").arg(daemon);
        command.arg("--dir").arg(folder);
    })? {}
}
