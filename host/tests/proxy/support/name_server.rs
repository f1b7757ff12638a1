//! A name server on loopback that answers as a test says, over UDP and TCP.
//!
//! It has threads of its own: a proxy that starts waits for it and holds up the test's runtime.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use hickory_proto::{
    op::{Message, OpCode, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, SRV},
    },
};

/// What a longer answer needs TCP for.
const MAX_DATAGRAM: usize = 1200;

/// What the server says to a question.
#[derive(Debug, Clone)]
pub(crate) enum Saying {
    Records(u32, Vec<RData>),
    /// Records of whatever names: the owner, the time to live and the data of each.
    Whole(Vec<(&'static str, u32, RData)>),
    Code(ResponseCode),
    Nothing,
}

impl Saying {
    pub(crate) const NO_NAME: Self = Self::Code(ResponseCode::NXDomain);
    pub(crate) const EMPTY: Self = Self::Code(ResponseCode::NoError);
    pub(crate) const FAILURE: Self = Self::Code(ResponseCode::ServFail);
}

type Question = (String, RecordType);

#[derive(Default)]
struct Zone {
    sayings: Mutex<HashMap<Question, Saying>>,
    asked: Mutex<Vec<(Question, Instant)>>,
    over: AtomicBool,
}

/// A running name server; names that it was not told of do not exist.
pub(crate) struct NameServer {
    address: SocketAddr,
    zone: Arc<Zone>,
}

impl NameServer {
    pub(crate) fn start() -> Self {
        let (datagrams, connections) = std::iter::repeat_with(sockets).flatten().next().unwrap();
        let address = datagrams.local_addr().unwrap();
        let zone = Arc::<Zone>::default();
        let (one, other) = (zone.clone(), zone.clone());
        std::thread::spawn(move || one.serve_datagrams(&datagrams));
        std::thread::spawn(move || other.serve_connections(&connections));
        Self { address, zone }
    }

    /// The configuration that makes a proxy ask it; more keys may follow.
    pub(crate) fn config(&self) -> String {
        format!("[dns]\nservers = [\"{}\"]\n", self.address)
    }

    /// Says the same to every question about a name.
    pub(crate) fn say(&self, name: &str, saying: &Saying) {
        for kind in [RecordType::A, RecordType::AAAA, RecordType::SRV] {
            self.say_to(name, kind, saying.clone());
        }
    }

    pub(crate) fn say_to(&self, name: &str, kind: RecordType, saying: Saying) {
        self.zone.sayings.lock().unwrap().insert((name.to_owned(), kind), saying);
    }

    /// A host with these addresses.
    pub(crate) fn host(&self, name: &str, ttl: u32, addresses: &[IpAddr]) {
        let (ipv4, ipv6): (Vec<_>, Vec<_>) =
            addresses.iter().copied().map(data).partition(|data| matches!(data, RData::A(_)));
        for (kind, records) in [(RecordType::A, ipv4), (RecordType::AAAA, ipv6)] {
            let saying = if records.is_empty() { Saying::EMPTY } else { Saying::Records(ttl, records) };
            self.say_to(name, kind, saying);
        }
    }

    /// A service: priority, weight, port and target of each record.
    pub(crate) fn service(&self, name: &str, ttl: u32, targets: &[(u16, u16, u16, &str)]) {
        let target = |&(priority, weight, port, target): &(u16, u16, u16, &str)| {
            RData::SRV(SRV::new(priority, weight, port, Name::from_ascii(format!("{target}.")).unwrap()))
        };
        self.say_to(name, RecordType::SRV, Saying::Records(ttl, targets.iter().map(target).collect()));
    }

    /// When it was asked for a kind of record of a name.
    pub(crate) fn asked(&self, name: &str, kind: RecordType) -> Vec<Instant> {
        let asked = self.zone.asked.lock().unwrap();
        asked.iter().filter(|((of, what), _)| of == name && *what == kind).map(|(_, at)| *at).collect()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.zone.over.store(true, Ordering::SeqCst);
        let _ = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().send_to(b"over", self.address);
        let _ = TcpStream::connect(self.address);
    }
}

/// The same port for both transports; none when another process has one of them.
fn sockets() -> Option<(UdpSocket, TcpListener)> {
    let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let connections = TcpListener::bind(datagrams.local_addr().unwrap()).ok()?;
    Some((datagrams, connections))
}

fn data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    }
}

impl Zone {
    fn serve_datagrams(&self, socket: &UdpSocket) {
        let mut buffer = [0; 4096];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            let Some(mut answer) = self.answer(&buffer[..length]) else { continue };
            if answer.to_vec().unwrap().len() > MAX_DATAGRAM {
                answer.answers.clear();
                answer.metadata.truncation = true;
            }
            let _ = socket.send_to(&answer.to_vec().unwrap(), client);
        }
    }

    fn serve_connections(&self, listener: &TcpListener) {
        for mut stream in listener.incoming().map_while(Result::ok) {
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            let mut length = [0; 2];
            while stream.read_exact(&mut length).is_ok() {
                let mut question = vec![0; u16::from_be_bytes(length).into()];
                stream.read_exact(&mut question).unwrap();
                let Some(answer) = self.answer(&question) else { break };
                let answer = answer.to_vec().unwrap();
                stream.write_all(&u16::try_from(answer.len()).unwrap().to_be_bytes()).unwrap();
                stream.write_all(&answer).unwrap();
            }
        }
    }

    fn answer(&self, question: &[u8]) -> Option<Message> {
        let asked = Message::from_vec(question).ok()?;
        let query = asked.queries.first()?.clone();
        let name = query.name().to_string().trim_end_matches('.').to_ascii_lowercase();
        let question = (name, query.query_type());
        let saying = self.sayings.lock().unwrap().get(&question).cloned().unwrap_or(Saying::NO_NAME);
        self.asked.lock().unwrap().push((question, Instant::now()));
        let mut answer = Message::response(asked.metadata.id, OpCode::Query);
        match saying {
            Saying::Nothing => return None,
            Saying::Code(code) => answer.metadata.response_code = code,
            Saying::Records(ttl, records) => {
                let record = |data| Record::from_rdata(query.name().clone(), ttl, data);
                answer.answers = records.into_iter().map(record).collect();
            }
            Saying::Whole(records) => {
                let record = |(name, ttl, data)| Record::from_rdata(Name::from_ascii(name).unwrap(), ttl, data);
                answer.answers = records.into_iter().map(record).collect();
            }
        }
        answer.metadata.recursion_available = true;
        answer.queries.push(query);
        Some(answer)
    }
}
