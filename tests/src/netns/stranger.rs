//! Somebody else's XDP program on an interface.

use anyhow::{Context, Result};
use aya::programs::{Xdp, XdpMode};
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
