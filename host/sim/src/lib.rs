//! Deterministic simulation over core's machines.
//!
//! The rules over the whole tree are tests of this package too: nothing heavy can be reached from it, so that they answer
//! in seconds.
#![forbid(unsafe_code)]
