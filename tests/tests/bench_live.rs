//! The live half of the bench measures what it says: every receiver drops what the sender sends, by
//! its own count. Says nothing about time.

use xdp_tests::bench::Length;
use xdp_tests::bench::live::{Receiver, Sources, run};
use xdp_tests::netns::privilege::REQUIRE_VARIABLE;
use xdp_tests::require_kernel;

/// What every machine has; the others are peers that somebody has to install.
const OWN: [Receiver; 4] = [
    Receiver::Bare,
    Receiver::Parse,
    Receiver::Least,
    Receiver::Throttle,
];

#[test]
fn every_receiver_drops_the_flood() {
    require_kernel!("every_receiver_drops_the_flood");
    // The run fails where a receiver drops otherwise.
    let report = run(Length::Smoke, &mut |_| ()).unwrap();
    for missing in &report.missing {
        eprintln!("skipped {:?}: {}", missing.receiver, missing.why);
        let Some(receiver) = missing.receiver else {
            let required = std::env::var(REQUIRE_VARIABLE).is_ok_and(|value| value == "1");
            assert!(!required, "nothing was measured: {}", missing.why);
            return;
        };
        assert!(!OWN.contains(&receiver), "{receiver:?}: {}", missing.why);
    }
    for receiver in Receiver::ALL {
        let is_missing = report
            .missing
            .iter()
            .any(|missing| missing.receiver == Some(receiver));
        for sources in Sources::BOTH {
            let rows = report.rows.iter();
            let measured = rows.filter(|row| (row.receiver, row.sources) == (receiver, sources));
            let expected = usize::from(!is_missing);
            assert_eq!(measured.count(), expected, "{receiver:?} {sources:?}");
        }
    }
}
