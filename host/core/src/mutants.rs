//! Faults that a test build can switch on, one at a time, to see whether the simulator finds them.
//!
//! Without the feature `mutants` nothing of this is built, and `mutant!` is the constant `false`.

#[cfg(not(feature = "mutants"))]
macro_rules! mutant {
    ($name:ident) => {
        false
    };
}

#[cfg(feature = "mutants")]
macro_rules! mutant {
    ($name:ident) => {
        $crate::mutants::is_on($crate::mutants::Mutant::$name)
    };
}

#[cfg(feature = "mutants")]
pub(crate) use switch::is_on;
#[cfg(feature = "mutants")]
pub use switch::{Mutant, with_mutant};

#[cfg(feature = "mutants")]
mod switch {
    use std::cell::Cell;

    macro_rules! all {
        ($($Name:ident $place:literal $what:literal),* $(,)?) => {
            /// A fault.
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            #[expect(missing_docs, reason = "`what` says it")]
            pub enum Mutant {
                $($Name),*
            }

            impl Mutant {
                /// Every one.
                pub const ALL: &[Self] = &[$(Self::$Name),*];

                /// The module that it sits in.
                pub fn place(self) -> &'static str {
                    match self {
                        $(Self::$Name => $place),*
                    }
                }

                /// What is wrong.
                pub fn what(self) -> &'static str {
                    match self {
                        $(Self::$Name => $what),*
                    }
                }
            }
        };
    }

    all! {
        DispatchTooLong "keeper" "batches may begin for twice the lease's duration",
        ExpiryEarly "coordinator::rows" "a lease counts as expired after half of its duration",
        RenewalIgnored "coordinator::rows" "a counter that has moved does not prove the owner alive",
        ExpiryFromRequest "coordinator::rows" "a counter counts as moved when the listing was asked for",
        FollowedFromLatest "coordinator::beginning" "a child begins with what comes next, if its row says so, though a parent has a row",
        ParentsIgnored "coordinator::beginning" "a child does not wait for its parents",
        OneParentOnly "coordinator::beginning" "a child of a merge waits for one parent",
        NoLookAfterTake "coordinator::beginning" "a shard begins with what comes next though the rows were read before it was taken",
        LateRowsRead "coordinator::beginning" "the row of a closed shard is read though what follows it has begun without it",
        GoneShardsKept "coordinator::sync" "shards that retention took before they were read are not let go of",
        EndBeforeChildren "coordinator::sync" "SHARD_END is written before the children have rows",
        FinishedRowsDeletedAtOnce "coordinator::sync" "finished rows are deleted as soon as nobody needs them",
        ChildrenAtLatest "shard_sync" "children begin with what comes next",
        LeasesUnbounded "coordinator::taking" "a worker takes more leases than it may",
        StopLeavesLeases "coordinator" "a worker that stops does not wait until it has given its leases up",
        IncarnationRepeated "coordinator::taking" "every take writes the same incarnation",
        EndBeforeDrained "consumer" "the end is said as soon as it has been read",
        EndedConsumerDeaf "consumer" "a consumer that has said its end does not hear that it is to stop",
        WatermarkAhead "window" "the watermark is one user record further",
        ResumeOneFurther "window" "a resumed container goes on one user record later",
        HeldIsAcked "run" "a held message counts as acked",
        RefusalIgnored "run" "what a sink refuses counts as delivered",
        GroupIgnored "run" "what several messages emit stands though one of them falls",
        DiscardIgnored "run" "later messages of a key stand though an earlier one is to be tried again",
        KeyNotParked "lanes" "a key goes on while a message of it waits for its next try",
        HalvesSwapped "lanes" "of a batch that crashed the back half runs first",
        AckBeforeBurial "lanes" "a message is resolved before its dead letter is stored",
        RetryIsAcked "lanes" "a message that is to be tried again is resolved as well",
        PausedForGood "breaker" "a shard that is paused makes no probe",
        LatestForgotten "position" "every owner begins with what comes next, until one has checkpointed",
        ResumeAfterRecord "position" "reading begins after the checkpoint's record, not at it",
        NumbersAsText "position" "sequence numbers are compared as text",
        ExpiredToLatest "fetch" "an expired iterator is replaced by one at the tip",
        ReservationLost "budget" "what a read has reserved is not given back",
        ReadUnreserved "budget" "a read does not wait for room",
        SpanUnbounded "budget" "the span is no bound",
    }

    thread_local! {
        static ON: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Whether it is switched on in this thread.
    pub(crate) fn is_on(mutant: Mutant) -> bool {
        ON.get() == Some(mutant)
    }

    /// Does something with a fault switched on in this thread.
    pub fn with_mutant<T>(mutant: Mutant, action: impl FnOnce() -> T) -> T {
        ON.set(Some(mutant));
        let outcome = action();
        ON.set(None);
        outcome
    }
}
