//! What a client makes of a lock file that does not tell the truth.

use std::net::TcpListener;

use super::*;

/// A directory whose lock this test holds, naming `address` and `id`.
fn held(folder: &tempfile::TempDir, address: SocketAddr, id: &str) -> (Directory, Lock) {
    let directory = Directory::open(folder.path()).unwrap();
    let mut lock = Lock::try_take(&directory).unwrap().unwrap();
    lock.name(
        &directory,
        &Holder {
            directory: id.into(),
            address,
            pid: 1,
        },
    )
    .unwrap();
    (directory, lock)
}

#[test]
fn the_endpoint_of_another_directory_is_not_taken_for_this_ones() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let other = Endpoint::new(theirs.path()).serve().unwrap();
    let (directory, _lock) = held(&ours, other.address(), "ours");
    match find(&directory).unwrap() {
        Found::Wrong(AttachError::WrongDirectory {
            expected, found, ..
        }) => {
            assert_eq!(
                (expected.as_str(), found.as_str()),
                ("ours", other.directory_id())
            );
        }
        Found::Wrong(error) => panic!("{error}"),
        Found::Holder(holder) => panic!("{holder:?}"),
    }
}

#[test]
fn silence_a_stranger_and_a_holder_without_a_name_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = stranger.local_addr().unwrap();
    let (directory, lock) = held(&folder, address, "ours");
    let answering = thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut connection, _) = stranger.accept().unwrap();
        let mut asked = [0; 256];
        assert!(connection.read(&mut asked).unwrap() > 0);
        connection.write_all(b"SSH-2.0-OpenSSH\r\n").unwrap();
    });
    assert!(matches!(
        find(&directory).unwrap(),
        Found::Wrong(AttachError::Stranger { pid: 1, .. })
    ));
    answering.join().unwrap();
    assert!(matches!(
        find(&directory).unwrap(),
        Found::Wrong(AttachError::Silent { pid: 1, .. })
    ));
    drop(lock);
    std::fs::write(directory.lock(), "{\"direct").unwrap();
    assert!(matches!(
        find(&directory).unwrap(),
        Found::Wrong(AttachError::Unnamed { .. })
    ));
}

#[test]
fn a_lock_that_nobody_holds_is_taken_whatever_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let stale = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    drop(held(&folder, stale, "gone"));
    let attachment = attach(folder.path()).unwrap();
    assert!(attachment.is_holder());
    assert_ne!(attachment.directory_id(), "gone");
}
