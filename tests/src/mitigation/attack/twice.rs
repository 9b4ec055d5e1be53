//! Floods that do what an honest client does: each packet comes again.

use crate::traffic::frames::Frames;

/// So many frames to be sent at `rate` a second. After the first second every other one is that
/// of a second before.
pub(super) fn each_twice(count: usize, rate: usize, mut next: impl FnMut() -> Vec<u8>) -> Frames {
    // Even, so that what comes again is one that was new.
    let second = rate.max(2) & !1;
    let mut frames = Frames::default();
    for number in 0..count {
        let earlier = number.checked_sub(second + 1);
        let frame = match earlier.filter(|earlier| earlier.is_multiple_of(2)) {
            Some(earlier) => frames.get(earlier).to_vec(),
            None => next(),
        };
        frames.push(&frame);
    }
    frames
}
