//! Seeds that have once found something.
