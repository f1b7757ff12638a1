//! Why a request does not pass, and the answer that says so (RFC 6750, section 3).
//!
//! Only the lack of any keys is no fault of the token.
//!
//! **Invariant:** no answer holds anything of a token or a key.

use meshup_sdk::prelude::*;
use thiserror::Error;

/// Why a request does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Refusal {
    #[error("a bearer token is required")]
    NoToken,
    #[error("there is more than one token")]
    ManyTokens,
    #[error("the token is too long")]
    TooLong,
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    #[error("the token's algorithm is not allowed")]
    Algorithm,
    #[error("the token's algorithm is not allowed")]
    NoKeyOfAlgorithm,
    #[error("the token has critical header parameters that are not known here")]
    Critical,
    #[error("the token's key is not known")]
    UnknownKey,
    #[error("the token's signature is not valid")]
    Signature,
    #[error("the token has expired")]
    Expired,
    #[error("the token has no expiry")]
    NoExpiry,
    #[error("the token is not valid yet")]
    NotYet,
    #[error("the token's issuer is not accepted")]
    Issuer,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token lacks a required claim")]
    MissingClaim,
    #[error("the token has a claim that cannot be handed on")]
    Unusable,
    #[error("the keys that verify tokens are not available")]
    NoKeys,
}

impl Refusal {
    /// Whether a newer set of keys could make the difference.
    pub(crate) fn lacks_key(self) -> bool {
        matches!(self, Self::UnknownKey | Self::NoKeyOfAlgorithm)
    }

    /// The same when there are no published keys: whether one of them made the signature, nobody knows.
    pub(crate) fn without_published_keys(self) -> Self {
        if self.lacks_key() || self == Self::Signature { Self::NoKeys } else { self }
    }

    /// The 401, or a 503 when it is not for the token.
    pub(crate) fn response(self) -> Response {
        match self {
            Self::NoKeys => self.with_body(Response::new(503), "temporarily_unavailable"),
            _ => self.unauthorized(),
        }
    }

    fn unauthorized(self) -> Response {
        let (error, challenge) = match self {
            Self::NoToken => ("unauthorized", "Bearer".to_owned()),
            _ => ("invalid_token", format!("Bearer error=\"invalid_token\", error_description=\"{self}\"")),
        };
        self.with_body(Response::new(401).with_header("www-authenticate", challenge), error)
    }

    fn with_body(self, res: Response, error: &str) -> Response {
        res.with_header("content-type", "application/json")
            .with_body(format!("{{\"error\":\"{error}\",\"message\":\"{self}\"}}\n"))
    }
}
