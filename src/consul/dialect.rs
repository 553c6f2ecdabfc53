//! The differences between the dialects, each told by its differences from a newer one.

/// The server whose answers the wire gives.
///
/// Paths, parameters and JSON are Consul's in all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// Consul's endpoints with precise errors: the status says what went wrong, a failed
    /// ring does not hide the others, and a denied caller learns only the denial.
    #[default]
    Precise,
    /// The answers of a Consul 1.17 server, byte for byte, with its defects.
    ///
    /// One of them is dangerous: a transfer of the leadership ignores the datacenter of the
    /// request, and deposes the local leader.
    Consul1_17,
    /// The answers of a Consul 1.10 server, byte for byte, with its defects.
    Consul1_10,
    /// The answers of a Consul 0.7.3 server, byte for byte, with its defects.
    Consul0_7,
}

/// How a dialect reads requests and writes responses.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) name: &'static str,
    /// The version of the server.
    pub(super) version: &'static str,

    // What is served.
    /// The endpoints that Consul does not have: their list at `/v1/operator/`, the
    /// OpenAPI document, the diagnosis, the plan of a removal, and the changes of Raft
    /// beside `raft/peer`; and the fields about autopilot that Consul does not have.
    pub(super) additions: bool,
    pub(super) autopilot: bool,
    pub(super) leadership_transfer: bool,
    /// A transfer of the leadership is forwarded to the datacenter that the request names;
    /// otherwise the local leader is deposed, a defect of Consul 1.17.
    pub(super) transfer_elsewhere: bool,
    /// `?id` beside `?address`.
    pub(super) peer_by_id: bool,
    /// `?cas` on removing a peer.
    pub(super) peer_cas: bool,
    /// `?relay-factor` and `?local-only`.
    pub(super) keyring_parameters: bool,
    /// `?datacenter`, which beats `?dc`.
    pub(super) datacenter_parameter: bool,
    /// `Authorization: Bearer`.
    pub(super) bearer: bool,
    /// `?max_stale`, which implies `?stale`, `?cached`, and `Cache-Control`.
    pub(super) max_stale: bool,

    // How a request is read.
    pub(super) body: BodyRules,
    /// A partition is a mistake in a transfer of the leadership.
    pub(super) refuse_partition: bool,
    /// A malformed key is refused at once; otherwise each ring says so.
    pub(super) refuse_keys: bool,
    /// A mistake in a body is told only to a caller who may write.
    pub(super) private_mistakes: bool,
    /// The fields of autopilot's rules that are left out keep their defaults;
    /// otherwise they become zero.
    pub(super) autopilot_defaults: bool,
    /// A duration of autopilot's rules that is below zero is a mistake; otherwise it is
    /// zero, which means the same.
    pub(super) refuse_negative: bool,
    /// An unknown, repeated or empty parameter is a mistake, and so is what would be ignored:
    /// a second credential, or a body that is not read.
    pub(super) check_parameters: bool,
    /// A path is served as it is written; otherwise it is decoded, and redirected to its
    /// clean form.
    pub(super) literal_paths: bool,
    /// HEAD is GET without the body.
    pub(super) head: bool,
    /// A path with characters that cannot be printed is a 400.
    pub(super) printable_path: bool,

    // How a response is written.
    /// `Cache-Control: no-store`, since a listing holds keys.
    pub(super) no_store: bool,
    /// `Vary` and `X-Consul-Default-Acl-Policy` on all but mux errors.
    pub(super) consul_headers: bool,
    /// `Allow` and a text on 405, and an answer to OPTIONS.
    pub(super) allow: bool,
    /// The prefix of a 400's reason.
    pub(super) bad_request: &'static str,
    /// The text of a 404; empty for no body.
    pub(super) unknown_path: &'static str,
    /// The same, for a path without `/v1/`.
    pub(super) outside_api: &'static str,
    pub(super) denials: Denials,
    pub(super) missing_peer: &'static str,
    pub(super) last_voter: &'static str,
    pub(super) errors: ErrorRules,
    /// The prefix that each forwarding server adds to an error.
    pub(super) forwarded: &'static str,
    /// The prefix of an error before which nothing was sent.
    pub(super) no_connection: &'static str,
    pub(super) server: ServerRules,
    pub(super) ring: RingRules,
}

impl Rules {
    /// The text of a 404 for a path with or without `/v1/` in it.
    pub(super) fn not_found(&self, is_api: bool) -> &'static str {
        if is_api {
            self.unknown_path
        } else {
            self.outside_api
        }
    }
}

/// How JSON bodies are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyRules {
    /// mapstructure: unknown fields pass.
    Loose,
    /// `encoding/json` without unknown fields; what follows the value passes.
    Strict,
    /// The same with the fields that Consul does not know, and nothing may follow the value.
    Whole,
}

/// How errors become statuses and texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorRules {
    /// Each kind has its status, and the text says what to do.
    Precise,
    /// 403 for what Consul's text matching finds, 500 for the rest.
    Consul,
}

/// How a denial is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denials {
    /// Each endpoint has a text of its own.
    Terse,
    /// The text names the token's accessor and the missing permission.
    Accessor,
}

/// How a server of the Raft configuration is written.
#[derive(Debug)]
pub(super) struct ServerRules {
    /// The address stands for the id.
    pub(super) id_is_address: bool,
    pub(super) protocol_version: Presence,
    pub(super) last_index: Presence,
    /// The index is always 0, a defect of Consul 1.10.
    pub(super) index_is_zero: bool,
    /// `"Servers":null` for none.
    pub(super) null_for_none: bool,
}

