//! The route table: everything that operators can ask, and what they must be permitted for it.

use super::route::{Answering, Call, Method, Route};
use super::{
    Context, audit, bindings, campaigns, canaries, certificates, dead_letters, devices, dfu, firmware, ota, policies,
    query, recordings, status,
};
use crate::policy::Action::{Administer, Operate, View};
use crate::policy::Area;

/// Names a handler of the table.
macro_rules! handler {
    ($module:ident::$function:ident) => {
        |context: Context, call: Call| -> Answering { Box::pin($module::$function(context, call)) }
    };
}

/// A route that looks and is asked nothing more.
const fn look(path: &'static str, area: Area, summary: &'static str, handler: fn(Context, Call) -> Answering) -> Route {
    Route { method: Method::Get, path, action: View, area, summary, query: &[], body: None, handler }
}

/// A route by which an operator says something to a campaign.
const fn order(path: &'static str, summary: &'static str, handler: fn(Context, Call) -> Answering) -> Route {
    let (method, action, area) = (Method::Post, Operate, Area::Firmware);
    Route { method, path, action, area, summary, query: &[], body: None, handler }
}

const LIMIT: (&str, &str) = ("limit", "How many at most.");

const TOKEN: (&str, &str) = ("token", "The `nextToken` of the page before.");

const CAMPAIGN: &str = "`name`, `release` (`name:version` or a reference) and `devices` (a query, or a list of ids); optionally `waves` (numbers or `\"10%\"`), `success`, `error`, `on_error` (`pause`, `abort`), `start` (`by-hand`, `now`, a time), `approval`, `windows`, `preload`, `downgrade`, `attempts`, `device_timeout` (minutes).";

