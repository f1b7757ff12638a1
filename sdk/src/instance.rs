//! A configured filter and its exchanges: one future each, polled once per event.
//!
//! There is no executor and no task: the host's events are the only wake-ups. A slot keeps the box of its future, so
//! that a warm instance begins an exchange without allocating.
//!
//! **Invariant:** after an event there is an answer in the [`context`], or the event was End or Cancelled.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use meshup_abi::{Event, tag};

use crate::{
    buffer::Buffer,
    config,
    context::{self, ExchangeState},
    filter::Filter,
    into_response::IntoResponse,
    next::Next,
    request::Request,
    summary::Summary,
    wire,
};

/// An instance, whatever its filter.
pub(crate) trait Instance {
    /// Takes one event of the exchange with that index.
    fn on_event(&mut self, exchange: u32, event: Event, message: Buffer);
}

/// Reads the configuration message and makes an instance of `filter`, or says why the configuration is refused.
pub(crate) fn configure<F: Filter<K>, K: 'static>(filter: F, message: &[u8]) -> Result<Box<dyn Instance>, String> {
    let json = wire::first(message, tag::CONFIG).map_or(&b"{}"[..], |field| field.payload);
    let config: F::Config = config::read(json)?;
    // An instance lives as long as its linear memory, so its configuration is never freed.
    Ok(Box::new(Running { filter, config: Box::leak(Box::new(config)), slots: Vec::new() }))
}

struct Running<F: Filter<K>, K> {
    filter: F,
    config: &'static F::Config,
    slots: Vec<Slot<F::Future>>,
}

struct Slot<Fut> {
    future: Pin<Box<Option<Fut>>>,
    state: ExchangeState,
}

impl<Fut> Slot<Fut> {
    fn empty() -> Self {
        Self { future: Box::pin(None), state: ExchangeState::default() }
    }
}

impl<F: Filter<K>, K> Instance for Running<F, K> {
    fn on_event(&mut self, exchange: u32, event: Event, message: Buffer) {
        let index = exchange as usize;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, Slot::empty);
        }
        let slot = &mut self.slots[index];
        match event {
            Event::Request => slot.begin(|req| self.filter.begin(self.config, req, Next::new()), message),
            Event::End => slot.end(&message),
            Event::Cancelled => slot.cancel(),
            Event::Response | Event::Body | Event::Fetched | Event::Slept => slot.resume(event, message),
        }
    }
}

impl<Fut: Future<Output: IntoResponse>> Slot<Fut> {
    #[inline]
    fn begin(&mut self, begin: impl FnOnce(Request) -> Fut, message: Buffer) {
        self.state.reset();
        self.future.as_mut().set(Some(begin(Request::received(message))));
        self.poll(None);
    }

    fn resume(&mut self, event: Event, message: Buffer) {
        self.poll(Some((event, message)));
    }

    /// The future goes; what waits for the end of the exchange stays.
    fn cancel(&mut self) {
        context::enter(&mut self.state, None);
        self.future.as_mut().set(None);
        context::leave(&mut self.state);
    }

    fn end(&mut self, message: &[u8]) {
        self.cancel();
        let summary = Summary::read(message);
        for callback in self.state.take_on_end() {
            callback(&summary);
        }
    }

    #[inline]
    fn poll(&mut self, event: Option<(Event, Buffer)>) {
        let Some(future) = self.future.as_mut().as_pin_mut() else {
            panic!("the host sent an event to an exchange that waits for none");
        };
        context::enter(&mut self.state, event);
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(response) => {
                response.into_response().send();
                self.future.as_mut().set(None);
            }
            Poll::Pending => {
                assert!(context::answered(), "a filter can only await what meshup-sdk offers: this would wait forever");
            }
        }
        context::leave(&mut self.state);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use meshup_abi::{Fields, Verdict};

    use super::*;
    use crate::{response::Response, sleep::sleep};

    async fn nap(req: Request, next: Next) -> Response {
        let path = req.path().to_owned();
        sleep(Duration::from_secs(1)).await;
        let mut res = next.run(&req).await;
        res.headers_mut().set("x-path", path);
        res
    }

    struct Host(Box<dyn Instance>);

    impl Host {
        fn send(&mut self, exchange: u32, event: Event, message: &[u8]) -> (Verdict, Vec<u8>) {
            self.0.on_event(exchange, event, Buffer::from(message.to_vec()));
            context::with_answer(|answer| {
                let (verdict, _) = Fields::of_answer(answer).unwrap();
                (verdict, answer[4..].to_vec())
            })
        }

        fn request(&mut self, exchange: u32, path: &str) -> Verdict {
            let mut message = Vec::new();
            wire::put_bytes(&mut message, tag::PATH, path.as_bytes());
            self.send(exchange, Event::Request, &message).0
        }
    }

    #[test]
    fn exchanges_of_one_instance_do_not_mix() {
        let mut host = Host(configure(nap, b"").unwrap());
        for (exchange, path) in [(0, "/zero"), (5, "/five"), (2, "/two")] {
            assert_eq!(host.request(exchange, path), Verdict::Sleep);
        }
        for exchange in [2, 0, 5] {
            assert_eq!(host.send(exchange, Event::Slept, b"").0, Verdict::Run);
        }
        for (exchange, path) in [(5, "/five"), (0, "/zero"), (2, "/two")] {
            let (verdict, changes) = host.send(exchange, Event::Response, b"");
            assert_eq!(verdict, Verdict::Deliver);
            let (name, value) = wire::first(&changes, tag::HEADER_SET).unwrap().pair().unwrap();
            assert_eq!((name, value), (&b"x-path"[..], path.as_bytes()));
        }
    }

    #[test]
    fn an_index_serves_again_after_an_end_in_any_state() {
        let mut host = Host(configure(nap, b"").unwrap());
        assert_eq!(host.request(0, "/first"), Verdict::Sleep);
        host.0.on_event(0, Event::Cancelled, Buffer::EMPTY);
        assert_eq!(host.request(0, "/second"), Verdict::Sleep);
        assert_eq!(host.request(0, "/third"), Verdict::Sleep);
        assert_eq!(host.send(0, Event::Slept, b"").0, Verdict::Run);
    }

    #[test]
    #[should_panic(expected = "waits for none")]
    fn an_event_that_nobody_waits_for_is_a_fault() {
        Host(configure(nap, b"").unwrap()).send(0, Event::Slept, b"");
    }

    #[test]
    #[should_panic(expected = "waits for slept")]
    fn an_event_of_another_kind_is_a_fault() {
        let mut host = Host(configure(nap, b"").unwrap());
        host.request(0, "/");
        host.send(0, Event::Response, b"");
    }
}
