//! What one would write instead: a script that sends one mail after the other with Graph's `sendMail`.
//!
//! One request a mail, one in flight, and no promise at all: what is not answered, was refused or was
//! to be sent when the script died is lost or sent twice. It is here for what the drafts cost.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::json;

use crate::processes::{Account, RECIPIENT, Sandbox};

/// Such a script for each account at once, each with so many mails: mails per second.
pub async fn run(
    sandbox: &Sandbox,
    accounts: &[Account],
    mails: usize,
    latency: Duration,
) -> anyhow::Result<f64> {
    sandbox.reset(latency).await?;
    let url = format!("{}/v1.0/me/sendMail", sandbox.url);
    let began = Instant::now();
    let mut scripts = tokio::task::JoinSet::new();
    for account in accounts {
        let (url, token, address) = (url.clone(), account.token.clone(), account.address.clone());
        // A connection of its own, which it keeps.
        let http = reqwest::Client::builder().no_proxy().build()?;
        scripts.spawn(async move {
            for number in 0..mails {
                let message = json!({"message": {
                    "subject": format!("{address} {number}"),
                    "body": {"contentType": "text", "content": crate::body()},
                    "toRecipients": [{"emailAddress": {"address": RECIPIENT}}],
                }});
                let answer = http.post(&url).bearer_auth(&token).json(&message).send().await?;
                ensure!(answer.status() == reqwest::StatusCode::ACCEPTED, "{answer:?}");
            }
            Ok(())
        });
    }
    while let Some(script) = scripts.join_next().await {
        script.context("a script broke down")??;
    }
    let took = began.elapsed();
    let mails = mails * accounts.len();
    sandbox.check(mails).await?;
    Ok(mails as f64 / took.as_secs_f64())
}
