//! Whose word on the client's address counts.

use crate::support::{Client, Origin, Protocol, Proxy, ROUTE, get, upstream};

async fn told(keys: &str, named: &[&str]) -> (String, String) {
    let (origin, mut received) = Origin::canned("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let proxy = Proxy::start(&format!(
        "workers = 1\n[[listeners]]\nname = \"http\"\nlisten = \"127.0.0.1:0\"\n{keys}\n\
         [filters.tell]\nmodule = \"builtin:access\"\n\
         config = {{ rules = [{{ action = \"allow\", clients = [\"192.0.2.0/24\"] }}] }}\n\
         {ROUTE}filters = [\"tell\"]\n{}",
        upstream("origin", Protocol::Http1, &[origin.address])
    ));
    let mut request = get("/");
    for line in named {
        request.headers_mut().append("x-forwarded-for", line.parse().unwrap());
    }
    let answer = Client::to(&proxy, Protocol::Http1).await.exchange(request).await;
    let forwarded = received.try_recv().ok().and_then(|seen| seen.field("x-forwarded-for").map(str::to_owned));
    (answer.status.as_u16().to_string(), forwarded.unwrap_or_default())
}

#[tokio::test]
async fn the_client_is_whom_the_last_trusted_proxy_names() {
    let append = "forwarded_headers = \"append\"\n";
    let trusted = "trusted_proxies = [\"127.0.0.0/8\", \"10.1.0.0/16\"]";
    let both = format!("{append}{trusted}");
    for (keys, named, allowed) in [
        // The filter lets 192.0.2.0/24 pass.
        (both.as_str(), &["192.0.2.7"][..], true),
        (&both, &["6.6.6.6, 192.0.2.7, 10.1.2.3"], true),
        (&both, &["6.6.6.6", "192.0.2.7", "10.1.2.3:4000"], true),
        (&both, &["192.0.2.7, 6.6.6.6, 10.1.2.3"], false),
        (&both, &["192.0.2.7, nonsense, 10.1.2.3"], false),
        (&both, &[], false),
        // Whom nobody trusts is not believed; without a list of proxies the client is who connects.
        ("", &["192.0.2.7"], false),
        (append, &["192.0.2.7"], false),
        (&format!("{append}trusted_proxies = [\"10.1.0.0/16\"]"), &["192.0.2.7"], false),
    ] {
        let (status, forwarded) = told(keys, named).await;
        assert_eq!(status, if allowed { "200" } else { "403" }, "{keys} {named:?}");
        if allowed {
            assert_eq!(forwarded, format!("{}, 127.0.0.1", named.join(", ")));
        }
    }
}
