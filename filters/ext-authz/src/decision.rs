//! What the service's answer, or its lack, means.
//!
//! **Invariant:** only 2xx allows; an answer that was there but too long never does.

use std::fmt;

use meshup_sdk::{fetch::FetchError, prelude::*};

use crate::FAILURES;

/// What a request gets that the service could not be asked about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnFailure {
    #[default]
    Deny,
    Allow,
}

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Decision {
    /// With the service's answer.
    Allowed(Response),
    /// The same.
    Denied(Response),
    FailedOpen(Failure),
    FailedClosed(Failure),
}

/// Why there was no decision of the service.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Failure {
    Fetch(ErrorKind),
    Status(u16),
}

impl Decision {
    /// The decision on what the service said.
    pub(crate) fn of(answer: Result<Response, FetchError>, on_failure: OnFailure) -> Self {
        let failure = match answer {
            Ok(answer) => match answer.status() {
                200..=299 => return Self::Allowed(answer),
                300..=499 => return Self::Denied(answer),
                status => Failure::Status(status),
            },
            // It did answer, and may have denied.
            Err(FetchError(ErrorKind::LimitExceeded)) => {
                return Self::FailedClosed(Failure::Fetch(ErrorKind::LimitExceeded));
            }
            Err(FetchError(kind)) => Failure::Fetch(kind),
        };
        match on_failure {
            OnFailure::Allow => Self::FailedOpen(failure),
            OnFailure::Deny => Self::FailedClosed(failure),
        }
    }

    /// The value of the metric's label.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Allowed(_) => "allowed",
            Self::Denied(_) => "denied",
            Self::FailedOpen(_) => "failed-open",
            Self::FailedClosed(_) => "failed-closed",
        }
    }
}

impl Failure {
    /// Counts and logs it.
    pub(crate) fn report(self) {
        let reason = match self {
            Self::Fetch(kind) => kind.as_str(),
            Self::Status(_) => "status",
        };
        FAILURES.with([reason]).add(1);
        warn!("the authorization service did not decide: {self}");
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fetch(kind) => f.write_str(kind.as_str()),
            Self::Status(status) => write!(f, "status {status}"),
        }
    }
}
