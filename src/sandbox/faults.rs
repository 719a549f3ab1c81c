//! Carries a script of faults out: the middleware between the journal and the routes.
//!
//! What is to happen is decided in [`super::script`]; this file does it. Nothing under `/_sandbox/`
//! passes through here.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body::Frame;
use jiff::{SignedDuration, Timestamp};

use super::aadsts::{Ids, Refusal};
use super::answer::{RequestIds, graph_error, is_graph};
use super::journal::{Fault, Mailbox};
use super::request::client_request_id;
use super::script::{Act, Answer, Running, Script, When};
use super::server::Connection;
use super::world::World;

/// An answer of the sandbox is never larger.
const ANSWER_MAX: usize = 64 * 1024 * 1024;

#[derive(Default)]
pub struct Faults {
    running: Mutex<Running>,
    /// Effects that come after their answers. Whoever looks waits for what is due.
    late: tokio::sync::Mutex<Vec<Late>>,
}

/// An effect, and the earliest time of it by the sandbox's clock.
struct Late {
    due: Timestamp,
    effect: Pin<Box<dyn Future<Output = Response> + Send>>,
}

/// Effects that are waited for at the same time.
const LATE_MAX: usize = 10_000;

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Faults").field(&self.running).finish()
    }
}

impl Faults {
    /// Puts a script in place of the one before; counting starts anew. What is late still comes.
    pub fn set(&self, script: Script) {
        *self.running() = Running::new(script);
    }

    pub fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is late never comes.
    pub async fn forget_late(&self) {
        self.late.lock().await.clear();
    }

    async fn defer(&self, due: Timestamp, effect: impl Future<Output = Response> + Send + 'static) {
        let mut late = self.late.lock().await;
        late.push(Late { due, effect: Box::pin(effect) });
        // One too many is early rather than lost.
        if late.len() > LATE_MAX {
            let _ = tokio::spawn(late.remove(0).effect).await;
        }
    }

    /// Lets the late effects happen that are due by now, in their order.
    async fn catch_up(&self, now: Timestamp) {
        let mut late = self.late.lock().await;
        late.sort_by_key(|one| one.due);
        while late.first().is_some_and(|one| one.due <= now) {
            // A task of its own: who looks may hang up, the effect goes on.
            let _ = tokio::spawn(late.remove(0).effect).await;
        }
    }
}

/// Middleware around everything: nobody sees the world without what should have happened by now. An
/// effect needs no timer: what nobody looks at might as well have happened.
pub async fn catch_up(State(world): State<Arc<World>>, request: Request, next: Next) -> Response {
    world.faults.catch_up(world.clock.now()).await;
    next.run(request).await
}

/// Middleware.
pub async fn interpose(State(world): State<Arc<World>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mailbox = request.extensions().get::<Mailbox>().map(|mailbox| mailbox.0.clone());
    let acts = world.faults.running().decide(request.method().as_str(), &path, mailbox.as_deref());
    if acts.is_empty() {
        return next.run(request).await;
    }
    let user = mailbox.and_then(|mailbox| world.user(&mailbox)).map(|user| user.object_id);
    let now = world.clock.now();
    let scene = Scene {
        graph: is_graph(&path),
        connection: request.extensions().get::<Connection>().cloned(),
        ids: request
            .extensions()
            .get::<RequestIds>()
            .cloned()
            .unwrap_or_else(|| RequestIds::new(request.headers(), now)),
        entra_ids: Ids::new(now, client_request_id(request.headers())),
    };
    let mut fault = None;
    let mut ending = None;
    for act in acts {
        fault = Some(Fault { name: act.name(), unanswered: false });
        match act {
            Act::DelayMs(delay) => tokio::time::sleep(Duration::from_millis(delay)).await,
            Act::ExpireTokens => world.identity.expire_access(user),
            Act::RevokeTokens => world.identity.revoke(user, false),
            act => ending = Some((act.name(), act)),
        }
    }
    if let Some((name, Act::AnswerThenAct(late))) = &ending {
        let after = SignedDuration::from_secs(late.after_seconds.into());
        let due = now.checked_add(after).unwrap_or(Timestamp::MAX);
        world.faults.defer(due, next.run(request)).await;
        let mut answer = scene.answer(&late.answer);
        answer.extensions_mut().insert(Fault { name, unanswered: false });
        return answer;
    }
    let Some((name, act)) = ending else {
        let mut answer = next.run(request).await;
        if let Some(fault) = fault {
            answer.extensions_mut().insert(fault);
        }
        return answer;
    };
    let (mut answer, unanswered) = scene.end(act, request, next).await;
    answer.extensions_mut().insert(Fault { name, unanswered });
    answer
}

