//! How the system would have names resolved: `/etc/hosts`, then DNS by `/etc/resolv.conf`, then whatever else it knows.

use super::error::ResolveError;
use hickory_resolver::Hosts;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts};
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// How the system is set up for names. Networks come and go under a laptop, and these files with them.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];
/// How long these files are taken to be as they were.
const FRESH: Duration = Duration::from_secs(1);
/// How long one name server may take; the next is asked then, and this one again.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);
/// Answers that are remembered, each for as long as it says.
const CACHED: u64 = 1024;
/// Threads that ask the system at once. One that asks a server that is dead is stuck for long.
const ASKING_SYSTEM: usize = 4;

/// Resolves names as the system would, by what its files say now.
pub(super) struct Names {
    setup: Mutex<Option<(Instant, Arc<Setup>)>>,
    asking_system: Arc<Semaphore>,
}

/// What the files said.
struct Setup {
    stamps: [Option<FileStamp>; 2],
    hosts: Hosts,
    /// None where no name server is named, or that can't be read.
    dns: Option<TokioResolver>,
}

/// Tells a file from what it was: device, inode, length, and when it was changed.
type FileStamp = (u64, u64, u64, i64, i64);

impl Default for Names {
    fn default() -> Self {
        Self { setup: Mutex::default(), asking_system: Arc::new(Semaphore::new(ASKING_SYSTEM)) }
    }
}

impl Names {
    /// The addresses of a name.
    pub async fn lookup(self: Arc<Self>, name: String) -> Result<Vec<IpAddr>, ResolveError> {
        let setup = self.setup();
        let (Ok(query), Some(dns)) = (Name::from_ascii(&name), &setup.dns) else { return self.ask_system(name).await };
        // what stands there is all there is of a name: DNS is not asked for the other family
        let listed = setup.listed(&query);
        if !listed.is_empty() {
            return Ok(listed);
        }
        match dns.lookup_ip(query).await {
            Ok(found) if found.iter().next().is_some() => Ok(found.iter().collect()),
            // mDNS, LDAP and what else it knows: it is not asked where DNS is only slow, since it would be as slow
            Ok(_) => self.ask_system(name).await,
            Err(e) if e.is_no_records_found() => self.ask_system(name).await,
            Err(e) => Err(ResolveError::Failed(e.to_string())),
        }
    }

    async fn ask_system(&self, name: String) -> Result<Vec<IpAddr>, ResolveError> {
        let turn = self.asking_system.clone().acquire_owned().await;
        let ask = move || {
            // as long as the thread is stuck, whoever has given up
            let _turn = turn;
            Ok((&*name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
        };
        let found: io::Result<Vec<IpAddr>> = tokio::task::spawn_blocking(ask).await.unwrap_or_else(|e| Err(e.into()));
        match found {
            Ok(found) if found.is_empty() => Err(ResolveError::Failed("it has no address".into())),
            found => found.map_err(|e| ResolveError::Failed(e.to_string())),
        }
    }

    /// What the files say, looked at again once in a while.
    fn setup(&self) -> Arc<Setup> {
        let mut known = self.setup.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some((read, setup)) = &*known
            && now.saturating_duration_since(*read) < FRESH
        {
            return setup.clone();
        }
        let stamps = FILES.map(stamp);
        let unchanged = known.take().map(|(_, setup)| setup).filter(|setup| setup.stamps == stamps);
        let setup = unchanged.unwrap_or_else(|| Arc::new(Setup::read(stamps)));
        *known = Some((now, setup.clone()));
        setup
    }
}

impl Setup {
    fn read(stamps: [Option<FileStamp>; 2]) -> Self {
        Self { stamps, hosts: Hosts::from_system().unwrap_or_default(), dns: dns() }
    }

    fn listed(&self, name: &Name) -> Vec<IpAddr> {
        let of = |kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
        let found = [of(RecordType::AAAA), of(RecordType::A)];
        let records = found.iter().flatten().flat_map(|lookup| lookup.answers());
        records.filter_map(|record| record.data.ip_addr()).collect()
    }
}

fn dns() -> Option<TokioResolver> {
    let mut builder = TokioResolver::builder_tokio().ok()?;
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
    options.use_hosts_file = ResolveHosts::Never;
    options.timeout = options.timeout.min(SERVER_TIMEOUT);
    options.cache_size = CACHED;
    builder.build().ok()
}

fn stamp(path: &str) -> Option<FileStamp> {
    let file = std::fs::metadata(path).ok()?;
    Some((file.dev(), file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
}
