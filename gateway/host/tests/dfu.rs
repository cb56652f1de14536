//! DFU guests, those that behave and those that do not: what they are told, what they may read, and what stops them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot set the scene fails")]

#[path = "support/dfu_guest.rs"]
mod dfu_guest;

#[path = "support/guest.rs"]
mod guest;

#[path = "support/host.rs"]
mod host;

use std::sync::{Arc, Mutex};

use causeway_core::dfu::{Assignment, By, Heard, Progress, Release, Step};
use causeway_host::dfu::{Answer, Device, DfuInstance, DfuPlugin, Orders, Refusal, Request};
use causeway_host::{
    Binary, Component, DfuImports, Failure, Firmware, Limit, Limits, LoadError, Outline, Patch, ReadError, StartError,
    Trap,
};

use dfu_guest::TALKS;
use host::{Lines, engine, limits, setup};

/// One image, and what was asked of it.
#[derive(Clone, Default)]
struct Image(Arc<Mutex<Vec<(String, u64, u32)>>>);

const IMAGE: &[u8] = b"0123456789";

impl Firmware for Image {
    fn block(&mut self, image: &str, offset: u64, length: u32) -> Result<Vec<u8>, ReadError> {
        self.0.lock().unwrap().push((image.to_owned(), offset, length));
        match image {
            "i" => {
                let from = usize::try_from(offset).unwrap().min(IMAGE.len());
                Ok(IMAGE[from..IMAGE.len().min(from + length as usize)].to_vec())
            }
            "big" => Ok(vec![0; length as usize]),
            "away" => Err(ReadError::Unavailable("not now".to_owned())),
            other => Err(ReadError::Denied(format!("no {other}"))),
        }
    }

    fn patch_from(&mut self, running: &str, formats: &[&str]) -> Result<Option<Patch>, ReadError> {
        let patch = Patch { format: formats.join("+"), image: running.to_owned(), size: 7 };
        Ok((running == "no").then_some(patch))
    }
}

fn load(component: &[u8]) -> Result<DfuPlugin, LoadError> {
    let engine = engine();
    DfuPlugin::new(&engine, &Component::load(&engine, &Binary::of(component), None, |error| panic!("{error}"))?)
}

fn start(component: &[u8], limits: &Limits, image: &Image) -> Result<DfuInstance, StartError> {
    let imports = DfuImports { log: Box::new(Lines::default()), firmware: Box::new(image.clone()) };
    load(component).unwrap().start(&setup(), limits, imports)
}

fn assignment(image: &str) -> Assignment {
    let release = Release {
        name: "app".to_owned(),
        version: "2".to_owned(),
        image: image.to_owned(),
        size: 10,
        checksum: [7; 32],
        from: Vec::new(),
    };
    Assignment { release: Arc::new(release), by: By::Rule("r".to_owned()), swap: true, attempt: 1, restart: false }
}

fn request<'a>(orders: Orders<'a>, payload: &'a [u8]) -> Request<'a> {
    Request {
        device: Device { id: "d1", attributes: &[("type", "sensor")], parent: Some("gw") },
        orders,
        poll: 300,
        topic: "dfu/d1/status",
        payload,
        content_type: Some("application/cbor"),
        received_ms: 1_600_000_000_000,
    }
}

type Said = Result<Answer, Refusal>;

fn ask(body: &str, orders: Orders<'_>, payload: &[u8]) -> Said {
    let instance = start(&dfu_guest::component(body), &limits(), &Image::default()).unwrap();
    instance.handle(&request(orders, payload)).unwrap().1
}

/// How a guest is stopped; a guest beside it goes on.
fn stopped(body: &str, limits: &Limits) -> Trap {
    let beside = start(&dfu_guest::component(TALKS), limits, &Image::default()).unwrap();
    let (beside, _) = beside.handle(&request(Orders::Stay, b"1-")).unwrap();
    let instance = start(&dfu_guest::component(body), limits, &Image::default()).unwrap();
    let trap = instance.handle(&request(Orders::Update(&assignment("i")), b"1-")).unwrap_err();
    assert!(beside.handle(&request(Orders::Stay, b"1-")).unwrap().1.is_ok());
    trap
}

