use std::error::Error;

use zipnet::roles::client::{Client, ClientSettings, Participation};

/// Publishes a text, and yields the messages of the round that it landed in.
pub async fn say(settings: ClientSettings, text: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let client = Client::start(settings, Participation::Talk).await?;
    let mut reader = client.reader();
    // Takes part for some rounds before and after, as everybody who comes to talk.
    let mut stay = client.linger();
    while stay.left() > 0 && stay.one_more().await {}
    let receipt = client.publisher().publish(text).await?;
    let mut found = Vec::new();
    while let Some(round) = reader.next().await {
        let round = round?;
        let header = round.round().header();
        if header.epoch == receipt.epoch && header.number == receipt.round {
            let messages = round.messages();
            found.extend(messages.map(|(_, bytes)| String::from_utf8_lossy(&bytes).into_owned()));
            break;
        }
    }
    let mut rest = stay.behind(&client);
    while rest.left() > 0 && rest.one_more().await {}
    client.leave().await;
    Ok(found)
}
