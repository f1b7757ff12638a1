//! The configurations in the READMEs of the bundled filters start, each that is not whole with what it leaves out.

use std::{fs, path::Path};

use crate::support::Proxy;

/// The blocks of configuration in a README.
fn examples(readme: &str) -> impl Iterator<Item = &str> {
    readme.split("```toml\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0))
}

/// The example with a free port, and with a route through its filters if it has none.
fn whole(example: &str) -> String {
    let table: toml::Table = toml::from_str(example).unwrap();
    let mut whole = example.replace("127.0.0.1:8080", "127.0.0.1:0");
    if !table.contains_key("routes") {
        let filters: Vec<_> = table["filters"].as_table().unwrap().keys().collect();
        whole += &format!("[[routes]]\nupstream = \"behind\"\nfilters = {filters:?}\n");
        whole += "[upstreams.behind]\nendpoints = [\"127.0.0.1:9\"]\n";
    }
    whole
}

#[tokio::test]
async fn the_examples_in_the_readmes_of_the_filters_start() {
    let filters = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("filters");
    for name in meshup_filters::NAMES {
        let readme = fs::read_to_string(filters.join(name).join("README.md")).unwrap();
        assert!(examples(&readme).next().is_some(), "{name} shows no configuration");
        for example in examples(&readme) {
            Proxy::start(&whole(example));
        }
    }
}
