//! What the real nft and ipset print is read: sets are made in a namespace, listed in every way, and
//! each listing gives the addresses that are in the set.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use xdp_tests::require_kernel;
use xdp_user::domain::SetName;
use xdp_user::lists::{self, Bounds, Options, ParsedList};

/// The output of the last command of a script, in a namespace that ends with it.
fn in_a_namespace(script: &str) -> Result<String> {
    let output = Command::new("unshare")
        .args(["--net", "sh", "-ec", script])
        .output()
        .context("can't run unshare")?;
    ensure!(
        output.status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

fn read(text: &str, set: &str) -> Result<ParsedList> {
    let options = Options {
        sets: vec![set.parse::<SetName>()?],
        ..Options::default()
    };
    let list = lists::read(text.as_bytes(), &options, Bounds::default())?;
    ensure!(list.refused_count() == 0, "{text}\n{:?}", list.refused);
    Ok(list)
}

fn shown(list: &ParsedList) -> Vec<String> {
    let mut entries = list.entries.clone();
    entries.sort();
    entries.iter().map(ToString::to_string).collect()
}

fn ends(list: &ParsedList, prefix: &str) -> Result<bool> {
    let detail = list.details.get(&prefix.parse()?);
    Ok(detail.is_some_and(|detail| detail.expires.is_some()))
}

#[test]
fn what_nft_prints_of_a_set_is_read_in_every_form() -> Result<()> {
    require_kernel!("what_nft_prints_of_a_set_is_read_in_every_form");
    let sets = "nft -f - <<'END'\n\
        table inet fw {\n\
        set bad { type ipv4_addr; flags interval,timeout; elements = { 192.0.2.0/24 timeout 1h comment \"a, } b\",\n\
        198.51.100.4-198.51.100.7, 203.0.113.9 }; }\n\
        set six { type ipv6_addr; counter; elements = { 2001:db8::1 }; }\n\
        set ports { type inet_service; elements = { 22, 80 }; }\n\
        set pairs { type ipv4_addr . inet_service; elements = { 203.0.113.99 . 443 }; }\n\
        map verdicts { type ipv4_addr : verdict; elements = { 203.0.113.77 : accept }; }\n\
        chain c { ip saddr @bad drop; ip saddr { 203.0.113.200, 203.0.113.201 } drop; }\n\
        }\nEND\n";
    for list in [
        "nft list ruleset",
        "nft -j list ruleset",
        "nft -n list ruleset",
        "nft list set inet fw bad",
        "nft -j list set inet fw bad",
        "nft -s list ruleset",
    ] {
        let text = in_a_namespace(&format!("{sets}{list}"))?;
        let bad = read(&text, "bad")?;
        let wanted = ["192.0.2.0/24", "198.51.100.4/30", "203.0.113.9"];
        assert_eq!(shown(&bad), wanted, "{list}: {text}");
        assert!(ends(&bad, "192.0.2.0/24")?, "{list}: {text}");
        assert!(!ends(&bad, "203.0.113.9")?, "{list}: {text}");
        let comment = &bad.details[&"192.0.2.0/24".parse()?].comment;
        assert_eq!(comment.as_deref(), Some("a, } b"), "{list}");
        if list.ends_with("ruleset") {
            assert_eq!(shown(&read(&text, "fw/six")?), ["2001:db8::1"], "{list}");
            for other in ["ports", "pairs", "verdicts"] {
                read(&text, other).unwrap_err();
            }
        }
    }
    Ok(())
}

#[test]
fn what_ipset_prints_of_a_set_is_read_in_every_form() -> Result<()> {
    require_kernel!("what_ipset_prints_of_a_set_is_read_in_every_form");
    let sets = "ipset create bad hash:net timeout 0 comment counters\n\
        ipset add bad 192.0.2.0/24 comment 'two words'\n\
        ipset add bad 192.0.2.128/25 nomatch comment 'our partner'\n\
        ipset add bad 198.51.100.7 timeout 300\n\
        ipset create six hash:net family inet6\nipset add six 2001:db8::/48\n\
        ipset -N old iphash --netmask 24\nipset -A old 203.0.113.9\n\
        ipset create few bitmap:ip range 203.0.113.0/24\nipset add few 203.0.113.4-203.0.113.7\n\
        ipset create pairs hash:ip,port\nipset add pairs 192.0.2.1,tcp:80\n\
        ipset create on hash:net,iface\nipset add on 192.0.2.0/24,eth0\n\
        ipset create ports bitmap:port range 0-100\nipset add ports 22\n";
    for list in ["ipset save", "ipset list", "ipset -o save list"] {
        let text = in_a_namespace(&format!("{sets}{list}"))?;
        let bad = read(&text, "bad")?;
        assert_eq!(
            shown(&bad),
            ["192.0.2.0/25", "198.51.100.7"],
            "{list}: {text}"
        );
        assert!(ends(&bad, "198.51.100.7")?, "{list}: {text}");
        assert!(!ends(&bad, "192.0.2.0/25")?, "{list}: {text}");
        let comment = &bad.details[&"192.0.2.0/25".parse()?].comment;
        assert_eq!(comment.as_deref(), Some("two words"), "{list}");
        assert_eq!(shown(&read(&text, "six")?), ["2001:db8::/48"], "{list}");
        assert_eq!(shown(&read(&text, "old")?), ["203.0.113.0/24"], "{list}");
        assert_eq!(read(&text, "few")?.entries.len(), 4, "{list}");
        for other in ["pairs", "on", "ports", "absent"] {
            read(&text, other).unwrap_err();
        }
    }
    let xml = in_a_namespace(&format!("{sets}ipset -o xml list"))?;
    let refused = read(&xml, "bad").unwrap_err().to_string();
    assert!(refused.contains("ipset save"), "{refused}");
    Ok(())
}
