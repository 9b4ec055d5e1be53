//! The datapath in the kernel keeps the contract that the one in memory keeps, and says what an
//! interface lacks.

use anyhow::Result;
use aya::programs::{TestRun, TestRunOptions};
use xdp_common::reason::Action;
use xdp_tests::kernel::boot_ns;
use xdp_tests::netns::Namespace;
use xdp_tests::require_kernel;
use xdp_user::datapath::contract::{CAPACITY, Subject, contract};
use xdp_user::datapath::kernel::KernelDatapath;
use xdp_user::datapath::{Datapath, DatapathError};
use xdp_user::domain::{AttachMode, IfName};

struct Kernel(KernelDatapath);

impl Kernel {
    fn load() -> Result<Self> {
        Ok(Self(KernelDatapath::load(CAPACITY, 0)?))
    }
}

impl Subject for Kernel {
    fn datapath(&mut self) -> &mut dyn Datapath {
        &mut self.0
    }

    fn run(&mut self, frame: &[u8]) -> Result<Action> {
        let result = self.0.program()?.test_run(TestRunOptions {
            data_in: Some(frame),
            ..TestRunOptions::new()
        })?;
        // Of `enum xdp_action` (include/uapi/linux/bpf.h) the program knows three.
        match result.return_value {
            1 => Ok(Action::Drop),
            2 => Ok(Action::Pass),
            3 => Ok(Action::Answer),
            other => anyhow::bail!("the program returned XDP action {other}"),
        }
    }

    fn now_ns(&self) -> u64 {
        boot_ns().unwrap_or(0)
    }

    fn interface(&self) -> Result<IfName> {
        Ok("lo".parse()?)
    }
}

#[test]
fn the_datapath_in_the_kernel_keeps_the_contract() {
    require_kernel!("the_datapath_in_the_kernel_keeps_the_contract");
    let namespace = Namespace::new("contract").unwrap();
    namespace
        .run(|| contract(&mut Kernel::load()?))
        .unwrap()
        .unwrap();
}

#[test]
fn what_keeps_an_interface_from_being_attached_is_told_apart() {
    require_kernel!("what_keeps_an_interface_from_being_attached_is_told_apart");
    let namespace = Namespace::new("attach").unwrap();
    let attached = namespace.run(|| -> Result<()> {
        let (mut ours, mut other) = (Kernel::load()?.0, Kernel::load()?.0);
        let lo: IfName = "lo".parse()?;
        let missing = ours.attach(&"absent0".parse()?, AttachMode::Auto);
        assert!(
            matches!(missing, Err(DatapathError::NoInterface { .. })),
            "{missing:?}"
        );
        let native = ours.attach(&lo, AttachMode::Native);
        assert!(
            matches!(native, Err(DatapathError::NoNative { .. })),
            "{native:?}"
        );
        let auto = ours.attach(&lo, AttachMode::Auto)?;
        assert!(!auto.native, "loopback has no native XDP");
        for mode in [AttachMode::Auto, AttachMode::Generic] {
            let occupied = other.attach(&lo, mode);
            assert!(
                matches!(occupied, Err(DatapathError::Occupied { .. })),
                "{occupied:?}"
            );
        }
        drop(ours);
        other.attach(&lo, AttachMode::Generic)?;
        Ok(())
    });
    attached.unwrap().unwrap();
}

#[test]
fn the_verifier_says_how_far_it_went() {
    require_kernel!("the_verifier_says_how_far_it_went");
    let kernel = Kernel::load().unwrap();
    // `bpf_prog_info.verified_insns` is there since Linux 5.16.
    let instructions = kernel.0.verified_instructions().unwrap();
    println!("{instructions} instructions verified");
    assert!((100..1_000_000).contains(&instructions), "{instructions}");
}
