//! The pictures of the docs. `cargo xtask pictures` calls it.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum as _};

use xdp_tests::pictures::Picture;

/// Makes the pictures in docs/pictures of real runs in network namespaces. Needs root.
#[derive(Debug, Parser)]
#[command(name = "pictures")]
struct Args {
    /// Which ones; all, if none is named
    #[arg(value_enum)]
    names: Vec<Picture>,
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
    let all = Picture::value_variants();
    let names = match args.names.is_empty() {
        true => all,
        false => &args.names,
    };
    fs::create_dir_all(&args.dir).with_context(|| format!("cannot make {}", args.dir.display()))?;
    for picture in names {
        let path = args.dir.join(picture.file());
        eprintln!("{}: a run of about a minute", path.display());
        let bytes = picture.draw()?;
        fs::write(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}: {} KiB", path.display(), bytes.len().div_ceil(1024));
    }
    Ok(())
}
