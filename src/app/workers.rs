//! The worker threads of a proxy: a runtime per core, and all accept from the one listener.

use super::build::App;
use super::running::{LEFT_BEHIND, RunningProxy, StopChannels};
use super::{AppError, audit};
use crate::memory;
use crate::proxy::accept::doors::enclosed::Enclosure;
use crate::proxy::accept::listen::{self, Listeners};
use crate::proxy::exchange::worker::Worker;
use crate::upstream::pool::Pool;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// The listeners of an app, which each worker gets its own descriptors of.
struct StdListeners {
    proxy: Option<TcpListener>,
    transparent: Option<TcpListener>,
    enclosure: Option<Enclosure>,
}

impl StdListeners {
    fn try_clone(&self) -> io::Result<Self> {
        let copy = |of: &Option<TcpListener>| of.as_ref().map(TcpListener::try_clone).transpose();
        let enclosure = self.enclosure.as_ref().map(Enclosure::try_clone).transpose()?;
        Ok(Self { proxy: copy(&self.proxy)?, transparent: copy(&self.transparent)?, enclosure })
    }
}

impl App {
    /// Starts a worker for each core.
    ///
    /// # Errors
    /// When the system gives no thread or no runtime.
    pub fn spawn(mut self) -> Result<RunningProxy, AppError> {
        let (stop, stopped) = watch::channel(false);
        let (cut, is_cut) = watch::channel(false);
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let mut workers = Vec::with_capacity(count);
        let mut pools = Vec::with_capacity(count);
        let listeners = StdListeners {
            proxy: self.listener.take(),
            transparent: self.transparent.take(),
            enclosure: self.enclosure.take(),
        };
        for number in 0..count {
            let worker = Worker {
                shared: self.shared.clone(),
                pool: Pool::new(self.outbound.clone(), self.room.idle / count),
                scrub_cache: Default::default(),
            };
            pools.push(worker.pool.clone());
            let listeners = listeners.try_clone().map_err(AppError::Thread)?;
            workers.push(start(number, worker, listeners, stopped.clone(), is_cut.clone())?);
        }
        let webhook = self.webhook.take().map(audit::PendingWebhook::serve).transpose()?;
        memory::give_back();
        Ok(RunningProxy::new(self, StopChannels { stop, cut }, workers, pools, webhook))
    }
}

fn start(
    number: usize,
    worker: Worker,
    StdListeners { proxy, transparent, enclosure }: StdListeners,
    stopped: watch::Receiver<bool>,
    mut is_cut: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, AppError> {
    let worker = Arc::new(worker);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AppError::Thread)?;
    let work = move || {
        runtime.block_on(async {
            // a limit on the size of files has to fail a write, and not end the process
            let _caught = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
            // the descriptors are non-blocking, and a runtime is there: nothing else can fail here
            let in_runtime = |of: Option<TcpListener>| of.and_then(|of| tokio::net::TcpListener::from_std(of).ok());
            let _ = enclosure.map(|enclosure| enclosure.serve(&worker, &stopped));
            if let Some(proxy) = in_runtime(proxy) {
                let listeners = Listeners { proxy, transparent: in_runtime(transparent) };
                tokio::select! {
                    () = listen::serve(worker, listeners, stopped) => {}
                    _ = is_cut.wait_for(|cut| *cut) => {}
                }
            }
        });
        // drops what is still under way, which tells the audit so; a source that hangs is not waited for
        runtime.shutdown_timeout(LEFT_BEHIND);
    };
    let thread = std::thread::Builder::new().name(format!("worker-{number}"));
    thread.spawn(work).map_err(AppError::Thread)
}
