//! Where the browser comes back to after a sign-in: one answer on `http://localhost:{port}/`.
//!
//! RFC 8252 §7.3. It is open only while a sign-in is under way. What comes is passed on whole and
//! judged where the sign-in was begun; here only its size, its time and its shape are bounded. It
//! must not be logged: it holds the code.

use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::secret::Secret;

const HEAD_OCTETS_MAX: usize = 32 * 1024;
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Browsers open connections that they may never use.
const CONNECTIONS_MAX: usize = 32;

/// What the browser, or the user, brought back; the browser still waits for a page.
pub struct Answered {
    pub redirected: Secret,
    browser: Option<TcpStream>,
}

/// The first redirect that arrives at any of the listeners; they close then.
pub async fn wait(listeners: Vec<TcpListener>) -> anyhow::Result<Answered> {
    let (sender, mut answers) = mpsc::channel(1);
    let mut doors = JoinSet::new();
    for listener in listeners {
        let sender = sender.clone();
        doors.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                if connections.len() >= CONNECTIONS_MAX {
                    connections.join_next().await;
                }
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let sender = sender.clone();
                connections.spawn(async move {
                    if let Ok(Some(answered)) = timeout(HEAD_TIME, read(stream)).await {
                        let _ = sender.send(answered).await;
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        });
    }
    answers.recv().await.context("nobody waits for the browser any more")
}

/// A line from standard input.
pub async fn pasted() -> anyhow::Result<Answered> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    // A thread of its own: nothing can end a read from a terminal, and nothing should wait for it.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::Read::take(std::io::stdin().lock(), HEAD_OCTETS_MAX as u64);
        let read = std::io::BufRead::read_line(&mut std::io::BufReader::new(read), &mut line);
        let _ = sender.send(read.map(|_| Secret::new(line)));
    });
    let line = receiver.await.context("standard input cannot be read")??;
    if line.expose().trim().is_empty() {
        // Nothing was pasted (no terminal, perhaps): the browser may still come.
        std::future::pending::<()>().await;
    }
    Ok(Answered { redirected: line, browser: None })
}

/// Reads one request; `None` when it is not the redirect, which has been told off then.
async fn read(mut stream: TcpStream) -> Option<Answered> {
    let mut head = zeroize::Zeroizing::new(Vec::with_capacity(4096));
    let mut piece = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = stream.read(&mut piece).await.ok()?;
        if count == 0 || head.len() + count > HEAD_OCTETS_MAX {
            return None;
        }
        head.extend_from_slice(piece.get(..count)?);
    }
    let target = target(&head);
    match target {
        Some(target) => {
            let redirected = Secret::new(target.to_owned());
            Some(Answered { redirected, browser: Some(stream) })
        }
        None => {
            let _ = write_page(stream, "404 Not Found", "Not here", "Nothing is here.").await;
            None
        }
    }
}

/// RFC 9112 §3: the target of a GET that carries an answer; browsers also ask for icons.
fn target(head: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(head).ok()?.lines().next()?;
    let (target, version) = line.strip_prefix("GET ")?.rsplit_once(' ')?;
    let query = target.strip_prefix("/?")?;
    let answers =
        query.split('&').any(|pair| pair.starts_with("code=") || pair.starts_with("error="));
    (answers && version.starts_with("HTTP/1.")).then_some(target)
}

impl Answered {
    /// Shows the browser how it ended.
    pub async fn tell(self, title: &str, text: &str) {
        if let Some(stream) = self.browser {
            let page = write_page(stream, "200 OK", title, text);
            let _ = timeout(Duration::from_secs(5), page).await;
        }
    }
}

async fn write_page(
    mut stream: TcpStream,
    status: &str,
    title: &str,
    text: &str,
) -> std::io::Result<()> {
    let (title, text) = (escaped(title), escaped(text));
    let page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>{title} - postbridge</title>\
         <h1>{title}</h1><p>{text}</p></html>\n"
    );
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\nCache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n\
         Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n\
         X-Content-Type-Options: nosniff\r\n\r\n{page}",
        page.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_is_taken_for_one() {
        let check = |line: &str, expected: Option<&str>| {
            let head = format!("{line}\r\nHost: localhost\r\n\r\n");
            assert_eq!(target(head.as_bytes()), expected, "{line}");
        };
        check("GET /?code=c&state=s HTTP/1.1", Some("/?code=c&state=s"));
        check("GET /?state=s&error=access_denied HTTP/1.1", Some("/?state=s&error=access_denied"));
        check("GET /favicon.ico HTTP/1.1", None);
        check("GET / HTTP/1.1", None);
        check("GET /x?code=c HTTP/1.1", None);
        check("POST /?code=c HTTP/1.1", None);
        check("GET /?code=c", None);
        check("", None);
        assert_eq!(target(b"\xff\xff\r\n\r\n"), None);
    }

    #[tokio::test]
    async fn an_icon_does_not_use_up_the_one_answer() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let waiting = tokio::spawn(wait(vec![listener]));
        // A connection that is opened ahead and never used.
        let _idle = TcpStream::connect(address).await.unwrap();
        let get = async |target: &str| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            stream
        };
        let mut text = String::new();
        get("/favicon.ico").await.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 404"), "{text}");
        let mut browser = get("/?code=c&state=s").await;
        let answered = waiting.await.unwrap().unwrap();
        assert_eq!(answered.redirected.expose(), "/?code=c&state=s");
        assert!(TcpStream::connect(address).await.is_err(), "it still listens");
        answered.tell("Done", "<b>").await;
        text.clear();
        browser.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 200") && text.contains("&lt;b&gt;"), "{text}");
    }
}
