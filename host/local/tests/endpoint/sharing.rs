//! One directory, several processes: who serves, and what happens when it goes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use shardwright_local::{AttachError, Endpoint, ServeError, attach};

use crate::client::{Client, base64, read_shard, shard_ids, text};
use crate::process::Process;

/// Longer than any takeover, shorter than patience: a loaded machine may be slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// Puts numbered records until told to stop, each until it is acknowledged; gives the number that was acknowledged.
fn write(
    address: SocketAddr,
    writer: usize,
    stop: &AtomicBool,
    acknowledged: &AtomicUsize,
) -> usize {
    let mut client = Client::new(address);
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        let record = |i: usize| json!({"Data": base64(&format!("{writer} {:06}", next + i)), "PartitionKey": format!("{writer} {i}")});
        let request =
            json!({"StreamName": "s", "Records": (0..10).map(record).collect::<Vec<_>>()});
        let deadline = Instant::now() + PATIENCE;
        while !client
            .try_kinesis("PutRecords", &request)
            .is_ok_and(|a| a.status == 200)
        {
            assert!(Instant::now() < deadline, "nobody took the endpoint over");
            thread::park_timeout(Duration::from_millis(5));
        }
        next += 10;
        acknowledged.fetch_add(10, Ordering::Relaxed);
    }
    next
}

#[test]
fn kill_9_of_the_holder_loses_no_acknowledged_put_and_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let mut processes: Vec<_> = (0..3).map(|_| Process::start(folder.path())).collect();
    let address = processes[0].address;
    assert!(processes.iter().all(|p| p.address == address));
    assert_eq!(
        processes.iter().map(|p| p.is_serving).collect::<Vec<_>>(),
        [true, false, false]
    );
    // This process is attached as well, and outlives them all.
    let attachment = attach(folder.path()).unwrap();
    let mut client = Client::new(address);
    client.kinesis("CreateStream", &json!({"StreamName": "s", "ShardCount": 4}));
    let (stop, acknowledged) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
            thread::spawn(move || write(address, writer, &stop, &acknowledged))
        })
        .collect();
    let wait_for = |count: usize| {
        let deadline = Instant::now() + PATIENCE;
        while acknowledged.load(Ordering::Relaxed) < count {
            assert!(Instant::now() < deadline, "writers stand still");
            thread::park_timeout(Duration::from_millis(1));
        }
    };
    while !processes.is_empty() {
        wait_for(acknowledged.load(Ordering::Relaxed) + 500);
        let holder = find_holder(address);
        let Some(at) = processes.iter().position(|p| p.id() == holder) else {
            // This process was the one that took over: the others may go.
            assert_eq!(holder, std::process::id());
            break;
        };
        let killed = Instant::now();
        processes.remove(at).kill();
        wait_for(acknowledged.load(Ordering::Relaxed) + 50);
        eprintln!(
            "writers went on {} ms after the kill",
            killed.elapsed().as_millis()
        );
    }
    drop(processes);
    assert!(attachment.wait_until_holder(PATIENCE));
    stop.store(true, Ordering::Relaxed);
    let written: Vec<_> = writers.into_iter().map(|w| w.join().unwrap()).collect();
    check(address, &written);
}

/// The process id that the endpoint gives.
fn find_holder(address: SocketAddr) -> u32 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(answer) = Client::new(address).send("GET /_shardwright/holder HTTP/1.1\r\n", b"")
        {
            return answer.body["pid"].as_u64().unwrap().try_into().unwrap();
        }
        assert!(Instant::now() < deadline, "nobody holds the endpoint");
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// Every acknowledged record is there, numbers rise, and each writer's records of a key first appear in the order in
/// which it sent them. A put whose answer was lost was sent again, so records may be there twice.
fn check(address: SocketAddr, written: &[usize]) {
    let mut client = Client::new(address);
    let mut seen: Vec<Vec<bool>> = written.iter().map(|count| vec![false; *count]).collect();
    for shard in shard_ids(&mut client, &json!({"StreamName": "s"})) {
        let records = read_shard(&mut client, "s", &shard);
        let numbers: Vec<_> = records
            .iter()
            .map(|r| r["SequenceNumber"].as_str().unwrap())
            .collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
        let mut first = std::collections::BTreeMap::new();
        for record in &records {
            let name = text(record);
            let (writer, number) = name.split_once(' ').unwrap();
            let (writer, number): (usize, usize) =
                (writer.parse().unwrap(), number.parse().unwrap());
            let is_new = !std::mem::replace(&mut seen[writer][number], true);
            if is_new {
                let key = record["PartitionKey"].as_str().unwrap().to_owned();
                assert!(
                    first
                        .insert(key, number)
                        .is_none_or(|before| before < number),
                    "{name} is out of order"
                );
            }
        }
    }
    for (writer, seen) in seen.iter().enumerate() {
        let lost = seen.iter().filter(|s| !**s).count();
        assert_eq!(lost, 0, "of writer {writer}");
    }
}

