//! The window against a model that is a list of user records with flags.

use proptest::prelude::*;

use super::*;

mod model;

use model::{HALF, Model, Shape, record, sequence, shape};

/// A window and its model, driven alike.
struct Pair {
    window: Window,
    model: Model,
    opening: Opening,
    last: Option<Position>,
}

impl Pair {
    fn new(opening: Opening, resume: Option<Position>) -> Self {
        Self {
            window: Window::new(opening, resume.clone()),
            model: Model::new(resume.clone()),
            opening,
            last: resume,
        }
    }

    fn push(&mut self, number: usize, shape: &Shape) {
        self.window.push([record(number, shape)]);
        self.model.push(number, shape, self.opening);
    }

    fn open(&mut self, room: u64) {
        let mut admitted = Vec::new();
        self.window.open(room, |message| admitted.push(message));
        let expected = self.model.open(room);
        assert_eq!(admitted.len(), expected.len(), "DL-1: admitted");
        for (admitted, (slot, key, data, position)) in admitted.iter().zip(expected) {
            let message = self
                .window
                .message(slot)
                .expect("it has just been admitted");
            assert_eq!(admitted.slot, slot);
            assert_eq!(admitted.key_hash, key_hash(&key));
            assert_eq!((message.key, message.data), (&key[..], &data[..]));
            assert_eq!(self.window.payload(slot).as_deref(), Some(&data[..]));
            assert_eq!(*message.sequence, position.sequence);
            assert_eq!(message.sub_sequence, position.sub_sequence);
            assert_eq!(message.arrival_ms.to_string(), position.sequence.as_str());
        }
        self.check();
    }

    fn resolve(&mut self, slot: Slot) {
        self.window.resolve(slot);
        self.window.fold();
        self.model.resolve(slot);
        assert!(self.window.message(slot).is_none());
        self.check();
    }

    fn close(&mut self) {
        self.window.close();
        self.model.close();
        self.check();
    }

    fn check(&mut self) {
        let watermark = self.window.watermark();
        if let Some((_, first)) = self.model.unresolved().first() {
            assert!(
                watermark.as_ref().is_none_or(|done| done < first),
                "CP-1: {watermark:?} passes {first}"
            );
        }
        assert!(
            self.last <= watermark,
            "CP-2: from {:?} to {watermark:?}",
            self.last
        );
        assert_eq!(watermark, self.model.watermark());
        assert_eq!(self.window.usage(), self.model.usage());
        assert_eq!(*self.window.intake(), self.model.intake);
        self.last = watermark;
    }

    /// Resolves all that is left, in an order of the test's choice, and sees that nothing is held any more.
    fn finish(&mut self, mut choose: impl FnMut(usize) -> usize) {
        while self.window.has_unopened() {
            self.open(3);
        }
        loop {
            let left = self.model.unresolved();
            if left.is_empty() {
                break;
            }
            self.resolve(left[choose(left.len())].0);
        }
        assert!(self.window.is_drained());
        assert_eq!(self.window.usage(), Usage::default());
    }
}

#[derive(Clone, Debug)]
enum Step {
    Read(Vec<Shape>),
    /// Some of what was read before comes again.
    ReadAgain(u8),
    Open(u64),
    Resolve(prop::sample::Index),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(shape(), 0..4).prop_map(Step::Read),
        2 => (1_u8..4).prop_map(Step::ReadAgain),
        6 => (0_u64..6).prop_map(Step::Open),
        10 => any::<prop::sample::Index>().prop_map(Step::Resolve),
        1 => Just(Step::Close),
    ]
}

