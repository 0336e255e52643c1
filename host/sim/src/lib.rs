//! Deterministic simulation over core's machines.
//!
//! A seed decides everything: how many workers there are, what the stream holds, what goes wrong and when. The workers run
//! core's machines as the host's shells drive them, over a model of the stream and a model of the lease table, on virtual
//! time. Faults strike until a moment that the plan names; then they stop, and everything must come to rest. Checkers watch
//! every step, each naming the invariant that it holds (ARCHITECTURE.md lists them).
//!
//! The rules over the whole tree are tests of this package too: nothing heavy can be reached from it, so that they answer
//! in seconds.
#![forbid(unsafe_code)]

mod checks;
mod clock;
mod dice;
mod faults;
mod ledger;
mod pipeline;
mod plan;
mod process;
mod progress;
mod queue;
mod scene;
mod shrink;
mod stream;
mod table;
mod trace;
mod world;

pub use dice::Dice;
pub use faults::{Fault, Odds};
#[cfg(feature = "mutants")]
pub use shardwright_core::{Mutant, with_mutant};

pub use checks::Broken;
pub use clock::Clock;
pub use ledger::{Ledger, Life, Mark, Said, ShardTruth, UserRecord};
pub use pipeline::{EPOCH_MS, HOLD_MAX, TIME_LIMIT, pipeline};
pub use plan::{Operation, Plan, Settings, Start, Target};
pub use queue::{Due, Queue};
pub use scene::{Answered, Called, Hands, Scene, emission_of, nanos};
pub use shrink::shrink;
pub use stream::{Answer, Cursor, Stream, StreamError};
pub use table::Table;
pub use trace::{Report, Trace, Violation};
pub use world::{CALM_MAX, simulate};