/// All routes, in the order of the document.
pub(super) const ROUTES: &[Route] = &[
    look("/openapi.json", Area::Gateway, "Describe this API.", handler!(status::openapi)),
    look("/v1/status", Area::Gateway, "Show how the gateway is.", handler!(status::status)),
    look("/v1/config", Area::Gateway, "Show the configuration that is in force.", handler!(status::config)),
    look("/v1/listeners", Area::Gateway, "List the listeners.", handler!(status::listeners)),
    look("/v1/journal", Area::Gateway, "Show the journal and who reads it.", handler!(status::journal)),
    look("/v1/bindings", Area::Plugins, "List the bindings and how far behind they are.", handler!(bindings::list)),
    Route {
        method: Method::Post,
        path: "/v1/bindings/{name}/resume",
        action: Operate,
        area: Area::Plugins,
        summary: "Look a binding's plugin up anew and call it again, also a version that trapped or failed too often.",
        query: &[],
        body: None,
        handler: handler!(bindings::resume),
    },
    look(
        "/v1/bindings/{name}/canary",
        Area::Plugins,
        "Show of which messages the canary of a binding makes something else.",
        handler!(canaries::show),
    ),
    Route {
        method: Method::Post,
        path: "/v1/bindings/{name}/canary",
        action: Operate,
        area: Area::Plugins,
        summary: "Have a binding try another plugin as its canary, also at later starts, until the configuration names another canary.",
        query: &[],
        body: Some(
            "`reference`: where the plugin comes from; optionally `signed_as`, the repository that its signature must name.",
        ),
        handler: handler!(canaries::set),
    },
    Route {
        method: Method::Delete,
        path: "/v1/bindings/{name}/canary",
        action: Operate,
        area: Area::Plugins,
        summary: "Take the canary of a binding away, also at later starts, until the configuration names another one.",
        query: &[],
        body: None,
        handler: handler!(canaries::end),
    },
    Route {
        method: Method::Post,
        path: "/v1/bindings/{name}/plugin",
        action: Operate,
        area: Area::Plugins,
        summary: "Have a binding run another plugin, also at later starts, until the configuration names another one.",
        query: &[],
        body: Some(
            "`reference`: where the plugin comes from; optionally `signed_as`, the repository that its signature must name, and `allow_downgrade`.",
        ),
        handler: handler!(bindings::set),
    },
    Route {
        query: &[("device", "Only the sessions of this device.")],
        ..look("/v1/sessions", Area::Sessions, "List the sessions.", handler!(status::sessions))
    },
    Route {
        method: Method::Post,
        path: "/v1/reload",
        action: Administer,
        area: Area::Gateway,
        summary: "Read configuration, certificates and policies again.",
        query: &[],
        body: None,
        handler: handler!(policies::reload_everything),
    },
    look("/v1/certificates", Area::Certificates, "List the server certificates.", handler!(certificates::list)),
    Route {
        method: Method::Post,
        path: "/v1/certificates/reload",
        action: Operate,
        area: Area::Certificates,
        summary: "Read server certificates, authorities and revocation lists again.",
        query: &[],
        body: None,
        handler: handler!(certificates::reload),
    },
    Route {
        method: Method::Post,
        path: "/v1/policies/reload",
        action: Administer,
        area: Area::Policies,
        summary: "Read policies and topic templates again.",
        query: &[],
        body: None,
        handler: handler!(policies::reload),
    },
    Route {
        method: Method::Post,
        path: "/v1/policies/explain",
        action: View,
        area: Area::Policies,
        summary: "Explain what a device may do.",
        query: &[],
        body: Some(
            "`device`, `action` (connect, publish, will, subscribe, receive) and `resource` (listener, topic or filter).",
        ),
        handler: handler!(policies::explain),
    },
    Route {
        query: &[
            ("group", "Only devices of this group."),
            ("parent", "Only devices that hang on this one."),
            ("enabled", "Only devices that may connect (`true`), or may not (`false`)."),
            ("after", "Only ids behind this one: the last of the page before."),
            LIMIT,
        ],
        ..look("/v1/devices", Area::Devices, "List the devices.", handler!(devices::list))
    },
    look(
        "/v1/devices/{id}",
        Area::Devices,
        "Show a device, its sessions and its last refusals.",
        handler!(devices::show),
    ),
    look(
        "/v1/devices/{id}/refusals",
        Area::Devices,
        "List the last refusals of a device.",
        handler!(devices::refusals),
    ),
    Route {
        method: Method::Post,
        path: "/v1/devices",
        action: Operate,
        area: Area::Devices,
        summary: "Add a device.",
        query: &[],
        body: Some("`id`; optionally `identities` (the id without it), `attributes`, `groups`, `parent`."),
        handler: handler!(devices::add),
    },
    Route {
        method: Method::Post,
        path: "/v1/devices/import",
        action: Operate,
        area: Area::Devices,
        summary: "Add and change many devices: all of them or none.",
        query: &[("format", "`csv`, `jsonl` or `yaml`, the default; JSON is YAML.")],
        body: Some("A list of devices; what an entry does not mention stays as it is."),
        handler: handler!(devices::import),
    },
    Route {
        method: Method::Put,
        path: "/v1/devices/{id}",
        action: Operate,
        area: Area::Devices,
        summary: "Change a device.",
        query: &[],
        body: Some(
            "Of `attributes` (null takes one away), `groups`, `parent`, `identities` and `enabled` those that change.",
        ),
        handler: handler!(devices::set),
    },
    Route {
        method: Method::Delete,
        path: "/v1/devices/{id}",
        action: Operate,
        area: Area::Devices,
        summary: "Remove a device; its sessions end.",
        query: &[],
        body: None,
        handler: handler!(devices::remove),
    },
    look(
        "/v1/firmware",
        Area::Firmware,
        "List the releases that are known, and look again at what lies here.",
        handler!(firmware::list),
    ),
    Route {
        method: Method::Post,
        path: "/v1/firmware/pull",
        action: Operate,
        area: Area::Firmware,
        summary: "Have a release fetched and verified; answers at once how far that is.",
        query: &[],
        body: Some("`reference`: where the release is found, or its `name:version`."),
        handler: handler!(firmware::pull),
    },
    Route {
        method: Method::Post,
        path: "/v1/firmware/pin",
        action: Operate,
        area: Area::Firmware,
        summary: "Say what a tag stands for from now on, or approve what a followed tag stands for anew.",
        query: &[],
        body: Some(
            "`reference`: the tag; optionally `digest`, of a manifest: without it what waits for approval, or else what the tag stands for where it is found now.",
        ),
        handler: handler!(firmware::pin),
    },
    look("/v1/dfu", Area::Firmware, "Count the devices by where their updates are.", handler!(dfu::summary)),
    Route {
        query: &[
            ("query", "Only devices of this query, such as `group=pilot version!=0.1.1`."),
            ("state", "Only devices whose updates are there: `transferring`, `quarantined`, ..."),
            ("stalled", "Only devices that say nothing in the middle of an attempt (`true`), or that do (`false`)."),
            ("after", "Only ids behind this one: the last of the page before."),
            LIMIT,
        ],
        ..look(
            "/v1/dfu/devices",
            Area::Firmware,
            "List what devices run, what they are to run and how far they are.",
            handler!(dfu::list),
        )
    },
    look(
        "/v1/dfu/devices/{id}",
        Area::Firmware,
        "Show what a device runs and what becomes of its update, with its history.",
        handler!(dfu::show),
    ),
    Route {
        method: Method::Post,
        path: "/v1/dfu/devices/{id}/forgive",
        action: Operate,
        area: Area::Firmware,
        summary: "Let a device have again what it failed at: lifts its quarantine and its waiting time.",
        query: &[],
        body: None,
        handler: handler!(dfu::forgive),
    },
    Route {
        query: &[
            ("device", "Only attempts of this device."),
            ("outcome", "Only attempts that ended so: `confirmed`, `failed` or `superseded`."),
            ("before", "Only attempts with a lower number: the last of the page before."),
            LIMIT,
        ],
        ..look(
            "/v1/dfu/history",
            Area::Firmware,
            "List the attempts that are over, the latest first.",
            handler!(dfu::history),
        )
    },
    look("/v1/campaigns", Area::Firmware, "List the campaigns.", handler!(campaigns::list)),
    look(
        "/v1/campaigns/{id}",
        Area::Firmware,
        "Show a campaign and how many of its devices are how far.",
        handler!(campaigns::show),
    ),
    Route {
        query: &[
            ("state", "Only devices in this state: `queued`, `succeeded`, `failed`, ..."),
            ("wave", "Only devices of this wave."),
            ("offset", "How many devices come before the first one."),
            LIMIT,
        ],
        ..look(
            "/v1/campaigns/{id}/devices",
            Area::Firmware,
            "List the devices of a campaign in the order of its waves.",
            handler!(campaigns::devices),
        )
    },
    Route { body: Some(CAMPAIGN), ..order("/v1/campaigns", "Make a campaign.", handler!(campaigns::create)) },
    Route {
        body: Some(CAMPAIGN),
        ..order(
            "/v1/campaigns/preview",
            "Show which devices a campaign would be for, in which waves, and which not and why; nothing is made.",
            handler!(campaigns::preview),
        )
    },
    order("/v1/campaigns/{id}/approve", "Let a campaign begin that needs an approval.", handler!(campaigns::approve)),
    order("/v1/campaigns/{id}/start", "Begin a campaign now.", handler!(campaigns::start)),
    order("/v1/campaigns/{id}/pause", "Stop a campaign until it is resumed.", handler!(campaigns::pause)),
    order(
        "/v1/campaigns/{id}/resume",
        "Let a campaign go on, also in spite of the failures that stopped it.",
        handler!(campaigns::resume),
    ),
    order("/v1/campaigns/{id}/abort", "End a campaign.", handler!(campaigns::abort)),
    Route {
        method: Method::Delete,
        ..order("/v1/campaigns/{id}", "Delete a campaign that is over.", handler!(campaigns::remove))
    },
    Route {
        query: &[TOKEN],
        ..look("/ota", Area::Firmware, "List the update jobs, the newest first, 50 at once.", handler!(ota::list))
    },
    Route {
        body: Some(
            "`desiredVersion` and `filters`: `troubleCodes`, `anomalies`, `vehicle` (`vin`, `make`, `model`, `year`), `software` (`swVersion`). All that is not empty must hold, and of each list one value. With `dryRun`, which is true, nothing is made and the devices are told.",
        ),
        ..order("/ota/create", "Make an update job for the devices that filters mean now.", handler!(ota::create))
    },
    Route {
        body: Some("`desiredVersion`."),
        ..order("/ota/create/{device_id}", "Make an update job for one device.", handler!(ota::create_for))
    },
    look("/ota/{job_id}", Area::Firmware, "Show an update job.", handler!(ota::show)),
    Route {
        query: &[TOKEN],
        ..look(
            "/ota/{job_id}/devices",
            Area::Firmware,
            "List the devices of a job, 50 at once.",
            handler!(ota::devices),
        )
    },
    Route {
        query: &[("filters", "Up to 20 device ids, with commas between them.")],
        ..look(
            "/ota/{job_id}/devices/status",
            Area::Firmware,
            "Show how devices of a job stand.",
            handler!(ota::executions),
        )
    },
    look("/v1/collections", Area::Store, "List the collections.", handler!(query::collections)),
    Route {
        query: &[
            ("where", "Conditions as a JSON object of texts; names are columns, `_sender`, or paths like `dtc.code`."),
            ("since_ms", "Only rows from this Unix time on, in milliseconds."),
            LIMIT,
        ],
        ..look("/v1/collections/{collection}", Area::Store, "Query a collection, newest first.", handler!(query::query))
    },
    Route {
        query: &[
            ("binding", "Only those of this binding."),
            ("kind", "Only those of this kind: `malformed`, `trap`, `denied`, ..."),
            ("since_ms", "Only those given up from this Unix time on, in milliseconds."),
            ("before", "Only letters with a lower number: the last of the page before."),
            LIMIT,
        ],
        ..look("/v1/dead-letters", Area::Store, "List the dead letters, newest first.", handler!(dead_letters::list))
    },
    look("/v1/dead-letters/{id}", Area::Store, "Show a dead letter with its message.", handler!(dead_letters::show)),
    Route {
        method: Method::Post,
        path: "/v1/dead-letters/replay",
        action: Operate,
        area: Area::Store,
        summary: "Send dead letters to their binding again; answers when all were handled, or after some seconds.",
        query: &[],
        body: Some("Which letters: `ids`, `binding`, `kind`, `since_ms`; or `all`, which is true."),
        handler: handler!(dead_letters::replay),
    },
    Route {
        method: Method::Post,
        path: "/v1/dead-letters/drop",
        action: Operate,
        area: Area::Store,
        summary: "Delete dead letters.",
        query: &[],
        body: Some(
            "Which letters, as for a replay; `count`, how many that must be: without it nothing is deleted unless all are named by `ids`.",
        ),
        handler: handler!(dead_letters::drop),
    },
    look("/v1/recordings", Area::Plugins, "List the recordings that are kept.", handler!(recordings::list)),
    Route {
        method: Method::Delete,
        path: "/v1/recordings/{name}",
        action: Operate,
        area: Area::Plugins,
        summary: "Delete a recording.",
        query: &[],
        body: None,
        handler: handler!(recordings::remove),
    },
    Route {
        method: Method::Post,
        path: "/v1/bindings/{binding}/recording",
        action: Operate,
        area: Area::Plugins,
        summary: "Begin to record what a binding's plugin is asked and answers, payloads included.",
        query: &[],
        body: Some("`messages` and `bytes`: the bounds of the recording; those of the configuration without them."),
        handler: handler!(recordings::start),
    },
    Route {
        method: Method::Delete,
        path: "/v1/bindings/{binding}/recording",
        action: Operate,
        area: Area::Plugins,
        summary: "End the recording of a binding.",
        query: &[],
        body: None,
        handler: handler!(recordings::stop),
    },
    Route {
        query: &[("before", "Only entries with a lower number."), LIMIT],
        ..look("/v1/audit", Area::Audit, "List the audit log, newest first.", handler!(audit::list))
    },
];
