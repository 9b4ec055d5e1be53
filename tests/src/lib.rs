//! Test harness: network namespaces, frames, traffic, the daemon under test, a browser, the sandbox
//! run that shows all of it, the benches, and the pictures of the docs.

pub mod bench;
pub mod browser;
pub mod capture;
pub mod daemon;
pub mod fault;
pub mod fuzz;
pub mod interrupt;
pub mod kernel;
pub mod mitigation;
pub mod monitoring;
pub mod netns;
pub mod oracle;
pub mod packet;
pub mod pictures;
pub mod precedence;
pub mod prometheus;
pub mod sandbox;
pub mod scorecard;
pub mod traffic;
pub mod wait;
