//! What a command line can say about the service: shared by every program that serves one.

use clap::Args;

use crate::endpoint::Endpoint;
use crate::faults::{FaultError, FaultPlan, FaultRule};
use crate::service_limits::{Limit, LimitError, ServiceLimits};

// Limits and faults.
#[derive(Args, Clone, Debug, Default)]
#[expect(
    missing_docs,
    reason = "its doc would replace the description of the command that it is flattened into"
)]
pub struct ServiceArgs {
    /// Throttle as the service does: 1 MiB/s and 1,000 records/s in, 5 reads/s and 2 MiB/s out, per shard
    #[arg(long)]
    limits: bool,

    /// Replace a limit, such as `reads_per_s=2` or `record_bytes=65536`; a rate turns throttling on. May be given again
    #[arg(long = "limit", value_name = "NAME=N")]
    limit: Vec<Limit>,

    /// Let requests fail, such as `throttle,operation=PutRecords,rate=0.1`. May be given again
    #[arg(long = "fault", value_name = "KIND[,NAME=VALUE...]")]
    faults: Vec<FaultRule>,

    /// What the faults are drawn from
    #[arg(long, value_name = "N", default_value_t = 0)]
    fault_seed: u64,
}

/// Arguments that are well formed and do not go together.
#[derive(Debug, thiserror::Error)]
pub enum ArgsError {
    /// Of the limits.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// Of the faults.
    #[error(transparent)]
    Fault(#[from] FaultError),
}

impl ServiceArgs {
    /// The endpoint with these limits and faults.
    pub fn apply(self, endpoint: Endpoint) -> Result<Endpoint, ArgsError> {
        let mut limits = ServiceLimits {
            throughput: self.limits,
            ..ServiceLimits::DEFAULT
        };
        for limit in &self.limit {
            limits = limits.with(limit)?;
        }
        let plan = FaultPlan {
            seed: self.fault_seed,
            rules: self.faults,
        };
        Ok(endpoint.limits(limits).faults(plan.check()?))
    }
}
