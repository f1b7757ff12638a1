//! Changes paths, hosts and headers, redirects, and chooses upstreams.
