//! Keeps an aggregator among those that the committee deals with.

use core::time::Duration;
use std::sync::Arc;

use zipnet_protocol::{AggregatorBundle, Instance};

use crate::{
    ground::Ground,
    peers::{Allowed, Peers},
    wire::{EnlistCall, Registration},
};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How soon a registration that does not show yet is looked at again.
const PENDING: Duration = Duration::from_millis(300);
/// How often a listed aggregator says that it is still there.
const REFRESH: Duration = Duration::from_secs(5);

/// Registers with the committee, for ever; says each time whether it is listed.
pub(super) async fn run(
    ground: Arc<dyn Ground>,
    instance: Instance,
    bundle: AggregatorBundle,
    servers: Allowed,
    tell: impl Fn(bool) + Send + 'static,
) {
    let servers = Peers::on::<EnlistCall>(&*ground, &instance, Some(servers));
    let (mut listed_before, mut refused_before) = (false, false);
    loop {
        let pause = match servers.call(&bundle, PATIENCE).await {
            Ok((_, Registration::Listed)) => {
                if !listed_before {
                    tracing::info!("the committee deals with this aggregator");
                }
                (listed_before, refused_before) = (true, false);
                REFRESH
            }
            Ok((_, Registration::Pending)) => PENDING,
            Err(error) if error.refusal().is_some() => {
                if !refused_before {
                    tracing::error!(
                        because = %crate::report::chain(&error),
                        "the committee does not deal with this aggregator"
                    );
                }
                (listed_before, refused_before) = (false, true);
                REFRESH
            }
            Err(error) => {
                tracing::debug!(because = %crate::report::chain(&error), "not registered yet");
                PENDING
            }
        };
        tell(listed_before);
        tokio::time::sleep(pause).await;
    }
}
