//! One rule: conditions that must all hold, and what happens then.
//!
//! **Invariant:** a rule has at least one condition.

use std::collections::BTreeMap;

use meshup_sdk::prelude::*;

use crate::{
    decision::{Action, Decision},
    facts::Facts,
    network::Network,
    one_or_more::OneOrMore,
    path::{Path, PathCondition, PathPrefix, PathRegex},
    peer::Peer,
    value::Expected,
};

/// A rule and its decision.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) decision: Decision,
    action: Action,
    conditions: Conditions,
}

/// A rule as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRule {
    pub(crate) name: Option<String>,
    action: Action,
    methods: Option<OneOrMore<Method>>,
    path: Option<OneOrMore<Path>>,
    path_prefix: Option<OneOrMore<PathPrefix>>,
    path_regex: Option<OneOrMore<PathRegex>>,
    #[serde(default)]
    headers: BTreeMap<HeaderName, Expected>,
    clients: Option<OneOrMore<Network>>,
    #[serde(default)]
    variables: BTreeMap<VariableName, Expected>,
    peer: Option<Peer>,
}

#[derive(Debug)]
struct Conditions {
    methods: Option<OneOrMore<Method>>,
    path: Option<PathCondition>,
    headers: BTreeMap<HeaderName, Expected>,
    clients: Option<OneOrMore<Network>>,
    variables: BTreeMap<VariableName, Expected>,
    peer: Option<Peer>,
}

impl Rule {
    /// The rule of that name, or why it cannot be.
    pub(crate) fn new(raw: RawRule, name: String, dry_run: bool) -> Result<Self, &'static str> {
        let action = raw.action;
        let conditions = Conditions::new(raw)?;
        Ok(Self { decision: Decision::new(name, action, dry_run), action, conditions })
    }

    pub(crate) fn reads_path(&self) -> bool {
        self.conditions.path.is_some()
    }

    /// Whether every condition holds; those come first that cost no host call.
    pub(crate) fn holds(&self, facts: &Facts<'_>) -> bool {
        let Conditions { methods, path, headers, clients, variables, peer } = &self.conditions;
        methods.as_ref().is_none_or(|methods| methods.iter().any(|method| method.0 == facts.req.method()))
            && path.as_ref().is_none_or(|path| path.holds(&facts.path))
            && headers.iter().all(|(name, expected)| expected.holds(self.action, facts.req.headers().get_all(name)))
            && clients.as_ref().is_none_or(|networks| is_in(networks, facts))
            && variables.iter().all(|(name, expected)| self.variable_holds(&name.0, expected))
            && peer.as_ref().is_none_or(Peer::holds)
    }

    fn variable_holds(&self, name: &str, expected: &Expected) -> bool {
        expected.holds(self.action, exchange::variable(name).as_deref().into_iter())
    }
}

fn is_in(networks: &[Network], facts: &Facts<'_>) -> bool {
    facts.client().is_some_and(|client| networks.iter().any(|network| network.contains(client)))
}

impl Conditions {
    fn new(raw: RawRule) -> Result<Self, &'static str> {
        let conditions = Self {
            methods: raw.methods,
            path: path_condition(raw.path, raw.path_prefix, raw.path_regex)?,
            headers: raw.headers,
            clients: raw.clients,
            variables: raw.variables,
            peer: raw.peer,
        };
        if conditions.is_empty() {
            Err("no condition: for all other requests there is `default`")
        } else {
            Ok(conditions)
        }
    }

    fn is_empty(&self) -> bool {
        let Self { methods, path, headers, clients, variables, peer } = self;
        methods.is_none()
            && path.is_none()
            && headers.is_empty()
            && clients.is_none()
            && variables.is_empty()
            && peer.is_none()
    }
}

fn path_condition(
    exact: Option<OneOrMore<Path>>,
    prefix: Option<OneOrMore<PathPrefix>>,
    regex: Option<OneOrMore<PathRegex>>,
) -> Result<Option<PathCondition>, &'static str> {
    Ok(Some(match (exact, prefix, regex) {
        (None, None, None) => return Ok(None),
        (Some(paths), None, None) => PathCondition::Exact(paths.into()),
        (None, Some(prefixes), None) => PathCondition::Prefix(prefixes.into()),
        (None, None, Some(expressions)) => PathCondition::Regex(expressions.into()),
        _ => return Err("only one of path, path_prefix and path_regex"),
    }))
}

/// A method in upper case.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Method(String);

impl TryFrom<String> for Method {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let valid = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || b"-_".contains(&byte));
        if valid {
            Ok(Self(text))
        } else {
            Err(format!("invalid method {text:?}: expected upper case, such as \"GET\""))
        }
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct VariableName(String);

impl TryFrom<String> for VariableName {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        if name.is_empty() { Err("expected the name of a variable") } else { Ok(Self(name)) }
    }
}
