//! Ten million sources that send once each: nothing grows, nobody who is known is forgotten.

use anyhow::Result;
use xdp_tests::bench::strangers;
use xdp_tests::require_kernel;

const SOURCES: u64 = 10_000_000;

#[test]
fn ten_million_strangers_take_nothing_from_who_is_known() -> Result<()> {
    require_kernel!("ten_million_strangers_take_nothing_from_who_is_known");
    let flood = strangers(SOURCES)?;
    assert_eq!(flood.memory[0], flood.memory[1], "the memory is the same");
    assert_eq!(flood.before, flood.after, "so is what is known");
    assert_eq!(
        flood.known_passed,
        flood.before.len(),
        "and known sources pass"
    );
    let lost = SOURCES - flood.refused - flood.passed;
    assert_eq!(lost, 0, "every packet is counted");
    // A burst of 1,000 and a hundred a second, for the minutes that a slow machine may take.
    assert!(flood.passed <= 1_000 + 100 * 120, "{} passed", flood.passed);
    Ok(())
}
