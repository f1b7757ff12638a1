//! Which endpoint gets the next request.
//!
//! Endpoints that just refused a connection are passed over while others are left.

use std::{cell::Cell, rc::Rc};

use rustc_hash::FxHashSet;

use super::Endpoint;
use crate::{config::LoadBalancing, random::Random};

/// The endpoints of an upstream; one that gets a larger share than others is in it more than once.
pub(super) type Turns = Rc<[Rc<Endpoint>]>;

/// Every endpoint as often as it says, spread out.
pub(super) fn turns(endpoints: &[(Rc<Endpoint>, u16)]) -> Turns {
    let rounds = endpoints.iter().map(|(_, turns)| *turns).max().unwrap_or_default();
    // Where all have the same number of turns, one is enough.
    let least = endpoints.iter().map(|(_, turns)| *turns).min().unwrap_or_default();
    let rounds = if least == rounds { 0..rounds.min(1) } else { 0..rounds };
    let round = |round: u16| endpoints.iter().filter(move |(_, turns)| round < *turns);
    rounds.flat_map(round).map(|(endpoint, _)| endpoint.clone()).collect()
}

/// Every endpoint once, in order.
pub(super) fn distinct(turns: &[Rc<Endpoint>]) -> Vec<Rc<Endpoint>> {
    let mut seen = FxHashSet::default();
    turns.iter().filter(|endpoint| seen.insert(Rc::as_ptr(endpoint))).cloned().collect()
}

/// The index of the endpoint to try after the one at `at`: another one, if there is one, and one that does not refuse
/// connections, if there is one of these.
pub(super) fn next(turns: &[Rc<Endpoint>], at: usize) -> usize {
    let mut after = (1..turns.len()).map(|step| (at + step) % turns.len());
    let is_other =
        |other: &usize| turns.get(at).zip(turns.get(*other)).is_some_and(|(one, other)| !Rc::ptr_eq(one, other));
    let is_up = |other: &usize| is_other(other) && turns.get(*other).is_some_and(|endpoint| !endpoint.is_failing());
    after.clone().find(is_up).or_else(|| after.find(is_other)).unwrap_or(at)
}

#[derive(Debug)]
pub(super) struct Balancer {
    policy: LoadBalancing,
    turn: Cell<usize>,
    random: Random,
}

impl Balancer {
    pub(super) fn new(policy: LoadBalancing) -> Self {
        let random = Random::new();
        Self { policy, turn: Cell::new(random.below(1 << 16)), random }
    }

    /// The index of the endpoint to use; `None` without endpoints.
    pub(super) fn pick(&self, endpoints: &[Rc<Endpoint>]) -> Option<usize> {
        match endpoints.len() {
            0 => None,
            1 => Some(0),
            len => Some(self.healthy(endpoints, self.pick_any(endpoints, len))),
        }
    }

    fn pick_any(&self, endpoints: &[Rc<Endpoint>], len: usize) -> usize {
        match self.policy {
            LoadBalancing::RoundRobin => {
                let turn = self.turn.get();
                self.turn.set(turn.wrapping_add(1));
                turn % len
            }
            LoadBalancing::Random => self.random.below(len),
            LoadBalancing::LeastRequest => self.less_busy(endpoints, len),
        }
    }

    /// Power of two choices (Mitzenmacher 2001): the less busy of two distinct endpoints.
    fn less_busy(&self, endpoints: &[Rc<Endpoint>], len: usize) -> usize {
        let first = self.random.below(len);
        let second = (first + 1 + self.random.below(len - 1)) % len;
        let busy = |at: usize| endpoints.get(at).map_or(usize::MAX, |endpoint| endpoint.active());
        if busy(second) < busy(first) { second } else { first }
    }

    fn healthy(&self, endpoints: &[Rc<Endpoint>], at: usize) -> usize {
        let is_up = |at: &usize| endpoints.get(*at).is_some_and(|endpoint| !endpoint.is_failing());
        (0..endpoints.len()).map(|step| (at + step) % endpoints.len()).find(is_up).unwrap_or(at)
    }
}
