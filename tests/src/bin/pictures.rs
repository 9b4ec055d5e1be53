//! The pictures of the docs. `cargo xtask pictures` calls it.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum as _};

use xdp_tests::daemon::choose;
use xdp_tests::interrupt::on_signals;
use xdp_tests::pictures::{Drawn, Picture};

/// Makes the pictures in docs/pictures of real runs in network namespaces. Needs root.
#[derive(Debug, Parser)]
#[command(name = "pictures")]
struct Args {
    /// Which ones; all, if none is named
    #[arg(value_enum)]
    names: Vec<Picture>,
    /// The daemon's program; that of this tree, built if need be, if none is given
    #[arg(long, value_name = "FILE")]
    daemon: Option<PathBuf>,
    /// The folder they go to
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

fn main() -> ExitCode {
    match draw(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pictures: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn draw(args: &Args) -> Result<()> {
    let stop = on_signals()?;
    if let Some(daemon) = &args.daemon {
        choose(daemon.clone())?;
    }
    let all = Picture::value_variants();
    let names = match args.names.is_empty() {
        true => all,
        false => &args.names,
    };
    fs::create_dir_all(&args.dir).with_context(|| format!("cannot make {}", args.dir.display()))?;
    for picture in names {
        eprintln!("{picture:?}: a run of a minute or two");
        for Drawn { file, bytes } in picture.draw(stop)? {
            let path = args.dir.join(file);
            fs::write(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
            println!("{}: {} KiB", path.display(), bytes.len().div_ceil(1024));
        }
    }
    Ok(())
}
