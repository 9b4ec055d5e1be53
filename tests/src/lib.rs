//! Test harness: network namespaces, frames, traffic, the daemon under test, the sandbox run
//! that shows all of it, and the benches.

pub mod bench;
pub mod capture;
pub mod daemon;
pub mod interrupt;
pub mod kernel;
pub mod mitigation;
pub mod monitoring;
pub mod netns;
pub mod oracle;
pub mod packet;
pub mod precedence;
pub mod prometheus;
pub mod sandbox;
pub mod scorecard;
pub mod traffic;
pub mod wait;
