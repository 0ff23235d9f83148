//! What was written down about calls: reading it.

use super::App;
use super::caller::Caller;
use super::error::AppError;
use crate::domain::token::Scope;
use crate::store;
use crate::wire::audit::{AuditEntry, AuditPage};

/// Calls on one page.
const PAGE_MAX: i64 = 200;
/// When nobody says how many.
const PAGE_DEFAULT: i64 = 50;

impl App {
    /// What was changed and what was refused, the newest first.
    ///
    /// # Errors
    /// [`AppError::Forbidden`]; [`AppError::Invalid`] for values out of range.
    pub async fn audit(
        &self,
        caller: &Caller,
        after: Option<&str>,
        limit: Option<i64>,
    ) -> Result<AuditPage, AppError> {
        caller.needs(Scope::Admin)?;
        let limit = limit.unwrap_or(PAGE_DEFAULT);
        if !(1..=PAGE_MAX).contains(&limit) {
            return Err(AppError::invalid("?limit", format!("must be between 1 and {PAGE_MAX}")));
        }
        let wrong_after = |_| AppError::invalid("?after", "must be the nextCursor of a page");
        let after = after.map(str::parse).transpose().map_err(wrong_after)?;
        let (entries, next) = self.0.store.audit_page(after, u32::try_from(limit).unwrap_or(1)).await?;
        Ok(AuditPage {
            entries: entries.into_iter().map(shown).collect(),
            next_cursor: next.map(|number| number.to_string()),
        })
    }
}

fn shown(entry: store::AuditEntry) -> AuditEntry {
    let store::Asked { token, name, call, target, request_id, peer } = entry.asked;
    let (seq, at, status) = (entry.seq, entry.at.into(), entry.status);
    AuditEntry { seq, at, token_id: token, token_name: name, call, target, request_id, peer, status }
}
