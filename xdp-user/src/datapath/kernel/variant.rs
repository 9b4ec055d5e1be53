//! Which of the object's two programs an interface gets: the one for Ethernet, or the one for frames
//! that begin with the IP header. Both look at the same maps; the second is loaded when an interface
//! first needs it.

use std::os::fd::BorrowedFd;

use aya::Ebpf;
use aya::programs::{Program, ProgramError, Xdp};
use xdp_common::abi::map;

use super::super::{DatapathError, Result};
use super::{KernelDatapath, failed, stages};
use crate::domain::IfName;
use crate::host::framing::{self, Framing};

const fn name(framing: Framing) -> &'static str {
    match framing {
        Framing::Ethernet => map::PROGRAM,
        Framing::Bare => map::PROGRAM_IP,
    }
}

/// What an interface's frames begin with. One that is missing is for who attaches it to tell.
pub(super) fn framing_of(interface: &IfName) -> Result<Framing> {
    let told = framing::of(interface)
        .map_err(|error| failed(&format!("ask what kind of interface {interface} is"), error))?;
    match told {
        None => Ok(Framing::Ethernet),
        Some(Ok(framing)) => Ok(framing),
        Some(Err(unreadable)) => Err(DatapathError::Framing {
            interface: interface.clone(),
            link_type: unreadable.link_type,
            what: unreadable.what,
        }),
    }
}

/// The program of that name and kind in an object.
pub(super) fn named<'e, P>(ebpf: &'e mut Ebpf, name: &'static str) -> Result<&'e mut P>
where
    &'e mut P: TryFrom<&'e mut Program, Error = ProgramError>,
{
    let missing = || DatapathError::Kernel {
        what: "find a program in its object".into(),
        source: anyhow::anyhow!("the object holds none of the kind named {name}"),
    };
    let program = ebpf.program_mut(name).ok_or_else(missing)?;
    program.try_into().map_err(|_other| missing())
}

/// The program for such frames, loaded.
pub(super) fn program(ebpf: &mut Ebpf, framing: Framing) -> Result<&mut Xdp> {
    let program: &mut Xdp = named(ebpf, name(framing))?;
    if program.fd().is_err() {
        program.load().map_err(stages::load_refused)?;
    }
    Ok(program)
}

/// The same without changing anything: nothing if it isn't loaded.
pub(super) fn loaded(ebpf: &Ebpf, framing: Framing) -> Option<&Xdp> {
    let program: &Xdp = ebpf.program(name(framing))?.try_into().ok()?;
    program.fd().is_ok().then_some(program)
}

impl KernelDatapath {
    /// What an interface's frames begin with, as of when it was attached.
    pub(super) fn noted_framing(&self, interface: &IfName) -> Framing {
        let held = self.links.get(interface);
        held.map_or(Framing::Ethernet, |held| held.framing)
    }

    /// The program for frames that begin with the IP header, for `BPF_PROG_TEST_RUN`; loads it if no
    /// interface has needed it.
    pub fn bare_program(&mut self) -> Result<&mut Xdp> {
        program(&mut self.ebpf, Framing::Bare)
    }

    /// Instructions that the verifier went through for the loaded program that took it longest.
    pub(super) fn verified(&self) -> Option<u32> {
        let of = |framing| {
            let program = loaded(&self.ebpf, framing)?;
            program.info().ok()?.verified_instruction_count()
        };
        [Framing::Ethernet, Framing::Bare]
            .into_iter()
            .filter_map(of)
            .max()
    }
}

/// The descriptor of the program for such frames in an object that is to take another's place.
pub(super) fn descriptor(ebpf: &Ebpf, framing: Framing) -> Option<BorrowedFd<'_>> {
    use std::os::fd::AsFd as _;
    loaded(ebpf, framing)?.fd().ok().map(|fd| fd.as_fd())
}
