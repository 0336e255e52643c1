//! The macro that makes a component out of a handler.

/// Makes a crate a plugin: its component is one [`Handler`](crate::Handler), named and versioned as the crate.
///
/// The crate is a `cdylib`, built with `cargo build --release --target wasm32-wasip2`; as an `rlib` too, its tests can
/// use it. On every other target the macro exports nothing, so that those tests link.
///
/// ```
/// # use shardwright_guest::{Batch, ConfigError, Failure, Handler, NoConfig, Reply};
/// struct Discard;
///
/// impl Handler for Discard {
///     type Config = NoConfig;
///
///     fn configure(_: NoConfig) -> Result<Self, ConfigError> {
///         Ok(Self)
///     }
///
///     fn handle(&mut self, _: &Batch<'_>, _: &mut Reply) -> Result<(), Failure> {
///         Ok(())
///     }
/// }
///
/// shardwright_guest::export!(Discard);
/// ```
#[macro_export]
macro_rules! export {
    ($handler:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "generated exports")]
        const _: () = {
            struct Component;

            impl $crate::wasm::Instance for Component {
                type Handler = $handler;
                const NAME: &'static str = env!("CARGO_PKG_NAME");
                const VERSION: &'static str = env!("CARGO_PKG_VERSION");

                fn with<R>(call: impl FnOnce(&mut $crate::wasm::Slot<$handler>) -> R) -> R {
                    ::std::thread_local! {
                        static SLOT: ::std::cell::RefCell<$crate::wasm::Slot<$handler>> =
                            const { ::std::cell::RefCell::new($crate::wasm::Slot::new()) };
                    }
                    SLOT.with_borrow_mut(call)
                }
            }

            $crate::wasm::bindings::export_batch_full!(Component with_types_in $crate::wasm::bindings);
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            const fn is_handler<H: $crate::Handler>() {}
            is_handler::<$handler>();
        };
    };
}
