//! The pictures in docs/pictures, each made of a real run. `cargo xtask pictures` calls it.
//!
//! A new one is a module, a name in [`Picture`] and a line in [`Picture::draw`].

pub mod page;
mod small;

use anyhow::Result;
use clap::ValueEnum;

/// A picture by its name, which is its file's too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "kebab-case")]
pub enum Picture {
    /// The status page under an attack.
    Page,
}

impl Picture {
    /// Makes it, as PNG. Takes up to some minutes.
    ///
    /// # Errors
    /// When something can't be made or shown.
    pub fn draw(self) -> Result<Vec<u8>> {
        let picture = match self {
            Self::Page => page::draw()?,
        };
        small::with_palette(&picture)
    }

    /// Name of the file.
    #[must_use]
    pub fn file(self) -> String {
        let value = self.to_possible_value();
        let name = value.as_ref().map_or("", |value| value.get_name());
        format!("{name}.png")
    }
}
