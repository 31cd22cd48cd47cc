//! What nodes ask of each other, outside of the committee's group: at doors, which is in
//! [`zipnet::wire`], and what only servers ask of each other over mosaik ([`among`]).

pub mod among;
mod members;

use mosaik::{FunctionId, UniqueId};
use zipnet_protocol::{Canonical, Instance, InstanceName};

pub use self::{
    among::{Floor, FloorRequest, Keeper, Keepsake, Link, LinkRequest, Opinion},
    members::*,
};
pub use zipnet::wire::*;

/// A call's id on mosaik's network, within an instance.
#[must_use]
pub fn function_id(label: &'static str, instance: &Instance) -> FunctionId {
    derive(label, Canonical::new().fixed(instance.id().as_bytes()))
}

fn derive(label: &'static str, scope: Canonical) -> FunctionId {
    let digest = scope.bytes(label.as_bytes()).digest("zipnet/function/v1");
    UniqueId::from_bytes(*digest.as_bytes())
}

/// The id of the one function that is found by the instance's name alone.
#[must_use]
pub fn hello_id(name: &InstanceName) -> FunctionId {
    derive("hello", Canonical::new().bytes(name.as_str().as_bytes()))
}
