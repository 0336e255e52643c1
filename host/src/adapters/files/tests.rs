use std::fs;
use std::sync::Arc;

use proptest::prelude::*;
use shardwright_core::pipeline::{FileTarget, LineFormat};
use shardwright_core::{Position, SequenceNumber, ShardId};

use super::line_file::LineFiles;
use super::lines::push;
use super::{DeadLetterFile, FileSink};
use crate::ports::{DeadLetter, DeadLetterSink as _, EmissionId, Outgoing, Sink as _};

fn lines_of(payloads: &[Vec<u8>], format: LineFormat) -> Vec<u8> {
    let shard = ShardId::new("shardId-000000000000");
    let mut lines = Vec::new();
    for (n, data) in (0..).zip(payloads) {
        let id = EmissionId {
            stream: "s",
            shard: &shard,
            from: ("7", 0),
            to: None,
            n,
        };
        push(
            &mut lines,
            &Outgoing {
                id,
                key: "k\"\n",
                data,
            },
            format,
        );
    }
    lines
}

proptest! {
    /// Wherever a crash cuts the file, after the next open every line parses and every whole line is still there.
    #[test]
    fn a_torn_line_is_cut_off_and_nothing_else(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..12),
        cut in any::<prop::sample::Index>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.jsonl");
        let all = lines_of(&payloads, LineFormat::Text);
        let cut = cut.index(all.len() + 1);
        fs::write(&path, &all[..cut]).unwrap();
        let file = LineFiles::default().open(&path).unwrap();
        file.append(b"{\"id\":\"next\"}\n").unwrap();
        let text = fs::read(&path).unwrap();
        let whole = all[..cut].iter().filter(|byte| **byte == b'\n').count();
        let lines: Vec<&[u8]> = text.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n').collect();
        prop_assert_eq!(lines.len(), whole + 1);
        for line in lines {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(line).is_ok());
        }
    }

    /// Any payload comes back from its line byte for byte.
    #[test]
    fn a_line_gives_its_payload_back(data: Vec<u8>) {
        use base64::Engine as _;
        let line = lines_of(std::slice::from_ref(&data), LineFormat::Text);
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        let back = match (value["data"].as_str(), value["data_base64"].as_str()) {
            (Some(text), None) => text.as_bytes().to_vec(),
            (None, Some(base64)) => base64::engine::general_purpose::STANDARD.decode(base64).unwrap(),
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        };
        prop_assert_eq!(back, data);
    }
}

#[test]
fn a_json_payload_is_written_as_its_value_on_one_line() {
    let data = b"{\n  \"big\": 12345678901234567890.10,\r\n  \"text\": \"a\\nb\"\n}".to_vec();
    let line = lines_of(&[data], LineFormat::Json);
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(value["data"]["text"], "a\nb");
    assert!(
        String::from_utf8(line)
            .unwrap()
            .contains("12345678901234567890.10")
    );
}

#[test]
fn a_payload_that_is_no_json_is_written_as_text() {
    let line = lines_of(&[b"{not json".to_vec()], LineFormat::Json);
    let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(value["data"], "{not json");
}

#[tokio::test]
async fn two_pipelines_share_a_file_and_a_folder_has_one_for_each() {
    let dir = tempfile::tempdir().unwrap();
    let files = Arc::new(LineFiles::default());
    let shard = ShardId::new("shardId-000000000000");
    let id = EmissionId {
        stream: "s",
        shard: &shard,
        from: ("7", 0),
        to: None,
        n: 0,
    };
    for pipeline in ["one", "two"] {
        let shared = FileTarget::File(dir.path().join("both.jsonl"));
        let folder = FileTarget::Folder(dir.path().join("each"));
        for target in [shared, folder] {
            let sink = FileSink::open(&files, &target, pipeline, LineFormat::Text).unwrap();
            sink.deliver(&[Outgoing {
                id,
                key: pipeline,
                data: b"x",
            }])
            .await
            .unwrap();
            sink.sync().await.unwrap();
        }
    }
    let count = |name: &str| {
        fs::read_to_string(dir.path().join(name))
            .unwrap()
            .lines()
            .count()
    };
    assert_eq!(
        (
            count("both.jsonl"),
            count("each/one.jsonl"),
            count("each/two.jsonl")
        ),
        (2, 1, 1)
    );
}

#[tokio::test]
async fn a_dead_letter_keeps_the_whole_payload_and_why() {
    let dir = tempfile::tempdir().unwrap();
    let target = FileTarget::Folder(dir.path().join("dead"));
    let letters = DeadLetterFile::new(Arc::new(LineFiles::default()), &target, "orders");
    let letter = DeadLetter {
        pipeline: "orders".to_owned(),
        step: Some(0),
        plugin: "parse 1.0".to_owned(),
        digest: "sha256:00".to_owned(),
        stream: "orders".to_owned(),
        shard: "shardId-000000000000".to_owned(),
        position: Position {
            sequence: SequenceNumber::parse("7").unwrap(),
            sub_sequence: 3,
        },
        key: "k".to_owned(),
        data: bytes::Bytes::from_static(b"\xff\x00"),
        arrival_ms: 1,
        error: "reject",
        reason: "no \"price\"".to_owned(),
        attempts: 2,
        at_ms: 2,
    };
    letters.put(vec![letter]).await.unwrap();
    let text = fs::read_to_string(dir.path().join("dead/orders.jsonl")).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["id"], "orders/shardId-000000000000/7/3");
    assert_eq!(
        (value["data_base64"].as_str(), value["step"].as_u64()),
        (Some("/wA="), Some(1))
    );
    assert_eq!(
        (value["error"].as_str(), value["reason"].as_str()),
        (Some("reject"), Some("no \"price\""))
    );
}
