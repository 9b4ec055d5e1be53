//! What a policy would have done to captured traffic: the program's own decision, over tables in
//! memory, by the capture's clock. Needs no kernel and no rights.
//!
//! What a capture can't tell: whether a local socket waits for a packet. A class that asks for one
//! gets the answer "nobody knows", as on a host that forwards, and a SYN over the budget is answered
//! with a cookie.

pub mod engine;
pub mod file;
pub mod link;
pub mod report;
pub mod suggest;
mod tally;

pub use engine::{Engine, Judged};
pub use report::{Report, replay};
pub use tally::Count;
