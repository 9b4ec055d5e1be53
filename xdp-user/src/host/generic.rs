//! Questions to what the kernel calls generic netlink families: ethtool's and netdev's
//! (Documentation/netlink/specs/ethtool.yaml and netdev.yaml).

use nix::errno::Errno;

use super::netlink::{Asked, NetlinkError, Socket, attributes, number, put_attribute};

/// `struct genlmsghdr` (linux/genetlink.h): command, version, two reserved bytes.
const HEADER: usize = 4;
const VERSION: u8 = 1;
/// `GENL_ID_CTRL`, and what it is asked for.
const CONTROLLER: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// Nested attributes say so (`NLA_F_NESTED`), or these families refuse them.
const NESTED: u16 = 0x8000;

// linux/ethtool_netlink.h
const FEATURES_GET: u8 = 11;
const FEATURES_ACTIVE: u16 = 4;
const CHANNELS_GET: u8 = 17;
const ETHTOOL_HEADER: u16 = 1;
const HEADER_INDEX: u16 = 1;
const BITSET_BITS: u16 = 3;
const BIT_NAME: u16 = 2;
const RX_MAX: u16 = 2;
const COMBINED_MAX: u16 = 5;
const RX_COUNT: u16 = 6;
const COMBINED_COUNT: u16 = 9;
// linux/netdev.h
const DEVICE_GET: u8 = 1;
const DEVICE_INDEX: u16 = 1;
const XDP_FEATURES: u16 = 3;

/// Bits of `enum netdev_xdp_act` (linux/netdev.h).
pub(super) const XDP_BASIC: u64 = 1;
/// A frame may be in several buffers.
pub(super) const XDP_SCATTERED: u64 = 1 << 5;

/// Receive queues: how many there are, and how many there can be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queues {
    /// In use.
    pub now: u32,
    /// At most.
    pub most: u32,
}

/// What an interface's driver says of XDP; `None` where the kernel doesn't know the question (before
/// 6.3).
pub(super) fn xdp_features(index: u32) -> Result<Option<u64>, NetlinkError> {
    let mut body = Vec::new();
    put_attribute(&mut body, DEVICE_INDEX, &index.to_ne_bytes());
    let mut features = None;
    let asked = ask("netdev", DEVICE_GET, &body, |answer| {
        let mut answer = attributes(answer);
        let found = answer.find(|(kind, _)| *kind == XDP_FEATURES);
        features = found.and_then(|(_, value)| number(value).map(u64::from_ne_bytes));
    })?;
    Ok(asked.and(features))
}

/// Names of the offloads that are on; `None` where the kernel doesn't know the question.
pub(super) fn offloads(index: u32) -> Result<Option<Vec<String>>, NetlinkError> {
    let mut names = Vec::new();
    let asked = ask("ethtool", FEATURES_GET, &of_device(index), |answer| {
        for (kind, value) in attributes(answer) {
            if kind == FEATURES_ACTIVE {
                names.extend(bit_names(value));
            }
        }
    })?;
    Ok(asked.map(|()| names))
}

/// Receive queues, those that send as well included; `None` where the driver has no such setting.
pub(super) fn queues(index: u32) -> Result<Option<Queues>, NetlinkError> {
    let mut queues = Queues::default();
    let asked = ask("ethtool", CHANNELS_GET, &of_device(index), |answer| {
        for (kind, value) in attributes(answer) {
            let count = number(value).map_or(0, u32::from_ne_bytes);
            match kind {
                RX_COUNT | COMBINED_COUNT => queues.now = queues.now.saturating_add(count),
                RX_MAX | COMBINED_MAX => queues.most = queues.most.saturating_add(count),
                _ => {}
            }
        }
    })?;
    Ok(asked.map(|()| queues).filter(|queues| queues.most > 0))
}

fn of_device(index: u32) -> Vec<u8> {
    let mut device = Vec::new();
    put_attribute(&mut device, HEADER_INDEX, &index.to_ne_bytes());
    let mut body = Vec::new();
    put_attribute(&mut body, ETHTOOL_HEADER | NESTED, &device);
    body
}

/// Of a bitset without mask, which lists the bits that are set.
fn bit_names(bitset: &[u8]) -> Vec<String> {
    let bits = attributes(bitset).filter(|(kind, _)| *kind == BITSET_BITS);
    let bits = bits.flat_map(|(_, bits)| attributes(bits));
    let names = bits.filter_map(|(_, bit)| {
        let (_, name) = attributes(bit).find(|(kind, _)| *kind == BIT_NAME)?;
        let name = name.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(name).into_owned())
    });
    names.collect()
}

/// `None` where there is no such family, command or setting.
fn ask(
    family: &str,
    command: u8,
    body: &[u8],
    mut take: impl FnMut(&[u8]),
) -> Result<Option<()>, NetlinkError> {
    let mut socket = Socket::generic()?;
    let mut name = Vec::new();
    put_attribute(&mut name, FAMILY_NAME, format!("{family}\0").as_bytes());
    let mut id = None;
    let found = known(socket.ask(
        CONTROLLER,
        Asked::One,
        &message(GET_FAMILY, &name),
        |answer| {
            let mut attributes = attributes(answer.get(HEADER..).unwrap_or_default());
            let family = attributes.find(|(kind, _)| *kind == FAMILY_ID);
            id = family.and_then(|(_, value)| number(value).map(u16::from_ne_bytes));
        },
    ))?;
    let (Some(()), Some(id)) = (found, id) else {
        return Ok(None);
    };
    known(
        socket.ask(id, Asked::One, &message(command, body), |answer| {
            take(answer.get(HEADER..).unwrap_or_default());
        }),
    )
}

fn message(command: u8, body: &[u8]) -> Vec<u8> {
    [&[command, VERSION, 0, 0], body].concat()
}

fn known(asked: Result<(), NetlinkError>) -> Result<Option<()>, NetlinkError> {
    match asked {
        Ok(()) => Ok(Some(())),
        Err(NetlinkError::Refused(Errno::ENOENT | Errno::EOPNOTSUPP)) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_bits_that_are_set_are_read() {
        let mut bits = Vec::new();
        for name in ["rx-lro\0", "rx-gro-hw\0"] {
            let mut bit = Vec::new();
            put_attribute(&mut bit, 1, &7_u32.to_ne_bytes());
            put_attribute(&mut bit, BIT_NAME, name.as_bytes());
            put_attribute(&mut bits, 1 | NESTED, &bit);
        }
        let mut bitset = Vec::new();
        put_attribute(&mut bitset, 1, &[]);
        put_attribute(&mut bitset, 2, &64_u32.to_ne_bytes());
        put_attribute(&mut bitset, BITSET_BITS | NESTED, &bits);
        assert_eq!(bit_names(&bitset), ["rx-lro", "rx-gro-hw"]);
        assert!(bit_names(&[1, 2, 3]).is_empty());
    }

    #[test]
    fn a_family_that_is_not_there_has_no_answer() {
        assert_eq!(ask("no-such-family", 1, &[], |_| {}), Ok(None));
        let gone = Err(NetlinkError::Refused(Errno::ENODEV));
        assert_eq!(known(gone), gone.map(Some));
    }
}
