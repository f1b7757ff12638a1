//! `Via` of a listener (RFC 9110 section 7.6.3).

use crate::support::{Client, Origin, Protocol, Proxy, get, upstream};

const OK: &str = "HTTP/1.1 200 OK\r\nVia: 1.0 cache\r\nContent-Length: 2\r\n\r\nok";

fn proxy(origin: &Origin, via: &str) -> Proxy {
    Proxy::start(&format!(
        "[[listeners]]\nname = \"http\"\nlisten = \"127.0.0.1:0\"\n{via}\n\
         [[routes]]\nname = \"all\"\nmatch = {{ path_prefix = \"/\" }}\nupstream = \"origin\"\n{}",
        upstream("origin", Protocol::Http1, &[origin.address])
    ))
}

#[tokio::test]
async fn it_is_added_to_what_is_forwarded() {
    for (protocol, version) in [(Protocol::Http1, "1.1"), (Protocol::Http2, "2")] {
        let (origin, mut requests) = Origin::canned(OK).await;
        let proxy = proxy(&origin, "via = \"edge\"");
        let client = Client::to(&proxy, protocol).await;
        let mut request = get("/");
        request.headers_mut().insert("via", "1.1 front".parse().unwrap());
        let answer = client.exchange(request).await;
        let told = requests.recv().await.unwrap();
        let vias: Vec<_> = told.fields.iter().filter(|field| field.0 == "via").map(|field| field.1.as_str()).collect();
        assert_eq!(vias, ["1.1 front", &format!("{version} edge")]);
        assert_eq!(answer.headers.get_all("via").iter().collect::<Vec<_>>(), ["1.0 cache", "1.1 edge"]);
    }
}

#[tokio::test]
async fn it_is_not_in_what_the_proxy_answers_itself_or_without_a_name() {
    let origin = Origin::raw(|mut wire, _| async move {
        wire.head().await;
        wire.reset();
    })
    .await;
    let named = proxy(&origin, "via = \"edge\"");
    let answer = Client::to(&named, Protocol::Http1).await.get("/").await;
    assert_eq!((answer.outcome(), answer.headers.contains_key("via")), ((502, "reset"), false));

    let (origin, mut requests) = Origin::canned("HTTP/1.1 204 No Content\r\n\r\n").await;
    let unnamed = proxy(&origin, "");
    let answer = Client::to(&unnamed, Protocol::Http1).await.get("/").await;
    assert_eq!((answer.headers.contains_key("via"), requests.recv().await.unwrap().field("via")), (false, None));
}
