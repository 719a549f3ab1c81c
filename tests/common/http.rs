//! A plain HTTP/1.1 client that sends what it is told, octet for octet, and reads what comes.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;

pub struct Http {
    pub stream: TcpStream,
    read: Vec<u8>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case, in order.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The body came to its end.
    pub whole: bool,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut named = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{user}:{password}")))
}

impl Http {
    pub async fn connect(address: SocketAddr) -> Http {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Http { stream, read: Vec::new() }
    }

    pub async fn send(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).await.unwrap();
    }

    /// The next answer; `None`: the server has closed.
    pub async fn answer(&mut self, to_head: bool) -> Option<Answer> {
        let answer = self.read_answer(to_head);
        timeout(PATIENCE, answer).await.expect("no answer in time")
    }

    async fn read_answer(&mut self, to_head: bool) -> Option<Answer> {
        let head = loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break self.read.drain(..end + 4).collect::<Vec<u8>>();
            }
            if !self.more().await {
                return None;
            }
        };
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status: u16 = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        if status == 100 {
            return Box::pin(self.read_answer(to_head)).await;
        }
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let mut answer = Answer { status, headers, body: Vec::new(), whole: true };
        if to_head || matches!(status, 204 | 304) {
            return Some(answer);
        }
        if answer.header("transfer-encoding") == Some("chunked") {
            answer.whole = self.chunks(&mut answer.body).await;
            return Some(answer);
        }
        let length: usize = answer.header("content-length").unwrap_or("0").parse().unwrap();
        while self.read.len() < length {
            if !self.more().await {
                answer.whole = false;
                return Some(answer);
            }
        }
        answer.body = self.read.drain(..length).collect();
        Some(answer)
    }

    /// Whether the last chunk came.
    async fn chunks(&mut self, body: &mut Vec<u8>) -> bool {
        loop {
            let line = loop {
                if let Some(end) = self.read.windows(2).position(|two| two == b"\r\n") {
                    break self.read.drain(..end + 2).collect::<Vec<u8>>();
                }
                if !self.more().await {
                    return false;
                }
            };
            let length =
                usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
            while self.read.len() < length + 2 {
                if !self.more().await {
                    return false;
                }
            }
            body.extend(self.read.drain(..length));
            self.read.drain(..2);
            if length == 0 {
                return true;
            }
        }
    }

    /// `false`: the server has closed.
    async fn more(&mut self) -> bool {
        let mut octets = vec![0; 16 * 1024];
        match self.stream.read(&mut octets).await {
            Ok(0) | Err(_) => false,
            Ok(read) => {
                self.read.extend_from_slice(&octets[..read]);
                true
            }
        }
    }

    pub async fn is_closed(&mut self) -> bool {
        !timeout(PATIENCE, self.more()).await.expect("still open")
    }
}

/// A request with the headers that every one has, but for those that are given, and those left out by `!`.
pub fn request(
    line: &str,
    headers: &[(&str, &str)],
    defaults: &[(&str, &str)],
    body: &[u8],
) -> Vec<u8> {
    let mut head = format!("{line} HTTP/1.1\r\n");
    let given = |name: &str| {
        headers.iter().any(|(known, _)| known.trim_start_matches('!').eq_ignore_ascii_case(name))
    };
    for (name, value) in defaults.iter().filter(|(name, _)| !given(name)) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    for (name, value) in headers.iter().filter(|(name, _)| !name.starts_with('!')) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !given("Content-Length") && !given("Transfer-Encoding") {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    [head.as_bytes(), b"\r\n", body].concat()
}
