//! Writes that were carried out and whose replies never came.

use shardwright::adapters::{AwsClients, DynamoLeaseTable};
use shardwright::ports::{CreateOutcome, ErrorKind, LeaseTable, LeaseWriteError};
use shardwright_core::{Checkpoint, HeldLease, Incarnation, Lease, ShardId};

use super::leases::{at, lost, row, taken, worker};
use super::proxy::{Fault, Proxy};
use super::{lease_table, new_lease, number, raw_tables, string, target};

pub(super) async fn suite(endpoint: &str) {
    let proxy = Proxy::to(endpoint).await;
    let direct = lease_table(endpoint, "lost-replies").await;
    let proxied = AwsClients::new()
        .lease_table(&target(proxy.endpoint()), "lost-replies")
        .await
        .expect("a loopback endpoint needs nothing else");
    let bench = Bench {
        endpoint,
        direct: &direct,
        proxied: &proxied,
        proxy: &proxy,
    };
    let mut case = 0;
    for write in Write::ALL {
        for fault in [Fault::LoseReply, Fault::Refuse, Fault::Truncate] {
            for meanwhile in Meanwhile::ALL {
                case += 1;
                let shard = format!("s{case}");
                bench.run(&shard, write, fault.clone(), meanwhile).await;
            }
        }
    }
    a_checkpoint_does_not_pass_for_a_renewal(&direct, &proxied, &proxy).await;
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
    HandOver,
}

impl Write {
    const ALL: [Self; 6] = [
        Self::Take,
        Self::Renew,
        Self::Checkpoint,
        Self::ShardEnd,
        Self::Release,
        Self::HandOver,
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
    /// A KCL worker takes it, and leaves our incarnation where it is.
    TakenByKcl,
}

impl Meanwhile {
    const ALL: [Self; 4] = [
        Self::Nothing,
        Self::Stolen,
        Self::TakenByNamesake,
        Self::TakenByKcl,
    ];
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
            Write::Renew => leases.renew(&self.held).await.map(|row| row.counter),
            Write::Checkpoint => leases
                .checkpoint(&self.held, &at("12345", 6), &[])
                .await
                .map(|row| row.counter),
            Write::ShardEnd => {
                let children = [ShardId::from("left"), ShardId::from("right")];
                leases
                    .checkpoint(&self.held, &Checkpoint::ShardEnd, &children)
                    .await
                    .map(|row| row.counter)
            }
            Write::Release => leases
                .release(&self.held, None)
                .await
                .map(|()| self.held.counter + 1),
            Write::HandOver => leases
                .release(&self.held, Some(&worker("heir")))
                .await
                .map(|()| self.held.counter + 1),
        }
    }
}

/// A table with a way to it that breaks.
struct Bench<'a> {
    endpoint: &'a str,
    direct: &'a DynamoLeaseTable,
    proxied: &'a DynamoLeaseTable,
    proxy: &'a Proxy,
}

impl Bench<'_> {
    async fn run(&self, shard: &str, write: Write, fault: Fault, meanwhile: Meanwhile) {
        let what = format!("{write:?}, {fault:?}, {meanwhile:?}");
        let held = taken(self.direct, shard, "me", 1).await;
        let start = Start {
            seen: row(self.direct, shard).await,
            held,
        };
        let is_carried_out = !matches!(fault, Fault::Refuse);

        self.proxy.take_calls("UpdateItem");
        self.proxy.next("UpdateItem", fault);
        match start.write(self.proxied, write).await {
            Err(LeaseWriteError::Port(error)) => {
                assert_eq!(error.kind, ErrorKind::Transient, "{what}: {error}");
            }
            other => panic!("{what}: the reply was lost, and it says {other:?}"),
        }
        let calls = self.proxy.take_calls("UpdateItem").len();
        assert_eq!(calls, 1, "{what}: the SDK must not try again by itself");
        let after = row(self.direct, shard).await;
        let written = start.seen.counter + 1;
        let counter = if is_carried_out {
            written
        } else {
            start.seen.counter
        };
        assert_eq!(after.counter, counter, "{what}");

        let Some(thief) = self.interfere(&after, meanwhile).await else {
            let counter = start
                .write(self.proxied, write)
                .await
                .unwrap_or_else(|error| panic!("{what}: tried again, it is refused: {error}"));
            let settled = row(self.direct, shard).await;
            assert_eq!((counter, settled.counter), (written, written), "{what}");
            if is_carried_out {
                assert_eq!(settled, after, "{what}: the second try changes nothing");
            }
            return;
        };
        let stolen = row(self.direct, shard).await;
        let outcome = start.write(self.proxied, write).await;
        // KCL's take looks like the end of a handoff that I have let go, and either way the lease is not mine.
        let is_given_up = matches!(write, Write::Release | Write::HandOver) && outcome.is_ok();
        if !is_given_up || meanwhile != Meanwhile::TakenByKcl || is_carried_out {
            let found = (Some(thief.to_owned()), Some(stolen.counter));
            assert_eq!(lost(outcome), found, "{what}");
        }
        let settled = row(self.direct, shard).await;
        assert_eq!(settled, stolen, "{what}: a lost write changes nothing");
    }

    /// Who has the lease now, if somebody has taken it.
    async fn interfere(&self, after: &Lease, meanwhile: Meanwhile) -> Option<&'static str> {
        let thief = match meanwhile {
            Meanwhile::Nothing => return None,
            Meanwhile::Stolen => "thief",
            Meanwhile::TakenByNamesake => "me",
            Meanwhile::TakenByKcl => {
                raw_tables(self.endpoint)
                    .update_item()
                    .table_name("lost-replies")
                    .key("leaseKey", string(after.shard.as_str()))
                    .update_expression("SET leaseCounter = :n, leaseOwner = :java")
                    .condition_expression("leaseCounter = :c")
                    .expression_attribute_values(":c", number(after.counter))
                    .expression_attribute_values(":n", number(after.counter + 1))
                    .expression_attribute_values(":java", string("java"))
                    .send()
                    .await
                    .expect("nobody else is there");
                return Some("java");
            }
        };
        self.direct
            .take(after, &worker(thief), Incarnation(2))
            .await
            .expect("nobody else is there");
        Some(thief)
    }
}

/// A renewal was carried out under the counter that the checkpoint asks for; its position was not written.
async fn a_checkpoint_does_not_pass_for_a_renewal(
    direct: &DynamoLeaseTable,
    proxied: &DynamoLeaseTable,
    proxy: &Proxy,
) {
    let held = taken(direct, "renewed", "me", 1).await;
    proxy.next("UpdateItem", Fault::LoseReply);
    let outcome = proxied.renew(&held).await;
    assert!(matches!(outcome, Err(LeaseWriteError::Port(_))));
    let found = lost(proxied.checkpoint(&held, &at("12345", 6), &[]).await);
    assert_eq!(found, (Some("me".to_owned()), Some(held.counter + 1)));
    let renewed = proxied.renew(&held).await.expect("that was my own");
    assert_eq!(renewed.counter, held.counter + 1);
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
