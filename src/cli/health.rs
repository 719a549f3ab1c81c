//! `postbridge health`: whether the daemon goes on, for containers and scripts.

use anyhow::bail;

use super::line::odd;
use crate::config::Config;
use crate::control::{self, Reply, Request, SOCKET};

pub async fn run(config: anyhow::Result<Config>) -> anyhow::Result<()> {
    let path = config?.state_dir().join(SOCKET);
    match control::call(&path, &Request::Health {}).await {
        Ok(Reply::Healthy {}) => {
            println!("ok");
            Ok(())
        }
        Ok(Reply::Refused { why }) => bail!(why),
        Ok(other) => odd(&other),
        Err(error) => bail!("no daemon answers on {}: {error}", path.display()),
    }
}
