//! What the controller tells of.

use super::*;
use crate::api::types::{
    BanBegan, BanEnded, DetachCause, FlushEntries, Happening, InterfaceDetached, LiftBans,
    ListCause, ListChanged, RemoveEntries, UnbanCause,
};
use crate::datapath::keys::source_to_abi;
use crate::events::Filter;
use xdp_common::abi::{Ban, EVENT_BAN, Event, Plain};
use xdp_common::reason::Reason;

impl World {
    /// What happened, without the start.
    pub(super) fn happened(&self) -> Vec<Happening> {
        let past = self.control.journal.past(&Filter::default(), 1000);
        past.iter().map(|event| event.what.clone()).collect()
    }

    fn lists_changed(&self) -> Vec<ListChanged> {
        let lists = self.happened().into_iter().filter_map(|what| {
            let Happening::List(list) = what else {
                return None;
            };
            Some(list)
        });
        lists.collect()
    }
}

fn list(table: ListKind, list: Option<&str>, cause: ListCause) -> ListChanged {
    ListChanged {
        table,
        list: list.map(str::to_owned),
        cause,
        added: 0,
        updated: 0,
        removed: 0,
        prefix: None,
    }
}

#[test]
fn every_change_of_a_list_is_told_with_its_counts_and_its_cause() {
    let mut world = World::new("");
    world.block(&["192.0.2.1"]);
    world.block(&["192.0.2.1"]);
    world.block(&["192.0.2.2", "192.0.2.3"]);
    let remove = RemoveEntries {
        prefixes: vec![prefix("192.0.2.1").into()],
        list: None,
    };
    world
        .control
        .remove_entries(ListKind::Block, &remove)
        .unwrap();
    let flush = FlushEntries {
        list: list_name("manual"),
    };
    world
        .control
        .flush_entries(ListKind::Block, &flush)
        .unwrap();
    world
        .reload("[allow]\nprefixes = [\"198.51.100.7\"]\n")
        .unwrap();

    let manual = Some("manual");
    let block = |cause| list(ListKind::Block, manual, cause);
    assert_eq!(
        world.lists_changed(),
        [
            ListChanged {
                added: 1,
                prefix: Some(prefix("192.0.2.1")),
                ..block(ListCause::Request)
            },
            // Adding what is there says nothing.
            ListChanged {
                added: 2,
                ..block(ListCause::Request)
            },
            ListChanged {
                removed: 1,
                prefix: Some(prefix("192.0.2.1")),
                ..list(ListKind::Block, None, ListCause::Request)
            },
            ListChanged {
                removed: 2,
                ..block(ListCause::Flush)
            },
            ListChanged {
                added: 1,
                prefix: Some(prefix("198.51.100.7")),
                ..list(ListKind::Allow, Some("config"), ListCause::Config)
            },
        ]
    );
}

#[test]
fn a_change_that_the_disk_refused_is_not_told() {
    let triggers = "CREATE TRIGGER full BEFORE INSERT ON entries BEGIN
        SELECT RAISE(FAIL, 'disk full'); END;";
    let mut world = World::with_triggers("", triggers);
    let refused = world
        .control
        .add_entries(ListKind::Block, adding(&["192.0.2.1"]));
    assert!(words(refused).contains("disk full"));
    assert_eq!(world.lists_changed(), []);
}

#[test]
fn bans_are_told_as_they_begin_end_and_are_lifted() {
    let mut world = World::new("");
    let now = Moment::now();
    let put = |source: &str, until_ns| {
        let key = source_to_abi(&prefix(source));
        let ban = Ban {
            until_ns,
            since_ns: now.boot_ns,
            reason: Reason::RatePackets.code().into(),
            level: 1,
            ..Ban::ZERO
        };
        world.kernel.memory().put_ban(&key, &ban).unwrap();
        Event {
            time_ns: ban.since_ns,
            source: key,
            until_ns,
            kind: EVENT_BAN,
            reason: ban.reason,
            level: ban.level,
            reserved: 0,
        }
    };
    let hour_ns = 3_600_000_000_000;
    let long = put("192.0.2.1", now.boot_ns + hour_ns);
    put("192.0.2.2", now.boot_ns + 1);
    world.control.note_events(&[long]).unwrap();
    world.control.tick();
    world.control.tick();
    let lift = LiftBans {
        sources: vec![prefix("192.0.2.1").into()],
        all: false,
    };
    world.control.lift_bans(&lift).unwrap();

    let happened = world.happened();
    let Some(Happening::Ban(BanBegan {
        source,
        reason,
        level,
        ..
    })) = happened.first()
    else {
        panic!("{happened:?}");
    };
    let told = (source.to_string(), reason.as_str(), *level);
    assert_eq!(told, ("192.0.2.1".to_owned(), "rate_packets", 1));
    let over = |source, cause| {
        Happening::Unban(BanEnded {
            source: prefix(source),
            cause,
        })
    };
    assert_eq!(
        happened[1..],
        [
            over("192.0.2.2", UnbanCause::Ended),
            over("192.0.2.1", UnbanCause::Lifted),
        ],
        "each once"
    );
}

#[test]
fn reloads_and_interfaces_are_told() {
    let mut world = World::new("[[interface]]\nname = \"wan0\"\n");
    world.reload("mode = \"observe\"\n").unwrap();
    world.reload("mode = \"nonsense\"\n").unwrap_err();
    let happened = world.happened();
    let kinds: Vec<&str> = happened
        .iter()
        .filter_map(|what| what.kind())
        .map(crate::api::types::EventKind::name)
        .collect();
    assert_eq!(kinds, ["attach", "detach", "reload", "reload"]);
    assert_eq!(
        happened[1],
        Happening::Detach(InterfaceDetached {
            interface: "wan0".into(),
            cause: DetachCause::Config,
        })
    );
    let [_, _, Happening::Reload(done), Happening::Reload(refused)] = &happened[..] else {
        panic!("{happened:?}");
    };
    assert_eq!(done.error, None);
    assert!(
        done.changes.join(";").contains("mode: enforce to observe"),
        "{done:?}"
    );
    assert!(
        refused.error.as_ref().unwrap().contains("nonsense"),
        "{refused:?}"
    );
}
