//! What both sides of the kernel border share, as `no_std` code without a clock, a map or a
//! kernel call:
//!
//! - [`abi`]: every type and map name that crosses the border;
//! - [`reason`]: the closed, numbered list of why a packet passed or was dropped;
//! - [`packet`]: bytes to headers;
//! - [`lists`]: the list table, [`sources`]: the source table, and [`flows`]: the flow memory;
//! - [`verdict`]: the decision, stage by stage.
//!
//! The XDP program calls [`verdict::decide`] over its packet and its maps; tests and the
//! controller call the same lines over slices and host memory.
#![cfg_attr(not(test), no_std)]
#![deny(missing_docs)]
#![cfg_attr(
    not(test),
    deny(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

pub mod abi;
pub mod answer;
mod bits;
pub mod flows;
pub mod fragments;
pub mod hit_sampler;
pub mod known;
pub mod lists;
pub mod meters;
pub mod packet;
pub mod reason;
pub mod sampler;
pub mod sources;
pub mod verdict;
