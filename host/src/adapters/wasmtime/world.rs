//! What a component offers and what it asks for, by name.

use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use super::limits::NAMES_TOLD;
use crate::ports::PrepareError;

pub(super) const BATCH_HANDLER: &str = "shardwright:plugin/batch-handler@0.1.0";
pub(super) const MESSAGE_HANDLER: &str = "shardwright:plugin/message-handler@0.1.0";
pub(super) const DESCRIBE: &str = "shardwright:plugin/describe@0.1.0";
pub(super) const CONFIGURE: &str = "shardwright:plugin/configure@0.1.0";
pub(super) const BATCH_FLUSH: &str = "shardwright:plugin/batch-flush@0.1.0";

const OURS: &str = "shardwright:plugin/";
const FREE: [&str; 3] = [
    "shardwright:plugin/config@0.1.0",
    "shardwright:plugin/log@0.1.0",
    "shardwright:plugin/metrics@0.1.0",
];

/// The packages of WASI 0.2 that are linked to an empty context.
const WASI: [&str; 6] = ["cli", "clocks", "filesystem", "io", "random", "sockets"];

/// The handler a component exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandlerKind {
    Batch,
    Message,
}

impl HandlerKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Batch => "batch-handler",
            Self::Message => "message-handler",
        }
    }
}

/// What a component exports of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exports {
    pub(super) handler: HandlerKind,
    pub(super) describe: bool,
    pub(super) configure: bool,
    pub(super) flush: bool,
}

/// Finds the one handler and the extras.
pub(super) fn exports(engine: &Engine, component: &Component) -> Result<Exports, PrepareError> {
    let ty = component.component_type();
    let names: Vec<&str> = ty.exports(engine).map(|(name, _)| name).collect();
    read_exports(&names).map_err(|why| PrepareError::World { why })
}

fn read_exports(names: &[&str]) -> Result<Exports, String> {
    let has = |name| names.contains(&name);
    let handler = match (has(BATCH_HANDLER), has(MESSAGE_HANDLER)) {
        (true, false) => HandlerKind::Batch,
        (false, true) => HandlerKind::Message,
        (true, true) => {
            return Err(format!(
                "it exports both {BATCH_HANDLER} and {MESSAGE_HANDLER}; a plugin has one handler"
            ));
        }
        (false, false) => return Err(no_handler(names)),
    };
    Ok(Exports {
        handler,
        describe: has(DESCRIBE),
        configure: has(CONFIGURE),
        flush: has(BATCH_FLUSH) && handler == HandlerKind::Batch,
    })
}

fn no_handler(names: &[&str]) -> String {
    let needed = format!("{BATCH_HANDLER} or {MESSAGE_HANDLER} is needed");
    let other: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| name.starts_with(OURS) && name.contains("-handler@"))
        .collect();
    if !other.is_empty() {
        return format!(
            "it is built for another version of the contract ({}); {needed}",
            other[..other.len().min(NAMES_TOLD)].join(", ")
        );
    }
    if names.is_empty() {
        return format!("it exports nothing; {needed}");
    }
    let told = names.len().min(NAMES_TOLD);
    let more = if told < names.len() { ", …" } else { "" };
    format!("it exports {}{more}; {needed}", names[..told].join(", "))
}

/// Everything that a component imports.
pub(super) fn imports(engine: &Engine, component: &Component) -> Vec<String> {
    let ty = component.component_type();
    ty.imports(engine)
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// Refuses what is not granted.
///
/// A toolchain may import what the plugin never calls. That is refused as well: whether it is called cannot be seen
/// from outside, and every toolchain that does so has a switch.
pub(super) fn check_imports(engine: &Engine, component: &Component) -> Result<(), PrepareError> {
    let ty = component.component_type();
    let imports: Vec<String> = ty
        .imports(engine)
        .filter(|(name, item)| !is_free(name) && !is_types_only(engine, &item.ty))
        .map(|(name, _)| name.to_owned())
        .take(NAMES_TOLD)
        .collect();
    if imports.is_empty() {
        Ok(())
    } else {
        Err(PrepareError::Imports { imports })
    }
}

fn is_free(import: &str) -> bool {
    if FREE.contains(&import) {
        return true;
    }
    let Some((path, version)) = import
        .strip_prefix("wasi:")
        .and_then(|rest| rest.split_once('@'))
    else {
        return false;
    };
    let package = path.split('/').next().unwrap_or_default();
    WASI.contains(&package) && version.starts_with("0.2.")
}

/// An interface that has only types asks for nothing.
fn is_types_only(engine: &Engine, item: &ComponentItem) -> bool {
    match item {
        ComponentItem::Type(_) => true,
        ComponentItem::ComponentInstance(instance) => instance
            .exports(engine)
            .all(|(_, item)| matches!(item.ty, ComponentItem::Type(_))),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_has_exactly_one_handler() {
        let found = read_exports(&[BATCH_HANDLER, DESCRIBE, BATCH_FLUSH]).unwrap();
        assert_eq!(found.handler, HandlerKind::Batch);
        assert!(found.describe && found.flush && !found.configure);
        let both = read_exports(&[BATCH_HANDLER, MESSAGE_HANDLER]).unwrap_err();
        assert!(both.contains("one handler"), "{both}");
    }

    #[test]
    fn whoever_has_no_handler_is_told_what_was_found() {
        let other = read_exports(&["shardwright:plugin/batch-handler@0.2.0"]).unwrap_err();
        assert!(other.contains("another version"), "{other}");
        assert!(
            other.contains("@0.2.0") && other.contains("@0.1.0"),
            "{other}"
        );
        let cli = read_exports(&["wasi:cli/run@0.2.6"]).unwrap_err();
        assert!(cli.contains("wasi:cli/run@0.2.6"), "{cli}");
    }

    #[test]
    fn only_wasi_0_2_without_http_is_free() {
        for free in ["wasi:cli/environment@0.2.6", "wasi:io/poll@0.2.12", FREE[0]] {
            assert!(is_free(free), "{free}");
        }
        for refused in [
            "wasi:http/types@0.2.6",
            "wasi:cli/environment@0.3.0",
            "wasi:cli/environment",
            "wasi:keyvalue/store@0.2.0",
            "shardwright:plugin/state@0.1.0",
            "host",
        ] {
            assert!(!is_free(refused), "{refused}");
        }
    }
}
