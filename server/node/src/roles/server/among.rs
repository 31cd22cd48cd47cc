//! Answers the calls that only other servers make.

use core::future::ready;
use std::sync::Arc;

use mosaik::Network;
use zipnet_door::Admission;

use super::{context::Context, desk::member_of, floors, history, keeper};
use crate::{
    roles::common::{self, ServeError, Served},
    wire::{FloorCall, HistoryCall, KeepCall, KeeperCall},
};

/// Calls of one kind that are answered at once.
const AT_ONCE: usize = 64;

/// The open calls; they end when this is dropped.
pub(super) struct Among {
    _keeper: Served<KeeperCall>,
    _keep: Served<KeepCall>,
    _floor: Served<FloorCall>,
    _history: Served<HistoryCall>,
}

impl Among {
    pub fn open(network: &Network, context: &Arc<Context>) -> Result<Self, ServeError> {
        let instance = &context.rules.instance;
        let desk = || context.clone();
        let servers = || {
            let context = context.clone();
            Admission::from(AT_ONCE).only(move |caller| member_of(&context, caller).is_some())
        };
        Ok(Self {
            _keeper: {
                let context = desk();
                common::serve::<KeeperCall, _, _>(network, instance, servers(), move |(), _| {
                    ready(keeper::keeper(&context))
                })?
            },
            _keep: {
                let context = desk();
                common::serve::<KeepCall, _, _>(
                    network,
                    instance,
                    servers(),
                    move |seed, caller| ready(keeper::keep(&context, &seed, &caller)),
                )?
            },
            _floor: {
                let context = desk();
                common::serve::<FloorCall, _, _>(
                    network,
                    instance,
                    servers(),
                    move |request, caller| ready(floors::tell(&context, &request, &caller)),
                )?
            },
            _history: {
                let context = desk();
                common::serve::<HistoryCall, _, _>(
                    network,
                    instance,
                    servers(),
                    move |digest, _| ready(history::records(&context, &digest)),
                )?
            },
        })
    }
}
