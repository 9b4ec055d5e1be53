//! Exit codes.

use crate::api::client::ClientError;
use crate::config::{ConfigError, LoadError};
use crate::failure::{Failure, FailureKind};

/// How the command ended. The numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// It worked.
    Ok = 0,
    /// It didn't.
    Failed = 1,
    /// Wrong usage or an invalid configuration.
    Invalid = 2,
    /// A capability or a permission is missing.
    Privilege = 3,
    /// The kernel or a driver lacks something.
    Unsupported = 4,
}

impl ExitCode {
    /// The word for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Invalid => "invalid",
            Self::Privilege => "privilege",
            Self::Unsupported => "unsupported",
        }
    }
}

impl From<FailureKind> for ExitCode {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::Failed => Self::Failed,
            FailureKind::Invalid => Self::Invalid,
            FailureKind::Privilege => Self::Privilege,
            FailureKind::Unsupported => Self::Unsupported,
        }
    }
}

impl From<&anyhow::Error> for ExitCode {
    /// The outermost error that has a kind decides; without one it is [`ExitCode::Failed`].
    fn from(error: &anyhow::Error) -> Self {
        // A context can only be found on the anyhow error itself, a source only in the chain.
        let context = error.downcast_ref::<Failure>().map(Failure::kind);
        let kind = context.or_else(|| error.chain().find_map(kind_of));
        kind.map_or(Self::Failed, Self::from)
    }
}

fn kind_of(error: &(dyn std::error::Error + 'static)) -> Option<FailureKind> {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        Some(failure.kind())
    } else if let Some(refused) = error.downcast_ref::<ClientError>() {
        Some(refused.kind())
    } else if error.is::<ConfigError>() {
        Some(FailureKind::Invalid)
    } else {
        match error.downcast_ref::<LoadError>()? {
            LoadError::Invalid(_) => Some(FailureKind::Invalid),
            LoadError::Read { .. } => Some(FailureKind::Failed),
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    fn code(error: impl Into<anyhow::Error>) -> ExitCode {
        ExitCode::from(&error.into())
    }

    #[test]
    fn every_kind_has_its_number() {
        let numbers = [
            (FailureKind::Failed, 1),
            (FailureKind::Invalid, 2),
            (FailureKind::Privilege, 3),
            (FailureKind::Unsupported, 4),
        ];
        for (kind, number) in numbers {
            assert_eq!(code(Failure::new(kind, "it")) as u8, number);
        }
        assert_eq!(code(std::io::Error::other("it")), ExitCode::Failed);
    }

    #[test]
    fn the_kind_is_found_below_and_in_contexts() {
        let inner = Failure::new(FailureKind::Unsupported, "no native mode");
        let wrapped = Err::<(), _>(inner).context("attaching to eth0");
        assert_eq!(code(wrapped.unwrap_err()), ExitCode::Unsupported);
        let outer = Failure::new(FailureKind::Privilege, "not root");
        let wrapped = Err::<(), _>(std::io::Error::other("EPERM")).context(outer);
        assert_eq!(
            code(wrapped.context("loading the program").unwrap_err()),
            ExitCode::Privilege
        );
    }

    #[test]
    fn an_invalid_config_is_2_and_an_unreadable_one_1() {
        let invalid = crate::config::Config::parse("nonsense = 1", "f").unwrap_err();
        assert_eq!(code(invalid.clone()), ExitCode::Invalid);
        assert_eq!(code(LoadError::from(invalid)), ExitCode::Invalid);
        let unreadable =
            crate::config::Config::load(std::path::Path::new("/nonexistent/f")).unwrap_err();
        assert_eq!(code(unreadable), ExitCode::Failed);
    }

    #[test]
    fn a_refused_request_is_usage_and_a_closed_socket_privilege() {
        let body = crate::api::types::ErrorBody {
            error: "no".into(),
            cause: None,
            details: Vec::new(),
        };
        let refused = |status| ClientError::Refused {
            status,
            body: body.clone(),
        };
        assert_eq!(code(refused(422)), ExitCode::Invalid);
        assert_eq!(code(refused(500)), ExitCode::Failed);
        assert_eq!(code(refused(501)), ExitCode::Unsupported);
        let daemon = "/s".to_owned();
        assert_eq!(
            code(ClientError::Permission { daemon }),
            ExitCode::Privilege
        );
    }
}
