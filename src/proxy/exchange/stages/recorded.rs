//! The fifth stage: each use of a key in the audit, before any of them leaves.

use super::rewritten::Rewritten;
use crate::proxy::recorder;
use crate::proxy::refusal::Refusal;
use crate::record::Record;

/// A request whose keys may leave.
pub(crate) struct Recorded<'c>(pub Rewritten<'c>);

impl<'c> Rewritten<'c> {
    /// Resolves once the records are written.
    ///
    /// # Errors
    /// The audit can't be written.
    pub async fn record(self) -> Result<Recorded<'c>, Refusal> {
        let exchange = &self.exchange;
        let uses = self.decided.permit.uses().iter().chain(&self.body_uses);
        let records: Vec<Record> =
            uses.map(|u| recorder::substitution(&exchange.info, &u.key, &u.place, u.count)).collect();
        if !records.is_empty() {
            exchange.outcome.use_keys(self.body_uses.iter().map(|u| u.key.clone()));
            exchange.shared().recorder.commit(&records).await?;
        }
        Ok(Recorded(self))
    }
}
