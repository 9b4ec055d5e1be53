//! A start that fails for one of its interfaces takes nothing away: what was protected stays protected,
//! without a packet of a blocked source through and without an honest one lost, and what the start
//! attached is taken off again. What else can be in a start's way is in `e2e_failed_start_host.rs`.

use anyhow::Result;
use xdp_tests::daemon::scene::{HOST, Scene};
use xdp_tests::daemon::standing::{Ending, Obstacle, Standing, sections, usual, with_one_more};
use xdp_tests::netns::link::{End, veth_pair};
use xdp_tests::netns::stranger::Stranger;
use xdp_tests::require_kernel;

/// Without native XDP: a bridge without ports.
const PLAIN: &str = "plain0";
/// Has somebody else's program.
const HELD: &str = "held0";
/// Goes while no daemon runs.
const GOES: &str = "goes0";
const PLACES: [&str; 3] = ["first", "middle", "last"];
const REQUIRED: &str = "required = true\n";
const REQUIRED_NATIVE: &str = "required = true\nattach = \"native\"\n";

fn meets_all(standing: &mut Standing, obstacles: &[Obstacle]) -> Result<()> {
    for ending in Ending::ALL {
        for obstacle in obstacles {
            standing.meets(ending, obstacle)?;
        }
    }
    Ok(())
}

#[test]
fn an_interface_that_can_not_be_attached_costs_the_others_nothing() -> Result<()> {
    require_kernel!("an_interface_that_can_not_be_attached_costs_the_others_nothing");
    let mut standing = Standing::start("", |scene, _| {
        let ends = (End::new(&scene.host, HELD), End::new(&scene.peer, "heldp0"));
        veth_pair(ends.0, ends.1, 1500)?;
        scene.host.add_bridge(PLAIN, &[])
    })?;
    let _stranger = Stranger::attach(&standing.scene.host, HELD)?;
    let mut obstacles = Vec::new();
    for (what, name, keys) in [
        ("missing", "absent0", REQUIRED),
        ("held", HELD, REQUIRED),
        ("no native mode", PLAIN, REQUIRED_NATIVE),
    ] {
        for (place, at) in PLACES.iter().zip(0..) {
            let interfaces = with_one_more(at, name, keys);
            obstacles.push(Obstacle::new(format!("{what}, {place}"), interfaces));
        }
    }
    meets_all(&mut standing, &obstacles)?;
    standing.finish()
}

#[test]
fn an_interface_that_is_renamed_or_goes_while_no_daemon_runs_costs_the_others_nothing() -> Result<()>
{
    require_kernel!(
        "an_interface_that_is_renamed_or_goes_while_no_daemon_runs_costs_the_others_nothing"
    );
    let come = |scene: &Scene| {
        let add = [
            "link", "add", GOES, "type", "veth", "peer", "name", "goesp0",
        ];
        scene.host.ip(&add).map(drop)
    };
    let mut standing = Standing::start(&sections(&[GOES], ""), |scene, _| come(scene))?;
    let mut obstacles = Vec::new();
    for (place, at) in PLACES.iter().zip(0..) {
        let interfaces = with_one_more(at, GOES, REQUIRED);
        let gone = Obstacle::new(format!("gone, {place}"), interfaces);
        obstacles.push(gone.with(
            |standing| standing.scene.host.ip(&["link", "del", GOES]).map(drop),
            move |standing| come(&standing.scene),
        ));
        // Another device has its name now, and can't be protected. The good start finds none of that
        // name, and follows the one that had it.
        let name = [HOST, "host1", "host2"][at];
        let section = format!("name = \"{name}\"\n");
        let interfaces = format!("[[interface]]\nname = \"new0\"\n{}", usual());
        let interfaces = interfaces.replace(&section, &format!("{section}{REQUIRED_NATIVE}"));
        let renamed = Obstacle::new(format!("renamed, {place}"), interfaces).with(
            move |standing| {
                standing.rename(at, "moved0")?;
                standing.scene.host.add_bridge(name, &[])
            },
            move |standing| standing.scene.host.ip(&["link", "del", name]).map(drop),
        );
        obstacles.push(Obstacle {
            settle: Box::new(move |standing| standing.rename(at, name)),
            ..renamed
        });
    }
    meets_all(&mut standing, &obstacles)?;
    standing.finish()
}
