//! Where each output of each step goes.

use std::collections::{BTreeMap, BTreeSet};

use shardwright_core::pipeline::{DEFAULT_OUTPUT, OutputName, Route, SinkName};

use super::written_steps;
use crate::config::problem::Site;
use crate::config::raw;
use crate::config::reading::{At, Reader, listed, nearest};

/// The sink that is there without being defined.
pub(super) const STDOUT: &str = "stdout";

/// Where everything goes.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// Of a pipeline without steps.
    pub(super) mirror: Option<SinkName>,
    /// Of each step, as far as it is known.
    pub(super) steps: Vec<BTreeMap<OutputName, Route>>,
    pub(super) uses_implied_stdout: bool,
}

/// Routes every output, and tells what is routed to nowhere and what nothing is routed to.
pub(super) fn routes(document: &raw::Document, reader: &mut Reader<'_>) -> Routes {
    let named = document.sinks.value();
    let defined: Vec<&At<String>> = named.map_or_else(Vec::new, |named| {
        named.0.iter().map(|(name, _)| name).collect()
    });
    // With a fault in `sinks` or `steps` themselves, nothing can be said of what is used.
    let is_known = named.is_some() && document.steps.value().is_some();
    let mut router = Router {
        defined: &defined,
        is_known,
        used: BTreeSet::new(),
        uses_implied_stdout: false,
    };
    let steps = written_steps(document);
    let mut routes = Routes::default();
    if steps.is_empty() && is_known {
        let site = document.sinks.get().map(|at| &at.site);
        routes.mirror = site.and_then(|site| router.only_sink(site, Ending::Mirror, reader));
    }
    for (index, step) in steps.iter().enumerate() {
        let is_last = index + 1 == steps.len();
        let outputs = step.map(|step| router.outputs(step, is_last, reader));
        routes.steps.push(outputs.unwrap_or_default());
    }
    let is_complete = steps
        .iter()
        .all(|step| step.is_some_and(|step| step.value.outputs.value().is_some()));
    if is_known && is_complete {
        router.tell_unused(reader);
    }
    routes.uses_implied_stdout = router.uses_implied_stdout;
    routes
}

/// What needs the only sink.
#[derive(Clone, Copy)]
enum Ending {
    Mirror,
    LastStep,
}

struct Router<'a> {
    defined: &'a [&'a At<String>],
    is_known: bool,
    used: BTreeSet<&'a str>,
    uses_implied_stdout: bool,
}

impl Router<'_> {
    fn outputs(
        &mut self,
        step: &At<raw::Step>,
        is_last: bool,
        reader: &mut Reader<'_>,
    ) -> BTreeMap<OutputName, Route> {
        let mut routes = BTreeMap::new();
        let Some(outputs) = step.value.outputs.value() else {
            return routes;
        };
        let mut has_default = false;
        for (output, sink) in &outputs.0 {
            let is_default = output.value == DEFAULT_OUTPUT;
            has_default |= is_default;
            if is_default && !is_last {
                reader
                    .findings
                    .add(
                        &output.site,
                        "this leaves the steps that follow without messages",
                    )
                    .help(
                        "remove it: `default` goes to the next step. Route other outputs to sinks",
                    );
            }
            if let Some(sink) = sink
                && let Some(sink) = self.sink(&sink.0, &output.site, reader)
            {
                routes.insert(output.value.as_str().into(), Route::Sink(sink));
            }
        }
        if !has_default {
            let route = if is_last {
                self.only_sink(&step.site, Ending::LastStep, reader)
                    .map(Route::Sink)
            } else {
                Some(Route::NextStep)
            };
            routes.extend(route.map(|route| (DEFAULT_OUTPUT.into(), route)));
        }
        routes
    }

    /// A sink by name.
    fn sink(&mut self, name: &str, site: &Site, reader: &mut Reader<'_>) -> Option<SinkName> {
        let defined = self.defined.iter().find(|at| at.value == name);
        if let Some(at) = defined {
            self.used.insert(&at.value);
        } else if name == STDOUT {
            self.uses_implied_stdout = true;
        } else if self.is_known {
            let known = self.defined.iter().map(|at| at.value.as_str());
            let help = if let Some(near) = nearest(name, known.clone()) {
                format!("did you mean `{near}`?")
            } else {
                let all: Vec<_> = known.chain([STDOUT]).collect();
                format!("define it in `sinks`, or name {}", listed(&all))
            };
            reader
                .findings
                .add(site, format!("there is no sink `{name}`"))
                .help(help);
            return None;
        } else {
            return None;
        }
        Some(name.into())
    }

    /// Where what is not routed goes: to the only sink, or to the standard output if there is none.
    fn only_sink(
        &mut self,
        site: &Site,
        ending: Ending,
        reader: &mut Reader<'_>,
    ) -> Option<SinkName> {
        if !self.is_known {
            return None;
        }
        match self.defined {
            [] => {
                self.uses_implied_stdout = true;
                Some(STDOUT.into())
            }
            [only] => {
                self.used.insert(&only.value);
                Some(only.value.as_str().into())
            }
            several => {
                let names: Vec<_> = several.iter().map(|at| at.value.as_str()).collect();
                // Which of them are used is decided by the answer to this.
                self.used.extend(&names);
                let (message, help) = match ending {
                    Ending::Mirror => (
                        "without steps, the stream is mirrored to one sink, and there are several",
                        format!("keep one of {}", listed(&names)),
                    ),
                    Ending::LastStep => (
                        "the output `default` of the last step goes nowhere: there are several sinks",
                        format!("add `outputs: {{ default: … }}` with {}", listed(&names)),
                    ),
                };
                reader.findings.add(site, message).help(help);
                None
            }
        }
    }

    fn tell_unused(&self, reader: &mut Reader<'_>) {
        for at in self.defined {
            if !self.used.contains(at.value.as_str()) {
                reader
                    .findings
                    .add(&at.site, format!("nothing goes to the sink `{}`", at.value))
                    .help("route an output of a step to it, or remove it");
            }
        }
    }
}
