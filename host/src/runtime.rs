//! The asynchronous shells around core's machines: they wait, core decides, they carry out.

mod consumer;
mod coordinator;
mod crashes;
mod delivery;
mod fetcher;
mod generation;
mod lane;
mod lease_events;
mod on_io;
mod pauses;
mod pipeline;
mod shared;
#[cfg(test)]
mod simulation;
mod take_over;

pub use coordinator::{LeaseCoordinator, LeaseError, LeaseHandle};
pub use generation::GenerationParts;
pub use lease_events::{
    ConsumerLease, ConsumerOrders, CoordinatorEnded, DispatchPermit, StartConsumer,
};
pub use pipeline::{PipelineEnd, RunningPipeline};
pub use shared::{PipelineParts, Reports, ShardReport};
