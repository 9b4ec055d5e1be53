//! How a command that failed says so: a sentence for people, or one JSON object for programs, both on
//! standard error.

use std::ffi::OsString;
use std::io::Write;

use serde::Serialize;

use super::Output;
use super::exit::ExitCode;
use crate::api::client::ClientError;

/// What stands on standard error under `--output json`, on one line.
#[derive(Debug, Serialize)]
struct Trouble {
    error: Error,
}

#[derive(Debug, Serialize)]
struct Error {
    /// `failed`, `invalid`, `privilege` or `unsupported`, as the exit code says it.
    kind: &'static str,
    /// The exit code.
    code: u8,
    message: String,
    /// The daemon's word for it, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    /// Each mistake on its own, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<String>,
}

/// Says what went wrong, and returns how the process ends.
pub(super) fn tell(error: &anyhow::Error, output: Output) -> ExitCode {
    let code = ExitCode::from(error);
    let message = format!("{error:#}");
    if message.is_empty() {
        return code;
    }
    match output {
        Output::Table => say(&format!("error: {message}")),
        Output::Json => say(&json(of_command(error, code, message))),
    }
    code
}

/// The same for what clap says: mistakes, help texts and the version.
pub(super) fn tell_usage(error: &clap::Error, output: Output) -> std::process::ExitCode {
    if !error.use_stderr() || output == Output::Table {
        // Nothing is left to do if the stream is closed: the exit code still tells.
        error.print().ok();
    } else {
        say(&json(of_usage(&error.render().to_string())));
    }
    let code = u8::try_from(error.exit_code()).unwrap_or(ExitCode::Invalid as u8);
    code.into()
}

/// What `--output` says in arguments that couldn't be read as a whole.
pub(super) fn wanted_output(arguments: impl IntoIterator<Item = OsString>) -> Output {
    let mut is_value = false;
    let mut output = Output::default();
    for argument in arguments {
        if argument == "--" {
            break;
        }
        if argument == "--output=json" || (is_value && argument == "json") {
            output = Output::Json;
        } else if argument == "--output=table" || (is_value && argument == "table") {
            output = Output::Table;
        }
        is_value = argument == "--output";
    }
    output
}

fn of_command(error: &anyhow::Error, code: ExitCode, message: String) -> Error {
    let refused = error
        .chain()
        .find_map(|cause| match cause.downcast_ref::<ClientError>()? {
            ClientError::Refused { body, .. } => Some(body),
            ClientError::NoDaemon { .. }
            | ClientError::Permission { .. }
            | ClientError::Timeout { .. }
            | ClientError::Line { .. }
            | ClientError::Answer { .. }
            | ClientError::Transport { .. } => None,
        });
    Error {
        kind: code.name(),
        code: code as u8,
        message,
        cause: refused.and_then(|body| body.cause.clone()),
        details: refused.map_or_else(Vec::new, |body| body.details.clone()),
    }
}

/// The first paragraph is the mistake; hints and the usage follow.
fn of_usage(text: &str) -> Error {
    let text = text.trim();
    let (message, hints) = text.split_once("\n\n").unwrap_or((text, ""));
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let lines = hints.lines().map(str::trim);
    Error {
        kind: ExitCode::Invalid.name(),
        code: ExitCode::Invalid as u8,
        message: message.to_owned(),
        cause: None,
        details: lines
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect(),
    }
}

fn json(error: Error) -> String {
    // Strings and numbers always have a JSON form.
    serde_json::to_string(&Trouble { error }).unwrap_or_default()
}

fn say(text: &str) {
    // Nothing is left to do if standard error is closed: the exit code still tells.
    writeln!(std::io::stderr().lock(), "{text}").ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::ErrorBody;

    fn value(error: Error) -> serde_json::Value {
        serde_json::from_str(&json(error)).unwrap()
    }

    #[test]
    fn a_refusal_keeps_the_daemons_word_and_its_details() {
        let refused = ClientError::Refused {
            status: 409,
            body: ErrorBody {
                error: "no".into(),
                cause: Some("large_change".into()),
                details: vec!["a".into()],
            },
        };
        let error = anyhow::Error::new(refused).context("importing");
        let code = ExitCode::from(&error);
        let value = value(of_command(&error, code, format!("{error:#}")));
        let wanted = serde_json::json!({"error": {
            "kind": "failed", "code": 1, "message": "importing: no\n  a",
            "cause": "large_change", "details": ["a"],
        }});
        assert_eq!(value, wanted);
    }

    #[test]
    fn wrong_usage_is_one_object_with_the_hints_apart() {
        let text = "error: unexpected argument '--x' found\n\n  tip: y\n\nUsage: z\n";
        let wanted = serde_json::json!({"error": {
            "kind": "invalid", "code": 2, "message": "unexpected argument '--x' found",
            "details": ["tip: y", "Usage: z"],
        }});
        assert_eq!(value(of_usage(text)), wanted);
    }

    #[test]
    fn the_wanted_output_is_found_in_arguments_that_are_wrong() {
        for (line, output) in [
            ("status --output json --nonsense", Output::Json),
            ("--output=json blok", Output::Json),
            ("status --nonsense", Output::Table),
            ("status --output yaml", Output::Table),
            ("status -- --output json", Output::Table),
            ("status --output json --output table", Output::Table),
        ] {
            let words = line.split(' ').map(OsString::from);
            assert_eq!(wanted_output(words), output, "{line}");
        }
    }
}
