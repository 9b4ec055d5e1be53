//! The daemon has the same few series whatever its tables hold. Says nothing about time.

use xdp_tests::bench::Length;
use xdp_tests::bench::scrape::run;
use xdp_tests::require_kernel;

#[test]
fn a_scrape_has_under_500_series_and_the_same_with_full_tables() {
    require_kernel!("a_scrape_has_under_500_series_and_the_same_with_full_tables");
    let report = run(Length::Smoke, &mut |_| ()).unwrap();
    assert!(report.sources >= 990, "{report}");
    assert_eq!(report.entries, 1_000, "{report}");
    let (before, after) = report.series;
    assert_eq!(before, after);
    assert!((100..500).contains(&after), "{after}");
}
