//! Properties that hold for any committee, any clients, any bytes. A test
//! named `iN_…` tries to break invariant N of the design.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
mod properties {
    pub mod algebra;
    pub mod audits;
    pub mod decoding;
    pub mod headers;
    pub mod keys;
    pub mod least_servers;
    pub mod leaves;
    pub mod light;
    pub mod limits;
    pub mod pads;
    pub mod registry;
    pub mod tampering;
}
