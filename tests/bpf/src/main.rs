//! BPF programs of `cargo xtask bench`: the driver that gives every packet a source of its own and
//! calls the program under test, the references that this one is measured against, and the sender
//! of the live half. And of `cargo xtask mitigation`: the counter of what comes to the stack.
//!
//! Nothing here is taken from the real program, so that a change of that one leaves the references
//! as they are. On any other target than BPF it is an empty program.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod abi;
#[cfg(target_arch = "bpf")]
mod arrivals;
#[cfg(target_arch = "bpf")]
mod driver;
#[cfg(target_arch = "bpf")]
mod flood;
#[cfg(target_arch = "bpf")]
mod frame;
#[cfg(target_arch = "bpf")]
mod leaving;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod reference;
#[cfg(target_arch = "bpf")]
mod word;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
