//! The HTTP interface on the network: connections, their bounds, and the token. What a request
//! means is `web`'s affair, what comes back the daemon's.

use super::control::Link;
use super::sys;
use crate::control::Command;
use crate::web::{Answer, BODY_BYTES_MAX, HttpRequest, Wanted, is_authorized, route, token_of};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Connections at a time; others wait in the listener's queue.
pub const CONNECTIONS_MAX: usize = 64;
/// A request's head must be there by then, and a connection is idle no longer.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// A request's body must be there by then.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of a request's head and of what is read ahead.
const BUFFER_BYTES_MAX: usize = 16 * 1024;
/// Pause where the system has no descriptor left.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(100);

/// The interface at work.
#[derive(Debug)]
pub struct Web {
    token: RwLock<Arc<str>>,
    link: Link,
}

/// Binds the listener.
pub fn bind(address: SocketAddr) -> io::Result<StdListener> {
    let told = |e: io::Error| {
        let text = format!("[admin] web {address}: {e}; is another voipd running there?");
        io::Error::new(e.kind(), text)
    };
    let listener = StdListener::bind(address).map_err(told)?;
    sys::set_nonblocking(&listener)?;
    Ok(listener)
}

/// The token out of its file, which nobody else may read.
pub fn read_token(path: &Path) -> Result<String, String> {
    let told = |e: &dyn std::fmt::Display| format!("[admin] token_file {}: {e}", path.display());
    let text = std::fs::read_to_string(path).map_err(|e| {
        let make = format!(
            "make it: (umask 077; openssl rand -hex 32 > {})",
            path.display()
        );
        told(&format!("{e}; {make}"))
    })?;
    let mode = std::fs::metadata(path)
        .map_err(|e| told(&e))?
        .permissions()
        .mode();
    if mode & 0o007 != 0 {
        return Err(told(&format!(
            "everybody may read it; chmod o-rwx {}",
            path.display()
        )));
    }
    token_of(&text).map_err(|e| told(&e))
}

impl Web {
    /// Asks along `link`.
    pub fn new(token: &str, link: Link) -> Arc<Self> {
        Arc::new(Self {
            token: RwLock::new(token.into()),
            link,
        })
    }

    /// Another token from now on.
    pub fn set_token(&self, token: &str) {
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = token.into();
    }

    /// The way to the daemon.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Serves for ever. Inside a runtime only.
    pub async fn run(self: Arc<Self>, listener: StdListener) -> io::Result<Infallible> {
        let listener = TcpListener::from_std(listener)?;
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            // Never closed.
            let place = Arc::clone(&places).acquire_owned().await;
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
                continue;
            };
            let web = Arc::clone(&self);
            tokio::spawn(async move {
                let answer = service_fn(|request| web.answer(request));
                let served = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_WITHIN)
                    .max_buf_size(BUFFER_BYTES_MAX)
                    .serve_connection(TokioIo::new(stream), answer);
                if let Err(error) = served.await {
                    tracing::debug!(%error, "HTTP");
                }
                drop(place);
            });
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let answer = self
            .answer_to(request)
            .await
            .unwrap_or_else(|refused| refused);
        Ok(response(answer))
    }

    async fn answer_to(&self, request: Request<Incoming>) -> Result<Answer, Answer> {
        let (head, body) = request.into_parts();
        if head.uri.path() != "/healthz" {
            let token = Arc::clone(&self.token.read().unwrap_or_else(PoisonError::into_inner));
            let given = head.headers.get(header::AUTHORIZATION);
            if !is_authorized(given.map(HeaderValue::as_bytes), token.as_bytes()) {
                return Err(Answer::unauthorized());
            }
        }
        let collected = Limited::new(body, BODY_BYTES_MAX).collect();
        let body = match tokio::time::timeout(BODY_WITHIN, collected).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => return Err(Answer::too_large()),
            Err(_) => return Err(Answer::refused(408, "the body does not come", "")),
        };
        let wanted = route(&HttpRequest {
            method: head.method.as_str(),
            path: head.uri.path(),
            query: head.uri.query().unwrap_or_default(),
            body: &body,
        })?;
        let command = match &wanted {
            Wanted::Health => return Ok(Answer::healthy()),
            Wanted::Metrics => Command::Status,
            Wanted::Command(command) => command.clone(),
        };
        Ok(Answer::of(&wanted, self.link.ask(command).await))
    }
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(answer.body));
    let status = StatusCode::from_u16(answer.status);
    *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_static(answer.content_type);
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(methods) = answer.allow {
        headers.insert(header::ALLOW, HeaderValue::from_static(methods));
    }
    if answer.status == 401 {
        let challenge = HeaderValue::from_static("Bearer realm=\"voip\"");
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}
