//! The list of the ACL checks.

use super::{Acl, AclCheck, TokenRules, rules, secrets, steadiness};
use crate::check::check;
use cluster_operator::acl::{DefaultPolicy, Rule};

/// Every check of the suite, in the order in which it runs them.
pub const CHECKS: &[AclCheck] = &[
    check!(
        rules::a_read_rule_allows_to_read_and_no_more,
        Acl::new(
            DefaultPolicy::Deny,
            &[
                TokenRules::operator(Rule::Read),
                TokenRules::keyring(Rule::Read)
            ]
        ),
        "A token with a rule of read may read, and not write.",
        "Consul's rules",
    ),
    check!(
        rules::a_read_rule_denies_a_write_that_the_default_allows,
        Acl::new(
            DefaultPolicy::Allow,
            &[
                TokenRules::operator(Rule::Read),
                TokenRules::keyring(Rule::Read)
            ]
        ),
        "A rule of read is not widened by a default of allow.",
        "Consul 0.7.3 let such a token write",
    ),
    check!(
        rules::a_write_rule_allows_to_read_too,
        Acl::new(
            DefaultPolicy::Deny,
            &[
                TokenRules::operator(Rule::Write),
                TokenRules::keyring(Rule::Write)
            ]
        ),
        "Write implies read.",
        "Consul's rules",
    ),
    check!(
        rules::a_deny_rule_denies_what_the_default_allows,
        Acl::new(
            DefaultPolicy::Allow,
            &[
                TokenRules::operator(Rule::Deny),
                TokenRules::keyring(Rule::Deny)
            ]
        ),
        "A rule of deny holds under a default of allow, for reads and for writes.",
        "Consul 0.7.3 let such a token write; Consul 1.10 dropped a DENY in capitals",
    ),
    check!(
        rules::a_rule_about_one_resource_is_none_about_the_other,
        Acl::new(
            DefaultPolicy::Deny,
            &[
                TokenRules::operator(Rule::Write),
                TokenRules::keyring(Rule::Write)
            ]
        ),
        "Operator and keyring are privileges of their own.",
        "CVE-2020-28053",
    ),
    check!(
        rules::without_a_rule_a_default_of_deny_denies,
        Acl::new(DefaultPolicy::Deny, &[TokenRules::NONE]),
        "Under a default of deny, what no rule mentions is denied, with a token and \
         without.",
        "Consul's default policy",
    ),
    check!(
        rules::without_a_rule_a_default_of_allow_allows,
        Acl::new(DefaultPolicy::Allow, &[TokenRules::NONE]),
        "Under a default of allow, what no rule mentions is allowed, with a known token and \
         without one.",
        "Consul's default policy",
    ),
    check!(
        rules::the_default_policy_deny_is_told,
        Acl::new(DefaultPolicy::Deny, &[]),
        "`default_policy` is what holds.",
        "Consul 1.10, X-Consul-Default-Acl-Policy",
    ),
    check!(
        rules::the_default_policy_allow_is_told,
        Acl::new(DefaultPolicy::Allow, &[]),
        "`default_policy` is what holds.",
        "Consul 1.10, X-Consul-Default-Acl-Policy",
    ),
    check!(
        rules::who_shows_no_token_has_the_anonymous_rules,
        Acl::new(DefaultPolicy::Deny, &[]).with_anonymous(TokenRules::operator(Rule::Read)),
        "No token means the anonymous one, with its own rules, and a denial of it has no \
         accessor.",
        "Consul's anonymous token",
    ),
    check!(
        rules::a_token_does_not_have_the_anonymous_rules,
        Acl::new(DefaultPolicy::Deny, &[TokenRules::NONE])
            .with_anonymous(TokenRules::operator(Rule::Write)),
        "What the anonymous one may do, a token without such a rule may not.",
        "Consul's anonymous token",
    ),
    check!(
        secrets::a_token_that_nobody_has_is_unknown,
        Acl::new(
            DefaultPolicy::Deny,
            &[
                TokenRules::operator(Rule::Write),
                TokenRules::keyring(Rule::Write)
            ]
        ),
        "A token that nobody has is `UnknownToken`, not denied: whoever shows it has made a \
         mistake.",
        "Consul, ACL not found",
    ),
    check!(
        secrets::a_token_that_nobody_has_is_unknown_where_the_default_allows,
        Acl::new(
            DefaultPolicy::Allow,
            &[
                TokenRules::operator(Rule::Write),
                TokenRules::keyring(Rule::Write)
            ]
        ),
        "A token that nobody has is `UnknownToken` also where the default, and the \
         anonymous one, would be allowed.",
        "Consul, ACL not found",
    ),
    check!(
        secrets::an_empty_token_opens_no_more_than_none,
        Acl::new(DefaultPolicy::Deny, &[TokenRules::operator(Rule::Write)])
            .with_anonymous(TokenRules::operator(Rule::Read)),
        "An empty secret is one that nobody has, or no secret at all, as in Consul. It opens no \
         more than that.",
        "the contract of `AclAuthorizer`",
    ),
    check!(
        secrets::a_secret_is_matched_byte_for_byte,
        Acl::new(
            DefaultPolicy::Deny,
            &[
                TokenRules::operator(Rule::Write),
                TokenRules::keyring(Rule::Write)
            ]
        ),
        "A secret that is only similar, by case, spaces or length, is another one.",
        "the contract of `AclAuthorizer`",
    ),
    check!(
        secrets::no_word_is_a_token_by_itself,
        Acl::new(
            DefaultPolicy::Deny,
            &[
                TokenRules::operator(Rule::Write),
                TokenRules::keyring(Rule::Write)
            ]
        ),
        "Names of policies and of built-in tokens are no secrets.",
        "Consul answers a token `manage` with an error of its own",
    ),
    check!(
        secrets::an_accessor_id_is_no_secret,
        Acl::new(
            DefaultPolicy::Deny,
            &[TokenRules::operator(Rule::Write), TokenRules::NONE]
        ),
        "The public name of a token opens nothing.",
        "Consul's accessor ids",
    ),
    check!(
        secrets::a_denial_tells_whose_token_it_is,
        Acl::new(
            DefaultPolicy::Deny,
            &[TokenRules::operator(Rule::Read), TokenRules::NONE]
        ),
        "A denial has the accessor id of the token, the same each time, as an answer has that \
         allows something, and another one for each token, unless tokens have no such ids.",
        "Consul, Permission denied: token with AccessorID",
    ),
    check!(
        secrets::odd_tokens_are_unknown,
        Acl::new(
            DefaultPolicy::Deny,
            &[
                TokenRules::operator(Rule::Write),
                TokenRules::keyring(Rule::Write)
            ]
        ),
        "Any text can be shown as a token. It is unknown, not a panic.",
        "the contract of `AclAuthorizer`",
    ),
    check!(
        secrets::no_secret_is_in_an_error,
        Acl::new(
            DefaultPolicy::Deny,
            &[TokenRules::operator(Rule::Read), TokenRules::NONE]
        ),
        "Neither the text of an error nor its `Debug` has eight letters of the secret in a \
         row.",
        "consul#2334, consul#23731",
    ),
    check!(
        secrets::a_token_that_was_taken_back_is_unknown,
        Acl::new(
            DefaultPolicy::Deny,
            &[
                TokenRules::operator(Rule::Read),
                TokenRules::operator(Rule::Read)
            ]
        ),
        "In time a token that was taken back is `UnknownToken`, and the others are as \
         before.",
        "Consul's token cache and its ttl",
    ),
    check!(
        secrets::what_cannot_be_told_is_unavailable,
        Acl::new(
            DefaultPolicy::Allow,
            &[
                TokenRules::operator(Rule::Write),
                TokenRules::keyring(Rule::Write)
            ]
        ),
        "Where it cannot be told what a token allows, that is `Unavailable`, and nothing is \
         allowed.",
        "Consul, acl_down_policy",
    ),
    check!(
        steadiness::an_answer_does_not_depend_on_earlier_ones,
        Acl::new(
            DefaultPolicy::Deny,
            &[
                TokenRules::operator(Rule::Read),
                TokenRules::keyring(Rule::Write),
                TokenRules::NONE
            ]
        ),
        "The same question has the same answer, in whatever order one asks.",
        "the contract of `AclAuthorizer`",
    ),
    check!(
        steadiness::answers_at_once_are_not_mixed_up,
        Acl::new(
            DefaultPolicy::Deny,
            &[
                TokenRules::operator(Rule::Read),
                TokenRules::keyring(Rule::Write),
                TokenRules::NONE
            ]
        ),
        "Questions at the same time get their own answers.",
        "the contract of `AclAuthorizer`",
    ),
    check!(
        steadiness::a_dropped_question_leaves_the_next_one_alone,
        Acl::new(
            DefaultPolicy::Deny,
            &[
                TokenRules::operator(Rule::Read),
                TokenRules::keyring(Rule::Write),
                TokenRules::NONE
            ]
        ),
        "A question whose future is dropped, at any point, changes no other answer and \
         blocks none.",
        "the contract of `AclAuthorizer`",
    ),
];

