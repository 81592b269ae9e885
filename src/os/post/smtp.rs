//! One letter handed to a mail server (RFC 5321): TLS first (RFC 8314) or by STARTTLS (RFC 3207),
//! AUTH (RFC 4954), and the letter itself.
//!
//! Up to the TLS handshake we speak ourselves, byte by byte, so that nothing that came before it is
//! ever taken for something that came after (RFC 3207 §6); lettre speaks from then on. A password
//! goes through TLS or stays on this host.

use super::letter::Letter;
use crate::config::Smtp;
use crate::os::privsep::client::Net;
use crate::os::tls::Tls;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Addresses of a server that are tried.
pub const ADDRESSES_MAX: usize = 8;
const CONNECT_WITHIN: Duration = Duration::from_secs(30);
/// The greeting and what comes before TLS.
const GREETING_WITHIN: Duration = Duration::from_secs(60);
/// All of it: RFC 5321 §4.5.3.2.6 grants the server ten minutes for its last word alone.
const LETTER_WITHIN: Duration = Duration::from_secs(900);
/// The longest line of a reply (RFC 5321 §4.5.3.1.5 says 512), and lines of one reply.
const LINE_BYTES_MAX: usize = 2048;
const LINES_MAX: usize = 128;
/// What a server may say to one letter, in bytes.
const SAID_BYTES_MAX: usize = 256 << 10;

/// Why a letter is not with the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The server, the network or the settings: later, and nothing else until then either.
    Server(String),
    /// The server does not take this letter now.
    Later(String),
    /// The server never takes this letter.
    Refused(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Failure::Server(why) | Failure::Later(why) | Failure::Refused(why)) = self;
        f.write_str(why)
    }
}

/// The server, and who we are to it.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    /// Where it is.
    pub smtp: &'a Smtp,
    /// Where its name leads.
    pub addresses: &'a [SocketAddr],
    /// What proves [`Smtp::user`].
    pub password: Option<&'a [u8]>,
    /// Our own name.
    pub hello: &'a str,
}

/// Hands in a letter; it is the server's once this is `Ok`.
pub async fn deliver(
    net: &Net,
    tls: &Tls,
    account: Account<'_>,
    letter: &Letter,
) -> Result<(), Failure> {
    let whole = async {
        let stream = connect(net, account.addresses).await?;
        let mut session = timeout(GREETING_WITHIN, open(stream, tls, account))
            .await
            .map_err(|_| Failure::Server("it does not greet".into()))??;
        let outcome = hand_in(&mut session, letter).await;
        if outcome.is_ok() {
            // The letter is with it, whatever it says to this.
            let _ = session.quit().await;
        } else {
            session.abort().await;
        }
        outcome
    };
    let slow = |_| Failure::Server("it took too long".into());
    timeout(LETTER_WITHIN, whole).await.map_err(slow)?
}

