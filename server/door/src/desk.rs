//! Which calls a door answers.

use core::{future::Future, marker::PhantomData, pin::Pin, time::Duration};
use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use iroh::endpoint::SendStream;
use tokio::time::timeout;
use zipnet_protocol::PeerKey;

use crate::{
    call::{Call, Refused},
    frame::{self, ANSWER, REFUSED},
    gate::{Gate, Places},
};

/// How long a peer may take to read a piece of an answer.
const SLOW: Duration = Duration::from_secs(10);
/// Such a piece, in bytes.
const PIECE: usize = 64 << 10;
/// Calls of one peer at once, where nothing else is said. A process with many
/// clients is one peer.
const CALLS_EACH: usize = 16;

/// Tells something of a caller by its transport key.
pub type Caller = Arc<dyn Fn(&PeerKey) -> bool + Send + Sync>;

/// The peer does not read.
#[derive(Debug)]
pub(crate) struct Slow;

/// Who may call, and how many at once (A5).
#[derive(Clone)]
pub struct Admission {
    places: Places,
    allowed: Option<Caller>,
    known: Option<Caller>,
}

impl Admission {
    /// Anybody.
    #[must_use]
    pub const fn of(places: Places) -> Self {
        Self {
            places,
            allowed: None,
            known: None,
        }
    }

    /// Only these. Others are turned away before their request is looked at and
    /// before they take a place.
    #[must_use]
    pub fn only(mut self, allowed: impl Fn(&PeerKey) -> bool + Send + Sync + 'static) -> Self {
        self.allowed = Some(Arc::new(allowed));
        self
    }

    /// Keeps half of the places for these.
    #[must_use]
    pub fn first(mut self, known: impl Fn(&PeerKey) -> bool + Send + Sync + 'static) -> Self {
        self.known = Some(Arc::new(known));
        self
    }

    /// The gate, who may call, and for whom places are kept.
    #[must_use]
    pub fn into_parts(self) -> (Places, Option<Caller>, Option<Caller>) {
        (self.places, self.allowed, self.known)
    }
}

impl From<usize> for Admission {
    /// Anybody, so many at once, 16 of each.
    fn from(concurrent: usize) -> Self {
        Self::of(Places::new(concurrent, CALLS_EACH))
    }
}

impl core::fmt::Debug for Admission {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Admission({:?})", self.places)
    }
}

type Work = Pin<Box<dyn Future<Output = Result<(), Slow>> + Send>>;
type Handler = Box<dyn Fn(Bytes, PeerKey, SendStream) -> Work + Send + Sync>;

pub(crate) struct Entry {
    pub label: &'static str,
    pub longest: u32,
    handler: Handler,
}

impl Entry {
    pub fn answer(&self, body: Bytes, caller: PeerKey, stream: SendStream) -> Work {
        (self.handler)(body, caller, stream)
    }
}

/// The calls that a door answers, and whom its process knows.
pub struct Desk {
    calls: BTreeMap<u8, Entry>,
    known: Caller,
}

impl Desk {
    /// A desk at which nothing is answered; `known` are those who have places of
    /// their own at the door. It is asked once for each connection, and from time to
    /// time for those of strangers.
    #[must_use]
    pub fn new(known: impl Fn(&PeerKey) -> bool + Send + Sync + 'static) -> Self {
        Self {
            calls: BTreeMap::new(),
            known: Arc::new(known),
        }
    }