#[test]
fn the_next_client_takes_over_at_the_same_url_when_the_holder_detaches() {
    let folder = tempfile::tempdir().unwrap();
    let first = attach(folder.path()).unwrap();
    let second = attach(folder.path()).unwrap();
    let third = attach(folder.path()).unwrap();
    assert!(first.is_holder() && !second.is_holder() && !third.is_holder());
    assert_eq!(
        (first.url(), first.directory_id()),
        (second.url(), second.directory_id())
    );
    let mut client = Client::new(first.address());
    client.kinesis("CreateStream", &json!({"StreamName": "s", "ShardCount": 1}));
    let address = second.address();
    third.detach();
    first.detach();
    assert!(second.wait_until_holder(PATIENCE));
    assert_eq!(
        shard_ids(&mut Client::new(address), &json!({"StreamName": "s"})).len(),
        1
    );
    second.detach();
    assert!(
        Client::new(address)
            .try_kinesis("ListStreams", &json!({}))
            .is_err(),
        "nobody is left to serve"
    );
}

#[test]
fn a_strangers_port_is_an_error_if_it_was_asked_for_and_left_to_it_if_nobody_counts_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let address = attach(folder.path()).unwrap().address();
    let stranger = std::net::TcpListener::bind(address).unwrap();
    match Endpoint::new(folder.path()).port(address.port()).attach() {
        Err(AttachError::Serve(ServeError::PortTaken { port, .. })) => {
            assert_eq!(port, address.port());
        }
        other => panic!("{other:?}"),
    }
    let moved = attach(folder.path()).unwrap().address();
    assert_ne!(moved, address);
    drop(stranger);
    assert_eq!(
        attach(folder.path()).unwrap().address(),
        moved,
        "the new port is remembered"
    );
}

#[test]
fn the_port_stays_while_someone_counts_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let first = attach(folder.path()).unwrap();
    let second = attach(folder.path()).unwrap();
    let address = first.address();
    let asked = address.port() - 1;
    first.detach();
    // Either the second has taken over, and is served at its port; or not yet, and its port is not to change.
    match Endpoint::new(folder.path()).port(asked).attach() {
        Err(AttachError::OtherPort { .. } | AttachError::Serve(ServeError::PortUsed { .. })) => {}
        other => panic!("{other:?}"),
    }
    assert!(second.wait_until_holder(PATIENCE));
    assert!(
        Client::new(address)
            .try_kinesis("ListStreams", &json!({}))
            .is_ok()
    );
    drop(second);
    assert_eq!(
        Endpoint::new(folder.path())
            .port(asked)
            .attach()
            .unwrap()
            .address()
            .port(),
        asked
    );
}

#[test]
fn a_served_directory_is_not_served_again_nor_at_another_port() {
    let folder = tempfile::tempdir().unwrap();
    let handle = Endpoint::new(folder.path()).serve().unwrap();
    match Endpoint::new(folder.path()).serve() {
        Err(ServeError::Held { holder, .. }) => {
            assert_eq!(holder, (handle.address(), std::process::id()));
        }
        other => panic!("{other:?}"),
    }
    let other_port = handle.address().port() - 1;
    match Endpoint::new(folder.path()).port(other_port).attach() {
        Err(AttachError::OtherPort { address, asked }) => {
            assert_eq!((address, asked), (handle.address(), other_port));
        }
        other => panic!("{other:?}"),
    }
}
