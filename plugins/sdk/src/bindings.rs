//! The raw bindings that are generated from `wit/`, for what the typed layer does not cover.
//!
//! The kinds share what they have in common: `config` is a world of its own here, and each kind's world is what `wit/`
//! says without it. A guest exports both, which makes its component one of the whole world.

#![allow(
    missing_docs,
    unsafe_code,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    unused_qualifications,
    unreachable_pub,
    reason = "generated from wit/; the ABI between guest and host is unsafe code"
)]

/// What plugins of all kinds export.
pub mod config {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package causeway:sdk;
            world configured {
                export causeway:plugin/config@0.1.0-draft;
            }
        ",
        world: "causeway:sdk/configured",
        additional_derives: [PartialEq, Eq],
        pub_export_macro: true,
        export_macro_name: "export",
        default_bindings_module: "causeway_plugin::bindings::config",
    });
}

/// What telemetry plugins import and export.
pub mod telemetry {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package causeway:sdk;
            world router {
                import causeway:plugin/log@0.1.0-draft;
                import causeway:plugin/state@0.1.0-draft;
                import causeway:plugin/records@0.1.0-draft;
                export causeway:plugin/telemetry-router@0.1.0-draft;
            }
        ",
        world: "causeway:sdk/router",
        generate_all,
        additional_derives: [PartialEq, Eq],
        pub_export_macro: true,
        export_macro_name: "export",
        default_bindings_module: "causeway_plugin::bindings::telemetry",
    });
}

/// What DFU plugins import and export.
pub mod dfu {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package causeway:sdk;
            world handler {
                import causeway:plugin/log@0.1.0-draft;
                import causeway:plugin/firmware@0.1.0-draft;
                export causeway:plugin/dfu-handler@0.1.0-draft;
            }
        ",
        world: "causeway:sdk/handler",
        with: {
            "causeway:plugin/types@0.1.0-draft": super::telemetry::causeway::plugin::types,
            "causeway:plugin/log@0.1.0-draft": super::telemetry::causeway::plugin::log,
        },
        generate_all,
        additional_derives: [PartialEq, Eq],
        pub_export_macro: true,
        export_macro_name: "export",
        default_bindings_module: "causeway_plugin::bindings::dfu",
    });
}
