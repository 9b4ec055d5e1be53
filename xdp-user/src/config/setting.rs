//! What a key can hold: reads a TOML value, checks it, and says in words what is valid.

use std::fmt::Display;
use std::marker::PhantomData;
use std::str::FromStr;

use toml::Spanned;
use toml::de::DeValue;

use super::problem::quoted;
use super::suggest::nearest;
use super::table::{Sink, described};
use crate::domain::Span;

/// A section of the file: what the reference says about it, and its keys.
pub(super) struct Section {
    /// Empty for the top of the file.
    pub(super) name: &'static str,
    /// `[[name]]`: may be there several times.
    pub(super) repeated: bool,
    pub(super) doc: &'static str,
    pub(super) keys: &'static [Key],
}

impl Section {
    pub(super) fn header(&self) -> String {
        if self.repeated {
            format!("[[{}]]", self.name)
        } else {
            format!("[{}]", self.name)
        }
    }
}

/// What the reference says about a key.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: fn() -> String,
    pub(super) default: Default,
    pub(super) doc: &'static str,
    pub(super) effect: Effect,
}

/// What holds where the file doesn't name a key.
pub(super) enum Default {
    /// This TOML literal.
    Is(&'static str),
    /// What `meaning` says; `example` is a TOML literal that amounts to the same.
    Absent {
        meaning: &'static str,
        example: &'static str,
    },
    /// Nothing: the key must be there.
    Required { example: &'static str },
}

/// When a changed key takes effect.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// On reload, without a gap.
    Live,
    /// When the daemon starts again.
    Restart,
}

/// A kind of value. The types that implement it are markers, never made.
pub(super) trait Setting {
    type Value;

    /// In words, for the reference: "packets per second, for example `\"20kpps\"`".
    fn kind() -> String;

    /// `None` after a mistake, which is then in the sink.
    fn read(value: &Spanned<DeValue<'_>>, key: &str, sink: &mut Sink) -> Option<Self::Value>;

    /// The value of a key that isn't there and has no default.
    fn absent() -> Option<Self::Value> {
        None
    }
}

/// A type that is written as a TOML string.
pub(super) trait Worded: FromStr<Err: Display> {
    /// "packets per second".
    const WHAT: &'static str;
    /// TOML literals.
    const EXAMPLES: &'static [&'static str];

    /// Every valid word, where there are few.
    fn words() -> Vec<&'static str> {
        Vec::new()
    }

    /// The value of a bare number, where it needs no unit.
    fn from_number(_number: u64) -> Option<Result<Self, Self::Err>> {
        None
    }
}

pub(super) struct Text<T>(PhantomData<T>);

impl<T: Worded> Setting for Text<T> {
    type Value = T;

    fn kind() -> String {
        let words = T::words();
        if words.is_empty() {
            format!("{}, for example `{}`", T::WHAT, T::EXAMPLES.join("`, `"))
        } else {
            let quoted: Vec<String> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
            format!("{}: {}", T::WHAT, quoted.join(", "))
        }
    }

    fn read(value: &Spanned<DeValue<'_>>, key: &str, sink: &mut Sink) -> Option<T> {
        let offset = value.span().start;
        let examples = || format!("for example {}", T::EXAMPLES.join(" or "));
        let parsed = match value.get_ref().as_str() {
            Some(text) => Some(text.parse()),
            None => whole_number(value.get_ref()).and_then(T::from_number),
        };
        match parsed {
            Some(Ok(parsed)) => Some(parsed),
            Some(Err(error)) => {
                let text = value.get_ref().as_str().unwrap_or_default();
                let help = match nearest(text, T::words()) {
                    Some(meant) => format!("did you mean \"{meant}\"?"),
                    None => examples(),
                };
                let message = if text.is_empty() {
                    error.to_string()
                } else {
                    format!("{}: {error}", quoted(text))
                };
                sink.problem(offset, key, message, Some(help));
                None
            }
            None => {
                let found = described(value.get_ref());
                let message = format!("expected {} in quotes, found {found}", T::WHAT);
                sink.problem(offset, key, message, Some(examples()));
                None
            }
        }
    }
}

pub(super) struct Boolean;

impl Setting for Boolean {
    type Value = bool;

    fn kind() -> String {
        "`true` or `false`".to_owned()
    }

    fn read(value: &Spanned<DeValue<'_>>, key: &str, sink: &mut Sink) -> Option<bool> {
        let read = value.get_ref().as_bool();
        if read.is_none() {
            let message = format!(
                "expected true or false, found {}",
                described(value.get_ref())
            );
            sink.problem(value.span().start, key, message, None);
        }
        read
    }
}

/// A whole number from `MIN` to `MAX`.
pub(super) struct Integer<T, const MIN: u64, const MAX: u64>(PhantomData<T>);

impl<T: TryFrom<u64>, const MIN: u64, const MAX: u64> Setting for Integer<T, MIN, MAX> {
    type Value = T;

    fn kind() -> String {
        format!("whole number from {MIN} to {MAX}")
    }

