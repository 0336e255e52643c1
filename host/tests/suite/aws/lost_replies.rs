//! Writes that were carried out and whose replies never came.

use shardwright::adapters::{AwsClients, DynamoLeaseTable};
use shardwright::ports::{CreateOutcome, ErrorKind, LeaseTable, LeaseWriteError};
use shardwright_core::{Checkpoint, HeldLease, Incarnation, Lease, ShardId};

use super::leases::{at, lost, row, worker};
use super::proxy::{Fault, Proxy};
use super::{lease_table, new_lease, target};

pub(super) async fn suite(endpoint: &str) {
    let proxy = Proxy::to(endpoint).await;
    let direct = lease_table(endpoint, "lost-replies").await;
    let proxied = AwsClients::new()
        .lease_table(&target(proxy.endpoint()), "lost-replies")
        .await
        .expect("a loopback endpoint needs nothing else");
    let mut case = 0;
    for write in Write::ALL {
        for fault in [Fault::LoseReply, Fault::Refuse, Fault::Truncate] {
            for meanwhile in Meanwhile::ALL {
                case += 1;
                let shard = format!("s{case}");
                let what = format!("{write:?}, {fault:?}, {meanwhile:?}");
                one(
                    &direct,
                    &proxied,
                    &proxy,
                    &shard,
                    write,
                    fault.clone(),
                    meanwhile,
                    &what,
                )
                .await;
            }
        }
    }
    a_create_whose_reply_was_lost_is_already_there(&proxied, &proxy).await;
    assert_eq!(proxy.faults_left(), 0);
}

#[derive(Clone, Copy, Debug)]
enum Write {
    Take,
    Renew,
    Checkpoint,
    ShardEnd,
    Release,
}

impl Write {
    const ALL: [Self; 5] = [
        Self::Take,
        Self::Renew,
        Self::Checkpoint,
        Self::ShardEnd,
        Self::Release,
    ];
}

/// What happens between the failed try and the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meanwhile {
    Nothing,
    /// Another worker takes the lease.
    Stolen,
    /// Another process of the same name takes it.
    TakenByNamesake,
}

impl Meanwhile {
    const ALL: [Self; 3] = [Self::Nothing, Self::Stolen, Self::TakenByNamesake];
}

/// Where a write starts from: a row as it was seen, and the lease if it is held.
struct Start {
    seen: Lease,
    held: HeldLease,
}

impl Start {
    async fn write(&self, leases: &DynamoLeaseTable, write: Write) -> Result<u64, LeaseWriteError> {
        match write {
            Write::Take => leases
                .take(&self.seen, &worker("me"), Incarnation(77))
                .await
                .map(|held| held.counter),
            Write::Renew => leases.renew(&self.held).await,
            Write::Checkpoint => leases.checkpoint(&self.held, &at("12345", 6), &[]).await,
            Write::ShardEnd => {
                let children = [ShardId::from("left"), ShardId::from("right")];
                leases
                    .checkpoint(&self.held, &Checkpoint::ShardEnd, &children)
                    .await
            }
            Write::Release => leases
                .release(&self.held)
                .await
                .map(|()| self.held.counter + 1),
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "one case of a product of cases")]
async fn one(
    direct: &DynamoLeaseTable,
    proxied: &DynamoLeaseTable,
    proxy: &Proxy,
    shard: &str,
    write: Write,
    fault: Fault,
    meanwhile: Meanwhile,
    what: &str,
) {
    direct
        .create(&new_lease(shard))
        .await
        .expect("it is created");
    let seen = row(direct, shard).await;
    let held = direct
        .take(&seen, &worker("me"), Incarnation(1))
        .await
        .expect("it is free");
    let start = Start {
        seen: row(direct, shard).await,
        held,
    };
    let is_carried_out = !matches!(fault, Fault::Refuse);

    proxy.next("UpdateItem", fault);
    match start.write(proxied, write).await {
        Err(LeaseWriteError::Port(error)) => {
            assert_eq!(error.kind, ErrorKind::Transient, "{what}: {error}");
        }
        other => panic!("{what}: the reply was lost, and it says {other:?}"),
    }
    assert_eq!(
        proxy.take_calls("UpdateItem").len(),
        1,
        "{what}: the SDK must not try again by itself"
    );
    let after = row(direct, shard).await;
    assert_eq!(
        after.counter,
        start.seen.counter + u64::from(is_carried_out),
        "{what}"
    );

    if meanwhile == Meanwhile::Nothing {
        let counter = start
            .write(proxied, write)
            .await
            .unwrap_or_else(|error| panic!("{what}: tried again, it is refused: {error}"));
        let settled = row(direct, shard).await;
        assert_eq!(
            (counter, settled.counter),
            (start.seen.counter + 1, start.seen.counter + 1),
            "{what}"
        );
        if is_carried_out {
            assert_eq!(settled, after, "{what}: the second try changes nothing");
        }
    } else {
        let thief = if meanwhile == Meanwhile::Stolen {
            "thief"
        } else {
            "me"
        };
        direct
            .take(&after, &worker(thief), Incarnation(2))
            .await
            .expect("nobody else is there");
        let stolen = row(direct, shard).await;
        // The SDK's answer to a lost release is of no use to anybody, but must not be a success that hides a thief.
        let found = lost(start.write(proxied, write).await);
        assert_eq!(
            found,
            (Some(thief.to_owned()), Some(stolen.counter)),
            "{what}"
        );
        assert_eq!(
            row(direct, shard).await,
            stolen,
            "{what}: a lost write changes nothing"
        );
    }
    proxy.take_calls("UpdateItem");
}

async fn a_create_whose_reply_was_lost_is_already_there(proxied: &DynamoLeaseTable, proxy: &Proxy) {
    proxy.next("PutItem", Fault::LoseReply);
    let lease = new_lease("created");
    let error = proxied
        .create(&lease)
        .await
        .expect_err("the reply was lost");
    assert_eq!(error.kind, ErrorKind::Transient);
    let again = proxied.create(&lease).await.expect("it answers");
    assert_eq!(again, CreateOutcome::AlreadyThere);
}
