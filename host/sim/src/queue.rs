//! What is going to happen, in order of time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// What happens at some moment.
#[derive(Debug)]
pub struct Due<E> {
    /// When, in nanoseconds from the world's beginning.
    pub at: u64,
    order: u64,
    /// What.
    pub event: E,
}

impl<E> Due<E> {
    /// The same, later. What was asked for before it still comes before it.
    #[must_use]
    pub fn put_off(self, at: u64) -> Self {
        Self { at, ..self }
    }
}

impl<E> PartialEq for Due<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl<E> Eq for Due<E> {}

impl<E> PartialOrd for Due<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Due<E> {
    /// The soonest is the greatest, which is what the heap gives first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// Events by their time; those of one moment in the order in which they were asked for.
#[derive(Debug)]
pub struct Queue<E> {
    heap: BinaryHeap<Due<E>>,
    order: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            order: 0,
        }
    }
}

impl<E> Queue<E> {
    /// Asks for an event.
    pub fn push(&mut self, at: u64, event: E) {
        self.order += 1;
        let order = self.order;
        self.heap.push(Due { at, order, event });
    }

    /// What is next.
    pub fn pop(&mut self) -> Option<Due<E>> {
        self.heap.pop()
    }

    /// Gives one back that has been put off.
    pub fn give_back(&mut self, due: Due<E>) {
        self.heap.push(due);
    }
}
