//! The bench measures what it says: in each of its cases every packet is judged as the case wants,
//! by the real program and by the references. Says nothing about time.

use xdp_tests::bench::{Case, Family, Length, run};
use xdp_tests::require_kernel;

#[test]
fn every_case_is_judged_as_the_bench_claims() {
    require_kernel!("every_case_is_judged_as_the_bench_claims");
    // The run fails where a packet is judged otherwise.
    let report = run(Length::Smoke, &mut |_| ()).unwrap();
    let compared = report.rows.iter().filter(|row| row.against_few.is_some());
    assert_eq!(compared.count(), Family::ALL.len());
    for family in Family::ALL {
        for case in [
            Case::BlockedHost,
            Case::BlockedPrefix,
            Case::Allowed,
            Case::Known,
            Case::Over,
            Case::Banned,
            Case::New,
            Case::Refused,
        ] {
            let rows = report.rows.iter();
            let measured = rows.filter(|row| {
                (row.scenario.family, row.scenario.case, row.scenario.threads) == (family, case, 1)
            });
            // One of them in the same rounds as the other.
            let expected = if case == Case::Refused { 2 } else { 1 };
            assert_eq!(measured.count(), expected, "{case:?} {family:?}");
        }
    }
}
