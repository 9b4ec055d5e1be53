//! `block export`, `allow export`: every entry, as `import` takes it back.

use serde::Serialize;

use super::{Output, Session, output};
use crate::api::types::{ExportQuery, ListKind};
use crate::domain::ListName;
use crate::failure::{Failure, FailureKind};
use crate::lists::export::{self, Line};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this list, also one of a `[[list]]` section or the configuration's
    #[arg(long, value_name = "NAME")]
    list: Option<ListName>,
}

/// An entry as a program reads it.
#[derive(Serialize)]
struct Entry<'a> {
    prefix: String,
    list: &'a str,
    expires: Option<jiff::Timestamp>,
    comment: Option<&'a str>,
}

impl Args {
    pub(crate) async fn run(self, kind: ListKind, session: &Session) -> anyhow::Result<()> {
        let query = ExportQuery { list: self.list };
        let mut pieces = session.client.export(kind, &query).await?;
        let mut rest: Vec<u8> = Vec::new();
        let mut is_whole = false;
        while let Some(piece) = pieces.next().await? {
            rest.extend_from_slice(&piece);
            let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else {
                continue;
            };
            let after = rest.split_off(end + 1);
            let lines = std::mem::replace(&mut rest, after);
            is_whole = export::is_end(&lines);
            let text = match session.output {
                Output::Table => String::from_utf8_lossy(&lines).into_owned(),
                Output::Json => as_json(&lines)?,
            };
            if !output::print_on(&text)? {
                // Whoever closes the pipe has seen enough.
                return Ok(());
            }
        }
        if is_whole {
            return Ok(());
        }
        let message = "the export ended before its last line: what was written is not all of it, \
                       try again";
        Err(Failure::new(FailureKind::Failed, message).into())
    }
}

/// An object on each line, without what the text says about itself.
fn as_json(lines: &[u8]) -> anyhow::Result<String> {
    let mut text = String::new();
    for line in lines.split(|byte| *byte == b'\n') {
        match export::line(line) {
            Line::Remark => {}
            Line::Entry(list, entry) => {
                let entry = Entry {
                    prefix: entry.prefix.to_string(),
                    list: list.as_str(),
                    expires: entry.expires,
                    comment: entry.comment.as_deref(),
                };
                text += &serde_json::to_string(&entry)?;
                text.push('\n');
            }
            Line::Bad(why) => {
                let message = format!("can't read a line of the daemon's export: {why}");
                return Err(Failure::new(FailureKind::Failed, message).into());
            }
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_get_an_object_on_each_line() {
        let text = b"# xdp-throttle export v1 block\n192.0.2.1\n192.0.2.2 ;xt list=x comment=\"a\\\"b\"\n# end 2\n";
        assert_eq!(
            as_json(text).unwrap(),
            "{\"prefix\":\"192.0.2.1\",\"list\":\"manual\",\"expires\":null,\"comment\":null}\n\
             {\"prefix\":\"192.0.2.2\",\"list\":\"x\",\"expires\":null,\"comment\":\"a\\\"b\"}\n"
        );
        as_json(b"nonsense\n").unwrap_err();
    }
}
