//! What servers tell: whole records, or light ones.

use core::time::Duration;
use std::sync::Arc;

use zipnet_door::PeerId;

use super::polls::{SLACK, WAIT};
use crate::{
    peers::{PeerError, Peers, Subscription},
    wire::{Follow, LightNews, News},
};

/// News as they came.
#[derive(Debug)]
pub(super) enum Tale {
    /// Everything, for whoever adds it up.
    Full(News),
    /// What has to be named by a later round.
    Light(LightNews),
}

/// The servers that tell them.
#[derive(Debug)]
pub(super) enum Servers {
    /// Everything.
    Full(Arc<Peers<Follow, News>>),
    /// Light records.
    Light(Arc<Peers<Follow, LightNews>>),
}

#[derive(Debug)]
enum Stream {
    Full(Subscription<News>),
    Light(Subscription<LightNews>),
}

impl Servers {
    /// Who they are, in the order in which to ask.
    pub fn serving(&self) -> Vec<PeerId> {
        match self {
            Self::Full(servers) => servers.serving(),
            Self::Light(servers) => servers.serving(),
        }
    }

    /// Asks one of them once.
    pub async fn ask(
        &self,
        peer: PeerId,
        request: &Follow,
        patience: Duration,
    ) -> Result<Tale, PeerError> {
        match self {
            Self::Full(servers) => {
                let told = servers.call_peer(peer, request, patience).await;
                told.map(Tale::Full)
            }
            Self::Light(servers) => {
                let told = servers.call_peer(peer, request, patience).await;
                told.map(Tale::Light)
            }
        }
    }

    async fn subscribe(&self, peer: PeerId, request: &Follow) -> Result<Stream, PeerError> {
        match self {
            Self::Full(servers) => servers
                .subscribe(peer, request, SLACK)
                .await
                .map(Stream::Full),
            Self::Light(servers) => servers
                .subscribe(peer, request, SLACK)
                .await
                .map(Stream::Light),
        }
    }
}

impl Stream {
    async fn next(&mut self) -> Result<Option<Tale>, PeerError> {
        let patience = WAIT + SLACK;
        match self {
            Self::Full(stream) => Ok(stream.next(patience).await?.map(Tale::Full)),
            Self::Light(stream) => Ok(stream.next(patience).await?.map(Tale::Light)),
        }
    }
}

/// The stream on which a server pushes news, and the question that the next one
/// answers.
#[derive(Debug)]
pub(super) struct Held {
    stream: Stream,
    answers: Follow,
}

impl Held {
    /// Whether what it pushes is of use to one who asks this.
    pub fn covers(&self, request: &Follow) -> bool {
        self.answers.covers(request)
    }

    /// Waits for news on a stream, or opens one.
    pub async fn next(
        held: Option<Self>,
        servers: &Servers,
        peer: PeerId,
        request: Follow,
    ) -> (Result<Tale, PeerError>, Option<Self>) {
        let mut held = held;
        // A stream that has ended is opened anew, once.
        for _ in 0..2 {
            let mut at = match held.take() {
                Some(at) => at,
                None => match servers.subscribe(peer, &request).await {
                    Ok(stream) => Self {
                        stream,
                        answers: request.clone(),
                    },
                    Err(error) => return (Err(error), None),
                },
            };
            match at.stream.next().await {
                Ok(Some(tale)) => {
                    at.answers = match &tale {
                        Tale::Full(news) => at.answers.behind(news),
                        Tale::Light(news) => at.answers.behind_light(news),
                    };
                    return (Ok(tale), Some(at));
                }
                Ok(None) => {}
                Err(error) => return (Err(error), None),
            }
        }
        (Ok(Tale::Full(News::default())), None)
    }
}
