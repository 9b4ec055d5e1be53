//! The sender: one thread that has the kernel run a program over live frames, which the program
//! redirects into the receiver's wire, on the receiver's own CPU: one batch after another, each worked
//! off before the next is made.

use anyhow::{Context, Result, anyhow};
use aya::maps::{Array, MapData, PerCpuArray, PerCpuValues};
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};

use super::super::abi::{Aim, Flood as Target};
use super::super::stand::{OBJECT, take};
use crate::kernel::{LOOPBACK, pin_to_cpu};
use crate::netns::Namespace;
use crate::packet::Packet;

// SAFETY: `repr(C)`, words only, no padding.
unsafe impl aya::Pod for Target {}

const PROGRAM: &str = "bench_flood";
/// Frames that the kernel makes and sends in one go, before the receiver has its turn. Fewer than the ring
/// of a veth pair holds (`VETH_RING_SIZE`, 256, drivers/net/veth.c), so that none overflows, and a multiple
/// of what NAPI takes at a time.
const BATCH: u32 = 192;
/// Where the IPv4 header and the UDP checksum are in the frame.
const IPV4: std::ops::Range<usize> = 14..34;
const UDP_CHECKSUM: std::ops::Range<usize> = 40..42;

/// The loaded sender.
pub(super) struct Flood {
    ebpf: Ebpf,
    aim: PerCpuArray<MapData, Aim>,
    target: Array<MapData, Target>,
    namespace: Namespace,
    cpu: usize,
    frame: Vec<u8>,
    sum: u32,
}

impl Flood {
    /// Loads the program. It will send from `namespace`, on `cpu`.
    pub(super) fn new(namespace: Namespace, cpu: usize) -> Result<Self> {
        let mut ebpf = EbpfLoader::new()
            .load(OBJECT)
            .context("loading the sender's maps")?;
        let program: &mut Xdp = ebpf
            .program_mut(PROGRAM)
            .with_context(|| format!("the bench's object has no program {PROGRAM}"))?
            .try_into()?;
        program.load().context("loading the sender")?;
        let frame = frame();
        Ok(Self {
            aim: take(&mut ebpf, "AIM")?,
            target: take(&mut ebpf, "FLOOD")?,
            sum: header_sum(&frame[IPV4]),
            ebpf,
            namespace,
            cpu,
            frame,
        })
    }

    /// Where it sends from.
    pub(super) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Fails where the kernel has no live frames: sends one to `lo`, which takes none.
    pub(super) fn probe(&mut self, aim: Aim) -> Result<()> {
        self.send(LOOPBACK, aim, 1)
    }

    /// Sends so many packets out of an interface.
    pub(super) fn send(&mut self, interface: u32, aim: Aim, packets: u32) -> Result<()> {
        let cpus = aya::util::nr_cpus().map_err(|(file, error)| anyhow!("{file}: {error}"))?;
        self.aim
            .set(0, PerCpuValues::try_from(vec![aim; cpus])?, 0)?;
        let target = Target {
            interface,
            sum: self.sum,
        };
        self.target.set(0, target, 0)?;
        let program: &Xdp = self
            .ebpf
            .program(PROGRAM)
            .with_context(|| format!("the bench's object has no program {PROGRAM}"))?
            .try_into()?;
        self.namespace.run(|| {
            pin_to_cpu(self.cpu)?;
            program
                .test_run(TestRunOptions {
                    data_in: Some(&self.frame),
                    repeat: packets,
                    attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                    ..TestRunOptions::new()
                })
                .context("sending live frames, which Linux 5.18 and later can")
        })??;
        Ok(())
    }
}

/// The smallest Ethernet frame. UDP without a checksum, as the source address changes.
fn frame() -> Vec<u8> {
    let mut frame = Packet::v4("0.0.0.0", "198.51.100.1")
        .udp(4000, 53)
        .payload([0; 18])
        .build();
    frame[UDP_CHECKSUM].fill(0);
    frame
}

/// The header's words but the checksum; the source address is 0.
fn header_sum(header: &[u8]) -> u32 {
    let words = header.chunks_exact(2).enumerate();
    words
        .filter(|(place, _)| *place != 5)
        .map(|(_, word)| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_what_the_checksum_of_the_template_is_made_from() {
        let frame = frame();
        assert_eq!(frame.len(), 60);
        let sum = header_sum(&frame[IPV4]);
        let folded = (sum & 0xffff) + (sum >> 16);
        let checksum = u16::from_be_bytes([frame[24], frame[25]]);
        assert_eq!(!u32::from(checksum) & 0xffff, folded);
    }
}
