//! One generation of a plugin.

use std::collections::BTreeMap;
use std::sync::Arc;

use shardwright_core::{ColumnsWanted, Failure};
use wasmtime::component::InstancePre;

use super::Shared;
use super::call::{self, Call};
use super::guest::{self, Given, Guest};
use super::instance::{Handler, Instance};
use super::v0_1::{self, batch_flush, batch_handler, configure, describe, message_handler};
use super::world::{Exports, HandlerKind};
use crate::ports::{
    CallError, Description, PluginInstance, PortFuture, PrepareError, PreparedPlugin,
};

/// Digits of a digest that name a plugin which has no name.
const NAME_DIGITS: usize = 12;

/// A component that is linked, with what its instances are given.
pub(super) struct Plugin {
    pub(super) linked: InstancePre<Guest>,
    pub(super) entry: Entry,
    pub(super) given: Given,
    /// Keeps the engine's clock running.
    pub(super) _shared: Arc<Shared>,
}

/// Where the exports are, looked up once.
pub(super) struct Entry {
    handler: HandlerAt,
    describe: Option<describe::GuestIndices>,
    pub(super) configure: Option<configure::GuestIndices>,
    flush: Option<batch_flush::GuestIndices>,
}

enum HandlerAt {
    Batch(batch_handler::GuestIndices),
    Message(message_handler::GuestIndices),
}

/// An instance that is ready for its first message, and what it said of itself.
pub(super) struct Started {
    pub(super) instance: Instance,
    pub(super) description: Option<describe::Description>,
}

/// An instance that would not start, in its own words.
pub(super) enum NotStarted {
    /// `describe` answered with a failure.
    Describe(Failure),
    /// `configure` refused: each problem in a line.
    Configure(Vec<String>),
}

impl Entry {
    pub(super) fn find(linked: &InstancePre<Guest>, exports: Exports) -> wasmtime::Result<Self> {
        let handler = match exports.handler {
            HandlerKind::Batch => HandlerAt::Batch(batch_handler::GuestIndices::new(linked)?),
            HandlerKind::Message => HandlerAt::Message(message_handler::GuestIndices::new(linked)?),
        };
        let describe = exports
            .describe
            .then(|| describe::GuestIndices::new(linked))
            .transpose()?;
        let configure = exports
            .configure
            .then(|| configure::GuestIndices::new(linked))
            .transpose()?;
        let flush = exports
            .flush
            .then(|| batch_flush::GuestIndices::new(linked))
            .transpose()?;
        Ok(Self {
            handler,
            describe,
            configure,
            flush,
        })
    }
}

impl Plugin {
    /// Makes an instance, lets it describe itself and configures it.
    pub(super) async fn start(
        self: &Arc<Self>,
        origin: &str,
    ) -> Result<Result<Started, NotStarted>, CallError> {
        let limits = self.given.limits;
        let mut store = guest::store(self.linked.engine(), &self.given, origin);
        let call = Call::new(&mut store, limits);
        let started = call
            .run(async {
                let instance = self.linked.instantiate_async(&mut store).await?;
                let mut description = None;
                if let Some(at) = &self.entry.describe {
                    let guest = at.load(&mut store, &instance)?;
                    match guest.call_describe(&mut store).await? {
                        Ok(said) => description = Some(said),
                        Err(failed) => return Ok(Err(NotStarted::Describe(v0_1::failure(failed)))),
                    }
                }
                if let Some(at) = &self.entry.configure {
                    call::begin(&mut store);
                    let guest = at.load(&mut store, &instance)?;
                    let answer = guest.call_configure(&mut store, &self.given.config).await?;
                    if let Err(refused) = answer {
                        let problems = v0_1::config_problems(refused);
                        return Ok(Err(NotStarted::Configure(problems)));
                    }
                }
                let handler = match &self.entry.handler {
                    HandlerAt::Batch(at) => {
                        let wanted = description
                            .as_ref()
                            .map_or(ColumnsWanted::ALL, |said| v0_1::columns(said.columns));
                        Handler::Batch(at.load(&mut store, &instance)?, wanted)
                    }
                    HandlerAt::Message(at) => Handler::Message(at.load(&mut store, &instance)?),
                };
                let flush = match &self.entry.flush {
                    Some(at) => Some(at.load(&mut store, &instance)?),
                    None => None,
                };
                Ok(Ok((handler, flush, description)))
            })
            .await?;
        Ok(started.map(|(handler, flush, description)| Started {
            instance: Instance {
                store,
                handler,
                flush,
                plugin: Arc::clone(self),
                usable: true,
            },
            description,
        }))
    }
}

