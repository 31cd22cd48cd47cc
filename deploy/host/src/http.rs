//! As much of HTTP as asking a neighbour whether it is ready takes.

use std::{
    io::{self, Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    time::{Duration, Instant},
};

/// Most that is read of an answer, in bytes.
const MAX_ANSWER: u64 = 16 << 10;

/// Where something is asked for: `http://HOST[:PORT]/PATH`, or `https://`, of which
/// only host and port are of use here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// As it was written.
    pub text: String,
    /// Whether it is asked over TLS, which this program does not speak.
    pub tls: bool,
    authority: String,
    path: String,
}

/// Text is no such URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("http://HOST:PORT/PATH would be right")]
pub struct UrlError;

/// Nobody answered as asked.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection, or a broken one.
    #[error("{0} cannot be asked")]
    Unreachable(String, #[source] io::Error),
    /// Something else than an answer.
    #[error("{0} answers, but not in HTTP")]
    Strange(String),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status, such as 200.
    pub status: u16,
    /// The beginning of what is behind the headers.
    pub body: String,
}

impl std::str::FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err(UrlError),
        };
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, format!("/{path}")),
            None => (rest, "/".to_owned()),
        };
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if authority.is_empty() || authority.contains('@') || !plain(authority) || !plain(&path) {
            return Err(UrlError);
        }
        // An address of version 6 has colons in brackets.
        let port = authority
            .rsplit(']')
            .next()
            .unwrap_or_default()
            .contains(':');
        let authority = match (port, tls) {
            (true, _) => authority.to_owned(),
            (false, false) => format!("{authority}:80"),
            (false, true) => format!("{authority}:443"),
        };
        Ok(Self {
            text: text.to_owned(),
            tls,
            authority,
            path,
        })
    }
}

impl Url {
    /// Connects, to any of its host's addresses.
    ///
    /// # Errors
    /// [`HttpError::Unreachable`].
    pub fn connect(&self, limit: Duration) -> Result<TcpStream, HttpError> {
        let failed = |source| HttpError::Unreachable(self.text.clone(), source);
        let addresses = self.authority.to_socket_addrs().map_err(failed)?;
        let mut last = io::ErrorKind::NotFound.into();
        for address in addresses {
            match TcpStream::connect_timeout(&address, limit) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(failed(last))
    }

    /// Asks for it.
    ///
    /// # Errors
    /// [`HttpError`].
    pub fn get(&self, limit: Duration) -> Result<Answer, HttpError> {
        let end = Instant::now() + limit;
        let bytes = self.connect(limit).and_then(|stream| {
            self.exchange(stream, end)
                .map_err(|source| HttpError::Unreachable(self.text.clone(), source))
        })?;
        let text = String::from_utf8_lossy(&bytes);
        let mut words = text.lines().next().unwrap_or_default().split(' ');
        let status = match (words.next(), words.next()) {
            (Some("HTTP/1.0" | "HTTP/1.1"), Some(status)) => status.parse().ok(),
            _ => None,
        };
        let status = status.ok_or_else(|| HttpError::Strange(self.text.clone()))?;
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok(Answer {
            status,
            body: body.to_owned(),
        })
    }

    fn exchange(&self, mut stream: TcpStream, end: Instant) -> io::Result<Vec<u8>> {
        let left = || match end.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::Error::from(io::ErrorKind::TimedOut)),
            left => Ok(Some(left)),
        };
        stream.set_write_timeout(left()?)?;
        let host = &self.authority;
        let question = format!(
            "GET {} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n",
            self.path
        );
        stream.write_all(question.as_bytes())?;
        let mut answer = Vec::new();
        let mut buffer = [0; 2048];
        loop {
            stream.set_read_timeout(left()?)?;
            let read = match stream.read(&mut buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error),
            };
            answer.extend_from_slice(buffer.get(..read).unwrap_or_default());
            if read == 0 || answer.len() as u64 >= MAX_ANSWER {
                return Ok(answer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    /// A server that answers one question with these bytes.
    fn answering(bytes: &'static [u8]) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/readyz", listener.local_addr().unwrap());
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = [0; 1024];
            let read = stream.read(&mut question).unwrap();
            assert!(question[..read].starts_with(b"GET /readyz HTTP/1.0\r\n"));
            let _ = stream.write_all(bytes);
        });
        url.parse().unwrap()
    }

    #[test]
    fn a_url_has_a_host_and_is_of_http() {
        let authority = |text: &str| text.parse().map(|url: Url| url.authority);
        assert_eq!(authority("http://a/readyz"), Ok("a:80".to_owned()));
        assert_eq!(authority("https://a"), Ok("a:443".to_owned()));
        assert_eq!(authority("http://[::1]/"), Ok("[::1]:80".to_owned()));
        assert_eq!(authority("http://[::1]:9/"), Ok("[::1]:9".to_owned()));
        for wrong in [
            "",
            "a:1",
            "ftp://a",
            "http://",
            "http:///x",
            "http://u@a/",
            "http://a/\r\nX: y",
        ] {
            assert_eq!(authority(wrong), Err(UrlError), "{wrong}");
        }
    }

    #[test]
    fn an_answer_is_a_status_and_words() {
        let answer = answering(b"HTTP/1.1 503 Unavailable\r\nA: b\r\n\r\nno leader\n")
            .get(LIMIT)
            .unwrap();
        assert_eq!(
            answer,
            Answer {
                status: 503,
                body: "no leader\n".to_owned()
            }
        );
        assert!(matches!(
            answering(b"SSH-2.0-x\r\n").get(LIMIT),
            Err(HttpError::Strange(_))
        ));
        let closed = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let url: Url = format!("http://{closed}/").parse().unwrap();
        assert!(matches!(url.get(LIMIT), Err(HttpError::Unreachable(..))));
    }

    #[test]
    fn who_says_nothing_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url: Url = format!("http://{}/", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        let error = url.get(Duration::from_millis(100)).unwrap_err();
        let HttpError::Unreachable(_, source) = error else {
            panic!("{error}")
        };
        assert_eq!(source.kind(), io::ErrorKind::TimedOut);
    }
}
