//! From what is written to what runs: defaults that follow from other fields, and checks of fields against each other.
//!
//! Every check looks at whatever could be read, so that a fault in one field hides no other.

mod routes;

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use shardwright_core::pipeline::{
    Batch, DeadLetterTarget, Endpoint, FileTarget, Flow, Handling, KinesisSource, Leases,
    LineFormat, OnFailure, Order, Pace, Pipeline, Place, PluginRef, Poll, Retry, Sink, SinkName,
    StdoutFormat, Step, StepLimits,
};
use shardwright_core::{InitialPosition, OutsideRange};

use super::raw;
use super::reading::{At, Field, Named, Reader};
use super::values::{EndpointText, Name, PathText, PluginText};

/// What is told when pipelines are compared; known as soon as it can be read.
#[derive(Clone, Debug)]
pub(super) struct Sites {
    pub(super) name: Option<At<String>>,
    pub(super) table: Option<At<(Place, String)>>,
}

/// Resolves a document; the pipeline is none if anything in it is wrong.
pub(super) fn resolve(
    document: &raw::Document,
    reader: &mut Reader<'_>,
) -> (Option<Pipeline>, Sites) {
    let raw_source = document.source.value();
    let kinesis = raw_source.map(|raw::Source::Kinesis(kinesis)| kinesis);
    let name = document.pipeline.value().map(|name| name.0.as_str());
    let source_place = kinesis.and_then(|kinesis| place(&kinesis.region, &kinesis.endpoint, None));
    let leases = kinesis.and_then(|kinesis| leases(kinesis, name, source_place.as_ref()));
    let sites = Sites {
        name: document.pipeline.get().map(|at| At {
            value: at.value.0.clone(),
            site: at.site.clone(),
        }),
        table: leases.as_ref().and_then(|leases| {
            let written = kinesis?.leases.value()?.table.get();
            let site = written.map(|at| &at.site);
            Some(At {
                value: (leases.place.clone(), leases.table.to_string()),
                site: site.or(document.pipeline.get().map(|at| &at.site))?.clone(),
            })
        }),
    };
    let flow = document.flow.value().and_then(|raw| flow(raw, reader));
    batch_fits_steps(document, reader);
    let routes = routes::routes(document, reader);
    let sinks = sinks(document.sinks.value(), &routes, source_place.as_ref());
    endless(
        document,
        source_place.as_ref(),
        kinesis,
        sinks.as_ref(),
        reader,
    );
    let pipeline = || {
        let kinesis = kinesis?;
        let raw::Version = document.version.value()?;
        let raw::CloudWatch::None = document.metrics.value()?.cloudwatch.value()?;
        Some(Pipeline {
            name: name?.into(),
            tenant: document
                .tenant
                .if_written()?
                .map(|tenant| tenant.0.as_str().into()),
            source: source(kinesis, source_place?, leases?)?,
            flow: flow?,
            handling: handling(document, &routes)?,
            sinks: sinks?,
            on_failure: on_failure(document.on_failure.value()?)?,
            checkpoint_every: document.checkpoint.value()?.every.value()?.0,
        })
    };
    (pipeline(), sites)
}

fn place(
    region: &Field<Name<1>>,
    endpoint: &Field<EndpointText>,
    follows: Option<&Place>,
) -> Option<Place> {
    let written = region.if_written()?.map(|region| region.0.as_str().into());
    let endpoint = match endpoint.if_written()? {
        Some(EndpointText::Local) => Endpoint::Local,
        Some(EndpointText::Url(url)) => Endpoint::Url(url.clone()),
        None => follows.map_or(Endpoint::Aws, |place| place.endpoint.clone()),
    };
    Some(Place {
        region: written.or_else(|| follows?.region.clone()),
        endpoint,
    })
}

fn leases(kinesis: &raw::Kinesis, name: Option<&str>, source: Option<&Place>) -> Option<Leases> {
    let leases = kinesis.leases.value()?;
    let table = leases.table.if_written()?.map(|table| table.0.as_str());
    let max_leases = leases.max_leases.if_written()?;
    Some(Leases {
        table: table.or(name)?.into(),
        place: place(&leases.region, &leases.endpoint, Some(source?))?,
        failover: leases.failover.value()?.0,
        max_leases: max_leases.and_then(|max| usize::try_from(max.0).ok()),
    })
}

