//! The parts of an answer.

use percent_encoding::percent_decode;
use serde::Deserialize;
use serde_json::value::RawValue;
use ureq::http::Response;

use super::FetchError;

/// A signed part, as it was sent: the signature is over these very bytes.
#[derive(Deserialize)]
struct Signed<'a> {
    #[serde(borrow, alias = "tcbInfo", alias = "enclaveIdentity")]
    part: &'a RawValue,
    signature: String,
}

/// The text and the signature of a part.
pub(super) fn signed(
    body: &[u8],
    url: &str,
    part: &'static str,
) -> Result<(String, Vec<u8>), FetchError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| FetchError::Json {
        url: url.to_owned(),
        part,
        source,
    };
    let signed: Signed<'_> = serde_json::from_slice(body).map_err(|error| failed(error.into()))?;
    let signature = hex::decode(&signed.signature).map_err(|error| failed(error.into()))?;
    Ok((signed.part.get().to_owned(), signature))
}

/// The chain in the first of these headers that there is.
pub(super) fn chain(
    head: &Response<()>,
    url: &str,
    names: &[&'static str],
) -> Result<String, FetchError> {
    let found = names.iter().find_map(|name| head.headers().get(*name));
    let chain = found.and_then(|value| {
        let chain = percent_decode(value.as_bytes()).decode_utf8().ok()?;
        Some(chain.into_owned())
    });
    chain.ok_or_else(|| FetchError::Chain {
        url: url.to_owned(),
        header: names.first().copied().unwrap_or_default(),
    })
}

/// A revocation list. PCCS of some versions write hex whatever is asked for.
pub(super) fn list(body: &[u8], url: &str) -> Result<Vec<u8>, FetchError> {
    // A SEQUENCE of more than 127 bytes; in hex that is `3`.
    if let [0x30, 0x81..=0x83, ..] = body {
        return Ok(body.to_vec());
    }
    let list = hex::decode(body.trim_ascii()).ok();
    list.filter(|list| list.first() == Some(&0x30))
        .ok_or_else(|| FetchError::List {
            url: url.to_owned(),
        })
}

/// The TCB evaluation of a part of an answer, by its own word.
pub fn evaluation(body: &[u8], part: &str) -> Option<u32> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let number = body.get(part)?.get("tcbEvaluationDataNumber")?.as_u64()?;
    u32::try_from(number).ok()
}