async fn connect(net: &Net, addresses: &[SocketAddr]) -> Result<TcpStream, Failure> {
    let mut last = Failure::Server("its name leads to no address".into());
    for address in addresses.iter().take(ADDRESSES_MAX) {
        match timeout(CONNECT_WITHIN, net.connect(*address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = Failure::Server(format!("{address}: {error}")),
            Err(_) => last = Failure::Server(format!("{address}: does not answer")),
        }
    }
    Err(last)
}

async fn open(
    mut stream: TcpStream,
    tls: &Tls,
    account: Account<'_>,
) -> Result<AsyncSmtpConnection, Failure> {
    let peer = stream.peer_addr().map_err(broken)?;
    let near = peer.ip().to_canonical().is_loopback();
    let smtp = account.smtp;
    let mut encrypted = smtp.tls;
    if !smtp.tls {
        let offers = greet(&mut stream, account.hello).await?;
        // On this host nobody is between, and a certificate for its name is rare.
        if offers && (!near || smtp.user.is_some()) {
            say(&mut stream, "STARTTLS\r\n").await?;
            expect(hear(&mut stream).await?, 220, "STARTTLS")?;
            encrypted = true;
        }
    }
    if smtp.user.is_some() && !encrypted && !near {
        return Err(Failure::Server(
            "it offers no STARTTLS, and a password is not sent in the clear; use smtps:// or take \
             smtp_user away"
                .into(),
        ));
    }
    // After TLS the server says nothing until it is asked; lettre wants to be greeted.
    let greeting: &[u8] = if smtp.tls { b"" } else { b"220 again\r\n" };
    let stream: Box<dyn AsyncTokioStream> = match encrypted {
        true => {
            let stream = shake_hands(stream, tls, &smtp.host, peer.ip()).await?;
            Box::new(Wire::new(stream, peer, greeting))
        }
        false => Box::new(Wire::new(stream, peer, greeting)),
    };
    let hello = ClientId::Domain(account.hello.to_owned());
    let session = AsyncSmtpConnection::connect_with_transport(stream, &hello).await;
    let mut session = session.map_err(server)?;
    if let (Some(user), Some(password)) = (&smtp.user, account.password) {
        let password = String::from_utf8_lossy(password).into_owned();
        let credentials = Credentials::new(user.to_string(), password);
        let known = [Mechanism::Plain, Mechanism::Login];
        session.auth(&known, &credentials).await.map_err(|e| {
            Failure::Server(format!("smtp_user {user} is not let in: {}", told(&e)))
        })?;
    }
    Ok(session)
}

async fn shake_hands(
    stream: TcpStream,
    tls: &Tls,
    host: &str,
    address: IpAddr,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Failure> {
    let host = host.trim_matches(['[', ']']);
    let (connector, name) = tls.connector(Some(host), address).map_err(broken)?;
    connector.connect(name, stream).await.map_err(|e| {
        Failure::Server(format!(
            "TLS: {e}; the certificate must name {host}, and its root be one of the system's or \
             of [sip.tls] roots"
        ))
    })
}

/// The server's greeting and what it can; whether STARTTLS is of that.
async fn greet(stream: &mut TcpStream, hello: &str) -> Result<bool, Failure> {
    expect(hear(stream).await?, 220, "its greeting")?;
    say(stream, &format!("EHLO {hello}\r\n")).await?;
    let (code, lines) = hear(stream).await?;
    // A server that knows only HELO (RFC 5321 §4.1.1.1) is asked again by lettre, and said so.
    let offered = |line: &String| line.trim().eq_ignore_ascii_case("STARTTLS");
    Ok(code == 250 && lines.iter().skip(1).any(offered))
}

async fn say(stream: &mut TcpStream, line: &str) -> Result<(), Failure> {
    stream.write_all(line.as_bytes()).await.map_err(broken)
}

/// One reply: its code and the texts of its lines (RFC 5321 §4.2). Byte by byte, so that nothing
/// behind it is taken.
async fn hear(stream: &mut TcpStream) -> Result<(u16, Vec<String>), Failure> {
    let mut lines = Vec::new();
    while lines.len() < LINES_MAX {
        let mut line = Vec::new();
        loop {
            match stream.read_u8().await.map_err(broken)? {
                b'\n' => break,
                _ if line.len() >= LINE_BYTES_MAX => return Err(nonsense()),
                byte => line.push(byte),
            }
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        let code = line.get(..3).and_then(|code| code.parse().ok());
        let code: u16 = code.ok_or_else(nonsense)?;
        let more = line.as_bytes().get(3) == Some(&b'-');
        lines.push(line.get(4..).unwrap_or_default().to_owned());
        if !more {
            return Ok((code, lines));
        }
    }
    Err(nonsense())
}

fn expect((code, lines): (u16, Vec<String>), wanted: u16, what: &str) -> Result<(), Failure> {
    match code == wanted {
        true => Ok(()),
        false => Err(Failure::Server(format!(
            "to {what} it says {code} {}",
            shown(&lines.join(" "))
        ))),
    }
}

fn nonsense() -> Failure {
    Failure::Server("it does not speak SMTP".into())
}

fn broken(error: io::Error) -> Failure {
    Failure::Server(error.to_string())
}

fn server(error: lettre::transport::smtp::Error) -> Failure {
    Failure::Server(told(&error))
}

/// An error with what is behind it, in one line.
fn told(error: &lettre::transport::smtp::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    shown(&text)
}

/// What a server said, as a log can bear it.
fn shown(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(300).collect()
}

/// What the server says to a recipient or a letter is about them; to a sender, about us.
async fn hand_in(session: &mut AsyncSmtpConnection, letter: &Letter) -> Result<(), Failure> {
    let envelope = &letter.envelope;
    let mail = Mail::new(envelope.from().cloned(), Vec::new());
    session.command(mail).await.map_err(server)?;
    for to in envelope.to() {
        let rcpt = Rcpt::new(to.clone(), Vec::new());
        session.command(rcpt).await.map_err(about_letter)?;
    }
    session.command(Data).await.map_err(about_letter)?;
    session.message(&letter.bytes).await.map_err(about_letter)?;
    Ok(())
}

fn about_letter(error: lettre::transport::smtp::Error) -> Failure {
    match (error.is_permanent(), error.is_transient()) {
        (true, _) => Failure::Refused(told(&error)),
        (_, true) => Failure::Later(told(&error)),
        (false, false) => server(error),
    }
}

/// A connection of which so much is heard and no more, with a greeting of ours before it.
struct Wire<S> {
    stream: S,
    peer: SocketAddr,
    greeting: &'static [u8],
    left: usize,
}

impl<S> Wire<S> {
    fn new(stream: S, peer: SocketAddr, greeting: &'static [u8]) -> Self {
        Self {
            stream,
            peer,
            greeting,
            left: SAID_BYTES_MAX,
        }
    }
}

impl<S> fmt::Debug for Wire<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire({})", self.peer)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.greeting.is_empty() {
            let count = self.greeting.len().min(buf.remaining());
            let (now, later) = self.greeting.split_at(count);
            buf.put_slice(now);
            self.greeting = later;
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let heard = buf.filled().len() - before;
        let left = self.left.checked_sub(heard);
        self.left = left.ok_or_else(|| io::Error::other("the server does not end talking"))?;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> AsyncTokioStream for Wire<S> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}
