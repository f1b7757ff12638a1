//! Why a look-up of a name gave no address.

use std::sync::Arc;

use hickory_resolver::{
    net::{DnsError, NetError},
    proto::op::ResponseCode,
};

/// Why a look-up gave no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    #[error("there is no such name")]
    NoName,
    #[error("the name has no address")]
    Empty,
    #[error("no name server answered in time")]
    Timeout,
    #[error("the name server answers {0}")]
    Refused(ResponseCode),
    #[error("{0}")]
    Other(Arc<str>),
}

impl Failure {
    /// As in metrics.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::NoName => "no-name",
            Self::Empty => "empty",
            Self::Timeout => "timeout",
            Self::Refused(_) => "refused",
            Self::Other(_) => "error",
        }
    }

    /// The answer is that there is nothing, as opposed to no answer.
    pub(super) fn is_negative(&self) -> bool {
        matches!(self, Self::NoName | Self::Empty)
    }
}

impl From<NetError> for Failure {
    fn from(error: NetError) -> Self {
        match &error {
            NetError::Timeout => Self::Timeout,
            NetError::Io(io) if io.kind() == std::io::ErrorKind::TimedOut => Self::Timeout,
            NetError::Dns(DnsError::NoRecordsFound(none)) if none.response_code == ResponseCode::NXDomain => {
                Self::NoName
            }
            NetError::Dns(DnsError::NoRecordsFound(_)) => Self::Empty,
            NetError::Dns(DnsError::ResponseCode(code)) => Self::Refused(*code),
            _ => Self::Other(error.to_string().into()),
        }
    }
}
