//! Somebody else's programs on an interface.

use anyhow::{Context, Result};
use aya::maps::PerCpuArray;
use aya::programs::links::LinkOrder;
use aya::programs::tc::{NlOptions, TcAttachOptions};
use aya::programs::{SchedClassifier, TcAttachType, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};

use super::Namespace;
use crate::bench::stand::OBJECT;

/// As the kernel names it.
pub const NAME: &str = "bench_pass";

/// A program that passes every packet; gone when this is dropped.
#[derive(Debug)]
pub struct Stranger {
    _ebpf: Ebpf,
}

impl Stranger {
    /// Attaches it to an interface, in the driver.
    ///
    /// # Errors
    /// When the kernel refuses it, or there is a program already.
    pub fn attach(namespace: &Namespace, interface: &str) -> Result<Self> {
        let mut ebpf = EbpfLoader::new()
            .load(OBJECT)
            .context("loading the bench's maps")?;
        let program = ebpf.program_mut(NAME);
        let program: &mut Xdp = program
            .with_context(|| format!("the bench's object has no program {NAME}"))?
            .try_into()?;
        program.load().with_context(|| format!("loading {NAME}"))?;
        namespace
            .run(|| program.attach(interface, XdpMode::Driver))?
            .with_context(|| format!("attaching {NAME} to {interface}"))?;
        Ok(Self { _ebpf: ebpf })
    }
}

/// A program at the egress hook that lets the next one go on.
#[derive(Debug)]
pub struct EgressStranger {
    ebpf: Ebpf,
}

impl EgressStranger {
    const NAME: &str = "bench_leaving";

    /// Attaches it to what leaves by an interface: at tcx behind all others, or as a filter of clsact, which
    /// is there, with a priority.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn attach(namespace: &Namespace, interface: &str, priority: Option<u16>) -> Result<Self> {
        let mut ebpf = EbpfLoader::new()
            .load(OBJECT)
            .context("loading the bench's maps")?;
        let program = ebpf.program_mut(Self::NAME);
        let program: &mut SchedClassifier = program
            .context("the bench's object has no program for what leaves")?
            .try_into()?;
        program
            .load()
            .context("loading the program for what leaves")?;
        let how = match priority {
            None => TcAttachOptions::TcxOrder(LinkOrder::default()),
            Some(priority) => TcAttachOptions::Netlink(NlOptions {
                priority,
                ..NlOptions::default()
            }),
        };
        namespace
            .run(|| program.attach_with_options(interface, TcAttachType::Egress, how))?
            .with_context(|| format!("attaching a program to what leaves by {interface}"))?;
        Ok(Self { ebpf })
    }

    /// Packets that it saw.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn seen(&self) -> Result<u64> {
        let left = self.ebpf.map("LEFT").context("no map of what left")?;
        let left = PerCpuArray::<_, u64>::try_from(left)?;
        Ok(left.get(&0, 0)?.iter().sum())
    }
}
