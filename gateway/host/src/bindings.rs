//! The bindings that wasmtime generates from `wit/`; no other file sees a generated type that it does not translate at
//! once.

#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated from wit/")]
pub(crate) mod telemetry {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "telemetry",
        // Parameters borrow from the caller, so a payload is copied once: into the guest's memory.
        ownership: Borrowing { duplicate_if_necessary: true },
        // Every import can end the call: its budget is counted on our side.
        imports: { default: trappable },
    });
}

#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated from wit/")]
pub(crate) mod dfu {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "dfu",
        ownership: Borrowing { duplicate_if_necessary: true },
        imports: { default: trappable },
        // What the kinds share is one type, and one function that answers it.
        with: {
            "causeway:plugin/types@0.1.0-draft": crate::bindings::telemetry::causeway::plugin::types,
            "causeway:plugin/log@0.1.0-draft": crate::bindings::telemetry::causeway::plugin::log,
        },
    });
}
