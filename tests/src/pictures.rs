//! The pictures in docs/pictures, each made of a real run. `cargo xtask pictures` calls it.
//!
//! A new one is a module, a name in [`Picture`] and a line in [`Picture::draw`].

mod dashboards;
pub mod page;
mod screen;
mod small;
mod top;

use std::sync::atomic::AtomicBool;

use anyhow::Result;
use clap::ValueEnum;

/// What there are pictures of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "kebab-case")]
pub enum Picture {
    /// The status page under an attack.
    Page,
    /// `xdp-throttle top` under an attack.
    Top,
    /// The queries of each Grafana dashboard, quiet and under an attack.
    Dashboards,
}

/// A file of docs/pictures.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// Its name.
    pub file: String,
    /// All of it.
    pub bytes: Vec<u8>,
}

impl Drawn {
    fn new(file: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            file: file.into(),
            bytes: bytes.into(),
        }
    }
}

impl Picture {
    /// Makes it, or all of its kind. Takes up to some minutes; `stop` ends the longest of them early.
    ///
    /// # Errors
    /// When something can't be made or shown.
    pub fn draw(self, stop: &AtomicBool) -> Result<Vec<Drawn>> {
        Ok(match self {
            Self::Page => vec![Drawn::new("page.png", small::with_palette(&page::draw()?)?)],
            Self::Top => vec![Drawn::new("top.svg", top::draw()?)],
            Self::Dashboards => dashboards::draw(stop)?,
        })
    }
}
