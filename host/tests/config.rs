//! What a user reads about a bad configuration, pinned: `config/bad_*.toml` beside `config/bad_*.err`.
//!
//! `UPDATE_GOLDEN=1 cargo test -p meshup --test config` writes the `.err` files anew; read the difference.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use meshup::config::{self, Config, HostMatch, Isolation, LoadBalancing, ModuleSource, OnError, Protocol};
use serde_json::json;

fn files(prefix: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut files: Vec<PathBuf> =
        all.filter(|path| name(path).starts_with(prefix) && name(path).ends_with(".toml")).collect();
    files.sort();
    files
}

fn good(name: &str) -> Config {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(name);
    let text = fs::read_to_string(file).unwrap();
    let (config, _) =
        config::parse(&text, Path::new("/etc/meshup/meshup.toml")).unwrap_or_else(|faults| panic!("{faults}"));
    config
}

#[test]
fn every_bad_configuration_is_refused_with_the_words_on_file() {
    let bad = files("bad_");
    assert!(bad.len() >= 12);
    for file in bad {
        let text = fs::read_to_string(&file).unwrap();
        let name = file.file_name().unwrap();
        let Err(faults) = config::parse(&text, Path::new(name)) else { panic!("{} is accepted", name.display()) };
        let (told, golden) = (format!("{faults}\n"), file.with_extension("err"));
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &told).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(told, expected, "{}", golden.display());
    }
}

#[test]
fn the_documented_example_is_good() {
    let config = good("good_design.toml");
    assert_eq!(config.workers, 2);
    assert_eq!(config.filters["keys"].config.as_ref(), r#"{"header":"x-api-key","keys":{"alice":"sha256:..."}}"#);
    let route = &config.routes[0];
    assert_eq!(route.filters.iter().map(|name| &**name).collect::<Vec<_>>(), ["telemetry", "keys", "strip", "retry"]);
    assert_eq!(route.timeout, Some(Duration::from_secs(10)));
    assert_eq!((&*route.upstreams[0].name, route.upstreams[0].weight), ("orders", 1));
}

#[test]
fn the_smallest_configuration_gets_every_default() {
    let (config, _) = config::parse("[[listeners]]\nname='a'\nlisten='127.0.0.1:0'\n", Path::new("a.toml")).unwrap();
    let shown = config::effective(&config);
    assert_eq!(shown["drain_timeout"], "30s");
    assert_eq!(shown["admin"]["listen"], "127.0.0.1:9901");
    let limits = json!({
        "max_header_bytes": "64KiB", "max_headers": 100, "max_body_bytes": null, "header_timeout": "10s", "idle_timeout": "75s",
        "body_timeout": "30s", "request_timeout": "1h", "write_timeout": "1m", "max_connections": 10_000,
        "max_streams": 100, "max_resets": 200, "max_control_frames": 10_000, "http1_buffer": "64KiB",
        "http2_stream_window": "256KiB", "http2_connection_window": "1MiB", "http2_send_buffer": "32KiB", "http2_connection_heads": "1536KiB"
    });
    assert_eq!(shown["listeners"][0]["limits"], limits);
    assert_eq!(shown["routes"], json!([]));
    assert!(config.workers >= 1);
}

#[test]
fn every_key_reaches_the_checked_configuration() {
    let config = good("good_everything.toml");
    let filter = &config.filters["custom"];
    assert_eq!(filter.module, ModuleSource::File("/etc/meshup/filters/custom.wasm".into()));
    assert_eq!((filter.on_error, filter.isolation), (OnError::Bypass, Isolation::Exchange));
    assert_eq!(
        filter.config.as_ref(),
        r#"{"nested":{"deeply":{"on":true,"text":"a \"b\"\n"}},"numbers":[1,-2,31,1.5],"since":"2026-01-02T03:04:05Z"}"#
    );
    let matches = &config.routes[0].matches;
    let hosts = [
        HostMatch::Exact("orders.example".into()),
        HostMatch::Suffix(".example".into()),
        HostMatch::Exact("[::1]".into()),
    ];
    assert_eq!((matches.hosts.as_slice(), matches.path_prefix.as_deref()), (&hosts[..], Some("/v1")));
    assert_eq!(config.routes.iter().map(|route| &*route.name).collect::<Vec<_>>(), ["route-1", "route-2"]);
    let upstream = &config.upstreams["orders"];
    assert_eq!(
        (upstream.load_balancing, upstream.protocol, upstream.max_connections),
        (LoadBalancing::RoundRobin, Protocol::Http2, 7)
    );
}

#[test]
fn the_effective_configuration_is_in_the_notation_of_the_file() {
    let shown = config::effective(&good("good_everything.toml"));
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/good_everything.json");
    let told = format!("{shown:#}\n");
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&golden, &told).unwrap();
    }
    assert_eq!(told, fs::read_to_string(&golden).unwrap_or_default());
}

