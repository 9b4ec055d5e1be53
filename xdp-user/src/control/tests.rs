//! The controller over the datapath in memory.
