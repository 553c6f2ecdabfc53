//! What all suites have beside their checks.

/// A suite's two ways to run: the whole of it, and one check alone. What is in the
/// factory's parentheses is what it is given.
macro_rules! suite {
    (
        $(#[$docs:meta])*
        $suite:ident of $trait:literal,
        checks: $check:ty,
        fixture: $fixture:path,
        factory: ($($wanted:ident: $wanted_type:ty)?) $(,)?
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
    };
}
pub(super) use suite;
