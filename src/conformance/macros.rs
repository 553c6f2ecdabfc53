//! One `#[test]` for each check.

/// Generates one `#[test]` for each check of a suite. The suites' own macros
/// call it with `$`, the macro that lists the names, and the suite's module.
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
                let checks = $crate::conformance::$suite::CHECKS;
                let check = $crate::conformance::named(checks, stringify!($d name));
                let report = ($block_on)($crate::conformance::$suite::run(check, $factory));
                report.assert_complete();
            }};
        }
        $crate::$names! { __conformance_test }
        // A name that no check has is no test either, and does not compile.
        $($(#[cfg(test)] const _: fn() = $skipped;)*)?
    };
}
