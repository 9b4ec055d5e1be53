//! The bench's changes are made, and no packet is misjudged meanwhile. Says nothing about time.

use xdp_tests::bench::Length;
use xdp_tests::bench::changes::run;
use xdp_tests::require_kernel;

#[test]
fn every_change_is_made_and_no_packet_misjudged() {
    require_kernel!("every_change_is_made_and_no_packet_misjudged");
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        eprintln!("skipped: the traffic needs a CPU of its own");
        return;
    }
    let report = run(Length::Smoke, &mut |_| ()).unwrap();
    // Three changes of each family.
    assert_eq!(report.rows.len(), 6);
    assert!(report.packets > 0);
    assert_eq!(report.misjudged, 0);
}
