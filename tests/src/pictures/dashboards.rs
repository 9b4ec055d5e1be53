//! The dashboards, drawn from a real Prometheus. Not by Grafana.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Drawn;
use crate::interrupt::sleep_until;
use crate::monitoring::boards::{Spans, boards};
use crate::monitoring::picture::picture;
use crate::monitoring::rules;
use crate::monitoring::scene::Scene;

/// Of the two parts of the scene; the pictures are of its end.
const QUIET: Duration = Duration::from_secs(40);
const ATTACK: Duration = Duration::from_secs(60);

/// Attacks a host, has a real Prometheus scrape its daemon, and draws what each query of each
/// dashboard returns.
pub(super) fn draw(stop: &AtomicBool) -> Result<Vec<Drawn>> {
    let boards = boards()?;
    let started = Instant::now();
    let mut scene = Scene::start(&rules::files()?)?;
    sleep_until(Instant::now() + QUIET, stop)?;
    scene.attack()?;
    sleep_until(Instant::now() + ATTACK / 2, stop)?;
    scene.reload_well_and_badly()?;
    scene.import(20)?;
    sleep_until(Instant::now() + ATTACK / 2, stop)?;
    let spans = Spans {
        rate: Duration::from_secs(6),
        range: started.elapsed(),
    };
    let drawn = boards.iter().map(|board| {
        let text = picture(board, &scene.prometheus, spans)?;
        Ok(Drawn::new(format!("grafana-{}.svg", board.name), text))
    });
    drawn.collect()
}
