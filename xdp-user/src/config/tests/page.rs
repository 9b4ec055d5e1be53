//! Who may see the status page.

use super::*;

/// What a `[metrics]` section warns of, by key, and what the page then shows.
fn page_of(keys: &str) -> (Vec<String>, StatusPage) {
    let loaded = Config::parse(&format!("[metrics]\n{keys}"), "c.toml").unwrap();
    let warned = loaded.warnings.iter();
    let keys = warned.map(|warning| warning.key.clone()).collect();
    (keys, loaded.config.metrics.page)
}

#[test]
fn the_status_page_is_for_loopback_unless_the_file_says_otherwise() {
    assert_eq!(page_of(""), (vec![], StatusPage::Counters));
    assert_eq!(page_of("listen = \"[::1]:1\"").1, StatusPage::Counters);
    assert_eq!(page_of("page = \"sources\""), (vec![], StatusPage::Sources));
    assert_eq!(page_of("page = \"off\""), (vec![], StatusPage::Off));

    let open = "listen = \"192.0.2.1:9777\"\n";
    let warned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
    assert_eq!(
        page_of(open),
        (warned(&["metrics.listen"]), StatusPage::Off)
    );
    let both = warned(&["metrics.listen", "metrics.page"]);
    let counters = page_of(&format!("{open}page = \"counters\""));
    assert_eq!(counters, (both.clone(), StatusPage::Counters));
    let sources = page_of(&format!("{open}page = \"sources\""));
    assert_eq!(sources, (both, StatusPage::Sources));
    let any = page_of("listen = \"0.0.0.0:9777\"");
    assert_eq!(any.1, StatusPage::Off);
}

#[test]
fn an_open_page_says_what_it_gives_away_and_a_page_without_a_port_that_it_is_none() {
    let warning = |keys: &str| {
        let loaded = Config::parse(&format!("[metrics]\n{keys}"), "c.toml").unwrap();
        let found = loaded.warnings.into_iter();
        let mut found = found.filter(|warning| warning.key == "metrics.page");
        found.next().unwrap()
    };
    let open = warning("listen = \"192.0.2.1:9777\"\npage = \"sources\"");
    assert!(open.message.contains("addresses of sources"), "{open:?}");
    assert_eq!(open.line, 3);
    assert!(open.help.unwrap().contains("ssh -L"));
    let none = warning("enabled = false\npage = \"counters\"");
    assert!(
        none.message.contains("metrics.enabled is false"),
        "{none:?}"
    );
    let unknown = only_problem("[metrics]\npage = \"counter\"");
    assert_eq!(unknown.help.unwrap(), "did you mean \"counters\"?");
}
