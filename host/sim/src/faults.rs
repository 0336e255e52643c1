//! What can go wrong by chance.

/// A kind of fault. Each is drawn wherever it could strike, in so many of a thousand cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A call to the lease table never reaches it.
    RequestLost,
    /// A call to the lease table is carried out, and nobody hears of it.
    ReplyLost,
    /// A call to the lease table reaches it long after its caller gave it up.
    RequestLate,
    /// A call to the lease table takes about as long as it may.
    CallSlow,
    /// The lease table refuses a call for now.
    TableThrottled,
    /// A scan of the lease table goes on for seconds, and sees each row at another moment.
    ScanSlow,
    /// A call to the stream fails.
    StreamFails,
    /// A read brings nothing although there is something.
    ReadEmpty,
    /// A read brings fewer records than it might.
    ReadShort,
    /// A read begins with records that were read before.
    ReadAgain,
    /// A read takes seconds.
    ReadSlow,
    /// An iterator expires.
    IteratorExpires,
    /// The last read of a shard does not name the children.
    ChildrenUnnamed,
    /// Shards are listed while the stream is resharded: some as they were, some as they are.
    ListingTorn,
    /// The server knows no shard filter and lists all.
    ListingUnfiltered,
    /// A handler asks for another try of a message.
    Retry,
    /// A handler rejects a message.
    Reject,
    /// A handler holds a message.
    Hold,
    /// A held message fails when it is released.
    HeldFails,
    /// A handler traps.
    Trap,
    /// A handler never comes back, until its time is up.
    Hang,
    /// A handler fails a whole call.
    CallFails,
    /// A reply does not fit its batch.
    ReplyInvalid,
    /// An emission goes to an output that is not routed.
    Unrouted,
    /// A call of a handler takes long.
    HandlerSlow,
    /// A sink does not take an emission for now.
    SinkFails,
    /// A sink refuses an emission for good.
    SinkRefuses,
    /// A sink cannot be synced for now, or dead letters cannot be written.
    SyncFails,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 28] = [
        Self::RequestLost,
        Self::ReplyLost,
        Self::RequestLate,
        Self::CallSlow,
        Self::TableThrottled,
        Self::ScanSlow,
        Self::StreamFails,
        Self::ReadEmpty,
        Self::ReadShort,
        Self::ReadAgain,
        Self::ReadSlow,
        Self::IteratorExpires,
        Self::ChildrenUnnamed,
        Self::ListingTorn,
        Self::ListingUnfiltered,
        Self::Retry,
        Self::Reject,
        Self::Hold,
        Self::HeldFails,
        Self::Trap,
        Self::Hang,
        Self::CallFails,
        Self::ReplyInvalid,
        Self::Unrouted,
        Self::HandlerSlow,
        Self::SinkFails,
        Self::SinkRefuses,
        Self::SyncFails,
    ];
}

/// How often each kind strikes, in thousandths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Odds([u16; Fault::ALL.len()]);

impl Odds {
    /// How often this kind strikes.
    pub fn of(&self, fault: Fault) -> u16 {
        self.0[fault as usize]
    }

    /// Sets how often this kind strikes.
    pub fn set(&mut self, fault: Fault, per_mille: u16) {
        self.0[fault as usize] = per_mille;
    }
}
