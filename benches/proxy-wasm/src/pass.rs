//! Only passes.

use proxy_wasm::traits::{Context, HttpContext};

pub(crate) struct Pass;

impl Context for Pass {}

impl HttpContext for Pass {}
