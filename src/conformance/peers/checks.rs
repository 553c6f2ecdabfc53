//! The list of the checks of peers.

use super::{PeersCheck, delivery, messages};
use crate::conformance::check::check;

/// Every check of the suite, in the order in which it runs them.
pub const CHECKS: &[PeersCheck] = &[
    check!(
        messages::a_reply_comes_back_as_it_was,
        (),
        "What the other server's service replies comes back with every field, whatever \
         texts and numbers it holds.",
        "the contract of `Peers`",
    ),
    check!(
        messages::a_reply_comes_back_from_another_datacenter,
        (),
        "The same from another datacenter.",
        "the contract of `Peers`",
    ),
    check!(
        messages::an_error_comes_back_as_it_was,
        (),
        "What the other server's service fails with comes back with its kind, its outcome, \
         and the count of servers that have handed it on; it is not made a text.",
        "Consul: rpc error making call; etcd#1483",
    ),
    check!(
        messages::the_request_arrives_as_it_was_sent,
        (),
        "Operation, datacenter, count of forwards and patience arrive as they were sent: a \
         stale hint could loop otherwise.",
        "the contract of `Peers`",
    ),
    check!(
        messages::the_token_arrives_and_no_token_arrives_as_none,
        (),
        "The token travels with the request, as it is; the server that serves decides with \
         it.",
        "CVE-2020-13170",
    ),
    check!(
        messages::a_key_and_the_rings_report_travel,
        (),
        "A keyring request arrives with its key, and each ring's report and failure comes \
         back.",
        "consul-helm#838, cf-deployment#249",
    ),
    check!(
        delivery::a_request_is_sent_once,
        (),
        "A request arrives once, whatever is answered: who asked decides about sending it \
         again.",
        "redpanda#3446",
    ),
    check!(
        delivery::a_write_whose_answer_is_lost_has_an_unknown_outcome,
        (),
        "A write whose answer is lost is not sent again, and its error, if there is one, \
         has the outcome `Unknown`.",
        "etcd#1483",
    ),
    check!(
        delivery::a_server_that_is_down_is_unreachable,
        (),
        "A request to a server that was there and is down is `Unreachable`, and is not left \
         without an answer.",
        "the contract of `Peers`",
    ),
    check!(
        delivery::a_server_that_there_never_was_is_unreachable,
        (),
        "A request to an address where nobody listens, or that is none, is `Unreachable`, \
         neither a panic nor left without an answer.",
        "the contract of `Peers`",
    ),
    check!(
        delivery::there_is_no_path_to_an_unknown_datacenter,
        (),
        "A datacenter that is not known, byte for byte, is `NoPathToDatacenter`.",
        "Consul, No path to datacenter",
    ),
    check!(
        delivery::the_datacenters_are_told_once_each,
        (),
        "`datacenters` tells every datacenter that was joined, once, and the same ones each \
         time.",
        "Consul's catalog of datacenters",
    ),
    check!(
        delivery::a_request_goes_where_it_is_sent,
        (),
        "A request arrives at the server or datacenter that is its target, and nowhere \
         else.",
        "the contract of `Peers`",
    ),
    check!(
        delivery::requests_at_once_get_their_own_answers,
        (),
        "Of requests at the same time, each gets its own answer.",
        "the contract of `Peers`",
    ),
    check!(
        delivery::a_request_does_not_wait_for_another_one,
        (),
        "A request is answered while another one to the same server is not.",
        "the contract of `Peers`",
    ),
    check!(
        delivery::a_dropped_request_leaves_the_next_one_alone,
        (),
        "After a request whose future was dropped, at any point, the next one gets its own \
         answer.",
        "the contract of `Peers`",
    ),
    check!(
        delivery::no_secret_is_in_an_error_of_the_transport,
        (),
        "No error of the transport's own, nor its source, has the token.",
        "consul#2334, consul#23731",
    ),
];

/// Hands each name in [`CHECKS`] to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_peers_names {
    ($each:ident) => {
        $each! { @ a_reply_comes_back_as_it_was }
        $each! { @ a_reply_comes_back_from_another_datacenter }
        $each! { @ an_error_comes_back_as_it_was }
        $each! { @ the_request_arrives_as_it_was_sent }
        $each! { @ the_token_arrives_and_no_token_arrives_as_none }
        $each! { @ a_key_and_the_rings_report_travel }
        $each! { @ a_request_is_sent_once }
        $each! { @ a_write_whose_answer_is_lost_has_an_unknown_outcome }
        $each! { @ a_server_that_is_down_is_unreachable }
        $each! { @ a_server_that_there_never_was_is_unreachable }
        $each! { @ there_is_no_path_to_an_unknown_datacenter }
        $each! { @ the_datacenters_are_told_once_each }
        $each! { @ a_request_goes_where_it_is_sent }
        $each! { @ requests_at_once_get_their_own_answers }
        $each! { @ a_request_does_not_wait_for_another_one }
        $each! { @ a_dropped_request_leaves_the_next_one_alone }
        $each! { @ no_secret_is_in_an_error_of_the_transport }
    };
}
