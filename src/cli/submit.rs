//! Hands one mail to a submission server: as much of an SMTP client as the demo needs.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// What to hand in, and as whom. `message` has CRLF line ends and no line that begins with a dot.
pub struct Mail<'m> {
    pub user: &'m str,
    pub password: &'m str,
    pub from: &'m str,
    pub to: &'m [&'m str],
    pub message: &'m str,
}

/// By implicit TLS, checked against the CA file. Returns the server's last reply.
pub async fn submit(server: SocketAddr, ca: &Path, mail: &Mail<'_>) -> anyhow::Result<String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).context("the CA file")?)?;
    let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let socket = TcpStream::connect(server).await?;
    let name = ServerName::try_from("localhost")?;
    let stream = TlsConnector::from(Arc::new(tls)).connect(name, socket).await?;
    let mut stream = BufReader::new(stream);

    expect(&mut stream, "220").await?;
    let secret = STANDARD.encode(format!("\0{}\0{}", mail.user, mail.password));
    let mut commands = vec![
        ("EHLO localhost".to_owned(), "250"),
        (format!("AUTH PLAIN {secret}"), "235"),
        (format!("MAIL FROM:<{}>", mail.from), "250"),
    ];
    commands.extend(mail.to.iter().map(|to| (format!("RCPT TO:<{to}>"), "250")));
    commands.push(("DATA".to_owned(), "354"));
    for (command, code) in commands {
        stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        expect(&mut stream, code).await?;
    }
    stream.write_all(format!("{}\r\n.\r\n", mail.message.trim_end()).as_bytes()).await?;
    let reply = expect(&mut stream, "250").await?;
    stream.write_all(b"QUIT\r\n").await?;
    Ok(reply)
}

/// Reads one reply, all its lines.
async fn expect(
    stream: &mut (impl tokio::io::AsyncBufRead + Unpin),
    code: &str,
) -> anyhow::Result<String> {
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            bail!("the server hung up");
        }
        if line.as_bytes().get(3) == Some(&b'-') {
            continue;
        }
        if !line.starts_with(code) {
            bail!("the server answered {}", line.trim_end());
        }
        return Ok(line.trim_end().to_owned());
    }
}
