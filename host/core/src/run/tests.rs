//! What becomes of messages that share emissions, are held, or are in a run that breaks off.

use super::*;
use crate::message::{ColumnsWanted, Hold, Release};
use crate::position::SequenceNumber;
use crate::window::MessageRef;

/// Steps that go on to the next one by `next`, and to a sink by default.
fn routes(steps: usize) -> Routes {
    Routes::of_tests(
        (0..steps)
            .map(|_| {
                vec![
                    ("default".to_owned(), Destination::Sink(0)),
                    ("next".to_owned(), Destination::NextStep),
                ]
            })
            .collect(),
    )
}

fn batch(slots: std::ops::Range<u64>) -> Batch {
    let mut batch = Batch::default();
    for slot in slots {
        let sequence = SequenceNumber::parse(slot.to_string()).unwrap();
        let key = format!("key-{slot}");
        let message = MessageRef {
            key: &key,
            data: b"data",
            sequence: &sequence,
            sub_sequence: 0,
            arrival_ms: 7,
            container: slot,
        };
        batch.push(Slot(slot), slot, &message, ColumnsWanted::ALL);
    }
    batch
}

fn emissions(all: &[(u32, &str, &str)]) -> Emissions {
    let mut emissions = Emissions::default();
    for (from, output, key) in all {
        emissions.data.push(b"emitted");
        emissions.keys.push(key.as_bytes());
        emissions.sources.push(*from);
        emissions.outputs.push(emissions.output_names.len() as u32);
        emissions.output_names.push((*output).to_owned());
    }
    emissions
}

fn reply(all: &[(u32, &str, &str)]) -> Reply {
    Reply {
        emissions: emissions(all),
        ..Reply::default()
    }
}

/// A message whose share of an emission is not delivered is not acked.
#[test]
fn an_emission_of_the_whole_call_falls_with_any_of_its_messages() {
    let (batch, routes) = (batch(0..3), routes(1));
    let mut state = LaneState::new(1);
    let mut run = Run::new(&batch, &mut state, &routes);
    run.absorb(Ok(reply(&[
        (SOURCE_CALL, "default", "k"),
        (1, "nowhere", ""),
    ])));
    assert_eq!(run.deliveries(0).count(), 0);
    let verdicts = run.finish().verdicts;
    assert_eq!(verdicts.len(), 3);
    assert_eq!(
        (&verdicts[0].1, &verdicts[2].1),
        (&Verdict::Again, &Verdict::Again)
    );
    assert!(matches!(verdicts[1].1, Verdict::Reject(_)));
}

/// What is emitted when a held message is released has the key and the next number of its source.
#[test]
fn a_held_message_keeps_its_key_and_its_count() {
    let routes = routes(1);
    let mut state = LaneState::new(1);
    let first = batch(0..1);
    let mut run = Run::new(&first, &mut state, &routes);
    let holds = vec![Hold { index: 0, id: 9 }];
    run.absorb(Ok(Reply {
        holds,
        ..reply(&[(0, "default", "")])
    }));
    assert_eq!(
        run.deliveries(0)
            .next()
            .map(|sent| (sent.n, sent.key.to_owned())),
        Some((0, "key-0".to_owned()))
    );
    assert_eq!(run.finish().verdicts, [(0, Verdict::Held)]);
    let nothing = Batch::default();
    let mut run = Run::of_flush(0, &nothing, &mut state, &routes);
    let releases = vec![Release {
        id: 9,
        failure: None,
    }];
    run.absorb(Ok(Reply {
        releases,
        ..reply(&[(0, "default", "")])
    }));
    let sent = run.deliveries(0).next().unwrap();
    assert_eq!((sent.n, sent.key, sent.from), (1, "key-0", ("0", 0)));
    assert_eq!(run.finish().released, [(Slot(0), 0, None)]);
    assert_eq!(state.held(), 0);
}

/// A later step crashes after an earlier one has released a message: it is not held by anybody, and runs again.
#[test]
fn what_a_broken_run_had_released_runs_again() {
    let routes = routes(2);
    let mut state = LaneState::new(2);
    let first = batch(0..1);
    let mut run = Run::new(&first, &mut state, &routes);
    run.absorb(Ok(Reply {
        holds: vec![Hold { index: 0, id: 9 }],
        ..Reply::default()
    }));
    run.finish();
    let second = batch(1..2);
    let mut run = Run::new(&second, &mut state, &routes);
    let releases = vec![Release {
        id: 9,
        failure: None,
    }];
    run.absorb(Ok(Reply {
        releases,
        ..reply(&[(1, "next", "")])
    }));
    assert_eq!(run.messages().keys.get(0), Some(&b"key-0"[..]));
    drop(run);
    assert_eq!(state.instance_lost(1), [(Slot(0), 0)]);
    assert_eq!(state.held(), 0);
}
