//! The trait that a handler implements.

use serde::de::DeserializeOwned;

use crate::{Batch, Columns, ConfigError, Failure, Reply};

/// What handles the messages of a stream.
///
/// The host makes one instance for each lane of each shard and calls it from one thread at a time: first
/// [`configure`](Self::configure), then [`handle`](Self::handle) for batch after batch, and [`flush`](Self::flush)
/// between them. An instance lives until its plugin is reloaded, its shard moves away, or it traps: state kept in it
/// is a cache, never a record. A panic traps; its batch is tried again on a fresh instance.
///
/// ```
/// use shardwright_guest::{Batch, ConfigError, Failure, Handler, NoConfig, Reply};
///
/// struct Shout;
///
/// impl Handler for Shout {
///     type Config = NoConfig;
///
///     fn configure(_: NoConfig) -> Result<Self, ConfigError> {
///         Ok(Self)
///     }
///
///     fn handle(&mut self, batch: &Batch<'_>, reply: &mut Reply) -> Result<(), Failure> {
///         for message in batch {
///             reply.emit(message, message.data.to_ascii_uppercase());
///         }
///         Ok(())
///     }
/// }
///
/// shardwright_guest::export!(Shout);
/// ```
pub trait Handler: Sized + 'static {
    /// The `with:` of the pipeline's step, [`NoConfig`](crate::NoConfig) for none. Put `#[serde(deny_unknown_fields)]`
    /// on it, or a misspelt setting passes for a default.
    type Config: DeserializeOwned;

    /// The columns it reads beside the payloads. Naming only what is used makes a fast handler faster.
    const COLUMNS: Columns = Columns::ALL;

    /// The outputs it may emit to. A pipeline that routes another one is refused.
    const OUTPUTS: &'static [&'static str] = &[DEFAULT_OUTPUT];

    /// A JSON Schema (draft 2020-12) for [`Config`](Self::Config), against which a pipeline is validated without
    /// running it. `None`: only `configure` decides.
    const CONFIG_SCHEMA: Option<&'static str> = None;

    /// Makes an instance. What `Config` cannot express is checked here: report all problems, not only the first.
    fn configure(config: Self::Config) -> Result<Self, ConfigError>;

    /// Handles a batch. A message for which the reply says nothing is acked as soon as all that it emitted has been
    /// delivered. An error stands for every message of the batch, and none of its effects is used.
    fn handle(&mut self, batch: &Batch<'_>, reply: &mut Reply) -> Result<(), Failure>;

    /// Called between batches, so that a handler that holds messages can release them. What it still holds after
    /// `reload` or `shutdown` is delivered again.
    fn flush(&mut self, reason: FlushReason, reply: &mut Reply) -> Result<(), Failure> {
        let _ = (reason, reply);
        Ok(())
    }
}

/// The output of an emission that names none.
pub const DEFAULT_OUTPUT: &str = "default";

/// Why [`Handler::flush`] is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlushReason {
    /// The pipeline's flush interval has passed.
    Interval,
    /// No message has arrived for a while.
    Idle,
    /// The in-flight window is full and this instance holds messages.
    Full,
    /// The shard has ended: no further message will arrive.
    ShardEnd,
    /// A newer generation of the plugin takes over.
    Reload,
    /// The worker stops.
    Shutdown,
}