fn source(kinesis: &raw::Kinesis, place: Place, leases: Leases) -> Option<KinesisSource> {
    let raw_poll = kinesis.read.value()?.poll.value()?;
    let pace = match raw_poll.pace.if_written()? {
        Some(raw::Pace::None) => Pace::Unlimited,
        // The local endpoint throttles nobody unless it is asked to.
        None if place.endpoint == Endpoint::Local => Pace::Unlimited,
        Some(raw::Pace::Service) | None => Pace::Service,
    };
    let deaggregate = kinesis.deaggregate.value()?;
    let outside_range = match deaggregate.outside_range.value()? {
        raw::OutsideRange::Keep => OutsideRange::Keep,
        raw::OutsideRange::DropContainer => OutsideRange::DropContainer,
        raw::OutsideRange::DropRecord => OutsideRange::DropRecord,
    };
    Some(KinesisSource {
        stream: kinesis.stream.value()?.0.as_str().into(),
        start: match kinesis.start.value()? {
            raw::Start::Latest => InitialPosition::Latest,
            raw::Start::TrimHorizon => InitialPosition::TrimHorizon,
            raw::Start::At(instant) => InitialPosition::AtTimestamp(instant.0),
        },
        poll: Poll {
            interval: raw_poll.interval.value()?.0,
            max_records: u32::try_from(raw_poll.max_records.value()?.0).ok()?,
            pace,
        },
        deaggregate: deaggregate.kpl.value()?.0.then_some(outside_range),
        leases,
        place,
    })
}

fn flow(flow: &raw::Flow, reader: &mut Reader<'_>) -> Option<Flow> {
    let in_flight = flow.in_flight.value();
    let batch = flow.batch.value();
    let records = in_flight.and_then(|raw| raw.records.get());
    let bytes = in_flight.and_then(|raw| raw.bytes.get());
    let batch_records = batch.and_then(|raw| raw.records.get());
    let batch_bytes = batch.and_then(|raw| raw.bytes.get());
    let mut at_most = |smaller: Option<(u64, &super::problem::Site)>,
                       larger: Option<(u64, &super::problem::Site)>,
                       why: &str| {
        if let (Some((small, site)), Some((large, other))) = (smaller, larger)
            && small > large
        {
            reader
                .findings
                .add(
                    site,
                    format!("{small} is more than `{}`, {large}", other.path),
                )
                .help(format!("{why}: lower the one or raise the other"))
                .also(other, "the other");
        }
    };
    at_most(
        batch_records.map(|at| (at.value.0, &at.site)),
        records.map(|at| (at.value.0, &at.site)),
        "a batch of that many messages could never be filled",
    );
    at_most(
        batch_bytes.map(|at| (at.value.0, &at.site)),
        bytes.map(|at| (at.value.0, &at.site)),
        "a batch of that many bytes could never be filled",
    );
    let span = flow.span.get().map(|at| (at.value.0, &at.site));
    // What nobody has written gives way to a small span.
    let is_chosen = in_flight.is_some_and(|raw| raw.records.is_written());
    if is_chosen {
        at_most(
            records.map(|at| (at.value.0, &at.site)),
            span,
            "the span holds everything that is in flight",
        );
    } else {
        at_most(
            batch_records.map(|at| (at.value.0, &at.site)),
            span,
            "the span holds every batch that is in flight",
        );
    }
    let span = span?.0;
    let records = records?.value.0;
    Some(Flow {
        lanes: u16::try_from(flow.lanes.value()?.0).ok()?,
        in_flight_records: if is_chosen {
            records
        } else {
            records.min(span)
        },
        in_flight_bytes: bytes?.value.0,
        span,
        batch: Batch {
            records: u32::try_from(batch_records?.value.0).ok()?,
            bytes: batch_bytes?.value.0,
            wait: batch?.wait.value()?.0,
        },
        hold: flow.hold.value()?.0,
    })
}

/// A batch is copied into its guest: one that does not fit would fail every time.
fn batch_fits_steps(document: &raw::Document, reader: &mut Reader<'_>) {
    let batch = document.flow.value().and_then(|flow| flow.batch.value());
    let Some(bytes) = batch.and_then(|batch| batch.bytes.get()) else {
        return;
    };
    for step in written_steps(document) {
        let limits = step.and_then(|step| step.value.limits.value());
        if let Some(memory) = limits.and_then(|limits| limits.memory.get())
            && bytes.value.0 >= memory.value.0
        {
            reader
                .findings
                .add(
                    &memory.site,
                    format!(
                        "a batch of {} bytes does not fit {} bytes of memory",
                        bytes.value.0, memory.value.0
                    ),
                )
                .help("lower `flow.batch.bytes`, or give the plugin more than that")
                .also(&bytes.site, "the batch");
        }
    }
}

fn written_steps(document: &raw::Document) -> Vec<Option<&At<raw::Step>>> {
    let steps = document.steps.value();
    steps.map_or_else(Vec::new, |list| list.0.iter().map(Option::as_ref).collect())
}

