//! How the text of a list is to be read: its form, the field or set that holds the addresses, and
//! what of them is left out.
//!
//! The configuration, the command line and the API share these types.

use std::fmt;
use std::str::FromStr;

use super::{UnknownChoice, serde_as_text};

/// A closed choice that is written as a word, with the words in its JSON schema.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)+
        }

        impl $name {
            /// Every choice.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its word.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// Every word.
            pub fn words() -> Vec<&'static str> {
                vec![$($word),+]
            }
        }

        impl FromStr for $name {
            type Err = UnknownChoice;

            fn from_str(text: &str) -> Result<Self, UnknownChoice> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(UnknownChoice { valid: Self::words().join(", ") }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.pad(self.name())
            }
        }

        serde_as_text!($name, { "type": "string", "enum": [$($word),+] });
    };
}

words! {
    /// The form of a list's text.
    ListFormat {
        /// Found out from the text.
        #[default]
        Auto = "auto",
        /// Addresses, prefixes and ranges.
        Plain = "plain",
        /// In a column.
        Csv = "csv",
        /// The first and the last address in two columns.
        Range = "range",
        /// In fields of JSON.
        Json = "json",
        /// What Amazon publishes as `ip-ranges.json`.
        Aws = "aws",
        /// What Google publishes as `goog.json` and `cloud.json`.
        Google = "google",
        /// What Cloudflare's API answers.
        Cloudflare = "cloudflare",
        /// A JSON object on each line.
        SpamhausJson = "spamhaus-json",
        /// What `ipset save` and `ipset list` print, and scripts of ipset.
        Ipset = "ipset",
        /// What `nft list` prints, with `-j` or without, and scripts of nft.
        Nft = "nft",
        /// DShield's block list.
        Dshield = "dshield",
        /// PeerGuardian's text.
        P2p = "p2p",
        /// eMule's `ipfilter.dat`.
        Ipfilter = "ipfilter",
        /// hosts_access(5).
        HostsDeny = "hosts-deny",
        /// What `cscli decisions list -o raw` prints.
        Cscli = "cscli",
    }
}

impl ListFormat {
    /// Whether fields of JSON can be named for it.
    pub const fn takes_path(self) -> bool {
        matches!(self, Self::Auto | Self::Json)
    }

    /// Whether columns can be named for it.
    pub const fn takes_column(self) -> bool {
        matches!(self, Self::Csv | Self::Range)
    }

    /// Whether sets can be named for it.
    pub const fn takes_set(self) -> bool {
        matches!(self, Self::Auto | Self::Ipset | Self::Nft)
    }
}

words! {
    /// Addresses of a list that may be left out.
    SkipKind {
        /// RFC 1918, RFC 6598 (carrier NAT) and RFC 4193 (unique local).
        #[default]
        Private = "private",
        /// 127.0.0.0/8 and ::1.
        Loopback = "loopback",
        /// RFC 3927 and RFC 4291.
        LinkLocal = "link_local",
        /// 224.0.0.0/4 and ff00::/8.
        Multicast = "multicast",
        /// What is nobody's: 0.0.0.0/8, 192.0.0.0/24, 240.0.0.0/4, ::/128 and the like.
        Reserved = "reserved",
        /// RFC 5737, RFC 2544 and RFC 3849.
        Documentation = "documentation",
        /// Addresses that this host must hear from.
        Own = "own",
    }
}

/// Words joined by commas, as the API's queries have them.
macro_rules! joined {
    ($(#[$meta:meta])* $name:ident of $item:ty, at most $max:literal, $example:literal) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name(Vec<$item>);

        impl $name {
            /// Each of them, in the order of the text.
            pub fn as_slice(&self) -> &[$item] {
                &self.0
            }

            /// Those of an option that was given several times; nothing if it wasn't given.
            pub fn together(given: Vec<Self>) -> Option<Self> {
                (!given.is_empty()).then(|| Self(given.into_iter().flat_map(|one| one.0).collect()))
            }
        }

        impl From<Vec<$item>> for $name {
            fn from(items: Vec<$item>) -> Self {
                Self(items)
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let items = text.split(',').map(|item| item.trim().parse::<$item>());
                let items: Vec<$item> = items
                    .collect::<Result<_, _>>()
                    .map_err(|error| error.to_string())?;
                match items.len() > $max {
                    true => Err(format!("at most {} of them", $max)),
                    false => Ok(Self(items)),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                for (index, item) in self.0.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(out, "{comma}{item}")?;
                }
                Ok(())
            }
        }

        serde_as_text!($name, { "type": "string", "examples": [$example] });
    };
}

joined! {
    /// Kinds of addresses to leave out.
    SkipKinds of SkipKind, at most 16, "private,multicast"
}

joined! {
    /// Sets to read.
    SetNames of SetName, at most 64, "blocklist4,blocklist6"
}

joined! {
    /// Fields to read.
    JsonPaths of JsonPath, at most 32, "prefixes[].ip_prefix,ipv6_prefixes[].ipv6_prefix"
}

/// The name of a set of ipset or nft, alone (`bad`) or with its table (`filter/bad`,
/// `inet/filter/bad`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetName(String);

/// Why a text is no [`SetName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a set's name has from 1 to 200 characters, none of them a blank, a comma or a brace")]
pub struct SetNameError;

impl SetName {
    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SetName {
    type Err = SetNameError;

    fn from_str(text: &str) -> Result<Self, SetNameError> {
        let is_bad = |c: char| c.is_whitespace() || c.is_control() || ",{}\"".contains(c);
        match text.is_empty() || text.len() > 200 || text.contains(is_bad) {
            true => Err(SetNameError),
            false => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

serde_as_text!(SetName, { "type": "string", "examples": ["blocklist"] });

/// One step of a [`JsonPath`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonStep {
    /// The value of this key.
    Key(Box<str>),
    /// The value of every key.
    AnyKey,
    /// Every element of an array.
    Each,
}

/// Where in a JSON text addresses stand: keys joined by dots, `[]` for every element of an array,
/// `*` for every key. `prefixes[].ip_prefix`, `result.ipv4_cidrs[]`, `[]`, `data.*[].cidr`; a key
/// with other characters stands in quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPath {
    steps: Vec<JsonStep>,
}

/// Why a text is no [`JsonPath`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonPathError {
    #[error(
        "a path is written as in prefixes[].ip_prefix: keys joined by dots, [] for each element of an array, * for every key"
    )]
    Form,
    #[error("a path has at most {MAX_STEPS} steps and {MAX_PATH} characters")]
    TooLong,
}