/// Hands each name in [`CHECKS`] to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_acl_names {
    ($each:ident) => {
        $each! { @ a_read_rule_allows_to_read_and_no_more }
        $each! { @ a_read_rule_denies_a_write_that_the_default_allows }
        $each! { @ a_write_rule_allows_to_read_too }
        $each! { @ a_deny_rule_denies_what_the_default_allows }
        $each! { @ a_rule_about_one_resource_is_none_about_the_other }
        $each! { @ without_a_rule_a_default_of_deny_denies }
        $each! { @ without_a_rule_a_default_of_allow_allows }
        $each! { @ the_default_policy_deny_is_told }
        $each! { @ the_default_policy_allow_is_told }
        $each! { @ who_shows_no_token_has_the_anonymous_rules }
        $each! { @ a_token_does_not_have_the_anonymous_rules }
        $each! { @ a_token_that_nobody_has_is_unknown }
        $each! { @ a_token_that_nobody_has_is_unknown_where_the_default_allows }
        $each! { @ an_empty_token_opens_no_more_than_none }
        $each! { @ a_secret_is_matched_byte_for_byte }
        $each! { @ no_word_is_a_token_by_itself }
        $each! { @ an_accessor_id_is_no_secret }
        $each! { @ a_denial_tells_whose_token_it_is }
        $each! { @ odd_tokens_are_unknown }
        $each! { @ no_secret_is_in_an_error }
        $each! { @ a_token_that_was_taken_back_is_unknown }
        $each! { @ what_cannot_be_told_is_unavailable }
        $each! { @ an_answer_does_not_depend_on_earlier_ones }
        $each! { @ answers_at_once_are_not_mixed_up }
        $each! { @ a_dropped_question_leaves_the_next_one_alone }
    };
}
