//! The host's tests that need its library and no process: one binary, because linking one takes long.

mod suite {
    mod config;
}
