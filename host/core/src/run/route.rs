//! Where the outputs of each step go.

use crate::pipeline::{DEFAULT_OUTPUT, Handling, Pipeline, Route};

/// Where an emission goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To the step that follows.
    NextStep,
    /// To the sink with this number.
    Sink(u32),
}

/// The outputs of a pipeline's steps, with sinks as numbers in the order of their names.
#[derive(Clone, Debug)]
pub struct Routes {
    steps: Vec<Vec<(String, Destination)>>,
    mirror: Option<u32>,
}

impl Routes {
    /// The routes of a pipeline. Sinks are numbered in the order of [`Pipeline::sinks`].
    pub fn new(pipeline: &Pipeline) -> Self {
        let number = |name| {
            pipeline
                .sinks
                .keys()
                .position(|sink| sink == name)
                .map(|sink| sink as u32)
        };
        let mirror = match &pipeline.handling {
            Handling::Mirror { to } => number(to),
            Handling::Steps(_) => None,
        };
        let steps = pipeline.steps().iter().map(|step| {
            let outputs = step.outputs.iter().filter_map(|(output, route)| {
                let destination = match route {
                    Route::NextStep => Some(Destination::NextStep),
                    Route::Sink(sink) => number(sink).map(Destination::Sink),
                }?;
                Some((output.as_str().to_owned(), destination))
            });
            outputs.collect()
        });
        Self {
            steps: steps.collect(),
            mirror,
        }
    }

    #[cfg(test)]
    pub(super) fn of_tests(steps: Vec<Vec<(String, Destination)>>) -> Self {
        Self {
            steps,
            mirror: None,
        }
    }

    /// How many steps there are.
    pub fn steps(&self) -> usize {
        self.steps.len()
    }

    /// The sink that gets every message as it is.
    pub fn mirror(&self) -> Option<u32> {
        self.mirror
    }

    /// Where an output of a step goes; none if it is not routed.
    pub fn destination(&self, step: usize, output: &str) -> Option<Destination> {
        let output = if output.is_empty() {
            DEFAULT_OUTPUT
        } else {
            output
        };
        self.steps
            .get(step)?
            .iter()
            .find(|(name, _)| name == output)
            .map(|(_, destination)| *destination)
    }
}
