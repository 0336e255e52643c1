//! The operations that a fault can be asked for, by API.

use super::Api;

const KINESIS: &[&str] = &[
    "AddTagsToStream",
    "CreateChannel",
    "CreateStream",
    "DecreaseStreamRetentionPeriod",
    "DeleteChannel",
    "DeleteResourcePolicy",
    "DeleteStream",
    "DeregisterStreamConsumer",
    "DescribeAccountSettings",
    "DescribeChannel",
    "DescribeLimits",
    "DescribeStream",
    "DescribeStreamConsumer",
    "DescribeStreamSummary",
    "DisableEnhancedMonitoring",
    "EnableEnhancedMonitoring",
    "GetRecords",
    "GetResourcePolicy",
    "GetShardIterator",
    "IncreaseStreamRetentionPeriod",
    "ListChannels",
    "ListShards",
    "ListStreamConsumers",
    "ListStreams",
    "ListTagsForResource",
    "ListTagsForStream",
    "MergeShards",
    "PutRecord",
    "PutRecords",
    "PutResourcePolicy",
    "RegisterStreamConsumer",
    "RemoveTagsFromStream",
    "SplitShard",
    "StartStreamEncryption",
    "StopStreamEncryption",
    "SubscribeToShard",
    "TagResource",
    "UntagResource",
    "UpdateAccountSettings",
    "UpdateChannel",
    "UpdateMaxRecordSize",
    "UpdateShardCount",
    "UpdateStreamMode",
    "UpdateStreamRecordDistributionStrategy",
    "UpdateStreamWarmThroughput",
];

/// Those of the tables and of their streams, which share no name.
const DYNAMODB: &[&str] = &[
    "BatchExecuteStatement",
    "BatchGetItem",
    "BatchWriteItem",
    "CreateBackup",
    "CreateGlobalTable",
    "CreateTable",
    "DeleteBackup",
    "DeleteItem",
    "DeleteResourcePolicy",
    "DeleteTable",
    "DescribeBackup",
    "DescribeContinuousBackups",
    "DescribeContributorInsights",
    "DescribeEndpoints",
    "DescribeExport",
    "DescribeGlobalTable",
    "DescribeGlobalTableSettings",
    "DescribeImport",
    "DescribeKinesisStreamingDestination",
    "DescribeLimits",
    "DescribeStream",
    "DescribeTable",
    "DescribeTableReplicaAutoScaling",
    "DescribeTimeToLive",
    "DisableKinesisStreamingDestination",
    "EnableKinesisStreamingDestination",
    "ExecuteStatement",
    "ExecuteTransaction",
    "ExportTableToPointInTime",
    "GetItem",
    "GetRecords",
    "GetResourcePolicy",
    "GetShardIterator",
    "ImportTable",
    "ListBackups",
    "ListContributorInsights",
    "ListExports",
    "ListGlobalTables",
    "ListImports",
    "ListStreams",
    "ListTables",
    "ListTagsOfResource",
    "PutItem",
    "PutResourcePolicy",
    "Query",
    "RestoreTableFromBackup",
    "RestoreTableToPointInTime",
    "Scan",
    "SearchVectors",
    "TagResource",
    "TransactGetItems",
    "TransactWriteItems",
    "UntagResource",
    "UpdateContinuousBackups",
    "UpdateContributorInsights",
    "UpdateGlobalTable",
    "UpdateGlobalTableSettings",
    "UpdateItem",
    "UpdateKinesisStreamingDestination",
    "UpdateTable",
    "UpdateTableReplicaAutoScaling",
    "UpdateTimeToLive",
];

/// A name that both APIs have is one of Kinesis, unless the other is named before it.
const APIS: [(Api, &str, &[&str]); 2] = [
    (Api::Kinesis, "kinesis", KINESIS),
    (Api::DynamoDb, "dynamodb", DYNAMODB),
];

/// Names that an error lists.
const NEAR: usize = 3;

/// Whose operation `text` names, with its API before it (`dynamodb:GetRecords`) or without, and its bare name.
pub(super) fn find(text: &str) -> Option<(Api, &'static str)> {
    let (prefix, name) = match text.split_once(':') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    APIS.into_iter()
        .filter(|(_, api, _)| prefix.is_none_or(|prefix| prefix == *api))
        .find_map(|(api, _, names)| {
            let name = names.iter().find(|known| **known == name)?;
            Some((api, *name))
        })
}

/// The operations whose names are most like `text`, as they would have to be written.
pub(super) fn near(text: &str) -> Vec<String> {
    let name = text.rsplit_once(':').map_or(text, |(_, name)| name);
    let mut all: Vec<_> = APIS
        .into_iter()
        .flat_map(|(api, prefix, names)| names.iter().map(move |known| (api, prefix, *known)))
        .map(|(api, prefix, known)| {
            let is_plain = find(known).is_some_and(|(found, _)| found == api);
            let written = if is_plain {
                known.to_owned()
            } else {
                format!("{prefix}:{known}")
            };
            // Between equally near ones those that need no prefix come first.
            (distance(name, known), !is_plain, written)
        })
        .collect();
    all.sort();
    all.truncate(NEAR);
    all.into_iter().map(|(_, _, written)| written).collect()
}

/// How many letters have to be put in, left out or changed to make one of the other, whatever their case.
fn distance(one: &str, other: &str) -> usize {
    let other = other.as_bytes();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, byte) in one.bytes().enumerate() {
        let mut before = row[0];
        row[0] = at + 1;
        for (column, known) in other.iter().enumerate() {
            let changed = before + usize::from(!byte.eq_ignore_ascii_case(known));
            before = row[column + 1];
            row[column + 1] = changed.min(before + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kinesis_own_unless_the_other_api_is_named() {
        assert_eq!(find("GetRecords"), Some((Api::Kinesis, "GetRecords")));
        assert_eq!(find("UpdateItem"), Some((Api::DynamoDb, "UpdateItem")));
        let other = find("dynamodb:GetRecords");
        assert_eq!(other, Some((Api::DynamoDb, "GetRecords")));
        assert_eq!(find("kinesis:PutRecord"), Some((Api::Kinesis, "PutRecord")));
        for unknown in ["", "putrecord", "kinesis:UpdateItem", "s3:GetObject"] {
            assert_eq!(find(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn the_nearest_names_are_given_as_they_have_to_be_written() {
        assert_eq!(near("PutRecordz")[..2], ["PutRecord", "PutRecords"]);
        assert_eq!(near("updateitem")[0], "UpdateItem");
        assert_eq!(near("kinesis:UpdateItem")[0], "UpdateItem");
        assert_eq!(
            near("getrecords")[..2],
            ["GetRecords", "dynamodb:GetRecords"]
        );
    }

    #[test]
    fn every_operation_that_is_carried_out_can_be_named() {
        let carried_out = include_str!("../operations.rs")
            .split("pub(crate) async fn dispatch")
            .nth(1)
            .unwrap();
        let named = carried_out
            .lines()
            .filter_map(|line| line.split_once(" => "))
            .flat_map(|(names, _)| names.split(" | "))
            .filter_map(|name| name.trim().strip_prefix('"')?.strip_suffix('"'));
        let mut count = 0;
        for name in named {
            assert!(
                find(name).is_some_and(|(api, _)| api == Api::Kinesis),
                "{name}"
            );
            count += 1;
        }
        // `SubscribeToShard` is carried out elsewhere.
        assert_eq!(count + 1, KINESIS.len());
    }
}
