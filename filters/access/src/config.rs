//! The configuration, checked.
//!
//! **Invariant:** rule names are unique, so a metric or a log line tells which rule decided.

use std::collections::BTreeSet;

use meshup_sdk::prelude::*;

use crate::{
    decision::{Action, Decision},
    facts::Facts,
    path,
    rule::{RawRule, Rule},
};

/// The name under which `default` is told.
const DEFAULT: &str = "default";
/// The name under which a path is told that can be read in two ways.
const AMBIGUOUS_PATH: &str = "ambiguous-path";

/// The filter's configuration; `README.md` lists the keys.
#[derive(Debug, Deserialize)]
#[serde(try_from = "RawConfig")]
pub struct Config {
    rules: Vec<Rule>,
    default: Decision,
    ambiguous_path: Decision,
    reads_path: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    rules: Vec<RawRule>,
    #[serde(default = "deny")]
    default: Action,
    #[serde(default)]
    dry_run: bool,
}

fn deny() -> Action {
    Action::Deny
}

impl TryFrom<RawConfig> for Config {
    type Error = String;

    fn try_from(raw: RawConfig) -> Result<Self, String> {
        if raw.rules.is_empty() {
            return Err("rules: empty, so every request would get the default".to_owned());
        }
        let rules = rules(raw.rules, raw.dry_run)?;
        Ok(Self {
            reads_path: rules.iter().any(Rule::reads_path),
            rules,
            default: Decision::new(DEFAULT.to_owned(), raw.default, raw.dry_run),
            ambiguous_path: Decision::new(AMBIGUOUS_PATH.to_owned(), Action::Deny, raw.dry_run),
        })
    }
}

impl Config {
    /// The decision of the first rule that holds.
    pub(crate) fn decide(&self, req: &Request) -> &Decision {
        let path = if self.reads_path { req.path() } else { "" };
        let Some(path) = path::readable(path) else { return &self.ambiguous_path };
        let facts = Facts::new(req, path);
        let rule = self.rules.iter().find(|rule| rule.holds(&facts));
        rule.map_or(&self.default, |rule| &rule.decision)
    }
}

fn rules(raw: Vec<RawRule>, dry_run: bool) -> Result<Vec<Rule>, String> {
    let mut names = BTreeSet::from([DEFAULT.to_owned(), AMBIGUOUS_PATH.to_owned()]);
    let mut rules = Vec::with_capacity(raw.len());
    for (index, raw) in raw.into_iter().enumerate() {
        let name = name(&raw, index)?;
        if !names.insert(name.clone()) {
            return Err(format!("rules[{index}].name: {name:?} is taken"));
        }
        rules.push(Rule::new(raw, name, dry_run).map_err(|reason| format!("rules[{index}]: {reason}"))?);
    }
    Ok(rules)
}

/// The rule's name, or `rule-N` by its position, from 1.
fn name(raw: &RawRule, index: usize) -> Result<String, String> {
    let Some(name) = &raw.name else { return Ok(format!("rule-{}", index + 1)) };
    let valid = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    if valid { Ok(name.clone()) } else { Err(format!("rules[{index}].name: {name:?}: use visible ASCII characters")) }
}
