//! The XDP program: maps, packet bytes, one decision, one exit that records it. And the egress program,
//! which notes what leaves.
//!
//! The decision is `xdp_common::verdict::decide`; this crate is its caller in the kernel. On any
//! other target than BPF it is an empty program, so that the whole workspace checks, lints and
//! tests with a plain toolchain.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod again;
#[cfg(target_arch = "bpf")]
mod answer;
#[cfg(target_arch = "bpf")]
mod class;
#[cfg(target_arch = "bpf")]
mod egress;
#[cfg(target_arch = "bpf")]
mod flows;
#[cfg(target_arch = "bpf")]
mod known;
#[cfg(target_arch = "bpf")]
mod lists;
#[cfg(target_arch = "bpf")]
mod map_pointer;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod meters;
#[cfg(target_arch = "bpf")]
mod offence;
#[cfg(target_arch = "bpf")]
mod program;
#[cfg(target_arch = "bpf")]
mod record;
#[cfg(target_arch = "bpf")]
mod sample;
#[cfg(target_arch = "bpf")]
mod scratch;
#[cfg(target_arch = "bpf")]
mod skb;
#[cfg(target_arch = "bpf")]
mod sockets;
#[cfg(target_arch = "bpf")]
mod sources;
#[cfg(target_arch = "bpf")]
mod tables;
#[cfg(target_arch = "bpf")]
mod told;
#[cfg(target_arch = "bpf")]
mod unusual;
#[cfg(target_arch = "bpf")]
mod view;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
