//! What a handler says, against a plain reading of the contract: generated histories of a handler that does what its
//! messages tell it to, letter by letter.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;
use shardwright_guest::testing::{Harness, Input, Origin, Outcome, Verdict};
use shardwright_guest::{
    Batch, Columns, ConfigError, Failure, FlushReason, Handler, Hold, NoConfig, Reply, Source,
};

#[derive(Debug, Default)]
struct Obedient {
    held: VecDeque<Hold>,
}

impl Handler for Obedient {
    type Config = NoConfig;
    const COLUMNS: Columns = Columns::NONE;
    const OUTPUTS: &'static [&'static str] = &["default", "late"];

    fn configure(_: NoConfig) -> Result<Self, ConfigError> {
        Ok(Self::default())
    }

    fn handle(&mut self, batch: &Batch<'_>, reply: &mut Reply) -> Result<(), Failure> {
        for message in batch {
            for letter in message.data {
                match letter {
                    b'e' => reply.emit(message, "e"),
                    b'l' => reply.emission(message).output("late").key("k").data("l"),
                    b'c' => reply.emit(Source::CALL, "c"),
                    b'r' => reply.retry(message, "r"),
                    b'x' => reply.reject(message, "x"),
                    b'h' => self.held.push_back(reply.hold(message)),
                    b's' => self.settle_oldest(reply),
                    _ => return Err(Failure::retry("the call failed")),
                }
            }
        }
        Ok(())
    }

    fn flush(&mut self, _: FlushReason, reply: &mut Reply) -> Result<(), Failure> {
        while !self.held.is_empty() {
            self.settle_oldest(reply);
        }
        Ok(())
    }
}

impl Obedient {
    fn settle_oldest(&mut self, reply: &mut Reply) {
        if let Some(hold) = self.held.pop_front() {
            let released = reply.release(hold);
            reply.emit(released, "s");
        }
    }
}

/// What is emitted, as (payload, key, output).
type Emissions = Vec<(String, String, String)>;

/// What a model's emission comes from: a message of the call, or what has this key.
enum From {
    Message(usize),
    Key(String),
}

/// The contract, read plainly.
#[derive(Default)]
struct Model {
    /// What the handler believes that it holds, by a number of the model's own.
    believed: VecDeque<usize>,
    /// What is held in truth: the key of each.
    held: BTreeMap<usize, String>,
    holds_made: usize,
    /// Released by calls that failed.
    unheard: Vec<usize>,
}

impl Model {
    fn handle(&mut self, messages: &[(String, String)]) -> (Vec<&'static str>, Emissions) {
        let first_key = messages
            .first()
            .map(|(_, key)| key.clone())
            .unwrap_or_default();
        let call_fails = messages.iter().any(|(letters, _)| letters.contains('!'));
        let mut verdicts = verdicts(messages);
        // Which message each hold of this call belongs to.
        let mut held_now = BTreeMap::new();
        let mut emitted = Vec::new();
        'messages: for (i, (letters, _)) in messages.iter().enumerate() {
            for letter in letters.chars() {
                match letter {
                    'e' => emitted.push((From::Message(i), "e", None)),
                    'l' => emitted.push((From::Message(i), "l", Some(("k", "late")))),
                    'c' => emitted.push((From::Key(first_key.clone()), "c", None)),
                    'h' => {
                        self.believed.push_back(self.holds_made);
                        held_now.insert(self.holds_made, i);
                        self.holds_made += 1;
                    }
                    's' => {
                        let oldest = self.believed.front().copied();
                        if let Some(message) = oldest.and_then(|hold| held_now.remove(&hold)) {
                            self.believed.pop_front();
                            emitted.push((From::Message(message), "s", None));
                        } else if let Some(key) = self.settle_oldest(call_fails) {
                            emitted.push((From::Key(key), "s", None));
                        }
                    }
                    '!' => break 'messages,
                    _ => {}
                }
            }
        }
        if call_fails {
            return (vec!["retry"; messages.len()], Vec::new());
        }
        let mut emissions = Vec::new();
        for (from, payload, route) in emitted {
            let key = match from {
                From::Message(i) if verdicts[i] != "ack" => continue,
                From::Message(i) => messages[i].1.clone(),
                From::Key(key) => key,
            };
            let (key, output) =
                route.map_or((key, "default"), |(key, output)| (key.to_owned(), output));
            emissions.push((payload.to_owned(), key, output.to_owned()));
        }
        for (hold, i) in held_now {
            if verdicts[i] == "ack" {
                verdicts[i] = "hold";
                self.held.insert(hold, messages[i].1.clone());
            }
        }
        self.hand_back();
        (verdicts, emissions)
    }

    fn flush(&mut self) -> Emissions {
        let mut emissions = Vec::new();
        while !self.believed.is_empty() {
            let key = self.settle_oldest(false);
            emissions.extend(key.map(|key| ("s".to_owned(), key, "default".to_owned())));
        }
        self.hand_back();
        emissions
    }

    /// The key of what was held, unless nothing comes of it.
    fn settle_oldest(&mut self, call_fails: bool) -> Option<String> {
        let hold = self.believed.pop_front()?;
        if call_fails {
            self.unheard.push(hold);
            return None;
        }
        self.held.remove(&hold)
    }

    fn hand_back(&mut self) {
        for hold in self.unheard.drain(..) {
            self.held.remove(&hold);
        }
    }
}