    /// Answers a call with a handler that is told the caller's transport key, for
    /// those that are admitted; whoever finds no place is told that we are busy.
    #[must_use]
    pub fn on<C, F, Fut>(self, admission: impl Into<Admission>, handler: F) -> Self
    where
        C: Call,
        F: Fn(C::Request, PeerKey) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<C::Reply, Refused>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        self.enter::<C, _, _>(admission.into(), move |request, caller, mut stream| {
            let handler = handler.clone();
            async move {
                let (kind, body) = match handler(request, caller).await {
                    Ok(reply) => (ANSWER, postcard::to_stdvec(&reply)),
                    Err(refused) => (REFUSED, postcard::to_stdvec(&refused)),
                };
                let Ok(body) = body else {
                    return Ok(());
                };
                write(&mut stream, frame::frame(kind, &body)).await?;
                let _ = stream.finish();
                Ok(())
            }
        })
    }

    /// Answers a call with any number of answers, as long as the handler goes on and
    /// the caller reads.
    #[must_use]
    pub fn push<C, F, Fut>(self, admission: impl Into<Admission>, handler: F) -> Self
    where
        C: Call,
        F: Fn(C::Request, PeerKey, Pushes<C>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let handler = Arc::new(handler);
        self.enter::<C, _, _>(admission.into(), move |request, caller, stream| {
            let (slow, heard) = tokio::sync::oneshot::channel();
            let pushes = Pushes {
                stream,
                slow: Some(slow),
                call: PhantomData,
            };
            let work = handler(request, caller, pushes);
            async move {
                work.await;
                heard.await.map_or(Ok(()), |()| Err(Slow))
            }
        })
    }

    fn enter<C, F, Fut>(mut self, admission: Admission, handler: F) -> Self
    where
        C: Call,
        F: Fn(C::Request, PeerKey, SendStream) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Slow>> + Send + 'static,
    {
        let (places, allowed, known) = admission.into_parts();
        let gate = Gate::new(places);
        let handler = Arc::new(handler);
        let entry = Entry {
            label: C::LABEL,
            longest: C::MAX_REQUEST,
            handler: Box::new(move |body, caller, mut stream| {
                let admit = || {
                    if allowed.as_ref().is_some_and(|allowed| !allowed(&caller)) {
                        return Err(Refused::text("this call is not for the caller"));
                    }
                    let known = || known.as_ref().is_some_and(|known| known(&caller));
                    let place = gate.enter(caller, known).ok_or(Refused::Busy)?;
                    let request = postcard::from_bytes(&body);
                    let request =
                        request.map_err(|_| Refused::text("the request does not decode"))?;
                    Ok((place, request))
                };
                let admitted = admit();
                let handler = handler.clone();
                Box::pin(async move {
                    match admitted {
                        Ok((_place, request)) => handler(request, caller, stream).await,
                        Err(refused) => write_refusal(&mut stream, &refused).await,
                    }
                })
            }),
        };
        self.calls.insert(C::KIND, entry);
        self
    }

    pub(crate) fn entry(&self, kind: u8) -> Option<&Entry> {
        self.calls.get(&kind)
    }

    pub(crate) fn knows(&self, caller: &PeerKey) -> bool {
        (self.known)(caller)
    }
}

impl core::fmt::Debug for Desk {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let labels = self.calls.values().map(|entry| entry.label);
        f.debug_set().entries(labels).finish()
    }
}

/// Where news are pushed to: one caller's stream.
pub struct Pushes<C> {
    stream: SendStream,
    slow: Option<tokio::sync::oneshot::Sender<()>>,
    call: PhantomData<C>,
}

impl<C: Call> Pushes<C> {
    /// Pushes one answer that was encoded before, by [`Pushes::encode`]: many callers
    /// share the bytes. `false` if there is no more to push: the caller has
    /// left, or does not read.
    pub async fn push(&mut self, frame: Bytes) -> bool {
        let written = write(&mut self.stream, frame).await;
        if written.is_err()
            && let Some(slow) = self.slow.take()
        {
            let _ = slow.send(());
        }
        written.unwrap_or(false)
    }

    /// Ends well.
    pub fn end(mut self) {
        let _ = self.stream.finish();
    }

    /// Ends with a refusal.
    pub async fn refuse(mut self, why: &Refused) {
        let _ = write_refusal(&mut self.stream, why).await;
    }

    /// Resolves when the caller wants no more.
    pub async fn stopped(&self) {
        let _ = self.stream.stopped().await;
    }

    /// An answer as it travels.
    ///
    /// # Errors
    /// Whatever postcard says.
    pub fn encode(reply: &C::Reply) -> Result<Bytes, postcard::Error> {
        postcard::to_stdvec(reply).map(|body| frame::frame(ANSWER, &body))
    }
}

impl<C> core::fmt::Debug for Pushes<C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Pushes(..)")
    }
}

async fn write_refusal(stream: &mut SendStream, why: &Refused) -> Result<(), Slow> {
    let body = postcard::to_stdvec(why).unwrap_or_default();
    write(stream, frame::frame(REFUSED, &body)).await?;
    let _ = stream.finish();
    Ok(())
}

/// Writes a frame piece by piece; nothing is buffered for a peer that does not read
/// but what QUIC has under way. Whether the peer still listens.
async fn write(stream: &mut SendStream, mut frame: Bytes) -> Result<bool, Slow> {
    while !frame.is_empty() {
        let piece = frame.split_to(frame.len().min(PIECE));
        match timeout(SLOW, stream.write_chunk(piece)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Ok(false),
            Err(_) => return Err(Slow),
        }
    }
    Ok(true)
}
