//! A name server on an address of this machine that is its own, since resolvers ask at port 53 only. It takes root.

use super::HANGS;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::{Arc, Condvar, Mutex};

const A: u16 = 1;
const NO_SUCH_NAME: u8 = 3;

/// Names below `dead.test` are never answered for, those that were given an address are, and no others are known.
pub struct NameServer {
    ip: IpAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    known: Mutex<HashMap<String, (Ipv4Addr, u32)>>,
    /// The names whose IPv4 addresses were asked for.
    asked: Mutex<Vec<String>>,
    changed: Condvar,
}

impl NameServer {
    /// None where this user may not have the port.
    pub fn start() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        // another process may have the first of them
        let socket = (0..100).find_map(|_| {
            let mut random = [0; 3];
            aws_lc_rs::rand::fill(&mut random).expect("randomness");
            UdpSocket::bind((Ipv4Addr::new(127, random[0], random[1], random[2].clamp(2, 250)), 53)).ok()
        });
        let socket = socket.expect("an address with a free port 53");
        let server = Self { ip: socket.local_addr().expect("an address").ip(), state: Arc::default() };
        let state = server.state.clone();
        std::thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query) {
                if let Some(answer) = state.answer(&query[..length]) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Some(server)
    }

    pub fn resolv_conf(&self) -> String {
        format!("nameserver {}\n", self.ip)
    }

    /// From now on the name has this address, for so many seconds.
    pub fn answers(&self, name: &str, address: Ipv4Addr, ttl: u32) {
        self.state.known.lock().expect("the names").insert(name.to_owned(), (address, ttl));
    }

    /// How often the IPv4 address of a name was asked for.
    pub fn asked(&self, name: &str) -> usize {
        self.state.asked.lock().expect("what was asked").iter().filter(|asked| *asked == name).count()
    }

    /// Returns once somebody has asked for a name that ends like this.
    pub fn await_asked(&self, ending: &str) {
        let asked = self.state.asked.lock().expect("what was asked");
        let none_yet = |asked: &mut Vec<String>| !asked.iter().any(|name| name.ends_with(ending));
        let waited = self.state.changed.wait_timeout_while(asked, HANGS, none_yet).expect("what was asked").1;
        assert!(!waited.timed_out(), "nobody asked for {ending}");
    }
}

impl State {
    /// RFC 1035, section 4.1; nothing where it is of the dead zone.
    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let (mut name, mut at) = (String::new(), 12);
        while *query.get(at)? != 0 {
            let label = query.get(at + 1..at + 1 + usize::from(query[at]))?;
            name.push_str(if name.is_empty() { "" } else { "." });
            name.push_str(&String::from_utf8_lossy(label).to_lowercase());
            at += 1 + label.len();
        }
        let question = query.get(12..at + 5)?;
        let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
        if kind == A {
            self.asked.lock().expect("what was asked").push(name.clone());
            self.changed.notify_all();
        }
        if name == "dead.test" || name.ends_with(".dead.test") {
            return None;
        }
        let known = self.known.lock().expect("the names").get(&name).copied();
        let record = known.filter(|_| kind == A);
        let code = if known.is_some() { 0 } else { NO_SUCH_NAME };
        let mut answer = [&query[..2], &[0x85, 0x80 | code, 0, 1, 0, u8::from(record.is_some()), 0, 0, 0, 0]].concat();
        answer.extend(question);
        if let Some((address, ttl)) = record {
            answer.extend([0xc0, 12, 0, 1, 0, 1]);
            answer.extend(ttl.to_be_bytes());
            answer.extend([0, 4]);
            answer.extend(address.octets());
        }
        Some(answer)
    }
}
