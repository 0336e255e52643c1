//! The asynchronous shells around core's machines: they wait, core decides, they carry out.

mod clock;
mod coordinator;
mod lease_events;

pub use clock::now;
pub use coordinator::{LeaseCoordinator, LeaseError, LeaseHandle};
pub use lease_events::{
    ConsumerLease, ConsumerOrders, CoordinatorEnded, DispatchPermit, StartConsumer,
};
