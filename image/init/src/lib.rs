//! PID 1 of zipnet's confidential guest, and the stages that it starts.
//!
//! ```text
//! /init            PID 1: boot, supervise, power off
//! /init dhcp       keeps an address; the only process that may change the network
//! /init provision  waits for the secrets, then ends
//! /init launch     gives everything up and becomes /usr/bin/zipnet-server
//! ```
//!
//! PID 1 parses nothing that comes from the network. It never panics: whatever
//! goes wrong ends in a line on the console and in power-off. The console
//! belongs to the host, so nothing secret is ever said.

pub mod backoff;
pub mod boot;
pub mod button;
pub mod calls;
pub mod clock;
pub mod console;
pub mod devices;
pub mod health;
pub mod inventory;
pub mod network;
pub mod paths;
pub mod pid1;
pub mod proc;
pub mod rate;
pub mod sandbox;
pub mod service;
pub mod settings;
pub mod stages;
pub mod supervisor;
