//! Names in a confined command's network: each gets an address of its own, by which it is known again when that is connected to.
//! What the name really stands for is asked outside, once it may be reached at all.

use super::network::{OWN_V4, OWN_V6};
use crate::name::Host;
use hickory_resolver::proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, PTR};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use lru::LruCache;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

/// How long a client may believe an answer, in seconds: an address is given to another name only when this many others were
/// asked for since.
const TTL: u32 = 5;
const MAX_NAMES: usize = 16_384;
/// The first address that a name gets: behind the network's and the namespace's own.
const FIRST: u32 = 2;
/// The largest question over UDP (RFC 6891, section 6.2.5, has it for a sensible size).
const MAX_QUESTION: usize = 4096;
/// How long a client over TCP may take for a question.
const PATIENCE: Duration = Duration::from_secs(10);

/// So many clients over TCP are answered at once: who asks so asks little.
const MAX_CONNECTIONS: usize = 32;
const RESPITE: Duration = Duration::from_millis(50);

/// The names that were asked for, and the address that each of them has.
pub struct SyntheticNames(Mutex<GivenAddresses>);

struct GivenAddresses {
    /// By name, the one that was asked for last first.
    places: LruCache<Host, u32>,
    /// By place.
    names: Vec<Host>,
}

impl Default for SyntheticNames {
    fn default() -> Self {
        Self(Mutex::new(GivenAddresses { places: LruCache::unbounded(), names: Vec::new() }))
    }
}

impl SyntheticNames {
    /// The name that an address was given to, if it was to any.
    pub fn name_of(&self, address: IpAddr) -> Option<Host> {
        let place = place_of(address)?.checked_sub(FIRST)?;
        let given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        given.names.get(usize::try_from(place).ok()?).cloned()
    }

    /// The addresses of a name.
    pub fn addresses_of(&self, host: &Host) -> (Ipv4Addr, Ipv6Addr) {
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = FIRST + given.place(host);
        (v4_at(place), v6_at(place))
    }
}

impl GivenAddresses {
    fn place(&mut self, host: &Host) -> u32 {
        if let Some(place) = self.places.get(host) {
            return *place;
        }
        let free = u32::try_from(self.names.len()).ok().filter(|_| self.names.len() < MAX_NAMES);
        let place = free.or_else(|| self.places.pop_lru().map(|(_, place)| place)).unwrap_or_default();
        match usize::try_from(place).ok().and_then(|place| self.names.get_mut(place)) {
            Some(name) => *name = host.clone(),
            None => self.names.push(host.clone()),
        }
        self.places.put(host.clone(), place);
        place
    }
}

fn v4_at(place: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits((OWN_V4.to_bits() - 1) + place)
}

fn v6_at(place: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits((OWN_V6.to_bits() - 1) + u128::from(place))
}

fn place_of(address: IpAddr) -> Option<u32> {
    match address {
        IpAddr::V4(address) => address.to_bits().checked_sub(OWN_V4.to_bits() - 1),
        IpAddr::V6(address) => u32::try_from(address.to_bits().checked_sub(OWN_V6.to_bits() - 1)?).ok(),
    }
}

/// Answers questions until the sockets fail, which they don't.
pub async fn answer_all(names: Arc<SyntheticNames>, udp: UdpSocket, tcp: TcpListener) {
    tokio::join!(answer_datagrams(&names, &udp), answer_connections(&names, &tcp));
}

async fn answer_datagrams(names: &SyntheticNames, socket: &UdpSocket) {
    let mut question = vec![0; MAX_QUESTION];
    // what one client did wrong is told as an error of the next call
    let mut failures = 0;
    while failures < MAX_QUESTION {
        let Ok((len, from)) = socket.recv_from(&mut question).await else {
            failures += 1;
            continue;
        };
        failures = 0;
        if let Some(answer) = answer(names, &question[..len]) {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

async fn answer_connections(names: &Arc<SyntheticNames>, listener: &TcpListener) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Ok(place) = places.clone().acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            // there may be no descriptor left
            tokio::time::sleep(RESPITE).await;
            continue;
        };
        let names = names.clone();
        tokio::spawn(async move {
            let _ = tokio::time::timeout(PATIENCE, answer_connection(&names, stream)).await;
            drop(place);
        });
    }
}

/// RFC 7766: each message behind its length.
async fn answer_connection(names: &SyntheticNames, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let mut question = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut question).await?;
        let Some(answer) = answer(names, &question) else { return Ok(()) };
        let Ok(len) = u16::try_from(answer.len()) else { return Ok(()) };
        stream.write_all(&[&len.to_be_bytes()[..], &answer].concat()).await?;
    }
}

/// The answer to a question; `None` where what came is none.
fn answer(names: &SyntheticNames, question: &[u8]) -> Option<Vec<u8>> {
    let asked = Message::from_vec(question).ok()?;
    if asked.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
    answer.metadata.recursion_desired = asked.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    let code = match (&asked.queries[..], asked.metadata.op_code) {
        ([query], OpCode::Query) => {
            answer.add_query(query.clone());
            let (code, data) = answer_to(names, query);
            answer.add_answers(data.map(|data| Record::from_rdata(query.name().clone(), TTL, data)));
            code
        }
        (_, OpCode::Query) => ResponseCode::FormErr,
        _ => ResponseCode::NotImp,
    };
    answer.metadata.response_code = code;
    if asked.edns.is_some() {
        answer.set_edns(Edns::new());
    }
    answer.to_vec().ok()
}

