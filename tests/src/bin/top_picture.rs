//! The picture of `xdp-throttle top` in the documentation, from a real daemon under a real attack.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use ratatui::buffer::Buffer;

use xdp_tests::netns::privilege;
use xdp_tests::picture::svg;
use xdp_tests::top_scene::UnderAttack;
use xdp_user::cli::top::Picture;

/// Draws `xdp-throttle top` as it shows an attack, to an SVG file. The host under attack, its
/// client and its attacker are in network namespaces that are gone afterwards. Needs root.
#[derive(Debug, Parser)]
#[command(name = "top_picture")]
struct Args {
    /// The file to write
    #[arg(default_value = "docs/pictures/top.svg")]
    file: PathBuf,
    /// Columns of the terminal
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(60..=300))]
    width: u16,
    /// Rows of the terminal
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(16..=100))]
    height: u16,
    /// Looks at the daemon, one a second, before it is drawn
    #[arg(long, default_value_t = 45, value_parser = clap::value_parser!(u16).range(2..=600))]
    looks: u16,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(missing) = privilege::missing() {
        bail!("the picture is made in network namespaces, but {missing}");
    }
    let picture = Picture {
        width: args.width,
        height: args.height,
        looks: args.looks.into(),
        interval: Duration::from_secs(1),
    };
    let screen = draw(&picture)?;
    let text = svg(&screen, "xdp-throttle top while a host is under attack");
    if let Some(parent) = args.file.parent() {
        std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    }
    std::fs::write(&args.file, text)
        .with_context(|| format!("cannot write {}", args.file.display()))
}

/// A third of the time is quiet but for the client, then the attack is on.
fn draw(picture: &Picture) -> Result<Buffer> {
    let mut scene = UnderAttack::prepare()?;
    let socket = scene.daemon.socket_path();
    let quiet = picture.interval * u32::try_from(picture.looks / 3)?;
    thread::scope(|scope| {
        let drawn = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(picture.take(&socket))
        });
        thread::sleep(quiet);
        scene.attack()?;
        match drawn.join() {
            Ok(screen) => screen,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
