//! Changes of filters, made to the heads of an exchange.
//!
//! What may be changed was decided when the answer was read.
//!
//! **Invariant:** the fields that filters are told say the same as the head, or are made anew.

use http::header::CONTENT_LENGTH;

use super::{Exchange, Reply, RequestChanges, ResponseChanges, RestOfRequest, Target};
use crate::body::{RequestSource, ResponseSource};

impl Exchange {
    /// What filter `at` changes; `head_fields` are kept for the next filter alone.
    pub(super) fn change_request(&mut self, at: usize, changes: RequestChanges) {
        if at + 1 == self.end.slots.0.len() {
            self.head_fields = None;
        }
        changes.headers.apply(&mut self.head.headers, &mut self.head_fields);
        if let Some(rest) = changes.rest {
            self.change_rest(*rest);
        }
    }

    pub(super) fn change_rest(&mut self, rest: RestOfRequest) {
        self.head_fields = None;
        if let Some(method) = rest.method {
            self.head.method = method;
        }
        if let Some(path) = rest.path {
            self.head.uri = path.into();
        }
        if let Some(authority) = rest.authority {
            self.head.headers.insert(http::header::HOST, authority);
        }
        if let Some(name) = rest.upstream {
            self.target = self.end.generation.upstream(&name).map_or(Target::Missing, Target::Chosen);
        }
        if let Some(timeout) = rest.timeout {
            self.deadline = Some(self.end.started + timeout);
        }
        if let Some(body) = rest.body {
            self.head.headers.remove(CONTENT_LENGTH);
            self.end.request = Some(RequestSource::replaced(body));
        }
    }

    pub(super) fn change_response(&mut self, at: usize, changes: ResponseChanges) {
        let Reply { head, fields, source, .. } = &mut self.reply;
        if let Some(status) = changes.status {
            head.status = status;
        }
        if at == 0 {
            *fields = None;
        }
        changes.headers.apply(&mut head.headers, fields);
        if let Some(body) = changes.body {
            head.headers.remove(CONTENT_LENGTH);
            *fields = None;
            *source = ResponseSource::Full(body);
        }
    }
}
