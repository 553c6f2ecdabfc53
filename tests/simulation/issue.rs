//! Random requests: the operation, the caller and the server.

use cluster_operator::acl::Access;
use cluster_operator::autopilot::AutopilotConfiguration;
use cluster_operator::keyring::RelayFactor;
use cluster_operator::mock::MockFederation;
use cluster_operator::operation::{KeyringAction, KeyringScope};
use cluster_operator::raft::{Consistency, PeerSelector};
use cluster_operator::{DatacenterName, GossipKey, NodeName, Operation, OperatorRequest, Token};
use fastrand::Rng;

use crate::world::{DATACENTERS, UNKNOWN_DATACENTER, World};

/// The caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// May read and write everything.
    Root,
    /// May read everything.
    Viewer,
    /// Has no token, and may do nothing.
    Nobody,
    /// Has an unknown token.
    Unknown,
}

/// The operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    Read(Consistency),
    /// A server, and the expected index.
    Remove(NodeName, Option<u64>),
    RemoveUnknown,
    Transfer(Option<NodeName>),
    List(KeyringScope),
    Install(GossipKey),
    /// In the local rings only, which is not supported.
    InstallHere(GossipKey),
    Use(GossipKey),
    RemoveKey(GossipKey),
    ReadRules,
    /// An autopilot configuration with this number in it, and the expected index.
    SetRules(u64, Option<u64>),
    ReadState,
}

#[derive(Debug, Clone)]
pub(crate) struct Issue {
    /// The server that gets the request.
    pub(crate) at: NodeName,
    pub(crate) datacenter: Option<DatacenterName>,
    pub(crate) holder: Holder,
    pub(crate) ask: Ask,
    /// Whether a server is named by its address instead of its id.
    pub(crate) by_address: bool,
}

impl Ask {
    pub(crate) fn is_keyring(&self) -> bool {
        matches!(
            self,
            Ask::List(_) | Ask::Install(_) | Ask::InstallHere(_) | Ask::Use(_) | Ask::RemoveKey(_)
        )
    }
}

impl Issue {
    /// A random request to this server. Half of them are reads; most writes name
    /// something that exists.
    pub(crate) fn any(world: &mut World, at: NodeName) -> Issue {
        let datacenter = match world.rng.u64(..3) {
            0 => None,
            _ => Some(DatacenterName::new(
                *world.rng.choice(&DATACENTERS).unwrap(),
            )),
        };
        let there = datacenter
            .clone()
            .unwrap_or_else(|| world.datacenter_of(&at));
        let ask = Ask::any(world, &there);
        let holder = match world.rng.u64(..20) {
            0 => Holder::Nobody,
            1 => Holder::Unknown,
            2 | 3 => Holder::Viewer,
            _ => Holder::Root,
        };
        let datacenter = if world.rng.u8(..40) == 0 {
            Some(UNKNOWN_DATACENTER.into())
        } else {
            datacenter
        };
        Issue {
            at,
            datacenter,
            holder,
            ask,
            by_address: world.rng.bool(),
        }
    }

    /// The removal of a server in a datacenter's configuration, or, if few are left,
    /// a transfer to any other.
    pub(crate) fn take_apart(world: &mut World, at: NodeName, datacenter: &'static str) -> Issue {
        let servers = world.federation.configuration(datacenter).servers;
        let victim = world.rng.choice(&servers).unwrap().name.clone().unwrap();
        let ask = if servers.len() < 3 && world.rng.bool() {
            Ask::Transfer(None)
        } else {
            Ask::Remove(victim, None)
        };
        Issue {
            at,
            datacenter: Some(datacenter.into()),
            holder: Holder::Root,
            ask,
            by_address: world.rng.bool(),
        }
    }

    /// The datacenter that executes the request.
    pub(crate) fn place(&self, world: &World) -> DatacenterName {
        match &self.datacenter {
            Some(datacenter) if !self.ask.is_keyring() => datacenter.clone(),
            _ => world.datacenter_of(&self.at),
        }
    }

    pub(crate) fn is_allowed(&self) -> bool {
        match self.holder {
            Holder::Root => true,
            Holder::Viewer => self.access() == Access::Read,
            Holder::Nobody | Holder::Unknown => false,
        }
    }

    pub(crate) fn access(&self) -> Access {
        match self.ask {
            Ask::Read(_) | Ask::List(_) | Ask::ReadRules | Ask::ReadState => Access::Read,
            _ => Access::Write,
        }
    }