/// Every name has one address of each family, and nothing else: a client that asks for services or for HTTPS (RFC 9460) goes on
/// with that.
fn answer_to(names: &SyntheticNames, query: &Query) -> (ResponseCode, Option<RData>) {
    if query.query_type() == RecordType::PTR {
        let host = query.name().parse_arpa_name().ok().and_then(|net| names.name_of(net.addr()));
        let name = host.and_then(|host| Name::from_ascii(format!("{host}.")).ok());
        let code = if name.is_some() { ResponseCode::NoError } else { ResponseCode::NXDomain };
        return (code, name.map(|name| RData::PTR(PTR(name))));
    }
    let Ok(host) = query.name().to_ascii().parse::<Host>() else { return (ResponseCode::NXDomain, None) };
    let Host::Dns(name) = &host else { return (ResponseCode::NXDomain, None) };
    let is_below = |top: &str| **name == *top || name.strip_suffix(top).is_some_and(|rest| rest.ends_with('.'));
    // RFC 6761, sections 6.3 and 6.4
    if is_below("invalid") && !host.is_own() {
        return (ResponseCode::NXDomain, None);
    }
    let (v4, v6) = match is_below("localhost") {
        true => (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST),
        false => names.addresses_of(&host),
    };
    let data = match query.query_type() {
        RecordType::A => Some(RData::A(A(v4))),
        RecordType::AAAA => Some(RData::AAAA(AAAA(v6))),
        _ => None,
    };
    (ResponseCode::NoError, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(names: &SyntheticNames, name: &str, kind: RecordType) -> (ResponseCode, Vec<String>) {
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        let bytes = answer(names, &question.to_vec().unwrap()).unwrap();
        let told = Message::from_vec(&bytes).unwrap();
        assert_eq!((told.metadata.id, &told.queries), (question.metadata.id, &question.queries));
        (told.metadata.response_code, told.answers.iter().map(|record| record.data.to_string()).collect())
    }

    fn found(names: &SyntheticNames, name: &str, kind: RecordType) -> String {
        let (code, answers) = ask(names, name, kind);
        assert_eq!(code, ResponseCode::NoError);
        answers.concat()
    }

    #[test]
    fn an_address_leads_back_to_the_name_that_was_asked_for() {
        let names = SyntheticNames::default();
        let v4 = found(&names, "api.openai.com.", RecordType::A);
        let v6 = found(&names, "API.openai.com.", RecordType::AAAA);
        assert_eq!((v4.as_str(), v6.as_str()), ("198.18.0.2", "fd00:c0f::2"));
        assert_eq!(found(&names, "other.example.", RecordType::A), "198.18.0.3");
        let host = |text: &str| text.parse::<Host>().unwrap();
        for address in [v4, v6] {
            assert_eq!(names.name_of(address.parse().unwrap()), Some(host("api.openai.com")));
        }
        assert_eq!(found(&names, "3.0.18.198.in-addr.arpa.", RecordType::PTR), "other.example.");
        for unknown in ["198.18.0.0", "198.18.0.1", "198.18.0.4", "1.1.1.1", "fd00:c0f::1", "::1", "2001:db8::1"] {
            assert_eq!(names.name_of(unknown.parse().unwrap()), None, "{unknown}");
        }
    }

    #[test]
    fn names_that_are_no_hosts_elsewhere_have_no_address() {
        let names = SyntheticNames::default();
        assert_eq!(found(&names, "localhost.", RecordType::A), "127.0.0.1");
        assert_eq!(found(&names, "a.localhost.", RecordType::AAAA), "::1");
        assert_eq!(ask(&names, "a.invalid.", RecordType::A), (ResponseCode::NXDomain, Vec::new()));
        assert_eq!(ask(&names, "4.3.2.1.in-addr.arpa.", RecordType::PTR), (ResponseCode::NXDomain, Vec::new()));
        for kind in [RecordType::TXT, RecordType::HTTPS, RecordType::SVCB, RecordType::SRV, RecordType::MX] {
            assert_eq!(ask(&names, "api.openai.com.", kind), (ResponseCode::NoError, Vec::new()), "{kind}");
        }
    }

    #[test]
    fn no_more_names_are_kept_than_that_and_the_one_that_was_not_asked_for_gives_way() {
        let names = SyntheticNames::default();
        let host = |n: usize| format!("h{n}.example").parse::<Host>().unwrap();
        for n in 0..MAX_NAMES {
            names.addresses_of(&host(n));
        }
        let (first, _) = names.addresses_of(&host(0));
        let (new, _) = names.addresses_of(&host(MAX_NAMES));
        assert_eq!(names.name_of(first.into()), Some(host(0)));
        assert_eq!(new, v4_at(FIRST + 1));
        assert_eq!(names.name_of(new.into()), Some(host(MAX_NAMES)));
        assert_eq!(names.0.lock().unwrap().names.len(), MAX_NAMES);
    }

    #[test]
    fn what_is_no_question_gets_no_answer() {
        let names = SyntheticNames::default();
        assert_eq!(answer(&names, b""), None);
        assert_eq!(answer(&names, &[0xff; 40]), None);
        let reply = Message::response(7, OpCode::Query).to_vec().unwrap();
        assert_eq!(answer(&names, &reply), None);
        let empty = answer(&names, &Message::query().to_vec().unwrap()).unwrap();
        assert_eq!(Message::from_vec(&empty).unwrap().metadata.response_code, ResponseCode::FormErr);
    }
}
