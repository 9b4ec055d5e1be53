//! What memory costs that nobody has touched for a while. On hardware that is a miss of the caches. A
//! hypervisor may have taken the page's mapping away meanwhile, and then everything that is looked at
//! seldom looks dear, whoever looks.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::figures::Figure;

const PAGE: usize = 4096;
const LINE: usize = 64;
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
            // What is measured: nobody touches it for so long.
            thread::sleep(IDLE);
            for (line, times) in [(2 * round, &mut after_idle), (2 * round + 1, &mut at_once)] {
                let started = Instant::now();
                black_box(touch(&memory, line));
                times.push(started.elapsed().as_nanos() as f64 / PAGES as f64);
            }
        }
        Some(Self {
            after_idle: Figure::of(&after_idle)?,
            at_once: Figure::of(&at_once)?,
        })
    }
}

/// The sum of a line's first byte in every page, in no order that a processor foresees.
fn touch(memory: &[u8], line: usize) -> usize {
    let bytes = (0..PAGES).filter_map(|number| memory.get(page(number) * PAGE + line * LINE));
    bytes.map(|byte| usize::from(*byte)).sum()
}

/// The page to touch after so many. One to one: the factor is odd.
const fn page(number: usize) -> usize {
    number.wrapping_mul(0x9e37_79b1) % PAGES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_of_every_page_is_touched_once() {
        for line in [0, 2 * ROUNDS - 1] {
            let mut memory = vec![0; PAGES * PAGE];
            for (number, page) in memory.chunks_mut(PAGE).enumerate() {
                page[line * LINE] = u8::try_from(number % 251).unwrap();
            }
            let all: usize = (0..PAGES).map(|number| number % 251).sum();
            assert_eq!(touch(&memory, line), all, "line {line}");
        }
    }
}