    pub(crate) fn request(&self, federation: &MockFederation) -> OperatorRequest {
        let keyring = |action, scope| Operation::Keyring {
            action,
            scope,
            relay_factor: RelayFactor::default(),
        };
        let everywhere = KeyringScope::Federation;
        let operation = match self.ask.clone() {
            Ask::Read(consistency) => Operation::RaftConfiguration(consistency),
            Ask::Remove(server, expected_index) => Operation::RemovePeer {
                server: selector(federation, &server, self.by_address),
                expected_index,
            },
            Ask::RemoveUnknown => Operation::RemovePeer {
                server: PeerSelector::Id("nobody".into()),
                expected_index: None,
            },
            Ask::Transfer(to) => Operation::TransferLeadership {
                to: to.map(|to| federation.raft(to).id().clone()),
            },
            Ask::List(scope) => keyring(KeyringAction::List, scope),
            Ask::Install(key) => keyring(KeyringAction::Install(key), everywhere),
            Ask::InstallHere(key) => keyring(KeyringAction::Install(key), KeyringScope::LocalOnly),
            Ask::Use(key) => keyring(KeyringAction::Use(key), everywhere),
            Ask::RemoveKey(key) => keyring(KeyringAction::Remove(key), everywhere),
            Ask::ReadRules => Operation::AutopilotConfiguration(Consistency::Default),
            Ask::SetRules(number, expected_index) => Operation::SetAutopilotConfiguration {
                configuration: AutopilotConfiguration {
                    max_trailing_logs: number,
                    ..AutopilotConfiguration::default()
                },
                expected_index,
            },
            Ask::ReadState => Operation::AutopilotState(Consistency::Default),
        };
        let mut request = OperatorRequest::new(operation);
        request.datacenter = self.datacenter.clone();
        match self.holder {
            Holder::Root => request.with_token(Token::new("root")),
            Holder::Viewer => request.with_token(Token::new("viewer")),
            Holder::Unknown => request.with_token(Token::new("rooot")),
            Holder::Nobody => request,
        }
    }
}

impl Ask {
    fn any(world: &mut World, datacenter: &DatacenterName) -> Ask {
        let servers = world.federation.servers(datacenter.clone());
        match world.rng.u64(..20) {
            0..=3 => Ask::Read(
                *world
                    .rng
                    .choice(&[
                        Consistency::Default,
                        Consistency::Consistent,
                        Consistency::Stale,
                    ])
                    .unwrap(),
            ),
            4..=7 => {
                let index = world.federation.configuration(datacenter.clone()).index;
                let expected = match world.rng.u64(..6) {
                    0 => Some(index + 1),
                    1 | 2 => Some(index),
                    _ => None,
                };
                Ask::Remove(world.rng.choice(&servers).unwrap().clone(), expected)
            }
            8 => Ask::RemoveUnknown,
            9 => Ask::Transfer(match world.rng.u64(..6) {
                0 | 1 => None,
                // In one datacenter this is a non-voter.
                2 => servers.last().cloned(),
                _ => Some(world.rng.choice(&servers).unwrap().clone()),
            }),
            10..=12 => Ask::List(if world.rng.u8(..3) == 0 {
                KeyringScope::LocalOnly
            } else {
                KeyringScope::Federation
            }),
            13 | 14 => {
                if world.rng.u8(..10) == 0 {
                    Ask::InstallHere(world.new_key())
                } else {
                    Ask::Install(world.new_key())
                }
            }
            15 => Ask::Use(world.some_key()),
            16 => Ask::RemoveKey(world.some_key()),
            17 => Ask::ReadRules,
            18 => {
                let number = world.number();
                let index = world.rules_index(datacenter);
                let expected = match world.rng.u64(..3) {
                    0 => None,
                    1 => Some(index),
                    _ => Some(index + 1),
                };
                Ask::SetRules(number, expected)
            }
            _ => Ask::ReadState,
        }
    }
}

fn selector(federation: &MockFederation, server: &NodeName, by_address: bool) -> PeerSelector {
    let raft = federation.raft(server.clone());
    if by_address {
        PeerSelector::Address(address_of(federation, server))
    } else {
        PeerSelector::Id(raft.id().clone())
    }
}

/// The address that the builder gave to the server, in the configuration or not.
fn address_of(federation: &MockFederation, server: &NodeName) -> cluster_operator::ServerAddress {
    let servers = federation.datacenters();
    let mut servers = servers.iter().flat_map(|it| federation.servers(it.clone()));
    let number = servers.position(|name| name == *server).unwrap() + 1;
    format!("127.0.0.{number}:8300").into()
}

/// A random server.
pub(crate) fn any_server(rng: &mut Rng, federation: &MockFederation) -> NodeName {
    let datacenter = *rng.choice(&DATACENTERS).unwrap();
    rng.choice(&federation.servers(datacenter)).unwrap().clone()
}
