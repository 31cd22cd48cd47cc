//! What has to be there before a round can open, and what is missing.

use core::fmt;
use std::collections::BTreeSet;

use zipnet_protocol::PeerKey;

use super::context::Context;
use crate::{committee::View, health::Code};

/// Something that keeps rounds from opening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// Too few clients are registered.
    Clients { have: usize, need: usize },
    /// No aggregator is registered.
    NoAggregator,
    /// Nobody leads the group.
    NoLeader,
    /// Too few servers are bonded (I7).
    NoMajority {
        have: usize,
        committee: u32,
        away: Vec<String>,
    },
    /// Servers have not registered, or were struck.
    Bundles {
        have: usize,
        need: usize,
        away: Vec<String>,
    },
    /// Registered servers that every round needs are away.
    Away { away: Vec<String> },
    /// Too few clients take part with the servers that are here.
    Takers { servers: usize, need: u32 },
    /// Registered servers whose evidence does not hold here (I3).
    Refused { servers: Vec<String> },
}

impl Obstacle {
    /// What it is about.
    pub const fn code(&self) -> Code {
        match self {
            Self::Clients { .. } | Self::Takers { .. } => Code::Clients,
            Self::NoAggregator => Code::Aggregator,
            Self::NoLeader => Code::Leader,
            Self::NoMajority { .. } => Code::Majority,
            Self::Bundles { .. } => Code::Roster,
            Self::Away { .. } => Code::Away,
            Self::Refused { .. } => Code::PeersRefused,
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clients { have, need } => {
                write!(
                    f,
                    "clients of distinct peers below the minimum (have {have}, need {need})"
                )
            }
            Self::NoAggregator => f.write_str(
                "no aggregator is registered (one that shows ZIPNET_ADMISSION, or that ZIPNET_AGGREGATORS names)",
            ),
            Self::NoLeader => f.write_str("no leader"),
            Self::NoMajority {
                have,
                committee,
                away,
            } => write!(
                f,
                "fewer than half of the committee bonded (have {have} of {committee}; away: {})",
                names(away)
            ),
            Self::Bundles { have, need, away } => write!(
                f,
                "server bundles missing (have {have}, need {need}; missing: {})",
                names(away)
            ),
            Self::Away { away } => write!(
                f,
                "registered servers away ({}); a round needs all of them",
                names(away)
            ),
            Self::Takers { servers, need } => write!(
                f,
                "fewer clients than {need} take part in rounds of {servers} servers (their ZIPNET_MIN_SERVERS)"
            ),
            Self::Refused { servers } => write!(
                f,
                "the evidence of registered servers does not hold ({})",
                names(servers)
            ),
        }
    }
}

fn names(away: &[String]) -> String {
    if away.is_empty() {
        "some that were never seen here".to_owned()
    } else {
        away.join(", ")
    }
}

/// What this server sees of the committee.
#[derive(Debug, Clone)]
pub(super) struct Readiness {
    pub obstacles: Vec<Obstacle>,
    /// Servers that were here and are away, by short peer id.
    pub away: Vec<String>,
    /// Registered servers whose evidence does not hold here.
    pub refused: usize,
    /// Every server that was here, and whether it is now.
    pub attendance: Vec<(PeerKey, bool)>,
}

impl Readiness {
    /// Looks at the state and the bonds.
    pub fn look(context: &Context, view: &View) -> Self {
        let state = &view.state;
        let bonded = context.bonded();
        let (standing, refused): (Vec<_>, Vec<_>) = state
            .servers()
            .values()
            .partition(|server| context.stands(view, server));
        let present = standing
            .into_iter()
            .filter(|server| context.is_bonded(server, &bonded))
            .count();
        let refused: Vec<_> = refused
            .into_iter()
            .map(|server| server.peer().short())
            .collect();
        let refusing = refused.len();
        let attendance = context.attendance(view, &bonded);
        let away: Vec<String> = attendance
            .iter()
            .filter(|(_, here)| !here)
            .map(|(peer, _)| peer.short())
            .collect();
        let mut obstacles = Vec::new();

        if context.leader().is_none() {
            obstacles.push(Obstacle::NoLeader);
        }
        let committee = state.committee_size();
        let registered = state.servers().len();
        // A server that was told whom to join must not start a committee of
        // its own before it has met anybody.
        let alone = context.rules.committee_size.is_none()
            && !context.settings.network.bootstrap.is_empty()
            && registered <= 1;
        let need = if alone {
            2
        } else {
            state.roster_minimum().max(1)
        };
        if present.saturating_mul(2) <= committee as usize {
            obstacles.push(Obstacle::NoMajority {
                have: present,
                committee,
                away: away.clone(),
            });
        }
        if registered < need {
            obstacles.push(Obstacle::Bundles {
                have: registered,
                need,
                away: away.clone(),
            });
        } else if present < need {
            obstacles.push(Obstacle::Away { away: away.clone() });
        }
        let few_takers = obstacles.is_empty() && !state.is_taken(present);
        if !refused.is_empty() && !obstacles.is_empty() {
            obstacles.push(Obstacle::Refused { servers: refused });
        }
        if state.next_aggregator().is_none() {
            obstacles.push(Obstacle::NoAggregator);
        }
        // Clients of one peer count once (I15).
        let clients = state
            .clients()
            .iter()
            .map(zipnet_protocol::RegisteredClient::peer)
            .collect::<BTreeSet<_>>()
            .len();
        let wanted = (context.rules.min_participants as usize).max(1);
        if clients < wanted {
            obstacles.push(Obstacle::Clients {
                have: clients,
                need: wanted,
            });
        } else if few_takers {
            obstacles.push(Obstacle::Takers {
                servers: present,
                need: state.floor(),
            });
        }
        Self {
            obstacles,
            away,
            refused: refusing,
            attendance,
        }
    }

    /// All obstacles in one line.
    pub fn sentence(&self) -> String {
        let texts: Vec<_> = self.obstacles.iter().map(ToString::to_string).collect();
        texts.join("; ")
    }
}
