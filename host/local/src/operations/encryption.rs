//! `StartStreamEncryption` and `StopStreamEncryption`. Descriptions, puts and reads say what the service would say; what is
//! stored stays in the clear, and any key is a key.

use serde::Deserialize;

use super::constraints::{length, one_of};
use super::{Call, NamesStream, Service, required};
use crate::clock::Millis;
use crate::limits;
use crate::store::{Edit, Stream};
use crate::wire::ServiceError;

const NONE: &str = "NONE";
const KMS: &str = "KMS";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Asked {
    encryption_type: Option<String>,
    key_id: Option<String>,
}

impl Asked {
    /// The key. `KMS` is the only type that either operation takes, though the model has two.
    fn key(self) -> Result<String, ServiceError> {
        let kind = required(self.encryption_type, "encryptionType")?;
        let key = required(self.key_id, "keyId")?;
        one_of(&kind, "encryptionType", &[KMS, NONE])?;
        length(&key, "keyId", 1..=limits::KEY_ID_CHARS)?;
        if kind == KMS {
            return Ok(key);
        }
        Err(ServiceError::InvalidArgument(
            "EncryptionType has to be KMS.".into(),
        ))
    }
}

pub(super) async fn start(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let key = call.decode::<Asked>()?.key()?;
    set(service, call, Some(key)).await
}

pub(super) async fn stop(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    call.decode::<Asked>()?.key()?;
    set(service, call, None).await
}

async fn set(service: &Service, call: &Call, key: Option<String>) -> Result<Vec<u8>, ServiceError> {
    let stream = call.decode::<NamesStream>()?.stream().find(service)?;
    service.edit(&stream.name, Edit::Encrypt { key }).await?;
    Ok(super::nothing())
}

/// How a description names the type.
pub(super) fn described(stream: &Stream) -> &'static str {
    if stream.settings.encryption.is_some() {
        KMS
    } else {
        NONE
    }
}

/// How an answer about records names the type: the service leaves out that there is none.
pub(super) fn of_records(stream: &Stream) -> Option<&'static str> {
    stream.settings.encryption.as_ref().map(|_| KMS)
}

/// The same, of a record that arrived at `arrival_ms`.
pub(super) fn of_record(stream: &Stream, arrival_ms: Millis) -> Option<&'static str> {
    let encryption = stream.settings.encryption.as_ref();
    encryption
        .filter(|encryption| encryption.since_ms <= arrival_ms)
        .map(|_| KMS)
}
