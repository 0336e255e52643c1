//! What a run has for the sinks.

use super::{Cause, Emissions, KeyFrom, Origin, Outgoing, Payload, Run, Verdict};

/// An emission that is ready to go.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// Its number in the run; for [`Run::undeliverable`].
    pub id: usize,
    /// The place it came from; for several, the first.
    pub from: (&'a str, u64),
    /// For several, the last place.
    pub to: Option<(&'a str, u64)>,
    /// Counts the emissions of one source.
    pub n: u32,
    /// The key.
    pub key: &'a str,
    /// The payload.
    pub data: &'a [u8],
}

impl Run<'_> {
    /// The key of a message as the step that is next sees it.
    pub(super) fn key_of_message(&self, index: u32) -> KeyFrom {
        if self.step == 0 {
            return KeyFrom::Message(index);
        }
        let key = self.messages.keys.get(index as usize).unwrap_or_default();
        KeyFrom::Source(std::str::from_utf8(key).unwrap_or_default().into())
    }

    pub(super) fn key_text<'b>(
        &'b self,
        key: &'b KeyFrom,
        emissions: &'b Emissions,
        index: usize,
    ) -> &'b str {
        let bytes = match key {
            KeyFrom::Emission => emissions.keys.get(index),
            KeyFrom::Message(message) => self.batch.messages.keys.get(*message as usize),
            KeyFrom::Source(key) => return key,
        };
        std::str::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
    }

    /// What goes to a sink, in order. Emissions of messages that failed meanwhile are left out.
    pub fn deliveries(&self, sink: u32) -> impl Iterator<Item = Delivery<'_>> {
        self.outgoing
            .iter()
            .enumerate()
            .filter(move |(_, outgoing)| outgoing.sink == sink && self.is_live(&outgoing.origin))
            .map(|(id, outgoing)| self.delivery(id, outgoing))
    }

    fn delivery<'b>(&'b self, id: usize, outgoing: &'b Outgoing) -> Delivery<'b> {
        let to = match outgoing.origin {
            Origin::Units(group) => self
                .groups
                .get(group as usize)
                .and_then(|units| units.last())
                .map(|unit| self.place(*unit)),
            Origin::Unit(_) | Origin::Nothing => None,
        };
        let (key, data) = match outgoing.payload {
            Payload::Message(index) => {
                let key = self
                    .batch
                    .messages
                    .keys
                    .get(index as usize)
                    .unwrap_or_default();
                let key = std::str::from_utf8(key).unwrap_or_default();
                (
                    key,
                    self.batch
                        .messages
                        .data
                        .get(index as usize)
                        .unwrap_or_default(),
                )
            }
            Payload::Emission { reply, index } => match self.replies.get(reply as usize) {
                Some(emissions) => (
                    self.key_text(&outgoing.key, emissions, index as usize),
                    emissions.data.get(index as usize).unwrap_or_default(),
                ),
                None => ("", &[][..]),
            },
        };
        Delivery {
            id,
            from: self.place(self.first_unit(&outgoing.origin)),
            to,
            n: outgoing.n,
            key,
            data,
        }
    }

    /// Whether anything goes to any sink.
    pub fn has_deliveries(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// A sink refuses an emission for good: so fails what it came from.
    pub fn undeliverable(&mut self, id: usize, kind: &'static str, reason: &str) {
        let Some(origin) = self
            .outgoing
            .get(id)
            .map(|outgoing| outgoing.origin.clone())
        else {
            return;
        };
        if mutant!(RefusalIgnored) {
            return;
        }
        let cause = Cause {
            step: None,
            kind,
            reason: reason.to_owned(),
        };
        let units: Vec<u32> = self.units_of(&origin).collect();
        for unit in units {
            self.set_verdict(unit, Verdict::Reject(cause.clone()));
        }
        self.spread_failures();
    }
}
