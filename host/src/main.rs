//! The `meshup` command.

use std::path::PathBuf;

use meshup::{App, Options, Source};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    meshup::observe::init_logging(meshup::observe::LogFormat::detect());
    let path = std::env::args_os().nth(1).map(PathBuf::from).unwrap_or_default();
    let app = App::start(Options { source: Source::File(path), cache_dir: None, watch_files: true });
    match app {
        Ok(app) => {
            eprintln!("{:?}", app.listeners());
            loop {
                std::thread::park();
            }
        }
        Err(error) => eprintln!("{error}"),
    }
}