/// The longest path in steps.
const MAX_STEPS: usize = 16;
/// The longest path in bytes.
const MAX_PATH: usize = 500;

impl JsonPath {
    /// Its steps from the root.
    pub fn steps(&self) -> &[JsonStep] {
        &self.steps
    }
}

impl FromStr for JsonPath {
    type Err = JsonPathError;

    fn from_str(text: &str) -> Result<Self, JsonPathError> {
        if text.len() > MAX_PATH {
            return Err(JsonPathError::TooLong);
        }
        let mut rest = text.strip_prefix('$').unwrap_or(text);
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("[]").or_else(|| rest.strip_prefix("[*]")) {
                steps.push(JsonStep::Each);
                rest = after;
                continue;
            }
            let dotted = rest.strip_prefix('.');
            // A dot parts keys; the root has none before its first.
            if dotted.is_none() && !steps.is_empty() {
                return Err(JsonPathError::Form);
            }
            let (step, after) = key(dotted.unwrap_or(rest))?;
            steps.push(step);
            rest = after;
        }
        match steps.len() {
            0 => Err(JsonPathError::Form),
            1..=MAX_STEPS => Ok(Self { steps }),
            _ => Err(JsonPathError::TooLong),
        }
    }
}

/// A key at the start of a text, and what follows it.
fn key(text: &str) -> Result<(JsonStep, &str), JsonPathError> {
    if let Some(after) = text.strip_prefix('*') {
        return Ok((JsonStep::AnyKey, after));
    }
    if let Some(quoted) = text.strip_prefix('"') {
        let (key, after) = quoted.split_once('"').ok_or(JsonPathError::Form)?;
        return Ok((JsonStep::Key(key.into()), after));
    }
    let end = text.find(['.', '[', ']', '"', ',']).unwrap_or(text.len());
    let (key, after) = text.split_at(end);
    match key.is_empty() || after.starts_with([']', '"', ',']) {
        true => Err(JsonPathError::Form),
        false => Ok((JsonStep::Key(key.into()), after)),
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.steps.iter().enumerate() {
            let dot = if index == 0 { "" } else { "." };
            match step {
                JsonStep::Each => out.write_str("[]")?,
                JsonStep::AnyKey => write!(out, "{dot}*")?,
                JsonStep::Key(key) if key.contains(['.', '[', ']', ',', '*', '$']) => {
                    write!(out, "{dot}\"{key}\"")?;
                }
                JsonStep::Key(key) => write!(out, "{dot}{key}")?,
            }
        }
        Ok(())
    }
}

serde_as_text!(JsonPath, { "type": "string", "examples": ["prefixes[].ip_prefix"] });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_and_written_the_same() {
        for text in [
            "[]",
            "cidr",
            "prefixes[].ip_prefix",
            "result.ipv4_cidrs[]",
            "data.*[].cidr",
            "[][].\"a.b\"",
            "*",
        ] {
            let path: JsonPath = text.parse().unwrap();
            assert_eq!(path.to_string(), text);
        }
        let rooted: JsonPath = "$.prefixes[*].ip".parse().unwrap();
        assert_eq!(rooted.to_string(), "prefixes[].ip");
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in [
            "", ".", "a..b", "a]", "a[0]", "a[", "a.", "a b\"c", "\"a", "[]b", "$",
        ] {
            let refused = text.parse::<JsonPath>();
            assert_eq!(refused, Err(JsonPathError::Form), "{text}");
        }
        let long = vec!["a"; 17].join(".");
        assert_eq!(long.parse::<JsonPath>(), Err(JsonPathError::TooLong));
        let long = "a".repeat(501);
        assert_eq!(long.parse::<JsonPath>(), Err(JsonPathError::TooLong));
    }

    #[test]
    fn joined_words_are_read_and_written_the_same() {
        let skip: SkipKinds = "private, multicast".parse().unwrap();
        assert_eq!(skip.as_slice(), [SkipKind::Private, SkipKind::Multicast]);
        assert_eq!(skip.to_string(), "private,multicast");
        "private,all".parse::<SkipKinds>().unwrap_err();
        let sets: SetNames = "bad4,inet/fw/bad6".parse().unwrap();
        assert_eq!(sets.to_string(), "bad4,inet/fw/bad6");
        "bad4,".parse::<SetNames>().unwrap_err();
        "a b".parse::<SetName>().unwrap_err();
    }

    #[test]
    fn every_format_has_one_word() {
        for format in ListFormat::ALL {
            assert_eq!(format.name().parse(), Ok(*format));
        }
        for kind in SkipKind::ALL {
            assert_eq!(kind.name().parse(), Ok(*kind));
        }
    }
}