#[test]
fn a_device_is_led_through_an_update_block_by_block() {
    let image = Image::default();
    let mut instance = start(&dfu_guest::component(TALKS), &limits(), &image).unwrap();
    let (all, later, away) = (assignment("i"), Assignment { swap: false, ..assignment("i") }, assignment("away"));
    let update = Orders::Update(&all);
    let mut told = Vec::new();
    for (orders, payload) in [
        (Orders::Stay, &b"1-"[..]),
        (Orders::Hold("not now"), b"1-"),
        (update, b"1-"),
        (update, b"12\x08"),
        (update, b"12\x0a"),
        (Orders::Update(&later), b"12\x0a"),
        (Orders::Update(&away), b"12\x04"),
        (update, b"2-"),
    ] {
        let (next, said) = instance.handle(&request(orders, payload)).unwrap();
        instance = next;
        let said = said.unwrap();
        told.push((said.step, String::from_utf8(said.command).unwrap()));
    }
    let write = |offset, length| Step::Write { offset, length, patch: None };
    let expected = [
        (Step::Sync, "s"),
        (Step::Wait, "w"),
        (write(0, 4), "b0123"),
        (write(8, 2), "b89"),
        (Step::Swap, "x"),
        (Step::Wait, "w"),
        (Step::Wait, "w"),
        (Step::Sync, "s"),
    ];
    assert_eq!(told, expected.map(|(step, command)| (step, command.to_owned())));
    let asked = [("i", 0), ("i", 8), ("away", 4)].map(|(image, offset)| (image.to_owned(), offset, 4));
    assert_eq!(*image.0.lock().unwrap(), asked);
}

#[test]
fn what_a_device_says_and_a_refusal_with_its_command_come_back_as_they_were_meant() {
    let assignment = assignment("i");
    let update = Orders::Update(&assignment);
    let said = ask(TALKS, update, b"12\x04").unwrap();
    let progress = Some(Progress { version: "2".to_owned(), offset: 4, patch: None });
    let expected = Heard { version: "1".to_owned(), mtu: None, progress, formats: Vec::new() };
    assert_eq!((said.heard, said.content_type), (expected, None));
    let reason = Failure::Malformed("no".to_owned());
    let expected = Refusal { reason, command: Some(b"w".to_vec()), content_type: None };
    assert_eq!(ask(TALKS, update, b""), Err(expected));
}

/// Makes the text whose pointer is at `$p`, and its length behind it, the command.
fn show(asking: &str, pointer: u32) -> String {
    format!(
        "{asking} (i32.store (i32.const 65640) (i32.load (i32.const {pointer})))
         (i32.store (i32.const 65644) (i32.load (i32.const {})))",
        pointer + 4
    )
}

fn command(body: &str) -> String {
    String::from_utf8(ask(body, Orders::Update(&assignment("i")), b"1-").unwrap().command).unwrap()
}

#[test]
fn a_guest_is_told_who_the_device_is_what_it_said_and_what_it_is_to_get() {
    let told = |offset: u32| {
        let body = format!(
            "(i32.store (i32.const 1400) (i32.load offset={offset} (local.get $r)))
             (i32.store (i32.const 1404) (i32.load offset={} (local.get $r)))",
            offset + 4
        );
        command(&show(&body, 1400))
    };
    let fields = [(0, "d1"), (20, "gw"), (40, "app"), (48, "2"), (56, "i"), (100, "dfu/d1/status"), (108, "1-")];
    for (offset, expected) in fields {
        assert_eq!(told(offset), expected);
    }
    assert_eq!((told(120), told(72)), ("application/cbor".to_owned(), "\u{7}".repeat(32)));
}

#[test]
fn a_patch_is_offered_for_the_version_that_runs_and_an_image_of_others_is_denied() {
    let formats = "(i32.store (i32.const 1500) (i32.const 1100)) (i32.store (i32.const 1504) (i32.const 2))";
    let patch = format!(
        "{formats} (call $patch (i32.const 1100) (i32.const 2) (i32.const 1500) (i32.const 1) (i32.const 1304))"
    );
    assert_eq!((command(&show(&patch, 1320)), command(&show(&patch, 1328))), ("no".to_owned(), "no".to_owned()));
    let denied = "(call $block (i32.const 1100) (i32.const 2) (i64.const 0) (i32.const 4) (i32.const 1304))";
    assert_eq!(command(&show(denied, 1312)), "no no");
}

/// The image whose name, `big`, is at 1600.
const BIG: &str = "(i32.store (i32.const 1600) (i32.const 0x676962))";

