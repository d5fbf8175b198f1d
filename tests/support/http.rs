//! An HTTP/1.1 client that speaks JSON to one port, a connection a request.

use ::http::{HeaderMap, Method, Request, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Requests to one port on the loopback interface, by one bearer or by nobody.
#[derive(Clone)]
pub struct Client {
    port: u16,
    bearer: Option<String>,
}

/// Why there is no answer: the server is not there, or went away.
pub type NoAnswer = Box<dyn std::error::Error + Send + Sync>;

impl Client {
    /// A client of `port`, without a token.
    pub fn on(port: u16) -> Self {
        Self { port, bearer: None }
    }

    /// The same client with a token.
    pub fn bearing(&self, token: &str) -> Self {
        Self { bearer: Some(token.to_owned()), ..*self }
    }

    /// The port that it asks.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Its token, if it bears one.
    pub fn bearer(&self) -> Option<&str> {
        self.bearer.as_deref()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, None).await.unwrap()
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, Some(body)).await.unwrap()
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::PUT, path, Some(body)).await.unwrap()
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::PATCH, path, Some(body)).await.unwrap()
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path, None).await.unwrap()
    }

    /// Any request with a JSON body or none, to a server that may be gone.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Answer, NoAnswer> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = &self.bearer {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(String::new, |json| json.to_string());
        self.send(request.body(body)?).await
    }

    /// Any request at all; only `Host` is added, and no token.
    pub async fn send(&self, mut request: Request<String>) -> Result<Answer, NoAnswer> {
        let host = format!("127.0.0.1:{}", self.port);
        let stream = TcpStream::connect(&host).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the sender, when the answer is in.
        tokio::spawn(connection);
        request.headers_mut().entry(header::HOST).or_insert(host.parse()?);
        let (head, body) = sender
            .send_request(request.map(|body| Full::new(Bytes::from(body))))
            .await?
            .into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }
}

/// A request that a handler has begun to read, with its body still to come.
pub struct Begun {
    stream: TcpStream,
    body: String,
}

impl Client {
    /// Begins to send a body. The server asks for the rest once its handler, behind
    /// every layer, begins to read.
    pub async fn begin(&self, path: &str, body: Value) -> Begun {
        let body = body.to_string();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let bearer = self.bearer.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n"));
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{}\
             Content-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            bearer.unwrap_or_default(),
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut asked = [0; 25];
        stream.read_exact(&mut asked).await.unwrap();
        assert_eq!(asked, *b"HTTP/1.1 100 Continue\r\n\r\n", "{}", asked.escape_ascii());
        Begun { stream, body }
    }
}

impl Begun {
    /// Sends the rest.
    pub async fn finish(mut self) -> Answer {
        self.stream.write_all(self.body.as_bytes()).await.unwrap();
        let mut answer = vec![];
        self.stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| line.split_once(": ").unwrap());
        let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        Answer { status, headers: headers.collect(), body: Bytes::copy_from_slice(body.as_bytes()) }
    }
}

/// An answer, whole.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{} is no JSON: {error}: {}", self.status, self.body.escape_ascii())
        })
    }

    /// The body as JSON, of an answer that must have this status.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body.escape_ascii());
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// A header's text; nothing if it is not there.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}
