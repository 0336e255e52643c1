//! The host's tests that need its library and no process: one binary, because linking one takes long.

// Marked as what it is, so that helpers may panic as tests do.
#[cfg(test)]
mod suite {
    mod aws;
    mod config;
    mod guests;
}
