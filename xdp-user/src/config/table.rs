//! Reads the keys of one TOML table and notes everything that is wrong with them.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Places, Problem, quoted};
use super::schema::SECTIONS;
use super::setting::{Default, Section, Setting};
use super::suggest::nearest;

/// Collects mistakes and warnings, and remembers where each key stands.
#[derive(std::default::Default)]
pub(super) struct Sink {
    offsets: HashMap<String, usize>,
    problems: Vec<Noted>,
    warnings: Vec<Noted>,
    /// After a syntax error a key may only seem to be missing.
    damaged: bool,
}

/// A problem before its offset is turned into line and column.
struct Noted {
    offset: usize,
    key: String,
    message: String,
    help: Option<String>,
}

impl Sink {
    pub(super) fn syntax_error(&mut self, offset: usize, message: &str) {
        self.damaged = true;
        // toml writes some messages over several lines.
        let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
        self.problem(offset, "", message, None);
    }

    pub(super) fn problem(
        &mut self,
        offset: usize,
        key: &str,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.problems.push(Noted {
            offset,
            key: key.to_owned(),
            message: message.into(),
            help,
        });
    }

    /// A mistake in a key that was read before; in its section where only the default stands.
    pub(super) fn problem_at(&mut self, key: &str, message: impl Into<String>, help: &str) {
        let offset = self.offset_of(key);
        self.problem(offset, key, message, Some(help.to_owned()));
    }

    pub(super) fn warning_at(&mut self, key: &str, message: impl Into<String>, help: &str) {
        self.warnings.push(Noted {
            offset: self.offset_of(key),
            key: key.to_owned(),
            message: message.into(),
            help: Some(help.to_owned()),
        });
    }

    pub(super) fn remember(&mut self, key: &str, offset: usize) {
        self.offsets.insert(key.to_owned(), offset);
    }

    pub(super) fn is_given(&self, key: &str) -> bool {
        self.offsets.contains_key(key)
    }

    pub(super) fn offset_of(&self, key: &str) -> usize {
        let section = key.rsplit_once('.').map_or("", |(section, _)| section);
        let offset = self.offsets.get(key).or_else(|| self.offsets.get(section));
        offset.copied().unwrap_or(0)
    }

    /// Mistakes and warnings in the order of their places in `text`. A line with a syntax error is
    /// reported for that alone: what the parser made of the rest of it is a guess.
    pub(super) fn finish(self, text: &str) -> (Vec<Problem>, Vec<Problem>) {
        let mut problems = placed(self.problems, text);
        if self.damaged {
            let broken: HashSet<usize> = problems
                .iter()
                .filter(|problem| problem.key.is_empty())
                .map(|problem| problem.line)
                .collect();
            problems.retain(|problem| problem.key.is_empty() || !broken.contains(&problem.line));
        }
        problems.dedup();
        (problems, placed(self.warnings, text))
    }
}

fn placed(mut noted: Vec<Noted>, text: &str) -> Vec<Problem> {
    noted.sort_by_key(|noted| noted.offset);
    let mut places = Places::new(text);
    noted
        .into_iter()
        .map(|noted| {
            let (line, column) = places.at(noted.offset);
            Problem {
                line,
                column,
                key: noted.key,
                message: noted.message,
                help: noted.help,
            }
        })
        .collect()
}

/// One table of the file, or a section that the file leaves out.
pub(super) struct Table<'t, 'i> {
    entries: Option<&'t DeTable<'i>>,
    path: String,
    offset: usize,
}

