//! `IncreaseStreamRetentionPeriod` and `DecreaseStreamRetentionPeriod`.

use serde::Deserialize;

use super::{Call, NamesStream, Service, required};
use crate::limits;
use crate::store::Change;
use crate::wire::ServiceError;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Hours {
    retention_period_hours: Option<i64>,
}

pub(super) async fn increase(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    retain(service, call, |hours, current| hours >= current).await
}

pub(super) async fn decrease(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    retain(service, call, |hours, current| hours <= current).await
}

async fn retain(
    service: &Service,
    call: &Call,
    is_right_way: impl Fn(u32, u32) -> bool,
) -> Result<Vec<u8>, ServiceError> {
    let request: Hours = call.decode()?;
    let asked = required(request.retention_period_hours, "retentionPeriodHours")?;
    let stream = call.decode::<NamesStream>()?.stream().find(service)?;
    let range = limits::RETENTION_HOURS;
    let hours = u32::try_from(asked).ok().filter(|h| range.contains(h));
    let hours = hours.ok_or_else(|| {
        ServiceError::InvalidArgument(format!(
            "Retention period has to be from {} to {} hours. Specified value was {asked}",
            range.start(),
            range.end()
        ))
    })?;
    if !is_right_way(hours, stream.retention_hours) {
        let current = stream.retention_hours;
        let message = format!(
            "{} from {current} hours to {hours} is the other way round.",
            call.operation
        );
        return Err(ServiceError::InvalidArgument(message));
    }
    let change = Change::Retain {
        stream: stream.name.clone(),
        hours,
    };
    service.change(&stream.name, change).await?;
    Ok(super::nothing())
}