/// The request's surroundings, when its end is ours to choose.
struct Scene {
    graph: bool,
    connection: Option<Connection>,
    ids: RequestIds,
    entra_ids: Ids,
}

impl Scene {
    /// Returns the answer, and whether it stays unsent.
    async fn end(&self, act: Act, request: Request, next: Next) -> (Response, bool) {
        match act {
            Act::Answer(answer) => (self.answer(&answer), false),
            Act::ActThenAnswer(answer) => {
                let _ = next.run(request).await;
                (self.answer(&answer), false)
            }
            Act::TokenError(error) => {
                let mut refusal = Refusal::new(error.code);
                refusal.error = error.error.unwrap_or(refusal.error);
                refusal.suberror = error.suberror.or(refusal.suberror);
                (refusal.answer(&self.entra_ids), false)
            }
            Act::CutBefore => (self.cut(), true),
            Act::CutAfter => {
                let _ = next.run(request).await;
                (self.cut(), true)
            }
            Act::Kill(kill) => {
                if kill.when == When::After {
                    let _ = next.run(request).await;
                }
                kill_process(kill.pid);
                (self.cut(), true)
            }
            Act::Truncate => (truncate(next.run(request).await).await, false),
            // Done before the end already.
            Act::AnswerThenAct(_) | Act::DelayMs(_) | Act::ExpireTokens | Act::RevokeTokens => {
                (next.run(request).await, false)
            }
        }
    }

    /// The answer that is returned here never leaves: the connection takes no more octets.
    fn cut(&self) -> Response {
        if let Some(connection) = &self.connection {
            connection.cut();
        }
        StatusCode::BAD_GATEWAY.into_response()
    }

    fn answer(&self, answer: &Answer) -> Response {
        let status =
            StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let message =
            answer.message.as_deref().unwrap_or("The server is busy. Please retry later.");
        let mut response = if self.graph {
            graph_error(&self.ids, status, &answer.code, message)
        } else {
            let body = serde_json::json!({
                "error": answer.code,
                "error_description": message,
                "trace_id": self.entra_ids.trace,
                "correlation_id": self.entra_ids.correlation,
                "timestamp": self.entra_ids.timestamp,
            });
            (status, axum::Json(body)).into_response()
        };
        let retry_after = answer.retry_after.as_ref().and_then(|v| HeaderValue::from_str(v).ok());
        if let Some(retry_after) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, retry_after);
        }
        response
    }
}

/// Ends a process as a power cut would. One that is gone already is as dead as it should be.
fn kill_process(pid: i32) {
    use rustix::process::{Pid, Signal, kill_process};
    if let Some(pid) = Pid::from_raw(pid).filter(|_| pid > 1) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Announces the whole body, sends half of it, and breaks off. An answer without a body announces
/// one octet that never comes.
async fn truncate(answer: Response) -> Response {
    let (mut parts, body) = answer.into_parts();
    let body = to_bytes(body, ANSWER_MAX).await.unwrap_or_default();
    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len().max(1)));
    let half = Half { octets: Some(body.slice(..body.len() / 2)), flushed: false };
    Response::from_parts(parts, Body::new(half))
}

/// A body that breaks off after its octets have been written.
struct Half {
    octets: Option<Bytes>,
    flushed: bool,
}

impl HttpBody for Half {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if let Some(octets) = self.octets.take() {
            return Poll::Ready(Some(Ok(Frame::data(octets))));
        }
        if !self.flushed {
            // A server that waits for a body writes out what it has.
            self.flushed = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionAborted.into())))
    }
}