/// How a ring is written.
#[derive(Debug)]
pub(super) struct RingRules {
    pub(super) segment: Presence,
    pub(super) primary_keys: Presence,
    /// How failures are written.
    pub(super) errors: Aggregation,
}

/// How the failures of several rings become one response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aggregation {
    /// Every ring is written, with its own error.
    Rings,
    /// go-multierror's text, with the messages of the nodes.
    Verbose,
    /// The older go-multierror's text, without them.
    Terse,
}

/// When a field is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Always,
    IfKnown,
    Never,
}

/// The name of `Precise`, in the list of endpoints.
pub(crate) const PRECISE_NAME: &str = "precise";

/// `Precise` is Consul 1.17 without its defects.
const PRECISE: Rules = Rules {
    name: PRECISE_NAME,
    additions: true,
    transfer_elsewhere: true,
    peer_cas: true,
    body: BodyRules::Whole,
    refuse_partition: false,
    refuse_keys: true,
    private_mistakes: true,
    refuse_negative: true,
    check_parameters: true,
    literal_paths: true,
    head: true,
    no_store: true,
    consul_headers: false,
    unknown_path: "Invalid URL path: not a recognized HTTP API endpoint",
    outside_api: "Invalid URL path: not a recognized HTTP API endpoint",
    last_voter: "",
    errors: ErrorRules::Precise,
    forwarded: "",
    no_connection: "",
    server: ServerRules {
        id_is_address: false,
        protocol_version: Presence::IfKnown,
        last_index: Presence::IfKnown,
        index_is_zero: false,
        null_for_none: false,
    },
    ring: RingRules {
        segment: Presence::IfKnown,
        primary_keys: Presence::IfKnown,
        errors: Aggregation::Rings,
    },
    ..CONSUL_1_17
};

const CONSUL_1_17: Rules = Rules {
    name: "consul-1.17",
    version: "1.17.0",
    additions: false,
    autopilot: true,
    leadership_transfer: true,
    transfer_elsewhere: false,
    peer_by_id: true,
    peer_cas: false,
    keyring_parameters: true,
    datacenter_parameter: true,
    bearer: true,
    max_stale: true,
    body: BodyRules::Strict,
    refuse_partition: true,
    refuse_keys: false,
    private_mistakes: false,
    autopilot_defaults: true,
    refuse_negative: false,
    check_parameters: false,
    literal_paths: false,
    head: false,
    printable_path: true,
    no_store: false,
    consul_headers: true,
    allow: true,
    bad_request: "",
    unknown_path: "Invalid URL path: not a recognized HTTP API endpoint\n",
    outside_api: "Invalid URL path: if attempting to use the HTTP API, ensure the path starts with '/v1/'\n",
    denials: Denials::Accessor,
    missing_peer: "Must specify either ?id with the server's ID or ?address with IP:port of peer to remove",
    last_voter: "need at least one voter in configuration: {[]}",
    errors: ErrorRules::Consul,
    forwarded: "rpc error making call: ",
    no_connection: "rpc error getting client: ",
    server: ServerRules {
        id_is_address: false,
        protocol_version: Presence::Always,
        last_index: Presence::Always,
        index_is_zero: true,
        null_for_none: true,
    },
    ring: RingRules {
        segment: Presence::Always,
        primary_keys: Presence::Always,
        errors: Aggregation::Verbose,
    },
};

const CONSUL_1_10: Rules = Rules {
    name: "consul-1.10",
    version: "1.10.0",
    leadership_transfer: false,
    datacenter_parameter: false,
    refuse_partition: false,
    autopilot_defaults: false,
    bad_request: "Bad request: ",
    unknown_path: "",
    outside_api: "",
    denials: Denials::Terse,
    server: ServerRules {
        last_index: Presence::Never,
        ..CONSUL_1_17.server
    },
    ..CONSUL_1_17
};

const CONSUL_0_7: Rules = Rules {
    name: "consul-0.7",
    version: "0.7.3",
    autopilot: false,
    peer_by_id: false,
    keyring_parameters: false,
    bearer: false,
    max_stale: false,
    body: BodyRules::Loose,
    printable_path: false,
    consul_headers: false,
    allow: false,
    bad_request: "",
    missing_peer: "Must specify ?address with IP:port of peer to remove",
    last_voter: "Need at least one voter in configuration: {[]}",
    forwarded: "rpc error: ",
    no_connection: "rpc error: ",
    server: ServerRules {
        id_is_address: true,
        protocol_version: Presence::Never,
        index_is_zero: false,
        ..CONSUL_1_10.server
    },
    ring: RingRules {
        segment: Presence::Never,
        primary_keys: Presence::Never,
        errors: Aggregation::Terse,
    },
    ..CONSUL_1_10
};

impl Dialect {
    /// Returns the version of the Consul server whose answers it gives, such as `1.17.0`. For
    /// `Precise` it is the newest one.
    ///
    /// ```
    /// use cluster_operator::consul::Dialect;
    ///
    /// assert_eq!(Dialect::Consul0_7.version(), "0.7.3");
    /// ```
    pub fn version(self) -> &'static str {
        self.rules().version
    }

    pub(super) fn rules(self) -> &'static Rules {
        match self {
            Dialect::Precise => &PRECISE,
            Dialect::Consul1_17 => &CONSUL_1_17,
            Dialect::Consul1_10 => &CONSUL_1_10,
            Dialect::Consul0_7 => &CONSUL_0_7,
        }
    }
}
