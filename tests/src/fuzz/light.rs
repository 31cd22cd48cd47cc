//! News for those who read lightly.

use zipnet_node::{
    committee::command::Published,
    wire::{LightHeader, LightNews, LightOpened, LightPublished},
};
use zipnet_protocol::{
    Certificate, Certification, Certifications, CertifiedRound, ClaimedRound, FinalizedRound,
    HeaderDelta, LightRecord, Nonce, RoundHeader, SignedHeader, SigningSecret,
};

use super::{Seed, instance};

/// [`LightNews`]: claims of rounds whose header came along, and headers that build on one of
/// these.
pub fn light_news(data: &[u8]) {
    let Ok(news) = postcard::from_bytes::<LightNews>(data) else {
        return;
    };
    let mut base = None;
    let mut claims = Vec::new();
    for published in &news.records {
        if let Some((header, bundles)) = &published.round
            && let Ok(round) = header.verify(instance(), bundles)
        {
            base = Some(round.header().clone());
            claims.extend(published.record.claim(round));
        }
    }
    let Some(open) = news.open else { return };
    let (header, bundles) = match open.header {
        LightHeader::Whole(header, bundles) => (header, bundles),
        LightHeader::Delta(delta) => {
            let newest = claims.last().map(ClaimedRound::digest);
            let Some(Ok(header)) = base.map(|base| delta.onto(&base, newest)) else {
                return;
            };
            let bundles = news.records.last().and_then(|last| last.round.clone());
            (
                header,
                bundles.map(|(_, bundles)| bundles).unwrap_or_default(),
            )
        }
    };
    let signatures = open.signatures;
    let certificate = Certificate { header, signatures };
    if let Ok(round) = certificate.verify(instance(), &bundles) {
        for claim in claims {
            let _ = claim.named_by(&round);
        }
    }
}

/// The round behind a record, changed, as its committee of one certifies it.
pub(super) fn certified(
    published: &Published,
    done: &FinalizedRound,
    signing: &SigningSecret,
    change: impl FnOnce(&mut RoundHeader),
) -> Result<(SignedHeader, CertifiedRound), Box<dyn std::error::Error>> {
    let base = done.round().header();
    let server = published.record.header.opener();
    let mut next = RoundHeader {
        number: base.number.saturating_add(1),
        nonce: Nonce::new([10; 32]),
        previous: *done.digest(),
        ..base.clone()
    };
    change(&mut next);
    let signed = next.sign(*server, signing);
    let round = signed.verify(instance(), &published.bundles)?;
    let word = Certification::sign(*round.context(), *server, signing);
    let certified = Certifications::default().add(&round, &word)?;
    Ok((signed, certified.ok_or("it takes one signature")?))
}

/// A record of a committee of one, and the round behind it.
pub fn seed(
    published: &Published,
    done: &FinalizedRound,
    signing: &SigningSecret,
) -> Result<Seed, Box<dyn std::error::Error>> {
    let base = done.round().header();
    let (signed, certified) = certified(published, done, signing, |_| {})?;
    let delta = HeaderDelta::between(base, &signed, true).ok_or("the roster changed")?;
    let news = LightNews {
        records: vec![LightPublished {
            number: base.number,
            round: Some((published.record.header.clone(), published.bundles.clone())),
            record: LightRecord::of(done),
        }],
        open: Some(LightOpened {
            header: LightHeader::Delta(delta),
            signatures: certified.certificate().signatures.clone(),
            aggregators: None,
        }),
    };
    Ok(("light_news", postcard::to_stdvec(&news)?))
}
