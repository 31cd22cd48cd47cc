use std::error::Error;

use zipnet::{Builder, Message, Received, Zipnet, typed::Tag};

/// A bid, as this application writes it.
#[derive(Debug, PartialEq, Eq)]
pub struct Bid(pub u64);

impl Message for Bid {
    const TAG: Tag = *b"bid1";
    type Error = std::array::TryFromSliceError;

    fn encode(&self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Self::Error> {
        bytes.try_into().map(u64::from_be_bytes).map(Self)
    }
}

/// Sends a bid, and yields the first one that is read.
pub async fn bid(to: Builder, amount: u64) -> Result<Received<Bid>, Box<dyn Error>> {
    let zipnet = Zipnet::connect(to).await?;
    let mut readiness = zipnet.readiness();
    for reason in readiness.reasons() {
        eprintln!("not ready yet: {reason}");
    }
    readiness.ready().await?;
    let mut bids = zipnet.reader_of::<Bid>();
    let publisher = zipnet.publisher_of::<Bid>();
    // It returns at once. Whoever drops what it returns does not take the bid back.
    let sending = publisher.send(&Bid(amount));
    let found = loop {
        match bids.next().await {
            Some(Ok(found)) => break found,
            Some(Err(lagged)) => eprintln!("{lagged}"),
            None => return Err("the client has left".into()),
        }
    };
    // Known once a later round confirms it, or says that no record holds it.
    let receipt = sending.await?;
    eprintln!("landed in round {} slot {}", receipt.round, receipt.slot);
    zipnet.leave().await;
    Ok(found)
}
