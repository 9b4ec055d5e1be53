//! What memory costs that nobody has touched for a while. On hardware that is a miss of the caches. A
//! hypervisor may have taken the page's mapping away meanwhile, and then everything that is looked at
//! seldom looks dear, whoever looks.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::figures::Figure;

const PAGE: usize = 4096;
/// 16 MiB: more than the nearer caches hold.
const PAGES: usize = 4096;
/// About as long as what a program needs lies idle while others have their turn of a round.
const IDLE: Duration = Duration::from_millis(500);
const ROUNDS: usize = 3;

/// Nanoseconds that a page takes at the first touch, each time another line of it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct IdlePages {
    /// After half a second.
    pub after_idle: Figure,
    /// Right behind.
    pub at_once: Figure,
}

impl IdlePages {
    /// Touches pages of this process; takes two seconds.
    #[must_use]
    pub fn measured() -> Option<Self> {
        let memory = vec![1_u8; PAGES * PAGE];
        let (mut after_idle, mut at_once) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            thread::sleep(IDLE);
            after_idle.push(touch(&memory, 2 * round));
            at_once.push(touch(&memory, 2 * round + 1));
        }
        Some(Self {
            after_idle: Figure::of(&after_idle)?,
            at_once: Figure::of(&at_once)?,
        })
    }
}

/// Reads a byte of every page, in no order that a processor foresees.
fn touch(memory: &[u8], line: usize) -> f64 {
    let started = Instant::now();
    for number in 0..PAGES {
        black_box(memory.get(page(number) * PAGE + line % 64 * 64).copied());
    }
    started.elapsed().as_nanos() as f64 / PAGES as f64
}

/// The page to touch after so many. One to one: the factor is odd.
const fn page(number: usize) -> usize {
    number.wrapping_mul(0x9e37_79b1) % PAGES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_is_touched_once() {
        let pages: std::collections::BTreeSet<usize> = (0..PAGES).map(page).collect();
        assert_eq!(pages.len(), PAGES);
    }

    #[test]
    fn it_takes_some_time() {
        let measured = IdlePages::measured().unwrap();
        assert!(measured.after_idle.median > 0.0 && measured.at_once.median > 0.0);
    }
}
