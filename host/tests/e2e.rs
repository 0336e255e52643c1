//! The whole, from outside: the real binary as processes that are fed, killed, stopped and started again.

// Marked as what it is, so that helpers may panic as tests do.
#[cfg(test)]
mod e2e {
    mod breaker;
    mod chance;
    mod chaos;
    mod commands;
    mod containers;
    mod endpoint_kills;
    mod examples;
    mod faults;
    mod first_record;
    mod fleet;
    mod handovers;
    mod kills;
    mod lineages;
    mod load;
    mod machine;
    mod many_pipelines;
    mod neighbours;
    mod output;
    mod real_text;
    mod reloads;
    mod reshards;
    mod rows;
    mod shares;
    mod standins;
    mod stops;
    mod wire;
    mod workers;
}