/// The verdicts before holds are looked at.
fn verdicts(messages: &[(String, String)]) -> Vec<&'static str> {
    let mut keys_retried = BTreeSet::new();
    let verdict = |(letters, key): &(String, String)| {
        if keys_retried.contains(key) {
            return "again";
        }
        match letters.chars().find(|letter| "rx".contains(*letter)) {
            Some('r') => {
                keys_retried.insert(key.clone());
                "retry"
            }
            Some(_) => "reject",
            None => "ack",
        }
    };
    messages.iter().map(verdict).collect()
}

fn seen(outcome: &Outcome) -> (Vec<&'static str>, Emissions) {
    let verdict = |verdict: &Verdict| match verdict {
        Verdict::Ack => "ack",
        Verdict::Hold => "hold",
        Verdict::Again => "again",
        Verdict::Failed(Failure::Retry { .. }) => "retry",
        Verdict::Failed(Failure::Reject { .. }) => "reject",
    };
    let emissions = outcome.emissions.iter().map(|emitted| {
        (
            emitted.text().into_owned(),
            emitted.key.clone(),
            emitted.output.clone(),
        )
    });
    (
        outcome.verdicts.iter().map(verdict).collect(),
        emissions.collect(),
    )
}

/// A message is held at most once, and few calls fail as a whole.
fn messages() -> impl Strategy<Value = Vec<(String, String)>> {
    let calm = vec(("s?[elc]{0,2}[rx]?h?[elcs]?[rx]?", "[ab]"), 0..6);
    let failing = vec(("s?h?[e!]?", "[ab]"), 0..6);
    prop_oneof![4 => calm, 1 => failing]
}

proptest! {
    #[test]
    fn a_reply_means_what_the_contract_says(calls in vec((messages(), any::<bool>()), 0..8)) {
        let mut harness = Harness::<Obedient>::new(json!({})).unwrap();
        let mut model = Model::default();
        for (messages, flush_after) in calls {
            let inputs = messages.iter().map(|(letters, key)| Input::new(letters.as_str()).key(key));
            prop_assert_eq!(seen(&harness.handle(inputs)), model.handle(&messages));
            if flush_after {
                let outcome = harness.flush(FlushReason::Interval);
                prop_assert_eq!(seen(&outcome), (Vec::new(), model.flush()));
            }
            prop_assert_eq!(harness.held(), model.held.len());
        }
    }
}

/// Emits what it sees of its messages.
struct Mirror<const WANTED: usize>;

const WANTED: [Columns; 3] = [
    Columns::ALL,
    Columns::NONE,
    Columns::KEYS.and(Columns::ARRIVAL_TIMES),
];

impl<const N: usize> Handler for Mirror<N> {
    type Config = NoConfig;
    const COLUMNS: Columns = WANTED[N];

    fn configure(_: NoConfig) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn handle(&mut self, batch: &Batch<'_>, reply: &mut Reply) -> Result<(), Failure> {
        assert_eq!(batch.iter().len(), batch.len());
        batch.each(reply, |message, reply| {
            reply.emission(message).json(&(
                str::from_utf8(message.data)?,
                message.key,
                message.sequence_number,
                message.sub_sequence_number,
                message.arrival_time_ms,
            ))
        });
        Ok(())
    }
}

fn mirrored<const N: usize>() -> Result<Vec<String>, ConfigError> {
    let mut harness = Harness::<Mirror<N>>::new(json!({}))?;
    let outcome = harness.handle([
        Input::new("").key("ключ").at("495", 0).arrival_time_ms(-1),
        Input::new("data").key("").at("495", 7).arrival_time_ms(2),
    ]);
    let texts = outcome
        .emissions
        .iter()
        .map(|emitted| emitted.text().into_owned());
    Ok(texts.collect())
}

#[test]
fn a_handler_sees_the_columns_that_it_asked_for() {
    assert_eq!(
        mirrored::<0>().unwrap(),
        [r#"["","ключ","495",0,-1]"#, r#"["data","","495",7,2]"#]
    );
    assert_eq!(
        mirrored::<1>().unwrap(),
        [r#"["","","",null,null]"#, r#"["data","","",null,null]"#]
    );
    assert_eq!(
        mirrored::<2>().unwrap(),
        [r#"["","ключ","",null,-1]"#, r#"["data","","",null,2]"#]
    );
}

#[test]
fn an_error_of_one_message_is_its_own_and_leaves_nothing_of_it_behind() {
    let mut harness = Harness::<Mirror<0>>::new(json!({})).unwrap();
    let outcome = harness.handle([Input::new("ok").key("a"), Input::new(b"\xff").key("b")]);
    assert_eq!(outcome.verdicts[0], Verdict::Ack);
    let reason = match &outcome.verdicts[1] {
        Verdict::Failed(failure @ Failure::Retry { after: None, .. }) => failure.reason(),
        other => panic!("expected a retry, got {other:?}"),
    };
    assert!(reason.contains("utf-8"), "{reason}");
    assert_eq!(outcome.emissions.len(), 1);
    assert_eq!(outcome.emissions[0].origin, Origin::Message(0));
}
