//! The list of the checks of peers.

use super::{PeersCheck, delivery, messages};
use crate::check::check;

/// Generates the list, and the macro that hands each name to another one. The first
/// argument is a `$`.
macro_rules! list {
    (($d:tt) $($module:ident::$name:ident, $rule:literal, $source:literal;)+) => {
        /// Every check of the suite, in the order in which it runs them.
        pub const CHECKS: &[PeersCheck] = &[
            $(check!($module::$name, (), $rule, $source)),+
        ];

        /// Hands each name in [`CHECKS`] to a macro.
        #[doc(hidden)]
        #[macro_export]
        macro_rules! __conformance_peers_names {
            ($d each:ident) => { $($d each! { @ $name })+ };
        }
    };
}

list! {
    ($)
    messages::a_reply_comes_back_as_it_was,
    "What the other server's service replies comes back byte for byte, whatever texts and \
     numbers it holds.",
    "the contract of `Peers`";

    messages::a_reply_comes_back_from_another_datacenter,
    "The same from another datacenter.",
    "the contract of `Peers`";

    messages::an_error_comes_back_as_it_was,
    "What the other server's service fails with comes back with its kind, its outcome, what \
     each ring did, and the count of servers that have forwarded it; it is not made a text.",
    "Consul: rpc error making call; etcd#1483";

    messages::the_request_arrives_as_it_was_sent,
    "Operation, datacenter, request id, count of forwards and timeout arrive as they were \
     sent: a stale hint could loop otherwise.",
    "the contract of `Peers`";

    messages::the_token_arrives_and_no_token_arrives_as_none,
    "The token travels with the request, as it is; the server that serves decides with \
     it.",
    "CVE-2020-13170";

    messages::a_key_and_the_rings_report_travel,
    "A keyring request arrives with its key, and each ring's report and failure comes \
     back.",
    "consul-helm#838, cf-deployment#249";

    messages::bytes_arrive_and_come_back_unchanged,
    "Envelopes and replies are bytes to the transport: they arrive and come back unchanged, \
     also those of another version, or that are not JSON.",
    "the contract of `Peers`";

    messages::a_reply_that_cannot_be_read_leaves_a_write_unknown,
    "A reply that the service cannot read leaves the outcome of a write unknown, and a read \
     not applied: the transport does not judge it.",
    "the contract of `Peers`";

    delivery::a_request_is_sent_once,
    "A request arrives once, whatever is answered: the caller decides about sending it again.",
    "redpanda#3446";

    delivery::a_write_whose_answer_is_lost_has_an_unknown_outcome,
    "A write whose reply is lost is not sent again, and its error, if there is one, is \
     `Lost`.",
    "etcd#1483";

    delivery::a_server_that_is_down_is_unreachable,
    "A request to a server that was there and is down is an error, and is not left without an \
     answer.",
    "the contract of `Peers`";

    delivery::a_server_that_there_never_was_is_unreachable,
    "A request to an address where nobody listens, or that is none, is `NotSent` or \
     `NoPath`, neither a panic nor left without an answer.",
    "the contract of `Peers`";

    delivery::there_is_no_path_to_an_unknown_datacenter,
    "A datacenter that is not known, byte for byte, is `NoPath`.",
    "Consul, No path to datacenter";

    delivery::the_datacenters_are_told_once_each,
    "`datacenters` tells every datacenter that was joined, once, and the same ones each \
     time.",
    "Consul's catalog of datacenters";

    delivery::a_request_goes_where_it_is_sent,
    "A request arrives at the server or datacenter that is its target, and nowhere \
     else.",
    "the contract of `Peers`";

    delivery::requests_at_once_get_their_own_answers,
    "Of requests at the same time, each gets its own answer.",
    "the contract of `Peers`";

    delivery::a_request_does_not_wait_for_another_one,
    "A request is answered while another one to the same server is not.",
    "the contract of `Peers`";

    delivery::a_dropped_request_leaves_the_next_one_alone,
    "After a request whose future was dropped, at any point, the next one gets its own \
     answer.",
    "the contract of `Peers`";

    delivery::no_secret_is_in_an_error_of_the_transport,
    "No error of the transport's own, nor its source, has the token.",
    "consul#2334, consul#23731";
}