fn handling(document: &raw::Document, routes: &routes::Routes) -> Option<Handling> {
    document.steps.value()?;
    let steps = written_steps(document);
    if steps.is_empty() {
        let to = routes.mirror.clone()?;
        return Some(Handling::Mirror { to });
    }
    let step = |(index, step): (usize, Option<&At<raw::Step>>)| {
        let step = &step?.value;
        let limits = step.limits.value()?;
        Some(Step {
            plugin: match step.plugin.value()? {
                PluginText::Builtin(name) => PluginRef::Builtin(name.clone()),
                PluginText::File(path) => PluginRef::File(path.clone()),
            },
            config: step.with.value()?.0.clone(),
            limits: StepLimits {
                memory: limits.memory.value()?.0,
                time: limits.time.value()?.0,
                wait: limits.wait.value()?.0,
            },
            outputs: routes.steps.get(index)?.clone(),
        })
    };
    let steps = steps
        .into_iter()
        .enumerate()
        .map(step)
        .collect::<Option<_>>()?;
    Some(Handling::Steps(steps))
}

fn sinks(
    named: Option<&Named<raw::Sink>>,
    routes: &routes::Routes,
    source: Option<&Place>,
) -> Option<BTreeMap<SinkName, Sink>> {
    let mut sinks = BTreeMap::new();
    for (name, raw_sink) in &named?.0 {
        let name = SinkName::from(name.value.as_str());
        sinks.insert(name, sink(raw_sink.as_ref()?, source)?);
    }
    if routes.uses_implied_stdout {
        let plain = Sink::Stdout(StdoutFormat::Plain);
        sinks.insert(routes::STDOUT.into(), plain);
    }
    Some(sinks)
}

fn sink(raw_sink: &raw::Sink, source: Option<&Place>) -> Option<Sink> {
    Some(match raw_sink {
        raw::Sink::PlainStdout => Sink::Stdout(StdoutFormat::Plain),
        raw::Sink::Stdout(stdout) => Sink::Stdout(match stdout.format.value()? {
            raw::StdoutFormat::Plain => StdoutFormat::Plain,
            raw::StdoutFormat::Text => StdoutFormat::Line(LineFormat::Text),
            raw::StdoutFormat::Json => StdoutFormat::Line(LineFormat::Json),
        }),
        raw::Sink::File(file) => Sink::File {
            target: target(file.path.value()?),
            format: match file.format.value()? {
                raw::LineFormat::Text => LineFormat::Text,
                raw::LineFormat::Json => LineFormat::Json,
            },
        },
        raw::Sink::Kinesis(kinesis) => Sink::Kinesis {
            stream: kinesis.stream.value()?.0.as_str().into(),
            place: place(&kinesis.region, &kinesis.endpoint, Some(source?))?,
            order: match kinesis.order.value()? {
                raw::Order::PerKey => Order::PerKey,
                raw::Order::None => Order::Unordered,
            },
        },
    })
}

fn target(path: &PathText) -> FileTarget {
    if path.is_folder {
        FileTarget::Folder(path.path.clone())
    } else {
        FileTarget::File(path.path.clone())
    }
}

/// A pipeline that writes to the stream it reads would never reach the tip.
fn endless(
    document: &raw::Document,
    source: Option<&Place>,
    kinesis: Option<&raw::Kinesis>,
    sinks: Option<&BTreeMap<SinkName, Sink>>,
    reader: &mut Reader<'_>,
) {
    let (Some(source), Some(sinks), Some(named)) = (source, sinks, document.sinks.value()) else {
        return;
    };
    let Some(read) = kinesis.and_then(|kinesis| kinesis.stream.get()) else {
        return;
    };
    for (name, _) in &named.0 {
        if let Some(Sink::Kinesis { stream, place, .. }) = sinks.get(&name.value.as_str().into())
            && place == source
            && stream.as_str() == read.value.0
        {
            reader
                .findings
                .add(
                    &name.site,
                    format!("this sink writes to `{stream}`, the stream that is read"),
                )
                .help("write to another stream: every record would be read again, for ever")
                .also(&read.site, "read here");
        }
    }
}

fn on_failure(on_failure: &raw::OnFailure) -> Option<OnFailure> {
    let retry = on_failure.retry.value()?;
    let backoff = retry.backoff.value()?;
    Some(OnFailure {
        retry: Retry {
            attempts: u32::try_from(retry.attempts.value()?.0).ok()?,
            backoff_min: backoff.min,
            backoff_max: backoff.max,
            max_age: retry.max_age.value()?.0,
        },
        breaker: match on_failure.breaker.value()? {
            raw::Breaker::None => None,
            raw::Breaker::Messages(messages) => NonZeroU32::new(u32::try_from(messages.0).ok()?),
        },
        dead_letter: match on_failure.dead_letter.if_written()? {
            None => DeadLetterTarget::DataDirectory,
            Some(raw::DeadLetter::File(file)) => DeadLetterTarget::File(target(file.path.value()?)),
        },
    })
}
