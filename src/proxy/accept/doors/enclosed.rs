//! Listeners in a network that one command alone is in: whoever connects there is it, and needs no token.

use super::redirected::{self, Redirected};
use crate::name::Host;
use crate::proxy::accept::admitted::Admitted;
use crate::proxy::accept::client::{Client, Door};
use crate::proxy::accept::slots::Standing;
use crate::proxy::exchange::worker::Worker;
use bytes::BytesMut;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::either::Either;

/// Which name an address was told to have.
pub type NameOf = Arc<dyn Fn(IpAddr) -> Option<Host> + Send + Sync>;

/// The network of one command.
pub struct Enclosure {
    /// Where it is told that the proxy is.
    pub proxy: std::net::TcpListener,
    /// Where all else that it connects to is led.
    pub intake: Vec<std::net::TcpListener>,
    /// Of the names that it has asked for.
    pub name_of: NameOf,
    /// Who it is.
    pub by: Admitted,
}

impl Enclosure {
    /// The same listeners, for one more worker.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn try_clone(&self) -> io::Result<Self> {
        let intake = self.intake.iter().map(std::net::TcpListener::try_clone).collect::<io::Result<_>>()?;
        Ok(Self { proxy: self.proxy.try_clone()?, intake, name_of: self.name_of.clone(), by: self.by.clone() })
    }

    /// Starts to serve, on the runtime that this is called on. The listeners, which have to be non-blocking, are closed once `stop`
    /// turns true.
    ///
    /// # Errors
    /// The runtime can't watch a listener.
    pub fn serve(self, worker: &Arc<Worker>, stop: &watch::Receiver<bool>) -> io::Result<()> {
        let Self { proxy, intake, name_of, by } = self;
        let (proxy, own) = (TcpListener::from_std(proxy)?, by.clone());
        accept_all(proxy, worker.clone(), stop.clone(), move |worker, stream, peer, stop| {
            let client = client(&worker, stream, peer, own.clone());
            async move {
                if let Some(client) = client {
                    super::serve(worker, client, stop).await;
                }
            }
        });
        for listener in intake {
            let (name_of, by) = (name_of.clone(), by.clone());
            accept_all(
                TcpListener::from_std(listener)?,
                worker.clone(),
                stop.clone(),
                move |worker, stream, peer, stop| {
                    // of a listener that takes in what is meant for others, that is the address that was meant
                    let destination = stream.local_addr();
                    let (name_of, by) = (name_of.clone(), by.clone());
                    async move {
                        if let Ok(destination) = destination {
                            let name = name_of(destination.ip());
                            let redirected = Redirected { stream, peer, destination, name, by };
                            redirected::serve(worker, redirected, stop).await;
                        }
                    }
                },
            );
        }
        Ok(())
    }
}

fn accept_all<S: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    worker: Arc<Worker>,
    stop: watch::Receiver<bool>,
    serve: impl Fn(Arc<Worker>, TcpStream, SocketAddr, watch::Receiver<bool>) -> S + Send + Sync + 'static,
) {
    tokio::spawn(async move {
        let mut stopping = stop.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stopping.wait_for(|stopped| *stopped) => return,
            };
            if let Some((stream, peer)) = worker.shared.slots.made(accepted).await {
                tokio::spawn(serve(worker.clone(), stream, peer, stop.clone()));
            }
        }
    });
}

fn client(worker: &Worker, stream: TcpStream, peer: SocketAddr, by: Admitted) -> Option<Client> {
    let own = stream.local_addr().ok()?;
    let slot = Arc::new(worker.shared.slots.take(Standing::Newcomer, None, SystemTime::now())?);
    let _ = stream.set_nodelay(true);
    let (stream, read, door) = (Either::Left(stream), BytesMut::with_capacity(1024), Door::Http);
    Some(Client { stream, read, door, peer, own, user: None, known: Some(by), slot })
}