    fn read(value: &Spanned<DeValue<'_>>, key: &str, sink: &mut Sink) -> Option<T> {
        let number = whole_number(value.get_ref()).filter(|n| (MIN..=MAX).contains(n));
        let read = number.and_then(|number| T::try_from(number).ok());
        if read.is_none() {
            let found = match value.get_ref().as_integer() {
                Some(number) => quoted(number.as_str()).replace('"', ""),
                None => described(value.get_ref()),
            };
            let message = format!("expected a whole number from {MIN} to {MAX}, found {found}");
            sink.problem(value.span().start, key, message, None);
        }
        read
    }
}

/// By what a ban's length is multiplied: a power of two, so that the kernel side shifts.
pub(super) struct Factor;

impl Setting for Factor {
    type Value = u32;

    fn kind() -> String {
        "`1`, `2`, `4`, `8` or `16`".to_owned()
    }

    fn read(value: &Spanned<DeValue<'_>>, key: &str, sink: &mut Sink) -> Option<u32> {
        let factor = whole_number(value.get_ref()).and_then(|number| u32::try_from(number).ok());
        let read = factor.filter(|factor| [1, 2, 4, 8, 16].contains(factor));
        if read.is_none() {
            let help = Some("1 keeps every ban at the same length".to_owned());
            sink.problem(value.span().start, key, "expected 1, 2, 4, 8 or 16", help);
        }
        read
    }
}

/// A span of time from `MIN` to `MAX` nanoseconds.
pub(super) struct SpanWithin<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Setting for SpanWithin<MIN, MAX> {
    type Value = Span;

    fn kind() -> String {
        let (min, max) = (Span::from_nanos(MIN), Span::from_nanos(MAX));
        format!("span of time from `\"{min}\"` to `\"{max}\"`")
    }

    fn read(value: &Spanned<DeValue<'_>>, key: &str, sink: &mut Sink) -> Option<Span> {
        let span = Text::<Span>::read(value, key, sink)?;
        if (MIN..=MAX).contains(&span.as_nanos()) {
            return Some(span);
        }
        let (min, max) = (Span::from_nanos(MIN), Span::from_nanos(MAX));
        let message = format!("{span} is not between {min} and {max}");
        sink.problem(value.span().start, key, message, None);
        None
    }
}

/// `"off"` for none.
pub(super) struct OrOff<S>(PhantomData<S>);

impl<S: Setting> Setting for OrOff<S> {
    type Value = Option<S::Value>;

    fn kind() -> String {
        format!("{}, or `\"off\"`", S::kind())
    }

    fn read(value: &Spanned<DeValue<'_>>, key: &str, sink: &mut Sink) -> Option<Option<S::Value>> {
        if value.get_ref().as_str() == Some("off") {
            Some(None)
        } else {
            S::read(value, key, sink).map(Some)
        }
    }
}

/// A key that may be left out without a default of its own.
pub(super) struct Optional<S>(PhantomData<S>);

impl<S: Setting> Setting for Optional<S> {
    type Value = Option<S::Value>;

    fn kind() -> String {
        S::kind()
    }

    fn read(value: &Spanned<DeValue<'_>>, key: &str, sink: &mut Sink) -> Option<Option<S::Value>> {
        S::read(value, key, sink).map(Some)
    }

    fn absent() -> Option<Option<S::Value>> {
        Some(None)
    }
}

pub(super) struct List<S>(PhantomData<S>);

impl<S: Setting> Setting for List<S> {
    type Value = Vec<S::Value>;

    fn kind() -> String {
        format!("list of: {}", S::kind())
    }

    fn read(value: &Spanned<DeValue<'_>>, key: &str, sink: &mut Sink) -> Option<Vec<S::Value>> {
        let DeValue::Array(elements) = value.get_ref() else {
            let message = format!("expected a list, found {}", described(value.get_ref()));
            let help = Some("put it in brackets: [\"…\", \"…\"]".to_owned());
            sink.problem(value.span().start, key, message, help);
            return None;
        };
        let mut read = Vec::with_capacity(elements.len());
        for (index, element) in elements.iter().enumerate() {
            let element_key = format!("{key}[{index}]");
            sink.remember(&element_key, element.span().start);
            read.extend(S::read(element, &element_key, sink));
        }
        (read.len() == elements.len()).then_some(read)
    }
}

/// One value, or a list of at most `MAX`.
pub(super) struct OneOrMore<S, const MAX: usize>(PhantomData<S>);

impl<S: Setting, const MAX: usize> Setting for OneOrMore<S, MAX> {
    type Value = Vec<S::Value>;

    fn kind() -> String {
        format!("{}, or a list of them", S::kind())
    }

    fn read(value: &Spanned<DeValue<'_>>, key: &str, sink: &mut Sink) -> Option<Vec<S::Value>> {
        let DeValue::Array(elements) = value.get_ref() else {
            return S::read(value, key, sink).map(|only| vec![only]);
        };
        if elements.len() > MAX || elements.is_empty() {
            let message = format!("expected from 1 to {MAX} of them, found {}", elements.len());
            sink.problem(value.span().start, key, message, None);
            return None;
        }
        List::<S>::read(value, key, sink)
    }
}

/// A number that isn't negative; `None` for anything else.
pub(super) fn whole_number(value: &DeValue<'_>) -> Option<u64> {
    let number = value.as_integer()?;
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}