fn opening() -> impl Strategy<Value = Opening> {
    let deaggregate = prop::sample::select(vec![
        Some(OutsideRange::Keep),
        Some(OutsideRange::DropRecord),
        Some(OutsideRange::DropContainer),
        None,
    ]);
    let range = prop::sample::select(vec![HALF, HashRange::FULL]);
    (deaggregate, range).prop_map(|(deaggregate, range)| Opening { deaggregate, range })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// CP-1, CP-2, DL-1, and what is held is told exactly.
    #[test]
    fn a_window_is_a_list_of_user_records_with_flags(
        opening in opening(),
        resume in prop::option::of((1_usize..5, 0_u64..4)),
        steps in prop::collection::vec(step(), 0..40),
    ) {
        // The positions of containers that are not opened have no sub-sequence numbers.
        let resume = resume.map(|(number, sub)| Position {
            sequence: sequence(number),
            sub_sequence: if opening.deaggregate.is_some() { sub } else { 0 },
        });
        let mut pair = Pair::new(opening, resume);
        let mut read: Vec<Shape> = Vec::new();
        for step in steps {
            match step {
                Step::Read(shapes) => {
                    for shape in shapes {
                        read.push(shape);
                        pair.push(read.len(), &read[read.len() - 1]);
                    }
                    pair.check();
                }
                Step::ReadAgain(back) => {
                    let from = read.len().saturating_sub(usize::from(back));
                    for (at, shape) in read.iter().enumerate().skip(from) {
                        pair.push(at + 1, shape);
                    }
                    pair.check();
                }
                Step::Open(room) => pair.open(room),
                Step::Resolve(index) => {
                    let left = pair.model.unresolved();
                    if !left.is_empty() {
                        let (slot, _) = left[index.index(left.len())];
                        pair.resolve(slot);
                        // A second time changes nothing.
                        pair.resolve(slot);
                    }
                }
                Step::Close => pair.close(),
            }
        }
        pair.finish(|left| left / 2);
    }
}

fn permutations(items: &mut Vec<usize>, from: usize, visit: &mut impl FnMut(&[usize])) {
    if from == items.len() {
        visit(items);
        return;
    }
    for other in from..items.len() {
        items.swap(from, other);
        permutations(items, from + 1, visit);
        items.swap(from, other);
    }
}

/// CP-1 and CP-2 for every order of acks of up to six messages in up to three records of any size, none included.
#[test]
fn every_order_of_acks_moves_the_watermark_alike() {
    const MESSAGES: usize = 6;
    let mut orders = 0;
    for shapes in (0..=MESSAGES)
        .flat_map(|a| (0..=MESSAGES).flat_map(move |b| (0..=MESSAGES).map(move |c| [a, b, c])))
        .filter(|sizes| sizes.iter().sum::<usize>() <= MESSAGES)
    {
        let shape = |size: usize| match size {
            0 => Shape::Empty,
            1 => Shape::Plain(0),
            many => Shape::Container(vec![1; many]),
        };
        let mut messages: Vec<usize> = (0..shapes.iter().sum()).collect();
        permutations(&mut messages, 0, &mut |order| {
            let opening = Opening {
                deaggregate: Some(OutsideRange::Keep),
                range: HashRange::FULL,
            };
            let mut pair = Pair::new(opening, None);
            for (number, size) in shapes.iter().enumerate() {
                pair.push(number + 1, &shape(*size));
            }
            pair.open(u64::MAX);
            for slot in order {
                pair.resolve(Slot(*slot as u64));
            }
            assert_eq!(pair.window.usage(), Usage::default());
            orders += 1;
        });
    }
    assert!(orders > 20_000, "{orders}");
}

/// A worker that stops in the middle of a container goes on there: nothing is lost between the two, nothing comes twice.
#[test]
fn a_container_is_resumed_where_its_window_was_closed() {
    let opening = Opening {
        deaggregate: Some(OutsideRange::Keep),
        range: HashRange::FULL,
    };
    for admitted in 0..=5 {
        let shape = Shape::Container(vec![0; 5]);
        let mut first = Pair::new(opening, None);
        first.push(1, &shape);
        first.open(admitted);
        first.close();
        first.finish(|left| left - 1);
        let mut second = Pair::new(opening, first.window.watermark());
        second.push(1, &shape);
        second.finish(|_| 0);
        assert_eq!(second.window.intake().admitted, 5 - admitted);
    }
}
