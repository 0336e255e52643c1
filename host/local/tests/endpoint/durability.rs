//! Many clients that never try again, and a kill in the middle: what was acknowledged is there, once and in order.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Client, base64, shard_ids, text};
use crate::process::Process;

const CLIENTS: usize = 64;
const SHARDS: u32 = 4;
/// For a longer run, in seconds.
const SECONDS: &str = "SHARDWRIGHT_SOAK_SECONDS";
/// What every run of the tests takes.
const SHORT: Duration = Duration::from_secs(4);
/// Records of one put, by turns: one as a `PutRecord`, several as a `PutRecords`.
const TURNS: [usize; 3] = [1, 5, 40];

/// One client's account of what it sent.
#[derive(Default)]
struct Account {
    /// Acknowledged: what it was, and the shard and number that it was given.
    kept: Vec<(String, String, String)>,
    sent: usize,
    failed_puts: usize,
}

#[test]
fn what_64_clients_were_told_is_kept_survives_a_kill_once_and_in_order() {
    let seconds = std::env::var(SECONDS).ok().and_then(|s| s.parse().ok());
    let length = seconds.map_or(SHORT, Duration::from_secs);
    let folder = tempfile::tempdir().unwrap();
    let first = Process::start(folder.path());
    let address = first.address;
    let mut client = Client::new(address);
    let create = json!({"StreamName": "s", "ShardCount": SHARDS});
    client.kinesis("CreateStream", &create);
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (accounts, second) = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|name| {
                scope.spawn({
                    let (stop, acknowledged) = (&stop, &acknowledged);
                    move || write(address, name, stop, acknowledged)
                })
            })
            .collect();
        let begun = Instant::now();
        let pass = |until: Duration, more_than: usize| {
            while begun.elapsed() < until || acknowledged.load(Ordering::Relaxed) <= more_than {
                assert!(
                    begun.elapsed() < until + Duration::from_mins(1),
                    "clients stand still"
                );
                thread::park_timeout(Duration::from_millis(10));
            }
        };
        pass(length / 2, 1000);
        first.kill();
        let before = acknowledged.load(Ordering::Relaxed);
        let second = Process::start(folder.path());
        assert_eq!(second.address, address, "the port stays the same");
        pass(length, before + 1000);
        stop.store(true, Ordering::Relaxed);
        let accounts: Vec<_> = clients.into_iter().map(|c| c.join().unwrap()).collect();
        (accounts, second)
    });
    check(address, &accounts);
    drop(second);
}

/// Sends numbered records, each once, until told to stop. What fails is given up.
fn write(
    address: SocketAddr,
    name: usize,
    stop: &AtomicBool,
    acknowledged: &AtomicUsize,
) -> Account {
    let mut client = Client::new(address);
    let mut account = Account::default();
    let mut turns = TURNS.iter().cycle();
    while !stop.load(Ordering::Relaxed) {
        let count = *turns.next().unwrap();
        let data: Vec<_> = (0..count)
            .map(|i| format!("{name} {:08}", account.sent + i))
            .collect();
        account.sent += count;
        let Some(placed) = put(&mut client, name, &data) else {
            account.failed_puts += 1;
            thread::park_timeout(Duration::from_millis(5));
            continue;
        };
        assert_eq!(placed.len(), count);
        let member = |place: &Value, name: &str| place[name].as_str().unwrap().to_owned();
        let kept = data.into_iter().zip(&placed);
        account.kept.extend(kept.map(|(data, place)| {
            (
                data,
                member(place, "ShardId"),
                member(place, "SequenceNumber"),
            )
        }));
        acknowledged.fetch_add(count, Ordering::Relaxed);
    }
    account
}

/// Where the records went, if that was acknowledged.
fn put(client: &mut Client, name: usize, data: &[String]) -> Option<Vec<Value>> {
    // A few keys each, so that a client's records of a key are in one shard and its keys in several.
    let key = |at: usize| format!("{name} {}", at % 3);
    if let [data] = data {
        let record = json!({"StreamName": "s", "Data": base64(data), "PartitionKey": key(0)});
        let answer = client.try_kinesis("PutRecord", &record).ok()?;
        return (answer.status == 200).then(|| vec![answer.body]);
    }
    let record =
        |(at, data): (usize, &String)| json!({"Data": base64(data), "PartitionKey": key(at)});
    let records: Vec<_> = data.iter().enumerate().map(record).collect();
    let request = json!({"StreamName": "s", "Records": records});
    let answer = client.try_kinesis("PutRecords", &request).ok()?;
    if answer.status != 200 {
        return None;
    }
    assert_eq!(answer.body["FailedRecordCount"], 0);
    answer.body["Records"].as_array().cloned()
}

fn check(address: SocketAddr, accounts: &[Account]) {
    let mut client = Client::new(address);
    let mut found: HashMap<String, (String, String)> = HashMap::new();
    for shard in shard_ids(&mut client, &json!({"StreamName": "s"})) {
        let mut last = String::new();
        let mut newest: BTreeMap<String, String> = BTreeMap::new();
        each_record(&mut client, &shard, |record| {
            let number = record["SequenceNumber"].as_str().unwrap().to_owned();
            assert!(last < number, "numbers rise");
            let data = text(record);
            let key = record["PartitionKey"].as_str().unwrap().to_owned();
            let before = newest.insert(key, data.clone());
            assert!(
                before.is_none_or(|before| before < data),
                "{data} is out of order"
            );
            let place = (shard.as_str().unwrap().to_owned(), number.clone());
            let twice = found.insert(data, place);
            assert!(twice.is_none(), "a record is there twice: {twice:?}");
            last = number;
        });
    }
    let (mut kept, mut sent, mut failed) = (0, 0, 0);
    for account in accounts {
        for (data, shard, number) in &account.kept {
            let place = found.get(data).map(|(s, n)| (s.as_str(), n.as_str()));
            assert_eq!(place, Some((shard.as_str(), number.as_str())), "{data}");
        }
        kept += account.kept.len();
        sent += account.sent;
        failed += account.failed_puts;
    }
    assert!(failed > 0, "the kill was not in the middle");
    eprintln!(
        "{CLIENTS} clients sent {sent} records: {kept} were acknowledged and are there; of the others, in {failed} puts, {} are",
        found.len() - kept
    );
}

fn each_record(client: &mut Client, shard: &Value, mut see: impl FnMut(&Value)) {
    let request = json!({"StreamName": "s", "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"});
    let mut iterator = client.kinesis("GetShardIterator", &request)["ShardIterator"].clone();
    loop {
        let page = client.kinesis("GetRecords", &json!({"ShardIterator": iterator}));
        let records = page["Records"].as_array().unwrap();
        if records.is_empty() && page["MillisBehindLatest"] == 0 {
            return;
        }
        records.iter().for_each(&mut see);
        iterator = page["NextShardIterator"].clone();
    }
}
