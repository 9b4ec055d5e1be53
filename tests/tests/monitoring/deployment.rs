//! The files that bring Prometheus and Grafana up: their form, since there is neither Docker nor
//! Grafana here to run them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::root;

fn yaml(path: &str) -> Value {
    let text = fs::read_to_string(root().join(path)).unwrap();
    let parsed = serde_saphyr::from_str(&text).map_err(|error| format!("{path}: {error}"));
    parsed.unwrap()
}

/// Of a service's volumes `FROM:TO:ro`: where they are in the repository, and in the container.
fn mounts(service: &Value) -> Vec<(PathBuf, String)> {
    let volumes = service["volumes"].as_array().unwrap();
    let bound = volumes
        .iter()
        .map(|volume| volume.as_str().unwrap())
        .filter(|volume| volume.starts_with('.'));
    bound
        .map(|volume| {
            let parts: Vec<&str> = volume.split(':').collect();
            assert_eq!((parts.len(), parts[2]), (3, "ro"), "{volume}");
            let from = root().join("packaging/compose").join(parts[0]);
            (from, parts[1].to_owned())
        })
        .collect()
}

#[test]
fn images_are_pinned_and_ports_only_on_loopback() {
    let compose = yaml("packaging/compose/compose.yml");
    let services = compose["services"].as_object().unwrap();
    assert_eq!(services.len(), 2);
    for (name, service) in services {
        let image = service["image"].as_str().unwrap();
        let (_, tag) = image.rsplit_once(':').unwrap();
        let exact = tag.trim_start_matches('v').split('.').count() == 3;
        assert!(exact && tag != "latest", "{name}: {image}");
        for port in service["ports"].as_array().into_iter().flatten() {
            let port = port.as_str().unwrap();
            assert!(port.starts_with("127.0.0.1:"), "{name}: {port}");
        }
    }
}

#[test]
fn what_is_mounted_is_there() {
    let compose = yaml("packaging/compose/compose.yml");
    for (name, service) in compose["services"].as_object().unwrap() {
        let mounts = mounts(service);
        assert!(!mounts.is_empty(), "{name}");
        for (from, _) in mounts {
            assert!(from.exists(), "{name}: {}", from.display());
        }
    }
}

/// In the container, so through the mounts: the file with the rules, the dashboards.
#[test]
fn paths_in_the_containers_lead_to_files_of_this_repository() {
    let compose = yaml("packaging/compose/compose.yml");
    let through = |service: &str, path: &str| -> PathBuf {
        let mounts = mounts(&compose["services"][service]);
        let found = mounts
            .iter()
            .find_map(|(from, to)| Some(from.join(Path::new(path).strip_prefix(to).ok()?)));
        found
            .ok_or(format!("{service}: {path} is not mounted"))
            .unwrap()
    };
    let prometheus = yaml("packaging/compose/prometheus.yml");
    for file in prometheus["rule_files"].as_array().unwrap() {
        let path = through("prometheus", file.as_str().unwrap());
        assert!(path.is_file(), "{}", path.display());
    }
    let provider = yaml("packaging/grafana/provisioning/dashboards/xdp-throttle.yml");
    let directory = provider["providers"][0]["options"]["path"]
        .as_str()
        .unwrap();
    let overview = through("grafana", directory).join("overview.json");
    assert!(overview.is_file(), "{}", overview.display());
    let provisioning = through("grafana", "/etc/grafana/provisioning");
    for kind in ["dashboards", "datasources"] {
        assert!(provisioning.join(kind).is_dir(), "{kind}");
    }
}

/// The alert of a daemon that is down needs the job's name.
#[test]
fn the_scrape_job_and_the_data_source_are_those_of_rules_and_dashboards() {
    let prometheus = yaml("packaging/compose/prometheus.yml");
    assert_eq!(prometheus["scrape_configs"][0]["job_name"], "xdp-throttle");
    let sources = yaml("packaging/grafana/provisioning/datasources/prometheus.yml");
    let source = &sources["datasources"][0];
    assert_eq!(source["type"], "prometheus");
    // Rates are taken over four scrapes at least: Grafana has to know how far apart they are.
    assert_eq!(
        source["jsonData"]["timeInterval"],
        prometheus["global"]["scrape_interval"]
    );
}

/// With the rules where the container has them.
#[test]
fn promtool_takes_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(root().join("packaging/compose/prometheus.yml")).unwrap();
    let rules = fs::canonicalize(root().join("packaging/prometheus")).unwrap();
    let mounted = "/etc/prometheus/xdp-throttle";
    assert!(text.contains(mounted));
    let path = directory.path().join("prometheus.yml");
    fs::write(&path, text.replace(mounted, &rules.to_string_lossy())).unwrap();
    let output = Command::new("promtool")
        .args(["check", "config"])
        .arg(&path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("2 rule files found"), "{said}");
}
