//! The attacker's wire.
//!
//! Frames of a packet socket come to a veth end as the stack's buffers, and before a program may
//! look at one the kernel copies it, on the receiver's time (`veth_convert_skb_to_xdp_buff`):
//! several times what a program takes to drop it, and nothing that a network card does. So a
//! program on the switch takes them on the attacker's CPU and hands them over as XDP frames.

use anyhow::{Context, Result};
use aya::maps::{Array, MapData};
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};

use crate::bench::abi::Flood;
use crate::bench::stand::{OBJECT, take};
use crate::netns::Namespace;

const RELAY: &str = "bench_relay";
const PASS: &str = "bench_pass";

/// The attached programs. Dropped, they are gone.
pub(super) struct Relay {
    _ebpf: Ebpf,
}

impl Relay {
    /// Hands what comes into one port over to what is behind the other. That one gets a program that
    /// passes everything: a veth end without one is never woken for the answers of the host's program
    /// (`veth_xdp_flush`, drivers/net/veth.c).
    pub(super) fn install(switch: &Namespace, from: &str, to: &str) -> Result<Self> {
        let mut ebpf = EbpfLoader::new()
            .load(OBJECT)
            .context("loading the relay's maps")?;
        let mut target: Array<MapData, Flood> = take(&mut ebpf, "FLOOD")?;
        let interface = switch.interface_index(to)?;
        target.set(0, Flood { interface, sum: 0 }, 0)?;
        for (name, port) in [(RELAY, from), (PASS, to)] {
            let program: &mut Xdp = ebpf
                .program_mut(name)
                .with_context(|| format!("the bench's object has no program {name}"))?
                .try_into()?;
            program.load().with_context(|| format!("loading {name}"))?;
            switch
                .run(|| program.attach(port, XdpMode::Driver))?
                .with_context(|| format!("attaching {name} to {port}"))?;
        }
        Ok(Self { _ebpf: ebpf })
    }
}
