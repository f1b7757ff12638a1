//! The likely slip: the known name that is nearest to what was typed, or "did you mean".
//!
//! **Invariant:** a suggestion is one of the known names.

use super::diagnostic::quoted;

/// Known names that one message lists.
const LISTED: usize = 20;

/// The known name that was probably meant.
pub(super) fn nearest<'k>(typed: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let plain = simplified(typed);
    let tolerated = (plain.chars().count() / 3).clamp(1, 3);
    let distances = known.into_iter().map(|name| (strsim::damerau_levenshtein(&plain, &simplified(name)), name));
    distances.filter(|(distance, _)| *distance <= tolerated).min().map(|(_, name)| name)
}

/// Case and hyphens are the most common slips: they weigh nothing.
fn simplified(name: &str) -> String {
    // A name longer than this is no slip, and the distance costs the product of both lengths.
    name.chars().take(64).map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
}

/// A help text: the likely slip, then all that is known.
pub(super) fn help(typed: &str, what: &str, known: &[&str]) -> String {
    let listed = listed(what, known);
    match nearest(typed, known.iter().copied()) {
        Some(name) => format!("did you mean {}? {listed}", quoted(name)),
        None => listed,
    }
}

fn listed(what: &str, known: &[&str]) -> String {
    if known.is_empty() {
        return format!("{what}: none");
    }
    let names: Vec<String> = known.iter().take(LISTED).map(|name| quoted(name)).collect();
    let more = if known.len() > LISTED { format!(" and {} more", known.len() - LISTED) } else { String::new() };
    format!("{what}: {}{more}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_find_their_name() {
        let known = ["load_balancing", "protocol", "endpoints", "tls"];
        for (typed, meant) in [
            ("load_balancin", Some("load_balancing")),
            ("load-balancing", Some("load_balancing")),
            ("Protocol", Some("protocol")),
            ("protcool", Some("protocol")),
            ("endpoint", Some("endpoints")),
            ("tsl", Some("tls")),
            ("x", None),
            ("weights", None),
        ] {
            assert_eq!(nearest(typed, known), meant, "{typed}");
        }
    }

    #[test]
    fn long_lists_are_bounded() {
        let known: Vec<String> = (0..100).map(|n| format!("route-{n}")).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        assert!(help("zzz", "defined", &known).ends_with("`route-19` and 80 more"));
        assert_eq!(help("zzz", "defined", &[]), "defined: none");
    }
}
