//! What the request takes over from a token: headers and variables, ready to be written.
//!
//! **Invariant:** every header that a claim can set loses the client's value, also when there is no token or no claim.

use meshup_sdk::prelude::*;
use serde_json::Value;

use crate::{claims::Claims, refusal::Refusal};

/// What is handed over, by claim.
#[derive(Debug)]
pub(crate) struct Handover {
    /// Claim and header.
    pub(crate) headers: Vec<(String, HeaderName)>,
    /// Claim and variable.
    pub(crate) variables: Vec<(String, String)>,
    /// The token's header, when the upstream does not get it.
    pub(crate) removed: Option<HeaderName>,
}

/// The values of one token, in the order of the handover's.
#[derive(Debug)]
pub(crate) struct Grant {
    headers: Box<[Option<HeaderValue>]>,
    variables: Box<[Option<String>]>,
}

impl Grant {
    /// Its memory, roughly.
    pub(crate) fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|value| value.as_deref());
        let values = headers.chain(self.variables.iter().map(|value| value.as_deref()));
        values.map(|value| size_of::<Option<String>>() + value.map_or(0, str::len)).sum()
    }
}

impl Handover {
    /// What the claims give.
    pub(crate) fn grant(&self, claims: &Claims) -> Result<Grant, Refusal> {
        let value = |claim: &str| claims.claim(claim).map(text);
        let headers = self.headers.iter().map(|(claim, _)| value(claim).map(HeaderValue::try_from).transpose());
        let headers = headers.collect::<Result<_, _>>().map_err(|_| Refusal::Unusable)?;
        Ok(Grant { headers, variables: self.variables.iter().map(|(claim, _)| value(claim)).collect() })
    }

    /// Changes the request accordingly.
    pub(crate) fn apply(&self, req: &mut Request, grant: Option<&Grant>) -> Result<(), exchange::HostError> {
        if let Some(header) = &self.removed {
            req.headers_mut().remove(header);
        }
        let values = grant.map_or(&[][..], |grant| &grant.headers);
        for (index, (_, header)) in self.headers.iter().enumerate() {
            match values.get(index) {
                Some(Some(value)) => req.headers_mut().set(header, value),
                _ => req.headers_mut().remove(header),
            }
        }
        let values = grant.map_or(&[][..], |grant| &grant.variables);
        let mut variables = self.variables.iter().zip(values);
        variables.try_for_each(|((_, name), value)| match value {
            Some(value) => exchange::set_variable(name, value),
            None => Ok(()),
        })
    }
}

/// A text as it is, anything else as JSON.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
