//! The two macros that declare raw types, and the schemas that they build.

use schemars::{Schema, json_schema};

/// Builds the schema of a record.
pub(in crate::config) struct RecordSchema {
    properties: serde_json::Map<String, serde_json::Value>,
    required: Vec<&'static str>,
}

impl RecordSchema {
    pub(in crate::config) fn new() -> Self {
        Self {
            properties: serde_json::Map::new(),
            required: Vec::new(),
        }
    }

    pub(in crate::config) fn required(&mut self, name: &'static str, schema: Schema, doc: &[&str]) {
        self.required.push(name);
        self.optional(name, schema, doc);
    }

    pub(in crate::config) fn optional(&mut self, name: &'static str, schema: Schema, doc: &[&str]) {
        self.properties
            .insert(name.to_owned(), described(schema, doc).to_value());
    }

    pub(in crate::config) fn or(
        &mut self,
        name: &'static str,
        default: &str,
        mut schema: Schema,
        doc: &[&str],
    ) {
        if let Ok(value) = serde_yaml::from_str::<serde_json::Value>(default) {
            schema.insert("default".to_owned(), value);
        }
        self.optional(name, schema, doc);
    }

    pub(in crate::config) fn finish(self, doc: &[&str]) -> Schema {
        let Self {
            properties,
            required,
        } = self;
        let schema = json_schema!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        });
        described(schema, doc)
    }
}

/// Puts a doc comment into a schema.
pub(in crate::config) fn described(mut schema: Schema, doc: &[&str]) -> Schema {
    let lines: Vec<_> = doc.iter().map(|line| line.trim()).collect();
    schema.insert("description".to_owned(), lines.join(" ").into());
    schema
}

/// Declares a map of fields, once: `required`, `optional`, or with a default as YAML. `later` fields are known and
/// refused.
macro_rules! record {
    (
        $(#[doc = $doc:literal])*
        $Name:ident {
            $( $(#[doc = $field_doc:literal])* $need:ident $(($default:literal))? $field:ident: $Type:ty, )*
        }
        $( later { $($later:ident),* } )?
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug)]
        pub(in crate::config) struct $Name {
            $( $(#[doc = $field_doc])* pub(in crate::config) $field: $crate::config::reading::Field<$Type>, )*
        }

        impl $crate::config::reading::Readable for $Name {
            fn read(
                node: &$crate::config::node::Node,
                reader: &mut $crate::config::reading::Reader<'_>,
            ) -> Option<Self> {
                let known = [$(stringify!($field)),*];
                let later: &[&str] = &[$($(stringify!($later)),*)?];
                let entries = $crate::config::reading::Entries::of(node, &known, later, reader)?;
                Some(Self { $( $field: entries.$need(stringify!($field), $($default,)? reader), )* })
            }
        }

        impl schemars::JsonSchema for $Name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($Name).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let mut record = $crate::config::reading::RecordSchema::new();
                $( record.$need(
                    stringify!($field),
                    $($default,)?
                    generator.subschema_for::<$Type>(),
                    &[$($field_doc),*],
                ); )*
                record.finish(&[$($doc),*])
            }
        }
    };
}
pub(in crate::config) use record;

/// Declares a choice, once: some words, and some maps of one field that says which.
macro_rules! choice {
    (
        $(#[doc = $doc:literal])*
        $Name:ident {
            words { $( $(#[doc = $word_doc:literal])* $word:literal $Word:ident, )* }
            fields { $( $(#[doc = $field_doc:literal])* $field:ident $Variant:ident($Type:ty), )* }
        }
        $( later { $($later:literal),* } )?
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug)]
        pub(in crate::config) enum $Name {
            $( $(#[doc = $word_doc])* $Word, )*
            $( $(#[doc = $field_doc])* $Variant($Type), )*
        }

        impl $crate::config::reading::Readable for $Name {
            fn read(
                node: &$crate::config::node::Node,
                reader: &mut $crate::config::reading::Reader<'_>,
            ) -> Option<Self> {
                let words: &[&str] = &[$($word),*];
                let fields: &[&str] = &[$(stringify!($field)),*];
                let later: &[&str] = &[$($($later),*)?];
                let chosen = $crate::config::reading::chosen(node, words, fields, later, reader)?;
                match chosen {
                    $( $crate::config::reading::Chosen::Word($word) => Some(Self::$Word), )*
                    $( $crate::config::reading::Chosen::Field(stringify!($field), _node) => {
                        <$Type as $crate::config::reading::Readable>::read(_node, reader).map(Self::$Variant)
                    } )*
                    _ => None,
                }
            }
        }

        impl schemars::JsonSchema for $Name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($Name).into()
            }

            fn json_schema(_generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let options: Vec<schemars::Schema> = vec![
                    $( $crate::config::reading::described(
                        schemars::json_schema!({ "const": $word }),
                        &[$($word_doc),*],
                    ), )*
                    $( {
                        let mut record = $crate::config::reading::RecordSchema::new();
                        let schema = _generator.subschema_for::<$Type>();
                        record.required(stringify!($field), schema, &[$($field_doc),*]);
                        record.finish(&[$($field_doc),*])
                    }, )*
                ];
                $crate::config::reading::described(
                    schemars::json_schema!({ "oneOf": options }),
                    &[$($doc),*],
                )
            }
        }
    };
}
pub(in crate::config) use choice;
