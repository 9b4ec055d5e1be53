//! Links for tests, made up.

use super::link::Link;

pub(super) fn link(index: u32, name: &str) -> Link {
    Link {
        index,
        name: name.to_owned(),
        ..Link::default()
    }
}

pub(super) fn of_kind(index: u32, name: &str, kind: &str) -> Link {
    Link {
        kind: Some(kind.to_owned()),
        ..link(index, name)
    }
}

pub(super) fn on(lower: u32, link: Link) -> Link {
    Link {
        lower: Some(lower),
        ..link
    }
}

pub(super) fn in_master(master: u32, link: Link) -> Link {
    Link {
        master: Some(master),
        ..link
    }
}