#[test]
fn the_effective_configuration_reads_back_as_the_same() {
    let config = good("good_everything.toml");
    let mut shown = config::effective(&config);
    shown["routes"][1]["match"] = json!({"path": "/", "headers": {"authorization": "Basic eDp5"}});
    without_nulls(&mut shown);
    let text = toml::to_string(&shown).unwrap();
    let (again, _) = config::parse(&text, Path::new("again.toml")).unwrap_or_else(|faults| panic!("{text}\n{faults}"));
    assert_eq!(again.listeners, config.listeners);
    assert_eq!(again.upstreams, config.upstreams);
    assert_eq!(again.routes, config.routes);
    assert_eq!(again.drain, config.drain);
}

fn without_nulls(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(table) => {
            table.retain(|_, value| !value.is_null());
            table.values_mut().for_each(without_nulls);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

#[test]
fn a_filter_knows_where_it_stands() {
    let text = "[[listeners]]\nname='a'\nlisten='127.0.0.1:0'\n[filters.b]\nmodule = 'b.wasm'\nconfig.x = 1\n[filters.c]\nmodule='c.wasm'\n";
    let (_, locations) = config::parse(text, Path::new("a.toml")).unwrap();
    let lines = |name: &str| (locations.filters[name].module.to_string(), locations.filters[name].config.to_string());
    assert_eq!(lines("b"), ("a.toml:5:10".into(), "a.toml:6:1".into()));
    assert_eq!(lines("c"), ("a.toml:8:8".into(), "a.toml:7:1".into()));
}

#[test]
fn an_unreadable_file_is_a_diagnostic() {
    let folder = tempfile::tempdir().unwrap();
    let missing = config::read(&folder.path().join("none.toml")).unwrap_err();
    assert!(missing.to_string().contains("cannot read the file"), "{missing}");
    let binary = folder.path().join("binary.toml");
    fs::write(&binary, [0xff, 0xfe, 0x00]).unwrap();
    assert_eq!(config::read(&binary).unwrap_err().total(), 1);
}

#[test]
fn a_deeply_nested_key_is_refused() {
    let deep = format!("filters.a.config.{} = 1", vec!["a"; 100_000].join("."));
    let faults = config::parse(&deep, Path::new("deep.toml")).unwrap_err();
    assert!(faults.to_string().contains("recursion limit"), "{faults}");
}

#[test]
fn no_text_makes_it_panic() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let seeds: Vec<Vec<u8>> = files("").iter().map(|file| fs::read(file).unwrap()).collect();
    for round in 0..3000 {
        let mut text = seeds[round % seeds.len()].clone();
        for _ in 0..=random.below(8) {
            mutate(&mut text, &mut random, &seeds);
        }
        if let Err(faults) = config::parse(&String::from_utf8_lossy(&text), Path::new("fuzz.toml")) {
            assert!(faults.total() > 0 && faults.to_string().len() < 100_000);
        }
    }
}

fn mutate(text: &mut Vec<u8>, random: &mut Random, seeds: &[Vec<u8>]) {
    const PIECES: [&str; 12] = ["\"", "[", "]", "{", "}", "=", "\n", ".", "ä", "-1", "\"\"\"", "99999999999999999999"];
    let at = random.below(text.len() + 1);
    match random.below(5) {
        0 => text.truncate(at),
        1 => drop(text.splice(at..at, PIECES[random.below(PIECES.len())].bytes())),
        2 => drop(text.drain(at..(at + random.below(20)).min(text.len()))),
        3 => text.insert(at, random.below(256) as u8),
        _ => {
            let other = &seeds[random.below(seeds.len())];
            text.extend_from_slice(&other[random.below(other.len())..]);
        }
    }
}

/// xorshift64: the same texts in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}