impl<'t, 'i> Table<'t, 'i> {
    pub(super) fn root(entries: &'t DeTable<'i>) -> Self {
        Self {
            entries: Some(entries),
            path: String::new(),
            offset: 0,
        }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The section `[name]` of the file; without entries where the file has none.
    pub(super) fn section(&self, name: &str, sink: &mut Sink) -> Table<'t, 'i> {
        let mut section = Table {
            entries: None,
            path: name.to_owned(),
            offset: 0,
        };
        let Some((span, value)) = self.entry(name) else {
            return section;
        };
        section.offset = span.start;
        sink.remember(name, span.start);
        match value.get_ref().as_table() {
            Some(entries) => section.entries = Some(entries),
            None => sink.problem(
                span.start,
                name,
                format!("expected a section, found {}", described(value.get_ref())),
                Some(format!(
                    "write [{name}] on a line of its own and the keys below it"
                )),
            ),
        }
        section
    }

    /// The sections `[[name]]` of the file, at most `most`.
    pub(super) fn sections(&self, name: &str, most: usize, sink: &mut Sink) -> Vec<Table<'t, 'i>> {
        let Some((span, value)) = self.entry(name) else {
            return Vec::new();
        };
        sink.remember(name, span.start);
        let help = Some(format!(
            "write [[{name}]] and the keys below it, once for each"
        ));
        let DeValue::Array(elements) = value.get_ref() else {
            let message = format!("expected [[{name}]], found {}", described(value.get_ref()));
            sink.problem(span.start, name, message, help);
            return Vec::new();
        };
        if let Some(extra) = elements.get(most) {
            let message = format!("{} of them, the most is {most}", elements.len());
            sink.problem(extra.span().start, name, message, None);
        }
        let mut tables = Vec::new();
        for (index, element) in elements.iter().take(most).enumerate() {
            let (path, offset) = (format!("{name}[{index}]"), element.span().start);
            sink.remember(&path, offset);
            match element.get_ref().as_table() {
                Some(entries) => tables.push(Table {
                    entries: Some(entries),
                    path,
                    offset,
                }),
                None => sink.problem(
                    offset,
                    &path,
                    format!("expected a section, found {}", described(element.get_ref())),
                    help.clone(),
                ),
            }
        }
        tables
    }

    /// One key's value, or its default; `None` after a mistake, which is then noted.
    pub(super) fn key<S: Setting>(
        &self,
        name: &str,
        default: &Default,
        sink: &mut Sink,
    ) -> Option<S::Value> {
        let path = self.path_of(name);
        if let Some((span, value)) = self.entry(name) {
            sink.remember(&path, span.start);
            return S::read(value, &path, sink);
        }
        match default {
            Default::Is(literal) => match DeValue::parse(literal) {
                Ok(value) => S::read(&value, &path, sink),
                Err(error) => {
                    let message = format!("its built-in default {literal}: {}", error.message());
                    sink.problem(self.offset, &path, message, None);
                    None
                }
            },
            Default::Absent { .. } => S::absent(),
            Default::Required { example } => {
                if !sink.damaged {
                    let help = format!("write for example {name} = {example}");
                    sink.problem(self.offset, &path, "this key is missing", Some(help));
                }
                None
            }
        }
    }

    /// Notes every key that `section` doesn't have.
    pub(super) fn refuse_unknown(&self, section: &Section, sink: &mut Sink) {
        let subsections = SECTIONS
            .iter()
            .filter(|_| self.path.is_empty())
            .map(|section| section.name)
            .filter(|name| !name.is_empty());
        let known: Vec<&str> = section
            .keys
            .iter()
            .map(|key| key.name)
            .chain(subsections)
            .collect();
        for (key, _) in self.entries.into_iter().flatten() {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            let help = nearest(name, known.iter().copied())
                .map(|meant| format!("did you mean \"{meant}\"?"))
                .or_else(|| belongs_elsewhere(name))
                .unwrap_or_else(|| format!("valid here: {}", known.join(", ")));
            let path = self.path_of(quoted(name).trim_matches('"'));
            sink.problem(key.span().start, &path, "unknown key", Some(help));
        }
    }

    fn entry(&self, name: &str) -> Option<(Range<usize>, &'t Spanned<DeValue<'i>>)> {
        let (key, value) = self.entries?.get_key_value(name)?;
        Some((key.span(), value))
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }
}

/// A key in the wrong section: TOML's usual trap, a top-level key below a section's header.
fn belongs_elsewhere(name: &str) -> Option<String> {
    let home = SECTIONS
        .iter()
        .find(|section| section.keys.iter().any(|key| key.name == name))?;
    Some(if home.name.is_empty() {
        format!("\"{name}\" belongs at the top of the file, before the first section")
    } else {
        format!("\"{name}\" belongs in {}", home.header())
    })
}

/// A value's type with its article.
pub(super) fn described(value: &DeValue<'_>) -> String {
    match value.type_str() {
        kind @ ("integer" | "array") => format!("an {kind}"),
        kind => format!("a {kind}"),
    }
}
