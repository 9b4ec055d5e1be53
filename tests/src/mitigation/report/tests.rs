use super::*;
use crate::daemon::outcomes::Outcomes;
use crate::mitigation::{Crosscheck, Forwarded, Latency, Leak, Newcomers, Profile, Shares};

fn served(group: Group, failed: usize, p50_ms: f64) -> Served {
    Served {
        group,
        exchanges: 100,
        failed,
        slow: 3,
        latency: Latency {
            quiet_p50_ms: Group::OLD.contains(&group).then_some(0.5),
            ..latency(p50_ms)
        },
    }
}

fn latency(p50_ms: f64) -> Latency {
    Latency {
        p50_ms: Some(p50_ms),
        p99_ms: Some(9.0),
        quiet_p50_ms: Some(0.5),
        quiet_p99_ms: None,
    }
}

fn newcomers(profile: Profile) -> Newcomers {
    Newcomers {
        profile,
        clients: 10,
        failed: 0,
        at_once: 4,
        datagrams: 17,
        median_s: Some(5.01),
        max_s: Some(10.02),
    }
}

/// Everything as promised.
fn trial() -> Trial {
    let groups = [&Group::OLD[..], &Group::NEW_TCP].concat();
    Trial {
        protected: true,
        rate: 1000,
        seconds: 2.0,
        sent_per_second: 960.0,
        refused: 0,
        lost: 0,
        leak: Leak {
            sent: 2000,
            leaked: 12,
        },
        first_second: Leak {
            sent: 1000,
            leaked: 20,
        },
        timeline: Vec::new(),
        mitigated_after_ms: Some(300),
        served: groups.iter().map(|group| served(*group, 0, 0.6)).collect(),
        new_udp: Profile::ALL.map(newcomers).into(),
        old: latency(0.6),
        cpu_quiet: Shares::default(),
        cpu: Shares::default(),
        outcomes: Outcomes::default(),
        forwarded: None,
        crosscheck: Some(Crosscheck {
            passed: 100,
            arrived: 110,
        }),
    }
}

fn report(trial: Option<Trial>) -> Report {
    Report {
        rate: 1000,
        seconds: 2.0,
        attacked: vec![Attacked {
            name: "syn".into(),
            frames: 5,
            sources: 5,
            cheats: false,
            notes: Vec::new(),
            without: None,
            with: trial,
        }],
        rushed: Vec::new(),
        benign: Vec::new(),
        skipped: Vec::new(),
        torn_down: true,
        unreadable: Vec::new(),
    }
}

fn lines(trial: Trial) -> Vec<String> {
    let card = report(Some(trial)).scorecard();
    card.lines().iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_as_promised_is_ok() {
    assert_eq!(
        lines(trial()),
        [
            "ok syn_rate 960pps >=950pps",
            "ok syn_leak 0.60% <=0.6%",
            "ok syn_old_failed 0_of_600 <=0",
            "ok syn_new_tcp_failed 0_of_200 <=0",
            "ok syn_new_udp_failed 0_of_70 <=0",
            "ok syn_latency 1.20x <=1.5x",
            "ok torn_down clean clean",
        ]
    );
}

#[test]
fn every_failure_counts() {
    let mut trial = trial();
    trial.leak.leaked = 13;
    trial.old = latency(0.8);
    for served in &mut trial.served {
        match served.group {
            Group::Dns => served.latency = latency(1.0),
            Group::Udp6 | Group::NewTcp4 => served.failed = 1,
            Group::Http4 | Group::Http6 | Group::Udp4 | Group::Outgoing | Group::NewTcp6 => {}
        }
    }
    trial.new_udp[2].failed = 3;
    trial.new_udp[6].failed = 1;
    assert_eq!(
        lines(trial.clone())[1..6],
        [
            "short syn_leak 0.65% <=0.6%",
            "short syn_old_failed 1_of_600 <=0",
            "short syn_new_tcp_failed 1_of_200 <=0",
            "short syn_new_udp_failed 4_of_70 <=0",
            "short syn_latency 1.60x <=1.5x",
        ]
    );
    assert_eq!(trial.most_slowed(), Some((2.0, Group::Dns)));
}

#[test]
fn what_cheats_may_leak_what_its_budget_lets_through() {
    let mut report = report(Some(trial()));
    report.attacked[0].cheats = true;
    let leak = |report: &Report| report.scorecard().lines()[1].to_string();
    if let Some(trial) = &mut report.attacked[0].with {
        trial.leak.leaked = 26;
    }
    assert_eq!(leak(&report), "ok syn_leak 1.30% <=1.3%");
    report.attacked[0].cheats = false;
    assert_eq!(leak(&report), "short syn_leak 1.30% <=0.6%");
}

#[test]
fn a_host_that_forwards_has_room_for_connections_left() {
    let mut trial = trial();
    trial.forwarded = Some(Forwarded {
        tracked: 11,
        trackable: 100,
        resets: 2,
    });
    let text = report(Some(trial.clone())).to_string();
    assert!(text.contains("| 11.00 %; 2 |"), "{text}");
    let lines = lines(trial);
    assert_eq!(lines[5], "short syn_conntrack 11.00% <=10%");
}

#[test]
fn what_was_not_measured_is_short() {
    let mut trial = trial();
    trial.leak = Leak::default();
    trial.served.clear();
    trial.new_udp.clear();
    trial.old = Latency::default();
    assert_eq!(
        lines(trial)[1..6],
        [
            "short syn_leak not_measured <=0.6%",
            "short syn_old_failed 0_of_0 <=0",
            "short syn_new_tcp_failed 0_of_0 <=0",
            "short syn_new_udp_failed 0_of_0 <=0",
            "short syn_latency not_measured <=1.5x",
        ]
    );
}

#[test]
fn an_attack_without_the_throttler_promises_nothing() {
    assert_eq!(report(None).scorecard().lines().len(), 1);
}

#[test]
fn a_packet_that_is_not_passed_spoils_the_benign_line() {
    let mut report = report(None);
    let benign = Benign {
        capture: "web".into(),
        sent: 40,
        lost: 0,
        not_passed: 0,
        outcomes: Outcomes::default(),
        error: None,
    };
    report.benign = vec![benign.clone()];
    let first = |report: &Report| report.scorecard().lines()[0].to_string();
    assert_eq!(first(&report), "ok benign_dropped 0_of_40 <=0");
    report.benign[0].not_passed = 1;
    assert_eq!(first(&report), "short benign_dropped 1_of_40 <=0");
    report.benign[0] = Benign {
        error: Some("unreadable".into()),
        ..benign
    };
    assert_eq!(first(&report), "short benign_dropped 0_of_40 <=0");
}

#[test]
fn counts_that_disagree_are_told() {
    let mut trial = trial();
    assert!(!report(Some(trial.clone())).to_string().contains("DISAGREE"));
    trial.crosscheck = Some(Crosscheck {
        passed: 100,
        arrived: 150,
    });
    let text = report(Some(trial)).to_string();
    assert!(text.contains("DISAGREE: 100 packets passed"), "{text}");
    let asked = "| newcomers, retry after 5 s | 0, 4 of 10; 1.7; 5.010, 10.020 |";
    assert!(text.contains(asked), "{text}");
    assert!(text.contains("| **reached the stack** | **0.60 %** |"));
}
