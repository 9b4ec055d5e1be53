//! The host as it is: a protected interface may be a port of a bridge or a bond, have VLAN or macvlan
//! devices on it, be in a VRF, have an altname or be renamed. Whatever it is, the same blocks are
//! refused as on a plain interface, and service classes decide, or stand aside and say why.
//!
//! Where a kernel lacks a kind of device its test is skipped; `cargo xtask test-kernels` has kernels
//! with all of them. The table in docs/state.md is this suite's.

#[path = "host_devices/kinds.rs"]
mod kinds;
#[path = "host_devices/place.rs"]
mod place;

use anyhow::Result;
use xdp_tests::require_kernel;

use kinds::{Classes, KINDS, Kind};
use place::Place;

/// Refused as blocks, besides what is in the table as text.
const REFUSED: [(&str, &str); 6] = [
    (place::PEER_V4, "the default gateway of "),
    (place::PEER_V6, "the default gateway of "),
    (place::HOST_V4, "an address of "),
    ("10.88.0.0/24", "of "),
    ("fd88::/64", "of "),
    (place::LOGGED_IN, "the address of an SSH session"),
];

fn holds(name: &str) -> Result<()> {
    let kind = KINDS.iter().find(|kind| kind.test == name);
    let kind: &Kind = kind.ok_or_else(|| anyhow::anyhow!("no kind {name}"))?;
    let Some(place) = Place::of(kind)? else {
        eprintln!("skipped {name}: this kernel can't make it");
        return Ok(());
    };
    let _session = place.log_in()?;
    for (block, what) in REFUSED {
        let refusal = place.block(block)?.unwrap_or_default();
        anyhow::ensure!(refusal.contains(what), "{name}: {block}: {refusal:?}");
    }
    anyhow::ensure!(place.block("10.88.0.99")?.is_none(), "one of many");
    let asides = place.asides()?;
    match kind.classes {
        Classes::Decide => {
            anyhow::ensure!(asides.is_empty(), "{name}: {asides:?}");
            place.classes_decide()
        }
        Classes::StandAside { because, .. } => {
            let named = asides.iter().filter(|aside| aside.contains(because));
            anyhow::ensure!(named.count() == 2, "{name}: {asides:?}");
            place.classes_stand_aside()
        }
    }
}

macro_rules! kinds {
    ($($test:ident),* $(,)?) => {
        $(#[test]
        fn $test() -> Result<()> {
            require_kernel!(stringify!($test));
            holds(stringify!($test))
        })*

        #[test]
        fn every_kind_has_its_test() {
            let tests = [$(stringify!($test)),*];
            let kinds: Vec<&str> = KINDS.iter().map(|kind| kind.test).collect();
            assert_eq!(tests.as_slice(), kinds);
        }
    };
}

kinds! {
    a_plain_interface,
    the_only_port_of_a_bridge,
    a_port_of_a_bridge_with_guests,
    a_bridge,
    a_slave_of_a_bond,
    a_bond,
    an_interface_below_a_vlan_device,
    a_vlan_device,
    an_interface_below_a_vlan_device_on_a_bridge,
    an_interface_below_a_bridge_on_a_vlan_device,
    a_slave_of_a_bond_below_a_bridge_on_a_vlan_device,
    an_interface_below_a_macvlan_device,
    a_macvlan_device,
    a_slave_of_a_bond_below_a_macvlan_device,
    an_interface_below_an_ipvlan_device,
    an_interface_in_a_vrf,
    a_vlan_device_in_a_vrf,
    an_altname,
    an_interface_that_is_renamed,
}

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/state.md");

/// With XDP_THROTTLE_BLESS set, writes the table instead.
#[test]
fn the_page_has_the_table_of_kinds() -> Result<()> {
    const FROM: &str = "<!-- kinds of interfaces -->\n";
    const TO: &str = "<!-- end of kinds of interfaces -->\n";
    let bless = std::env::var_os("XDP_THROTTLE_BLESS").is_some();
    // As it was when this was built: where the kernel matrix runs it there is no such file.
    let page = match bless {
        true => std::fs::read_to_string(PAGE)?,
        false => include_str!("../../docs/state.md").to_owned(),
    };
    let parts = page.split_once(FROM).and_then(|(head, rest)| {
        let (_, tail) = rest.split_once(TO)?;
        Some((head, tail))
    });
    let Some((head, tail)) = parts else {
        anyhow::bail!("docs/state.md has no place for the table");
    };
    let fresh = format!("{head}{FROM}\n{}\n{TO}{tail}", kinds::table());
    if bless {
        std::fs::write(PAGE, &fresh)?;
        return Ok(());
    }
    anyhow::ensure!(
        page == fresh,
        "docs/state.md differs from this suite: run this test with XDP_THROTTLE_BLESS=1 to write \
         the table again"
    );
    Ok(())
}
