//! The filters of the comparison as Envoy takes them: to the proxy-wasm ABI, with the SDK that its authors keep.
//!
//! One module for all of them, so that a chain needs one VM; the plugin configuration is the name of the filter. Each
//! makes as few calls to the host as its work allows, and takes and gives text without copies beyond the SDK's own.
//! For wasm32 only: without the proxy there is nobody to call.
//!
//! **Invariant:** a plugin whose configuration is no known name does not start.

#![cfg(target_family = "wasm")]

mod check;
mod headers;
mod pass;
mod rewrite;
mod telemetry;

use std::rc::Rc;

use proxy_wasm::{
    traits::{Context, HttpContext, RootContext},
    types::ContextType,
};

use crate::{check::Check, headers::Headers, pass::Pass, rewrite::Rewrite, telemetry::Telemetry};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Plugin { filter: None }));
}}

/// One filter of the chain.
struct Plugin {
    filter: Option<Filter>,
}

enum Filter {
    Check,
    Rewrite,
    Telemetry(Rc<telemetry::Metrics>),
    Headers,
    Pass,
}

impl Filter {
    fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"check" => Some(Self::Check),
            b"rewrite" => Some(Self::Rewrite),
            b"telemetry" => Some(Self::Telemetry(Rc::new(telemetry::Metrics::new()?))),
            b"headers" => Some(Self::Headers),
            b"pass" => Some(Self::Pass),
            _ => None,
        }
    }
}

impl Context for Plugin {}

impl RootContext for Plugin {
    fn on_configure(&mut self, _: usize) -> bool {
        self.filter = Filter::named(&self.get_plugin_configuration().unwrap_or_default());
        self.filter.is_some()
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(match self.filter.as_ref()? {
            Filter::Check => Box::new(Check),
            Filter::Rewrite => Box::new(Rewrite),
            Filter::Telemetry(metrics) => Box::new(Telemetry::new(id, Rc::clone(metrics))),
            Filter::Headers => Box::new(Headers),
            Filter::Pass => Box::new(Pass),
        })
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
