//! The numbers that stand for events, verdicts, errors and attributes, each with its one meaning.

use core::fmt;

/// A number that stands for nothing in this version of the ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownCode {
    /// What the number was meant to be: `verdict`, `event`, ...
    pub what: &'static str,
    /// The number.
    pub code: u32,
}

impl fmt::Display for UnknownCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown {} {}", self.what, self.code)
    }
}

impl core::error::Error for UnknownCode {}

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$vdoc:meta])* $variant:ident = $code:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum $name { $($(#[$vdoc])* $variant = $code,)* }

        impl $name {
            /// Every value, in the order of the codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The number on the wire.
            #[must_use]
            pub const fn code(self) -> u32 {
                self as u32
            }

            /// The name as it stands in logs, metrics and headers.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl TryFrom<u32> for $name {
            type Error = UnknownCode;

            fn try_from(code: u32) -> Result<Self, UnknownCode> {
                match code {
                    $($code => Ok(Self::$variant),)*
                    _ => Err(UnknownCode { what: $what, code }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

codes! {
    /// What the host tells a filter.
    Event, "event" {
        /// A request head: the start of an exchange for this filter.
        Request = 1, "request";
        /// The response head to a Run.
        Response = 2, "response";
        /// The body that a Body verdict asked for.
        Body = 3, "body";
        /// The response to a Fetch.
        Fetched = 4, "fetched";
        /// A Sleep is over.
        Slept = 5, "slept";
        /// The exchange is over; sent when [`flag::WANT_END`](crate::flag::WANT_END) was set. No answer is read.
        End = 6, "end";
        /// The client went away or the exchange ended early: the pending work is to be dropped. No answer is read.
        Cancelled = 7, "cancelled";
    }
}

codes! {
    /// What a filter answers to an event: the `u32` at the start of every answer message.
    Verdict, "verdict" {
        /// Nothing more: the answer to End and Cancelled.
        Done = 0, "done";
        /// Pass the request on; this filter does not see the response.
        Pass = 1, "pass";
        /// Pass the request on and bring the response.
        Run = 2, "run";
        /// Answer with a response of the filter's own.
        Respond = 3, "respond";
        /// Hand the response outward.
        Deliver = 4, "deliver";
        /// Read a whole body.
        Body = 5, "body";
        /// Ask an upstream.
        Fetch = 6, "fetch";
        /// Wait.
        Sleep = 7, "sleep";
    }
}

codes! {
    /// Why the host made a response itself; the text stands in `x-meshup-error`, in metrics and in logs.
    ErrorKind, "error" {
        /// No connection to an endpoint could be made.
        ConnectFailure = 1, "connect-failure";
        /// The upstream closed or reset the connection before it answered.
        Reset = 2, "reset";
        /// The whole exchange took longer than its time-out.
        Timeout = 3, "timeout";
        /// One Run took longer than its deadline.
        PerTryTimeout = 4, "per-try-timeout";
        /// The upstream's answer was not valid HTTP.
        BadResponse = 5, "bad-response";
        /// The request body cannot be replayed for another Run.
        ReplayLimit = 6, "replay-limit";
        /// Every connection to the endpoints is in use and none came free in time.
        Overloaded = 7, "overloaded";
        /// The named upstream is not configured or has no endpoint.
        NoUpstream = 8, "no-upstream";
        /// A filter faulted and its `on_error` is `deny`.
        FilterFault = 9, "filter-fault";
        /// The client's request body ended early or broke the protocol.
        ClientAbort = 10, "client-abort";
        /// No route matches the request.
        NoRoute = 11, "no-route";
        /// The request is not valid.
        BadRequest = 12, "bad-request";
        /// The request body is larger than its limit.
        BodyTooLarge = 13, "body-too-large";
        /// The request's headers are larger than their limit.
        HeadersTooLarge = 14, "headers-too-large";
        /// A host limit on work per exchange was reached.
        LimitExceeded = 15, "limit-exceeded";
        /// The request's target is longer than a whole head may be.
        UriTooLong = 16, "uri-too-long";
        /// The request body stopped arriving.
        BodyTimeout = 17, "body-timeout";
        /// The request is to go where its connection was meant to go, and that is not known or the proxy itself.
        NoDestination = 20, "no-destination";
    }
}

codes! {
    /// Why a body could not be read whole.
    BodyError, "body error" {
        /// It is longer than the limit; it still flows on untouched.
        TooLarge = 1, "too-large";
        /// The sender went away before its end.
        Aborted = 2, "aborted";
        /// It was already passed on.
        Gone = 3, "gone";
    }
}

codes! {
    /// How an exchange ended.
    Outcome, "outcome" {
        /// The whole response was handed to the client.
        Complete = 1, "complete";
        /// The client went away first.
        ClientAbort = 2, "client-abort";
        /// The upstream broke off in the middle of the response.
        UpstreamAbort = 3, "upstream-abort";
        /// The exchange's time-out came in the middle of the response.
        Timeout = 4, "timeout";
    }
}

codes! {
    /// Log levels.
    Level, "log level" {
        /// Something failed.
        Error = 1, "error";
        /// Something looks wrong.
        Warn = 2, "warn";
        /// Worth knowing.
        Info = 3, "info";
        /// For finding a fault.
        Debug = 4, "debug";
        /// Everything.
        Trace = 5, "trace";
    }
}

codes! {
    /// Kinds of metric.
    MetricKind, "metric kind" {
        /// Only goes up.
        Counter = 1, "counter";
        /// Goes up and down.
        Gauge = 2, "gauge";
        /// Counts values in buckets.
        Histogram = 3, "histogram";
    }
}

codes! {
    /// What to do with a value.
    MetricOp, "metric operation" {
        /// Counter and gauge: add (a counter takes whole numbers of 0 or more).
        Add = 1, "add";
        /// Gauge: set.
        Set = 2, "set";
        /// Histogram: record one value.
        Record = 3, "record";
    }
}

codes! {
    /// Signature algorithms, by their JOSE names (RFC 7518, RFC 8037), and the key format each takes.
    Signature, "signature algorithm" {
        /// RSASSA-PKCS1-v1_5 with SHA-256, 2048 to 8192 bits. Key: DER, PKCS#1 `RSAPublicKey` or SPKI.
        Rs256 = 1, "RS256";
        /// ECDSA P-256 with SHA-256, signature `r || s` of 64 bytes. Key: uncompressed point (65 bytes) or SPKI DER.
        Es256 = 2, "ES256";
        /// Ed25519. Key: 32 bytes or SPKI DER.
        EdDsa = 3, "EdDSA";
        /// HMAC with SHA-256, compared in constant time. Key: the secret.
        Hs256 = 4, "HS256";
    }
}

codes! {
    /// What a filter may ask about its exchange. Texts unless said otherwise.
    Attribute, "attribute" {
        /// The client's IP address.
        ClientAddress = 1, "client.address";
        /// The client's port, decimal.
        ClientPort = 2, "client.port";
        /// The local address and port the client reached.
        ServerAddress = 3, "server.address";
        /// The listener's name.
        Listener = 4, "listener";
        /// The route's name.
        Route = 5, "route";
        /// The upstream chosen for the request; absent before one is.
        Upstream = 6, "upstream";
        /// The endpoint `address:port` last used; absent before one is.
        Endpoint = 7, "endpoint";
        /// The exchange's request id: the client's `x-request-id` where valid, else made by the host.
        RequestId = 8, "request.id";
        /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.
        Protocol = 9, "request.protocol";
        /// `u64` little-endian: when the request head arrived, nanoseconds since the Unix epoch.
        StartTime = 10, "request.time";
        /// `TLSv1.2` or `TLSv1.3`; absent without TLS.
        TlsVersion = 11, "tls.version";
        /// The server name the client asked for; absent without TLS or without a name.
        TlsServerName = 12, "tls.server_name";
        /// The client certificate's subject; absent without a verified client certificate.
        PeerSubject = 13, "peer.subject";
        /// The client certificate's SPIFFE URI; absent without one.
        PeerSpiffe = 14, "peer.spiffe";
        /// The configuration generation that serves the exchange, decimal.
        Generation = 15, "generation";
        /// How many times the request was sent to an upstream so far, decimal.
        Attempts = 16, "attempts";
        /// The path prefix that the route asks for, without the slash at its end but for `/` alone; absent when the
        /// route asks for none.
        RoutePrefix = 17, "route.path_prefix";
        /// The client certificate's subject alternative names, comma separated: `DNS:a.example`, `URI:spiffe://x/y`,
        /// `IP:192.0.2.1`, `email:a@b`; a comma within a name is `%2C`. Absent without a verified client certificate.
        PeerSans = 18, "peer.sans";
    }
}
