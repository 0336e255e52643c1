//! The plugins that the binary carries, `plugin: builtin:NAME` in a pipeline.

/// A plugin that needs no file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Builtin {
    /// What follows `builtin:`.
    pub(crate) name: &'static str,
    /// The component.
    pub(crate) bytes: &'static [u8],
}

/// All of them, by name.
pub(crate) const BUILTINS: &[Builtin] = &[
    Builtin {
        name: "discard",
        bytes: include_bytes!(concat!(env!("OUT_DIR"), "/discard.wasm")),
    },
    Builtin {
        name: "json-filter",
        bytes: include_bytes!(concat!(env!("OUT_DIR"), "/json-filter.wasm")),
    },
    Builtin {
        name: "word-count",
        bytes: include_bytes!(concat!(env!("OUT_DIR"), "/word-count.wasm")),
    },
];

/// The one of that name.
pub(crate) fn builtin(name: &str) -> Option<&'static Builtin> {
    BUILTINS.iter().find(|builtin| builtin.name == name)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn packaged_components_equal_a_build() {
        for Builtin { name, bytes } in BUILTINS {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("builtin/{name}.wasm"));
            let packaged = std::fs::read(&path).unwrap_or_default();
            assert!(
                packaged == *bytes,
                "{} is not what its sources build to: run `cargo run -- plugin export builtin:{name} host/builtin/{name}.wasm`",
                path.display(),
            );
        }
    }
}
