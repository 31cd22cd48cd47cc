//! Publishes a line, and prints what is published meanwhile.

use std::{env::var, error::Error};

use zipnet::Zipnet;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let zipnet = Zipnet::connect(var("ZIPNET_URI")?).await?;
    let mut reader = zipnet.reader();
    let landed = tokio::spawn(zipnet.publish_and_leave("hello"));
    while let Some(round) = reader.next().await {
        for (slot, message) in round?.messages() {
            println!("slot {slot}: {}", message.escape_ascii());
        }
    }
    println!("landed in round {}", landed.await??.round);
    Ok(())
}
