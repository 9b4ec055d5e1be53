//! Values that are parsed once and can't be wrong afterwards.
//!
//! Every type here has a text form: `FromStr` and `Display` round-trip, and serde reads and
//! writes the same text. Config, command line and control socket share it.

mod class;
mod given;
mod list_text;
mod mode;
mod name;
mod prefix;
mod quantity;
mod rate;
mod span;

pub use class::{ClassName, ClassNameError, ClassState};
pub use given::GivenPrefix;
pub use list_text::{
    JsonPath, JsonPathError, JsonPaths, JsonStep, ListFormat, SetName, SetNameError, SetNames,
    SkipKind, SkipKinds,
};
pub use mode::{AttachMode, Mode, UnknownChoice};
pub use name::{IfName, IfNameError, ListName, ListNameError};
pub use prefix::{AddrBytes, Prefix, PrefixError};
pub use quantity::{Burst, ByteSize, QuantityError};
pub use rate::{BitRate, ConnectionRate, PacketRate, SampleRate};
pub use span::{Span, SpanError};

/// Serialises a type as its `Display` text and deserialises it through `FromStr`. `$schema` is the JSON
/// schema of that text.
macro_rules! serde_as_text {
    ($type:ty, $schema:tt) => {
        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_text;
