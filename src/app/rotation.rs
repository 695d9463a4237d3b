//! The CA of a proxy that serves: a rotation is taken over within a second, and the new one signs when its time has come.

use super::authority;
use super::running::{CaRead, RunningProxy};
use crate::ca::Authorities;
use crate::record::{Event, Record};
use std::thread::JoinHandle;
use std::time::SystemTime;

/// A change of the CA that signs, or that is to sign.
pub enum CaUpdate {
    /// There is one that is to sign later, or another than before; clients are to trust what [`Authorities::bundle`] says now.
    Rotated,
    /// The one that was to follow signs now, alone.
    Switched,
    /// It could not be read; why.
    Failed(String),
}

impl RunningProxy {
    /// To be called each second. A store that hangs holds up nothing.
    pub(super) fn tend_ca(&mut self, now: SystemTime) -> Option<CaUpdate> {
        if self.app.ca.is_due(now) {
            let switched = self.app.ca.clone().at(now);
            self.sign_by(switched, "signs");
            // takes the old one out of its store
            self.read_ca();
            return Some(CaUpdate::Switched);
        }
        if self.reading.as_ref().is_some_and(JoinHandle::is_finished) {
            return self.reading.take().and_then(|reading| self.take_over(reading));
        }
        let stamp = authority::ca_stamp(&self.app.settings);
        if self.reading.is_none() && stamp != self.app.ca_read && self.app.ca_kept_in.is_some() {
            self.read_ca();
        }
        None
    }

    fn read_ca(&mut self) {
        let (settings, backends) = (self.app.settings.clone(), self.app.backends.clone());
        let read = move || {
            let stamp = authority::ca_stamp(&settings);
            Ok((authority::kept_ca(&settings, &backends)?.map(|(ca, _)| ca), stamp))
        };
        self.reading = std::thread::Builder::new().name("ca".into()).spawn(read).ok();
    }

    fn take_over(&mut self, reading: CaRead) -> Option<CaUpdate> {
        let (ca, stamp) = match reading.join() {
            Ok(Ok(read)) => read,
            Ok(Err(e)) => return Some(CaUpdate::Failed(e.to_string())),
            Err(_) => return Some(CaUpdate::Failed("its store can't be read".into())),
        };
        self.app.ca_read = stamp;
        let ca = ca.filter(|ca| ca.bundle() != self.app.ca.bundle())?;
        self.sign_by(ca, "rotate");
        Some(CaUpdate::Rotated)
    }

    fn sign_by(&mut self, ca: Authorities, what: &str) {
        let next = ca.next.as_ref().map(|next| next.authority.clone());
        self.app.shared.leaves.sign_by(ca.current.clone(), next);
        let mut record = Record::new(SystemTime::now(), Event::Config, format!("ca {what}"));
        record.success = Some(true);
        record.reason = Some(ca.to_string());
        self.app.shared.recorder.append(&record);
        self.app.ca = ca;
    }
}
