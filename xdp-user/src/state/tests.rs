use super::*;

fn row(prefix: &str, expires: Option<i64>) -> EntryRow {
    EntryRow {
        kind: ListKind::Block,
        prefix: prefix.parse().unwrap(),
        list: "manual".parse().unwrap(),
        expires: expires.and_then(timestamp),
        comment: Some("seen in the log".into()),
        added: timestamp(1_700_000_000_123).unwrap(),
    }
}

#[test]
fn what_was_written_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let entries = [
        row("192.0.2.0/24", None),
        row("2001:db8::1", Some(1_800_000_000_000)),
    ];
    let ban = BanRow {
        source: "198.51.100.7".parse().unwrap(),
        since: timestamp(1).unwrap(),
        until: timestamp(2).unwrap(),
        level: 3,
        reason: 37,
    };
    let fields = LimitFields {
        packets: Some("1kpps".into()),
        ..LimitFields::default()
    };
    {
        let mut state = State::open(directory.path()).unwrap();
        state
            .change_entries(&entries.clone().map(EntryChange::Put))
            .unwrap();
        state.put_bans(&[ban]).unwrap();
        state.set_limits(None, Some(&fields)).unwrap();
    }
    let mut state = State::open(directory.path()).unwrap();
    assert!(state.is_sound().unwrap());
    assert_eq!(state.entries().unwrap(), (entries.to_vec(), 0));
    assert_eq!(state.bans().unwrap(), [ban]);
    assert_eq!(state.limits().unwrap(), [(None, fields)]);

    let gone = EntryChange::Remove(ListKind::Block, entries[0].prefix, entries[0].list.clone());
    state.change_entries(&[gone]).unwrap();
    state.remove_bans(&[ban.source]).unwrap();
    state.set_limits(None, None).unwrap();
    assert_eq!(state.entries().unwrap().0, entries[1..]);
    assert!(state.bans().unwrap().is_empty());
    assert!(state.limits().unwrap().is_empty());
}

#[test]
fn a_state_in_use_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = State::open(directory.path()).unwrap();
    first
        .change_entries(&[EntryChange::Put(row("192.0.2.0/24", None))])
        .unwrap();
    let error = State::open(directory.path()).err().unwrap();
    let text = format!("{error:#}");
    assert!(text.contains("another daemon uses it"), "{text}");
}

#[test]
fn a_newer_layout_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let connection = Connection::open(directory.path().join(FILE)).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let error = State::open(directory.path()).err().unwrap();
    assert!(
        format!("{error:#}").contains("newer xdp-throttle"),
        "{error:#}"
    );
}
