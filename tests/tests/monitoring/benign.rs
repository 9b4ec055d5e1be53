//! No alert for honest traffic: the benign captures of the corpus, at their own pace.

use std::path::PathBuf;
use std::time::Duration;

use xdp_tests::capture;
use xdp_tests::daemon::binary;
use xdp_tests::mitigation::alerts_over;
use xdp_tests::monitoring::rules;
use xdp_tests::require_kernel;

const CORPUS: &str = "XDP_THROTTLE_CORPUS";
/// Of each capture.
const LONGEST: Duration = Duration::from_secs(8);

#[test]
fn no_alert_is_pending_or_firing_while_benign_captures_pass() {
    let test = "no_alert_is_pending_or_firing_while_benign_captures_pass";
    require_kernel!("no_alert_is_pending_or_firing_while_benign_captures_pass");
    let Some(folder) = std::env::var_os(CORPUS).map(PathBuf::from) else {
        eprintln!("SKIP {test}: {CORPUS} names no folder of captures");
        return;
    };
    let captures = capture::files(&folder.join("benign")).unwrap();
    let rules = rules::impatient().unwrap();
    let watched = alerts_over(&binary().unwrap(), &captures, LONGEST, &rules).unwrap();

    assert_eq!(watched.benign.len(), captures.len());
    let sent: u64 = watched.benign.iter().map(|benign| benign.sent).sum();
    assert!(sent > 1_000, "{sent} packets");
    for benign in &watched.benign {
        assert_eq!(benign.error, None, "{}", benign.capture);
        assert_eq!(benign.not_passed, 0, "{}", benign.capture);
    }
    // It was scraped, and rules were evaluated on it.
    assert!(watched.highest_rate > 10.0, "{} pps", watched.highest_rate);
    assert!(watched.alerts.is_empty(), "{:?}", watched.alerts);
}
