//! Values that the encodings write in different ways.

use std::fmt;
use std::marker::PhantomData;

use base64_simd::STANDARD;
use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Millis;

/// Bytes: base64 in JSON, a byte string in CBOR.
#[derive(Debug)]
pub(crate) struct Blob(pub(crate) Vec<u8>);

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Base64;

        impl Visitor<'_> for Base64 {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string in base64")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Blob, E> {
                STANDARD.decode_to_vec(text).map(Blob).map_err(E::custom)
            }
        }

        struct Raw;

        impl Visitor<'_> for Raw {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a byte string")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }

            fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
                Ok(Blob(bytes))
            }
        }

        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Base64)
        } else {
            deserializer.deserialize_byte_buf(Raw)
        }
    }
}

/// Bytes of an answer, borrowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlobRef<'a>(pub(crate) &'a [u8]);

impl Serialize for BlobRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// A time since the epoch: in JSON seconds with a fraction, in CBOR milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timestamp(pub(crate) Millis);

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_f64(self.0 as f64 / 1000.0)
        } else {
            serializer.serialize_u64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = f64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a timestamp as a number")
            }

            fn visit_u64<E>(self, number: u64) -> Result<f64, E> {
                Ok(number as f64)
            }

            fn visit_i64<E>(self, number: i64) -> Result<f64, E> {
                Ok(number as f64)
            }

            fn visit_f64<E>(self, number: f64) -> Result<f64, E> {
                Ok(number)
            }
        }

        let unit_ms = if deserializer.is_human_readable() {
            1000.0
        } else {
            1.0
        };
        let number = deserializer.deserialize_any(Number)?;
        if !number.is_finite() {
            return Err(D::Error::custom("a timestamp has to be finite"));
        }
        // Negative times are the epoch: nothing is older.
        #[expect(clippy::cast_sign_loss, reason = "clamped to what is not negative")]
        Ok(Self((number * unit_ms).round().max(0.0) as Millis))
    }
}

/// A list of which the first `MOST` are kept and the rest is counted: what a request may hold
/// is bounded by the service's model, and what it may make this process hold by that.
#[derive(Debug)]
pub(crate) struct Few<T, const MOST: usize> {
    pub(crate) items: Vec<T>,
    /// With those that were not kept.
    pub(crate) count: usize,
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Few<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const MOST: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Items<T, MOST> {
            type Value = Few<T, MOST>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while items.len() < MOST {
                    match list.next_element()? {
                        Some(item) => items.push(item),
                        None => break,
                    }
                }
                let mut count = items.len();
                if count == MOST {
                    while list.next_element::<IgnoredAny>()?.is_some() {
                        count += 1;
                    }
                }
                Ok(Few { items, count })
            }
        }

        deserializer.deserialize_seq(Items(PhantomData))
    }
}

/// Text to text, of which the first `MOST` pairs are kept and the rest is counted, as in [`Few`].
#[derive(Debug)]
pub(crate) struct FewPairs<const MOST: usize> {
    pub(crate) items: Vec<(String, String)>,
    /// With those that were not kept.
    pub(crate) count: usize,
}

impl<'de, const MOST: usize> Deserialize<'de> for FewPairs<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs<const MOST: usize>;

        impl<'de, const MOST: usize> Visitor<'de> for Pairs<MOST> {
            type Value = FewPairs<MOST>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while items.len() < MOST {
                    match map.next_entry()? {
                        Some(item) => items.push(item),
                        None => break,
                    }
                }
                let mut count = items.len();
                if count == MOST {
                    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                        count += 1;
                    }
                }
                Ok(FewPairs { items, count })
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}
