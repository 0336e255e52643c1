//! Making the lease table.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    TableDescription, TableStatus,
};
use tokio::time::{Instant, sleep};

use super::super::error::port_error;
use super::super::lease_row::LEASE_KEY;
use crate::limits::{TABLE_POLL_MAX, TABLE_POLL_MIN, TABLE_READY_TIMEOUT};
use crate::ports::{ErrorKind, PortError};

/// Creates the table if it is absent, as KCL does, and waits until it can be used.
pub(super) async fn ensure(client: &Client, table: &str) -> Result<(), PortError> {
    let give_up = Instant::now() + TABLE_READY_TIMEOUT;
    let mut pause = TABLE_POLL_MIN;
    loop {
        match describe(client, table).await? {
            None => create(client, table).await?,
            Some(description) => match description.table_status {
                // While it is updating it answers as before.
                Some(TableStatus::Active | TableStatus::Updating) => {
                    return check_key(table, &description);
                }
                Some(TableStatus::Creating | TableStatus::Deleting) => {}
                status => {
                    let what = format!("lease table {table} cannot be used: it is {status:?}");
                    return Err(PortError::new(ErrorKind::Fatal, what));
                }
            },
        }
        if Instant::now() + pause > give_up {
            let what = format!("lease table {table} is not ready after {TABLE_READY_TIMEOUT:?}");
            return Err(PortError::new(ErrorKind::Transient, what));
        }
        sleep(pause).await;
        pause = (pause * 2).min(TABLE_POLL_MAX);
    }
}

async fn describe(client: &Client, table: &str) -> Result<Option<TableDescription>, PortError> {
    match client.describe_table().table_name(table).send().await {
        Ok(answer) => Ok(answer.table),
        Err(error) => match port_error(format_args!("DescribeTable of {table}"), &error) {
            error if error.kind == ErrorKind::NotFound => Ok(None),
            error => Err(error),
        },
    }
}

async fn create(client: &Client, table: &str) -> Result<(), PortError> {
    let key = AttributeDefinition::builder()
        .attribute_name(LEASE_KEY)
        .attribute_type(ScalarAttributeType::S)
        .build();
    let schema = KeySchemaElement::builder()
        .attribute_name(LEASE_KEY)
        .key_type(KeyType::Hash)
        .build();
    let call = || format!("CreateTable of {table}");
    let (Ok(key), Ok(schema)) = (key, schema) else {
        return Err(PortError::new(ErrorKind::Fatal, call()));
    };
    let request = client
        .create_table()
        .table_name(table)
        .attribute_definitions(key)
        .key_schema(schema)
        .billing_mode(BillingMode::PayPerRequest);
    match request.send().await {
        Ok(_) => {
            tracing::info!(table, "lease table created");
            Ok(())
        }
        // Another worker was quicker.
        Err(error) if error.code() == Some("ResourceInUseException") => Ok(()),
        Err(error) => Err(port_error(call(), &error)),
    }
}

/// A table of that name may be another application's.
fn check_key(table: &str, description: &TableDescription) -> Result<(), PortError> {
    match description.key_schema() {
        [key] if key.attribute_name() == LEASE_KEY => Ok(()),
        other => {
            let found: Vec<_> = other.iter().map(KeySchemaElement::attribute_name).collect();
            let what = format!(
                "{table} is no lease table: its key is {found:?}, not {LEASE_KEY}; set `leases.table` to another name"
            );
            Err(PortError::new(ErrorKind::Fatal, what))
        }
    }
}
