//! What all suites have beside their checks.

/// A suite's two ways to run, the whole of it and one check alone, and the test
/// that its two lists of names agree. What is in the factory's parentheses is what
/// it is given, and the first argument is a `$`.
macro_rules! suite {
    (
        ($d:tt)
        $(#[$docs:meta])*
        $suite:ident of $trait:literal,
        checks: $check:ty,
        fixture: $fixture:path,
        factory: ($($wanted:ident: $wanted_type:ty)?)
        $(, names: $names:ident)? $(,)?
    ) => {
        $(#[$docs])*
        ///
        /// A factory that cannot make such a fixture says so, and the check is
        /// skipped. It has to bound its own waiting; everything after it is bounded
        /// by the fixture's [deadline](super::Fixture::deadline).
        pub async fn $suite<F, M>(factory: M) -> super::Report
        where
            F: $fixture + 'static,
            M: AsyncFn($($wanted_type)?) -> Result<F, super::NotSupported>,
        {
            run_all(CHECKS, factory).await
        }

        /// Runs one check alone.
        pub async fn run<F, M>(check: &'static $check, factory: M) -> super::Report
        where
            F: $fixture + 'static,
            M: AsyncFn($($wanted_type)?) -> Result<F, super::NotSupported>,
        {
            run_all([check], factory).await
        }

        // They are the whole pattern of a factory that is given nothing.
        #[allow(unused_parens)]
        async fn run_all<F, M>(
            checks: impl IntoIterator<Item = &'static $check>,
            factory: M,
        ) -> super::Report
        where
            F: $fixture + 'static,
            M: AsyncFn($($wanted_type)?) -> Result<F, super::NotSupported>,
        {
            super::check::run_all($trait, checks, async |($($wanted)?)| {
                let made = factory($($wanted)?).await;
                made.map(|fixture| Box::new(fixture) as Box<dyn $fixture>)
            })
            .await
        }

        $(#[cfg(test)]
        mod tests {
            use super::CHECKS;

            #[test]
            fn the_names_for_the_tests_are_those_of_the_checks() {
                let mut names = Vec::new();
                macro_rules! push {
                    (@ $d name:ident) => {
                        names.push(stringify!($d name));
                    };
                }
                crate::$names! { push }
                let checks: Vec<_> = CHECKS.iter().map(|check| check.name()).collect();
                assert_eq!(names, checks);
            }
        })?
    };
}
pub(super) use suite;
