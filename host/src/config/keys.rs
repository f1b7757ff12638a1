//! Every key of the configuration, by section: what is read, suggested and documented.
//!
//! **Invariant:** `CONFIG.md` describes exactly these keys (a test compares them).

/// The keys of one kind of table.
pub(super) struct Section {
    /// As `CONFIG.md` titles it.
    pub(super) title: &'static str,
    /// The keys, in the order in which they are listed.
    pub(super) keys: &'static [&'static str],
}

macro_rules! sections {
    ($($name:ident $title:literal: $($key:literal)*;)*) => {
        $(pub(super) static $name: Section = Section { title: $title, keys: &[$($key),*] };)*
        /// All of them.
        pub(super) static SECTIONS: &[&Section] = &[$(&$name),*];
    };
}

sections! {
    ROOT "the top level":
        "workers" "drain_delay" "drain_timeout" "drain_idle_grace" "filter_memory" "admin" "dns" "listeners" "filters" "routes" "upstreams";
    ADMIN "`[admin]`": "listen";
    DNS "`[dns]`": "servers" "timeout" "prefer";
    LISTENER "`[[listeners]]`":
        "name" "listen" "transparent" "forwarded_headers" "trusted_proxies" "proxy_protocol" "path_normalization"
        "underscores_in_headers" "via" "limits" "tls";
    LISTENER_LIMITS "`limits` of a listener":
        "max_header_bytes" "max_headers" "max_body_bytes" "header_timeout" "idle_timeout" "body_timeout" "request_timeout"
        "write_timeout" "max_connections" "max_streams" "max_resets" "max_control_frames" "http1_buffer"
        "http2_stream_window" "http2_connection_window" "http2_send_buffer" "http2_connection_heads";
    LISTENER_TLS "`tls` of a listener":
        "certificate" "private_key" "certificates" "client_ca" "client_auth" "min_version";
    CERTIFICATE "an item of `certificates`": "certificate" "private_key";
    FILTER "`[filters.NAME]`": "module" "on_error" "isolation" "limits" "config";
    FILTER_LIMITS "`limits` of a filter": "memory" "cpu_per_call";
    ROUTE "`[[routes]]`":
        "name" "match" "filters" "upstream" "timeout" "replay_limit" "upgrades" "upgrade_idle_timeout";
    MATCH "`match` of a route": "listener" "host" "path" "path_prefix" "methods" "headers" "query";
    WEIGHTED "an item of `upstream`": "name" "weight";
    UPSTREAM "`[upstreams.NAME]`":
        "endpoints" "load_balancing" "protocol" "connect_timeout" "response_timeout" "idle_timeout" "max_connections" "tls";
    UPSTREAM_TLS "`tls` of an upstream": "server_name" "ca" "certificate" "private_key";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names in the first column of the tables below the heading `## TITLE`.
    fn documented(title: &str) -> Vec<&'static str> {
        let text = include_str!("../../CONFIG.md");
        let chapter = text
            .split("\n## ")
            .find(|chapter| chapter.lines().next().is_some_and(|heading| heading.eq_ignore_ascii_case(title)));
        let chapter = chapter.unwrap_or_else(|| panic!("CONFIG.md has no heading `## {title}`"));
        let rows = chapter.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        rows.map(|(key, _)| key).collect()
    }

    #[test]
    fn config_md_describes_every_key_and_no_other() {
        for section in SECTIONS {
            assert_eq!(documented(section.title), section.keys, "{}", section.title);
        }
    }
}
