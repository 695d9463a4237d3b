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
    pub async fn record(mut self) -> Result<Recorded<'c>, Refusal> {
        let exchange = &self.exchange;
        let in_head = self.decided.permit.uses();
        let records: Vec<Record> = in_head
            .iter()
            .chain(&self.body_uses)
            .map(|u| recorder::substitution(&exchange.info, &u.key, &u.place, u.count))
            .collect();
        if !records.is_empty() {
            exchange.outcome.use_keys(self.body_uses.iter().map(|u| u.key.clone()));
            let mut uses = exchange.shared().recorder.uses(records);
            uses.written().await?;
            let in_body = uses.split_off(in_head.len());
            exchange.outcome.head_uses(uses);
            self.request.body_mut().carry(in_body);
        }
        Ok(Recorded(self))
    }
}
