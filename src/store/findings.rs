//! What was found out about a mailbox's tenant ([`crate::finding`]): the last answer to each question.

use jiff::Timestamp;
use sqlx::Row;

use super::spool::decode;
use super::{Store, StoreError};
use crate::account::AccountId;
use crate::finding::{Finding, Question};

impl Store {
    /// Takes the place of older answers to the same questions.
    pub async fn keep_findings(
        &self,
        account: AccountId,
        findings: Vec<Finding>,
    ) -> Result<(), StoreError> {
        let now = self.clock().now();
        self.write(move |connection| {
            Box::pin(async move {
                for Finding { question, answer } in findings {
                    sqlx::query(
                        "INSERT OR REPLACE INTO finding (account, question, answer, at) \
                         VALUES (?, ?, ?, ?)",
                    )
                    .bind(account.0.as_bytes().as_slice())
                    .bind(question.name())
                    .bind(answer)
                    .bind(now.as_millisecond())
                    .execute(&mut *connection)
                    .await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// In the order of [`Question::ALL`], each with when it was asked. What an older version asked and this
    /// one does not is passed over.
    pub async fn findings(
        &self,
        account: AccountId,
    ) -> Result<Vec<(Finding, Timestamp)>, StoreError> {
        let mut connection = self.read().await?;
        let rows = sqlx::query("SELECT question, answer, at FROM finding WHERE account = ?")
            .bind(account.0.as_bytes().as_slice())
            .fetch_all(&mut *connection)
            .await?;
        let mut findings = Vec::new();
        for row in rows {
            let Some(question) = Question::from_name(row.try_get("question")?) else { continue };
            let at = decode(Timestamp::from_millisecond(row.try_get("at")?))?;
            findings.push((Finding { question, answer: row.try_get("answer")? }, at));
        }
        findings.sort_by_key(|(finding, _)| {
            Question::ALL.iter().position(|one| *one == finding.question)
        });
        Ok(findings)
    }
}
