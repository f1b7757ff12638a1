//! A reload that is refused tells all faults at once, wherever they are found.

use meshup::{App, Options, Source, wasm::Compiler};

use crate::support::{Client, Origin, Protocol, Proxy, ROUTE, empty, post, upstream};

#[tokio::test]
async fn faults_of_the_text_and_of_filters_are_told_together() {
    let (origin, _received) = Origin::canned("HTTP/1.1 204 No Content\r\n\r\n").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("meshup.toml");
    let write = |more: &str| {
        let upstream = upstream("origin", Protocol::Http1, &[origin.address]);
        let text = format!(
            "workers = 1\n[admin]\nlisten = \"127.0.0.1:0\"\n[[listeners]]\nname = \"http\"\nlisten = \"127.0.0.1:0\"\n\
             {ROUTE}filters = [\"telemetry\"]\n[filters.telemetry]\nmodule = \"builtin:telemetry\"\n{more}\n{upstream}"
        );
        std::fs::write(&file, text).unwrap();
    };
    write("");
    let source = Source::File(file.clone());
    let options = Options { source, cache_dir: None, compiler: Compiler::InProcess, watch_files: false };
    let proxy = Proxy::of(App::start(options).unwrap());
    write("config = { acess_log = {} }\n[[routes]]\nupstream = \"nobody\"");
    let admin = Client::connect(Protocol::Http1, proxy.app().admin()).await;
    let refused = admin.exchange(post("/reload", empty())).await;
    for fault in ["configuration refused: ", "there is no upstream `nobody`"] {
        assert!(refused.text().contains(fault), "{}", refused.text());
    }
    assert_eq!(Client::to(&proxy, Protocol::Http1).await.get("/").await.status, 204);
}
