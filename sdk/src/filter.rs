//! What makes an async function a filter.
//!
//! **Invariant:** a filter sees its configuration for as long as its instance lives, so a reference to it is `'static`.

use serde::{Deserialize, de::DeserializeOwned};

use crate::{into_response::IntoResponse, next::Next, request::Request};

/// An async function `(&Config, Request, Next) -> Response` or `(Request, Next) -> Response`.
///
/// It is implemented for these functions; `Kind` only tells the two apart and is always inferred.
pub trait Filter<Kind>: 'static {
    /// The configuration it takes.
    type Config: DeserializeOwned + 'static;
    /// Its future.
    type Future: Future<Output: IntoResponse> + 'static;

    /// Begins one exchange.
    fn begin(&self, config: &'static Self::Config, req: Request, next: Next) -> Self::Future;
}

/// Marks filters with a configuration.
#[derive(Debug)]
pub struct Configured<C>(std::marker::PhantomData<C>);

/// Marks filters without a configuration.
#[derive(Debug)]
pub struct Unconfigured(());

/// The configuration of a filter that takes none: nothing may stand in it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

impl<F, C, Fut> Filter<Configured<C>> for F
where
    F: Fn(&'static C, Request, Next) -> Fut + 'static,
    C: DeserializeOwned + 'static,
    Fut: Future<Output: IntoResponse> + 'static,
{
    type Config = C;
    type Future = Fut;

    #[inline]
    fn begin(&self, config: &'static C, req: Request, next: Next) -> Fut {
        self(config, req, next)
    }
}

impl<F, Fut> Filter<Unconfigured> for F
where
    F: Fn(Request, Next) -> Fut + 'static,
    Fut: Future<Output: IntoResponse> + 'static,
{
    type Config = NoConfig;
    type Future = Fut;

    #[inline]
    fn begin(&self, _: &'static NoConfig, req: Request, next: Next) -> Fut {
        self(req, next)
    }
}
