//! `token`: who may ask over TCP.

use super::table::{Table, words};
use super::{Session, format};
use crate::api::types::{AddToken, NewToken, RevokeToken, Role, TokenList, TokenView};
use crate::domain::{ListName, Span};

/// Make, show and revoke tokens for the API over TCP
///
/// Whoever asks over TCP (`[control] listen`) shows a token, which has a role: `viewer` looks,
/// `operator` changes lists, bans and limits, `admin` may do everything. The daemon keeps only a
/// hash of it. For the role admin.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  xdp-throttle token add grafana --role viewer > token\n  xdp-throttle token add ci --role operator --for 90d\n  xdp-throttle token list\n  xdp-throttle token revoke ci"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a token and print it: it is never shown again
    #[command(after_help = "Examples:\n  xdp-throttle token add grafana --role viewer > token")]
    Add {
        /// Whose it is, in the audit trail
        name: ListName,
        /// What it allows
        #[arg(long, value_enum)]
        role: Role,
        /// How long it is good for; until it is revoked, unless given
        #[arg(long = "for", value_name = "SPAN")]
        ttl: Option<Span>,
    },
    /// Show every token, without what is secret
    #[command(after_help = "Examples:\n  xdp-throttle token list")]
    List,
    /// End a token now
    #[command(after_help = "Examples:\n  xdp-throttle token revoke ci")]
    Revoke {
        /// Whose
        name: ListName,
    },
}

impl Args {
    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        let client = &session.client;
        match self.verb {
            Verb::Add { name, role, ttl } => {
                let token = client.add_token(&AddToken { name, role, ttl }).await?;
                session
                    .output
                    .show(&token, |token: &NewToken| format!("{}\n", token.token))
            }
            Verb::List => session.output.show(&client.tokens().await?, render),
            Verb::Revoke { name } => {
                let token = client.revoke_token(&RevokeToken { name }).await?;
                session.output.show(&token, |token: &TokenView| {
                    format!("The token {} allows nothing any more.\n", token.name)
                })
            }
        }
    }
}

fn render(list: &TokenList) -> String {
    if list.tokens.is_empty() {
        return "No tokens: `xdp-throttle token add NAME --role viewer` makes one.\n".to_owned();
    }
    let mut table = Table::new([
        words("name"),
        words("role"),
        words("made"),
        words("ends"),
        words("begins with"),
    ]);
    for token in &list.tokens {
        table.row([
            token.name.to_string(),
            token.role.name().to_owned(),
            format::time(token.created),
            token
                .expires
                .map_or_else(|| "never".to_owned(), format::time),
            format!("xdpt_{}", token.id),
        ]);
    }
    table.render()
}
