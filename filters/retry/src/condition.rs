//! Which responses count as failures that another try may help.
//!
//! A response of an upstream fails by its status, or by the gRPC status in its head. A response that the host made,
//! because of an error, fails by that error or by its status; errors that no further try can help never do.
//!
//! **Invariant:** judging a response allocates nothing.

use std::{borrow::Cow, fmt};

use meshup_sdk::prelude::*;
use serde::{Deserializer, de::Visitor};

/// The statuses 400 to 599.
const FIRST_STATUS: u16 = 400;
const STATUSES: usize = 200;

/// What the host's error can be for another try to make sense.
const RETRYABLE: [ErrorKind; 4] =
    [ErrorKind::ConnectFailure, ErrorKind::Reset, ErrorKind::BadResponse, ErrorKind::PerTryTimeout];

/// The gRPC statuses by their code; 0 is no failure.
const GRPC: [&str; 17] = [
    "ok",
    "cancelled",
    "unknown",
    "invalid-argument",
    "deadline-exceeded",
    "not-found",
    "already-exists",
    "permission-denied",
    "resource-exhausted",
    "failed-precondition",
    "aborted",
    "out-of-range",
    "unimplemented",
    "internal",
    "unavailable",
    "data-loss",
    "unauthenticated",
];

const EXPECTED: &str = r#"expected "5xx", "gateway-error", "connect-failure", "reset", "per-try-timeout", "retriable-4xx", a status from 400 to 599, or a gRPC status such as "unavailable""#;

/// The failures listed in `on`.
#[derive(Debug, Deserialize)]
#[serde(from = "Vec<Condition>")]
pub(crate) struct Conditions {
    statuses: [bool; STATUSES],
    errors: Vec<ErrorKind>,
    /// A bit for each gRPC status.
    grpc: u32,
}

/// Why a response failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    Status(u16),
    Error(ErrorKind),
    Grpc(&'static str),
}

impl Failure {
    /// The value of the metric's label.
    pub(crate) fn label(self) -> Cow<'static, str> {
        match self {
            Self::Status(status) => status.to_string().into(),
            Self::Error(kind) => kind.as_str().into(),
            Self::Grpc(name) => name.into(),
        }
    }
}

impl Default for Conditions {
    fn default() -> Self {
        Self::from(vec![Condition::GatewayError])
    }
}

impl Conditions {
    /// Why `res` failed; `None` when it is to be delivered.
    #[inline]
    pub(crate) fn failure(&self, res: &Response) -> Option<Failure> {
        let status = res.status();
        if status < FIRST_STATUS {
            return self.grpc_failure(res);
        }
        let listed = self.has_status(status);
        match res.error() {
            None => listed.then_some(Failure::Status(status)),
            Some(kind) if !RETRYABLE.contains(&kind) => None,
            Some(kind) => (listed || self.errors.contains(&kind)).then_some(Failure::Error(kind)),
        }
    }

    fn has_status(&self, status: u16) -> bool {
        let index = usize::from(status.saturating_sub(FIRST_STATUS));
        self.statuses.get(index).copied().unwrap_or_default()
    }

    #[inline]
    fn grpc_failure(&self, res: &Response) -> Option<Failure> {
        if self.grpc == 0 {
            return None;
        }
        let code: usize = res.headers().get("grpc-status")?.parse().ok()?;
        let name = GRPC.get(code)?;
        (self.grpc & (1 << code) != 0).then_some(Failure::Grpc(name))
    }

    fn add(&mut self, condition: Condition) {
        match condition {
            Condition::Status5xx => (500..600).for_each(|status| self.add_status(status)),
            Condition::GatewayError => [502, 503, 504].into_iter().for_each(|status| self.add_status(status)),
            Condition::Retriable4xx => self.add_status(409),
            Condition::Status(status) => self.add_status(status),
            Condition::Errors(kinds) => self.errors.extend(kinds),
            Condition::Grpc(code) => self.grpc |= 1 << code,
        }
    }

    fn add_status(&mut self, status: u16) {
        if let Some(listed) = self.statuses.get_mut(usize::from(status.saturating_sub(FIRST_STATUS))) {
            *listed = true;
        }
    }
}

impl From<Vec<Condition>> for Conditions {
    fn from(listed: Vec<Condition>) -> Self {
        let mut conditions = Self { statuses: [false; STATUSES], errors: Vec::new(), grpc: 0 };
        listed.into_iter().for_each(|condition| conditions.add(condition));
        conditions
    }
}

/// One entry of `on`.
#[derive(Debug, Clone, Copy)]
enum Condition {
    Status5xx,
    GatewayError,
    Retriable4xx,
    Status(u16),
    Errors(&'static [ErrorKind]),
    Grpc(usize),
}

impl Condition {
    fn named(text: &str) -> Option<Self> {
        Some(match text {
            "5xx" => Self::Status5xx,
            "gateway-error" => Self::GatewayError,
            "retriable-4xx" => Self::Retriable4xx,
            "connect-failure" => Self::Errors(&[ErrorKind::ConnectFailure]),
            "reset" => Self::Errors(&[ErrorKind::Reset, ErrorKind::BadResponse]),
            "per-try-timeout" | "timeout" => Self::Errors(&[ErrorKind::PerTryTimeout]),
            _ => match GRPC.iter().skip(1).position(|name| *name == text) {
                Some(position) => Self::Grpc(position + 1),
                None => return Self::status(text.parse().ok()?),
            },
        })
    }

    fn status(status: u64) -> Option<Self> {
        let status = u16::try_from(status).ok()?;
        (FIRST_STATUS..600).contains(&status).then_some(Self::Status(status))
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ConditionVisitor)
    }
}

struct ConditionVisitor;

impl Visitor<'_> for ConditionVisitor {
    type Value = Condition;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a condition or a status")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Condition, E> {
        Condition::named(text).ok_or_else(|| E::custom(format_args!("unknown condition {text:?}: {EXPECTED}")))
    }

    fn visit_u64<E: serde::de::Error>(self, status: u64) -> Result<Condition, E> {
        Condition::status(status).ok_or_else(|| E::custom(format_args!("unknown condition {status}: {EXPECTED}")))
    }
}
