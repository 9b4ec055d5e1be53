//! `block flush`, `allow flush`: an empty list.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::api::types::{FlushEntries, ListKind};
use crate::cli::Session;
use crate::cli::change::{self, Tolerance};
use crate::domain::ListName;
use crate::failure::{Failure, FailureKind};

/// Remove every entry of a list, or of all lists
///
/// Entries of the configuration stay: they are removed there.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// List to empty; all but the configuration's if left out
    #[arg(long, value_name = "NAME")]
    list: Option<ListName>,
    /// Don't ask
    #[arg(long, short)]
    yes: bool,
}

/// Where the operator can be asked.
trait Operator {
    fn is_present(&self) -> bool;
    /// One line of an answer.
    fn ask(&self, question: &str) -> io::Result<String>;
}

struct Terminal;

impl Operator for Terminal {
    fn is_present(&self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    fn ask(&self, question: &str) -> io::Result<String> {
        write!(io::stderr().lock(), "{question} [y/N] ")?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        Ok(answer)
    }
}

impl Args {
    pub(crate) async fn run(self, kind: ListKind, session: &Session) -> anyhow::Result<()> {
        self.confirm(kind, &Terminal)?;
        let entries = FlushEntries { list: self.list };
        let report = session.client.flush(kind, &entries).await?;
        change::show(session, &report, Tolerance::None)
    }

    fn confirm(&self, kind: ListKind, operator: &impl Operator) -> anyhow::Result<()> {
        if self.yes {
            return Ok(());
        }
        let what = match &self.list {
            Some(list) => format!("every entry of the list {list}"),
            None => format!("every {}list entry but the configuration's", kind.name()),
        };
        if !operator.is_present() {
            let message = format!("flush removes {what}: say --yes if you mean it");
            return Err(Failure::new(FailureKind::Invalid, message).into());
        }
        let answer = operator.ask(&format!("Remove {what}?"))?;
        match answer.trim().to_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(Failure::new(FailureKind::Failed, "nothing removed").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::ExitCode;

    struct Answers(Option<&'static str>);

    impl Operator for Answers {
        fn is_present(&self) -> bool {
            self.0.is_some()
        }

        fn ask(&self, question: &str) -> io::Result<String> {
            assert!(question.contains("the list bad"), "{question}");
            Ok(self.0.unwrap().to_owned())
        }
    }

    fn args(yes: bool) -> Args {
        Args {
            list: Some("bad".parse().unwrap()),
            yes,
        }
    }

    #[test]
    fn without_a_terminal_it_takes_yes() {
        let refused = args(false)
            .confirm(ListKind::Block, &Answers(None))
            .unwrap_err();
        assert_eq!(ExitCode::from(&refused), ExitCode::Invalid);
        assert!(refused.to_string().contains("--yes"), "{refused}");
        args(true).confirm(ListKind::Block, &Answers(None)).unwrap();
    }

    #[test]
    fn on_a_terminal_only_a_yes_is_one() {
        for answer in ["y\n", "Yes\n"] {
            args(false)
                .confirm(ListKind::Block, &Answers(Some(answer)))
                .unwrap();
        }
        for answer in ["", "\n", "n\n", "yeah sure\n"] {
            args(false)
                .confirm(ListKind::Block, &Answers(Some(answer)))
                .unwrap_err();
        }
    }
}
