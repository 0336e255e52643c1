//! Generated from `wit/`: one world with every import and every export, of which a component has some.

wasmtime::component::bindgen!({
    path: "../wit",
    inline: "
        package shardwright:host;
        world v0-1 {
            include shardwright:plugin/batch-full@0.1.0;
            include shardwright:plugin/message-full@0.1.0;
        }
    ",
    world: "shardwright:host/v0-1",
    ownership: Borrowing { duplicate_if_necessary: true },
    exports: { default: async },
});
