//! Generated: the contract, and the rows that it is compared with.

pub(crate) mod contract {
    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "
            package shardwright:bench;
            world both {
                include shardwright:plugin/batch-minimal@0.1.0;
                include shardwright:plugin/message-minimal@0.1.0;
            }
        ",
        world: "shardwright:bench/both",
        ownership: Borrowing { duplicate_if_necessary: true },
        exports: { default: async },
    });
}

pub(crate) mod rows {
    wasmtime::component::bindgen!({
        path: "benches/guests/rows.wit",
        ownership: Borrowing { duplicate_if_necessary: true },
        exports: { default: async },
    });
}
