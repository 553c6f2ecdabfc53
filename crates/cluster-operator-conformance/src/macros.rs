//! One `#[test]` for each check.

/// Generates one `#[test]` for each check of a suite. The suites' own macros
/// call it with `$`, the macro that lists the names, and the suite's module.
///
/// A name under `skip` that no check has does not compile:
/// ```compile_fail
/// # async fn made(_: cluster_operator_conformance::acl::Acl) {}
/// cluster_operator_conformance::acl_tests! {
///     factory = made,
///     block_on = futures_executor::block_on,
///     skip = { no_such_check: "there is none" },
/// }
/// ```
/// It is the name alone that does not:
/// ```
/// # async fn made(_: cluster_operator_conformance::acl::Acl) {}
/// cluster_operator_conformance::acl_tests! {
///     factory = made,
///     block_on = futures_executor::block_on,
///     skip = { odd_tokens_are_unknown: "there is one" },
/// }
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    (
        ($d:tt) $names:ident $suite:ident
        factory = $factory:expr,
        block_on = $block_on:expr
        $(, skip = { $($skipped:ident : $reason:literal),* $(,)? })? $(,)?
    ) => {
        macro_rules! __conformance_test {
            $($((@ $skipped) => {
                #[test]
                #[ignore = $reason]
                fn $skipped() {
                    __conformance_test!(run $skipped)
                }
            };)*)?
            (@ $d name:ident) => {
                #[test]
                fn $d name() {
                    __conformance_test!(run $d name)
                }
            };
            (run $d name:ident) => {{
                let checks = $crate::$suite::CHECKS;
                let check = $crate::named(checks, stringify!($d name));
                let report = ($block_on)($crate::$suite::run(check, $factory));
                report.assert_complete();
            }};
        }
        $crate::$names! { __conformance_test }
        $($(const _: () = assert!(
            $crate::is_listed($crate::$suite::CHECKS, stringify!($skipped)),
            concat!("`skip` names a check that there is not: ", stringify!($skipped)),
        );)*)?
    };
}
