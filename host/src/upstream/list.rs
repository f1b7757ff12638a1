//! The endpoints of an upstream: those of its addresses and those that its names stand for now.
//!
//! Looks nothing up: `names` does.
//!
//! **Invariant:** a list is never changed, it is replaced: a request keeps the one that it began with.

use std::{cell::RefCell, rc::Rc};

use super::{
    Endpoint, EndpointKey,
    balance::{self, Turns},
    endpoint::Settings,
};
use crate::names::Members;

/// The endpoints of one upstream, of one worker.
#[derive(Debug)]
pub(crate) struct EndpointList {
    settings: Settings,
    members: RefCell<Members>,
    turns: RefCell<Turns>,
}

impl EndpointList {
    /// The endpoints of `members`, which `endpoint` finds or makes.
    pub(crate) fn new(settings: Settings, members: Members, endpoint: impl FnMut(EndpointKey) -> Rc<Endpoint>) -> Self {
        let list = Self { settings, members: RefCell::new(members), turns: RefCell::default() };
        list.refresh(endpoint);
        list
    }

    /// The endpoints in turn, some perhaps more often than others.
    pub(super) fn now(&self) -> Turns {
        self.turns.borrow().clone()
    }

    /// The endpoints, each once.
    pub(super) fn distinct(&self) -> Vec<Rc<Endpoint>> {
        balance::distinct(&self.turns.borrow())
    }

    /// Takes up the addresses that names stand for now, if they are others than before.
    pub(super) fn follow_names(&self, endpoint: impl FnMut(EndpointKey) -> Rc<Endpoint>) {
        if self.members.borrow().have_changed() {
            self.refresh(endpoint);
        }
    }

    fn refresh(&self, mut endpoint: impl FnMut(EndpointKey) -> Rc<Endpoint>) {
        let members = self.members.borrow_mut().now();
        let endpoints = members.into_iter().map(|member| {
            let key = EndpointKey { address: member.address, name: member.name, settings: self.settings.clone() };
            (endpoint(key), member.turns)
        });
        let turns = balance::turns(&endpoints.collect::<Vec<_>>());
        self.turns.replace(turns);
    }
}
