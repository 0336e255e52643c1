//! What stands and falls together: messages of one key, and messages that share an emission.

use std::collections::BTreeMap;

use super::{Origin, Run, Verdict};
use crate::message::Reply;

/// What a reply acks: that is what its whole call stands for.
pub(super) struct Call {
    /// Messages that it fails or holds, rising.
    not_acked: Vec<u32>,
    released: Vec<Origin>,
    /// Made at the first emission that is for the whole call.
    origin: Option<Origin>,
}

impl Call {
    pub(super) fn new(reply: &Reply) -> Self {
        let failed = reply.failures.iter().map(|(index, _)| *index);
        let held = reply.holds.iter().map(|hold| hold.index);
        let mut not_acked: Vec<u32> = failed.chain(held).collect();
        not_acked.sort_unstable();
        Self {
            not_acked,
            released: Vec::new(),
            origin: None,
        }
    }

    pub(super) fn acks_release(&mut self, origin: &Origin) {
        self.released.push(origin.clone());
    }
}

impl Run<'_> {
    /// Messages that follow one of their key which is to be tried again run again after it, whatever became of them.
    pub(super) fn discard_later_of_failed_keys(&mut self) {
        if mutant!(DiscardIgnored) {
            return;
        }
        for unit in self.later_than(|verdict| matches!(verdict, Verdict::Retry { .. })) {
            self.set_verdict(unit, Verdict::Again);
        }
    }

    /// Messages of the batch that follow one of their key with such a verdict.
    fn later_than(&self, is_such: impl Fn(&Verdict) -> bool) -> Vec<u32> {
        let mut first = BTreeMap::new();
        for (&unit, verdict) in &self.verdicts {
            if let Some(&key) = self.batch.key_hashes.get(unit as usize)
                && is_such(verdict)
            {
                first.entry(key).or_insert(unit);
            }
        }
        if first.is_empty() {
            return Vec::new();
        }
        let hashes = (0_u32..).zip(&self.batch.key_hashes);
        hashes
            .filter(|(unit, key)| first.get(key).is_some_and(|first| first < unit))
            .map(|(unit, _)| unit)
            .collect()
    }

    /// What several messages gave rise to is delivered only if all of them stand: when one fails, the others run again, as
    /// do later messages of their keys. A message that failed by itself keeps its verdict, so that each run gets on.
    pub(super) fn spread_failures(&mut self) {
        if self.verdicts.is_empty() || mutant!(GroupIgnored) {
            return;
        }
        loop {
            let mut again = self.later_than(|verdict| *verdict == Verdict::Again);
            for &group in &self.gating {
                let units = self.groups.get(group as usize).into_iter().flatten();
                if units.clone().any(|unit| !self.is_live_unit(*unit)) {
                    again.extend(units);
                }
            }
            again.retain(|unit| self.is_live_unit(*unit));
            if again.is_empty() {
                return;
            }
            for unit in again {
                self.set_verdict(unit, Verdict::Again);
            }
        }
    }

    /// All that this call acks. One of them may have failed for another reason, or be discarded: since what is emitted for
    /// all of them cannot be told apart, it is dropped then and the others run again.
    pub(super) fn whole_call(
        &mut self,
        call: &mut Call,
        messages: usize,
        origin_of: &impl Fn(usize) -> Origin,
    ) -> Origin {
        if let Some(origin) = &call.origin {
            return origin.clone();
        }
        let mut units = Vec::new();
        let acked =
            (0..messages).filter(|index| call.not_acked.binary_search(&(*index as u32)).is_err());
        for origin in acked.map(origin_of).chain(call.released.iter().cloned()) {
            units.extend(self.units_of(&origin));
        }
        units.sort_unstable();
        units.dedup();
        let origin = if units.is_empty() {
            Origin::Nothing
        } else {
            self.groups.push(units);
            Origin::Units(self.groups.len() as u32 - 1)
        };
        call.origin = Some(origin.clone());
        origin
    }
}
