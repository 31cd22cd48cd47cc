//! A page that lists rounds and messages, for whoever has nothing but a browser. It verifies
//! nothing, and says so.

use hyper::body::Bytes;

/// Of nothing but this archive: no script in the page, nothing from elsewhere.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page, and its kind.
pub fn file(path: &str) -> Option<(&'static str, Bytes)> {
    let (kind, text) = match path {
        "" => ("text/html; charset=utf-8", include_str!("page/index.html")),
        "page.js" => (
            "text/javascript; charset=utf-8",
            include_str!("page/page.js"),
        ),
        "page.css" => ("text/css; charset=utf-8", include_str!("page/page.css")),
        _ => return None,
    };
    Some((kind, Bytes::from_static(text.as_bytes())))
}
