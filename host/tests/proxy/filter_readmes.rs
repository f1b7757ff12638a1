//! The whole configurations in the READMEs of the bundled filters start.

use std::{fs, path::Path};

use crate::support::Proxy;

/// The examples in a README that are complete but for the admin listener.
fn complete_examples(readme: &str) -> Vec<&str> {
    let blocks = readme.split("```toml\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0));
    blocks.filter(|block| block.contains("[[listeners]]") && !block.contains("[admin]")).collect()
}

#[tokio::test]
async fn the_examples_in_the_readmes_of_the_filters_start() {
    let filters = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("filters");
    let mut started = Vec::new();
    for name in meshup_filters::NAMES {
        let readme = fs::read_to_string(filters.join(name).join("README.md")).unwrap();
        for example in complete_examples(&readme) {
            Proxy::start(&example.replace("127.0.0.1:8080", "127.0.0.1:0"));
            started.push(*name);
        }
    }
    for name in ["cors", "ext-authz", "fault", "jwt"] {
        assert!(started.contains(&name), "{name}: {started:?}");
    }
}
