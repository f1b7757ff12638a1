//! The endpoints of an upstream that forwards to where connections were meant to go: made when first asked for, gone when
//! idle.
//!
//! **Invariant:** there are at most [`MAX_DESTINATIONS`] of them, and an unused one lasts for its last connection only.

use std::{cell::RefCell, net::SocketAddr, rc::Rc};

use meshup_abi::ErrorKind;
use rustc_hash::FxHashMap;

use super::{Endpoint, EndpointKey, endpoint::Settings};

/// Addresses are the clients' choice, so they are counted.
const MAX_DESTINATIONS: usize = 1024;

/// Endpoints by original destination, of one worker.
#[derive(Debug)]
pub(crate) struct Destinations {
    /// With which connections are made.
    pub settings: Settings,
    workers: usize,
    endpoints: RefCell<FxHashMap<SocketAddr, Rc<Endpoint>>>,
}

impl Destinations {
    /// No endpoints yet, of one of `workers` workers.
    pub(crate) fn new(settings: Settings, workers: usize) -> Self {
        Self { settings, workers, endpoints: RefCell::default() }
    }

    /// The endpoint at an address.
    ///
    /// # Errors
    /// [`ErrorKind::Overloaded`] while as many as there may be are in use.
    pub(super) fn endpoint(&self, address: SocketAddr) -> Result<Rc<Endpoint>, ErrorKind> {
        let mut endpoints = self.endpoints.borrow_mut();
        if let Some(known) = endpoints.get(&address) {
            return Ok(known.clone());
        }
        if endpoints.len() >= MAX_DESTINATIONS {
            let idle = endpoints.iter().find(|(_, endpoint)| endpoint.active() == 0).map(|(address, _)| *address);
            endpoints.remove(&idle.ok_or(ErrorKind::Overloaded)?);
        }
        let key = EndpointKey { address, settings: self.settings.clone() };
        let endpoint = Rc::new(Endpoint::new(key, self.workers));
        endpoints.insert(address, endpoint.clone());
        Ok(endpoint)
    }

    /// Closes connections that were idle for too long, and forgets endpoints without any.
    pub(crate) fn close_idle(&self) {
        self.endpoints.borrow_mut().retain(|_, endpoint| {
            endpoint.close_idle();
            endpoint.active() > 0 || endpoint.connections() > 0
        });
    }

    /// Those in use now.
    pub(super) fn endpoints(&self) -> Vec<Rc<Endpoint>> {
        self.endpoints.borrow().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Protocol;

    fn destinations() -> Destinations {
        let settings = Settings {
            protocol: Protocol::Http1,
            tls: None,
            connect_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(1),
            max_connections: 1,
        };
        Destinations::new(settings, 1)
    }

    fn address(n: usize) -> SocketAddr {
        SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 80))
    }

    #[test]
    fn one_more_than_there_may_be_takes_the_place_of_an_idle_one() {
        let destinations = destinations();
        for n in 0..=MAX_DESTINATIONS {
            destinations.endpoint(address(n)).expect("an idle one gives way");
        }
        assert_eq!(destinations.endpoints().len(), MAX_DESTINATIONS);
    }

    #[test]
    fn an_endpoint_is_the_same_until_it_is_idle() {
        let destinations = destinations();
        let first = destinations.endpoint(address(1)).expect("there is room");
        assert!(Rc::ptr_eq(&first, &destinations.endpoint(address(1)).expect("it is known")));
        destinations.close_idle();
        assert!(destinations.endpoints().is_empty());
    }
}
