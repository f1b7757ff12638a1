//! Which listener is which after a reload, where the system chose their ports.

use meshup::{App, Options, Source, wasm::Compiler};

use crate::support::{Client, Origin, Protocol, Proxy, upstream};

/// A listener and what it leads to.
fn led(name: &str, origin: &Origin) -> (String, String) {
    (
        format!("[[listeners]]\nname = \"{name}\"\nlisten = \"127.0.0.1:0\"\n"),
        format!(
            "[[routes]]\nmatch = {{ listener = \"{name}\" }}\nupstream = \"{name}\"\n{}",
            upstream(name, Protocol::Http1, &[origin.address])
        ),
    )
}

#[tokio::test]
async fn listeners_whose_ports_the_system_chose_are_told_apart_by_name() {
    let (one, _) = Origin::canned("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none").await;
    let (two, _) = Origin::canned("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo").await;
    let (one, two) = (led("one", &one), led("two", &two));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("meshup.toml");
    let write = |led: &[&(String, String)]| {
        let listeners: String = led.iter().map(|led| &*led.0).collect();
        let routes: String = led.iter().map(|led| &*led.1).collect();
        let text = format!("workers = 2\n[admin]\nlisten = \"127.0.0.1:0\"\n{listeners}{routes}");
        std::fs::write(&file, text).unwrap();
    };
    write(&[&one, &two]);
    let options = Options {
        source: Source::File(file.clone()),
        cache_dir: None,
        compiler: Compiler::InProcess,
        watch_files: false,
    };
    let proxy = Proxy::of(App::start(options).unwrap());
    let listeners = proxy.app().listeners();
    let answer =
        async |at: usize| Client::connect(Protocol::Http1, listeners[at].1).await.get("/").await.text().to_owned();
    write(&[&two, &one]);
    assert!(proxy.app().reload().await);
    assert_eq!(proxy.app().listeners(), [listeners[1].clone(), listeners[0].clone()]);
    assert_eq!((&*answer(0).await, &*answer(1).await), ("one", "two"));
    write(&[&two]);
    assert!(proxy.app().reload().await);
    assert_eq!(proxy.app().listeners(), [listeners[1].clone()]);
    assert_eq!(answer(1).await, "two");
}
