//! Failures whose kind decides the exit code.

/// What kind of failure it is, for callers that branch on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// It didn't work.
    Failed,
    /// What was asked for, or the configuration, isn't valid.
    Invalid,
    /// A capability or a permission is missing.
    Privilege,
    /// The kernel or a driver lacks something.
    Unsupported,
}

/// An error with its kind. Travels inside [`anyhow::Error`], also as a context of another error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    kind: FailureKind,
    message: String,
}

impl Failure {
    /// The message is in lower case: what was attempted, on what, what to do next.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// One that says nothing: only the exit code tells.
    pub const fn silent(kind: FailureKind) -> Self {
        Self {
            kind,
            message: String::new(),
        }
    }

    /// What kind it is.
    pub const fn kind(&self) -> FailureKind {
        self.kind
    }
}