/// A plugin that has started once, and so can be started again.
pub(super) struct Prepared {
    plugin: Arc<Plugin>,
    description: Description,
    digest: String,
}

impl Prepared {
    /// Starts the plugin once, to see that it does.
    pub(super) async fn try_out(plugin: Plugin, digest: String) -> Result<Self, PrepareError> {
        let plugin = Arc::new(plugin);
        let started = plugin.start("prepare").await.map_err(|error| match error {
            CallError::Exhausted { what, setting } => PrepareError::Exhausted { what, setting },
            error => PrepareError::Start(error),
        })?;
        match started {
            Ok(started) => {
                if let Some(said) = &started.description {
                    v0_1::check_description(said).map_err(|why| PrepareError::World { why })?;
                }
                Ok(Self {
                    description: description(&plugin.entry, started.description, &digest),
                    plugin,
                    digest,
                })
            }
            Err(NotStarted::Configure(problems)) => Err(PrepareError::Config { problems }),
            Err(NotStarted::Describe(failed)) => Err(PrepareError::World {
                why: format!("`describe` fails: {}", reason(&failed)),
            }),
        }
    }
}

impl NotStarted {
    /// A plugin that was prepared describes itself and takes its configuration. One that no longer does has trapped by
    /// another name.
    fn into_call_error(self) -> CallError {
        let trap = match self {
            Self::Describe(failed) => format!("`describe` fails: {}", reason(&failed)),
            Self::Configure(problems) => format!(
                "`configure` refuses what it took before: {}",
                problems.join("; ")
            ),
        };
        CallError::Trap {
            trap,
            stderr: String::new(),
        }
    }
}

fn reason(failed: &Failure) -> &str {
    match failed {
        Failure::Retry { reason, .. } | Failure::Reject { reason } => reason,
    }
}

fn description(entry: &Entry, said: Option<describe::Description>, digest: &str) -> Description {
    let handler = match entry.handler {
        HandlerAt::Batch(_) => HandlerKind::Batch,
        HandlerAt::Message(_) => HandlerKind::Message,
    };
    let known = Description {
        name: digest
            .trim_start_matches("sha256:")
            .chars()
            .take(NAME_DIGITS)
            .collect(),
        version: String::new(),
        config_schema: None,
        outputs: None,
        columns: ColumnsWanted::ALL,
        handler: handler.name(),
    };
    let Some(said) = said else { return known };
    Description {
        name: said.name,
        version: said.version,
        config_schema: said.config_schema,
        outputs: Some(said.outputs),
        columns: match handler {
            HandlerKind::Batch => v0_1::columns(said.columns),
            HandlerKind::Message => ColumnsWanted::ALL,
        },
        ..known
    }
}

impl PreparedPlugin for Prepared {
    fn description(&self) -> &Description {
        &self.description
    }

    fn digest(&self) -> &str {
        &self.digest
    }

    fn counters(&self) -> BTreeMap<String, u64> {
        self.plugin.given.voice.counters()
    }

    fn instantiate<'a>(
        &'a self,
        origin: &'a str,
    ) -> PortFuture<'a, Result<Box<dyn PluginInstance>, CallError>> {
        Box::pin(async move {
            match self.plugin.start(origin).await? {
                Ok(started) => Ok(Box::new(started.instance) as Box<dyn PluginInstance>),
                Err(refused) => Err(refused.into_call_error()),
            }
        })
    }
}
