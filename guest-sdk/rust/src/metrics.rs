//! Counts things, exported with the host's own metrics.

/// Adds to a counter. The name is `[a-z][a-z0-9_]*`, and their number is limited; the host drops others, and counts them.
///
/// In a native test the sums are kept for [`testing::counted`](crate::testing::counted).
///
/// ```
/// shardwright_guest::metrics::count("orders_late", 1);
/// ```
pub fn count(name: &str, by: u64) {
    #[cfg(target_arch = "wasm32")]
    crate::wasm::count(name, by);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::keep_count(name, by);
}