#[test]
fn a_block_has_64_kib_at_most_and_all_blocks_of_a_call_as_much_as_it_may_return() {
    let one = format!(
        "{BIG} (call $block (i32.const 1600) (i32.const 3) (i64.const 0) (i32.const -1) (i32.const 1304))
         (i32.store (i32.const 65640) (i32.const 1312)) (i32.store (i32.const 65644) (i32.const 4))"
    );
    assert_eq!(ask(&one, Orders::Update(&assignment("i")), b"1-").unwrap().command, (64_u32 << 10).to_le_bytes());
    let again = "(call $block (i32.const 1600) (i32.const 3) (i64.const 0) (i32.const 65536) (i32.const 1304))";
    // Room is used again, so that memory is not what ends the call.
    let forever = format!("{BIG} (loop $more {again} (global.set $next (i32.const 131072)) (br $more))");
    assert_eq!(
        stopped(&forever, &Limits { deadline: std::time::Duration::from_secs(20), ..limits() }).limit,
        Limit::Output
    );
}

#[test]
fn questions_without_end_end_at_their_number() {
    let limits = Limits { deadline: std::time::Duration::from_secs(20), host_calls: 100, ..limits() };
    let block = "(call $block (i32.const 1100) (i32.const 2) (i64.const 0) (i32.const 4) (i32.const 1304))";
    let patch = "(call $patch (i32.const 1100) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 1304))";
    for question in [block, patch] {
        assert_eq!(stopped(&format!("(loop $more {question} (br $more))"), &limits).limit, Limit::HostCalls);
    }
}

#[test]
fn answers_that_are_too_large_or_no_answers_end_the_call() {
    let room = "(drop (memory.grow (i32.const 128)))";
    let large = format!(
        "{room} (i32.store (i32.const 65640) (i32.const 65536)) (i32.store (i32.const 65644) (i32.const 8388608))"
    );
    assert_eq!(stopped(&large, &limits()).limit, Limit::Output);
    // A step, an outcome and a failure of a kind that does not exist; a command nowhere; a version that is no text.
    for wrong in [
        "(i32.store8 (i32.const 65608) (i32.const 9))",
        "(i32.store8 (i32.const 65536) (i32.const 9))",
        "(i32.store8 (i32.const 65536) (i32.const 1)) (i32.store8 (i32.const 65544) (i32.const 9))",
        "(i32.store (i32.const 65640) (i32.const -8)) (i32.store (i32.const 65644) (i32.const 64))",
        "(i32.store (i32.const 0) (i32.const -1)) (i32.store (i32.const 65548) (i32.const 4))",
        "(unreachable)",
    ] {
        assert_eq!(stopped(wrong, &limits()).limit, Limit::None, "{wrong}");
    }
    assert_eq!(stopped("(loop $forever (br $forever))", &limits()).limit, Limit::Deadline);
}

#[test]
fn a_guest_that_reads_firmware_before_there_is_a_status_is_stopped() {
    let import = r#"(import "causeway:plugin/firmware@0.1.0-draft" "block" (func $block (param i32 i32 i64 i32 i32)))"#;
    let asks =
        "(call $block (i32.const 1100) (i32.const 2) (i64.const 0) (i32.const 4) (i32.const 1304)) (i32.const 1024)";
    let wat = dfu_guest::module("").replace("(i32.const 1024) ;; configured", asks);
    let wat = wat.replacen("(module", &format!("(module {import}"), 1);
    let refused = start(&guest::encode_as(&wat, "dfu", None), &limits(), &Image::default());
    let Err(StartError::Trap(trap)) = refused else { panic!("{refused:?}") };
    assert_eq!((trap.limit, trap.reason.as_str()), (Limit::None, "message 0 of a batch of 0"));
}

#[test]
fn a_plugin_of_one_kind_is_none_of_the_other_and_its_outline_says_which() {
    let (ours, theirs) = (dfu_guest::component(TALKS), guest::component("(call $ok (local.get 3))"));
    assert!(matches!(load(&theirs), Err(LoadError::World { kind: "dfu", .. })));
    assert!(matches!(host::load(&ours), Err(LoadError::Import { kind: "telemetry", .. })));
    let outline = Outline::read(&ours).unwrap();
    assert_eq!(outline.kind(), Some("dfu"));
    let mut imports: Vec<_> = outline.capabilities().collect();
    imports.sort_unstable();
    assert_eq!((imports, outline.refused().count()), (vec!["firmware"], 0));
}
