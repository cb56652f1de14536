//! Campaigns over a real store: what operators order, what devices come to, and what a restart finds.

mod late;

use causeway_core::dfu::campaign::{OnError, Plan, Standing, Start};
use causeway_core::dfu::update::{self, Target as DfuTarget};
use causeway_core::dfu::{By, Turn};
use prometheus_client::registry::Registry;

use super::*;
use crate::devices::{Change as DeviceChange, DevicesMetrics};
use crate::store::StoreMetrics;
use crate::store::campaigns::Asked;
use crate::store::dfu;

pub(in crate::dfu) const NOW: u64 = 1_000_000;

/// A store with ten registered devices, `d0` to `d9`.
pub(in crate::dfu) struct World {
    _home: tempfile::TempDir,
    pub(in crate::dfu) store: Store,
    pub(in crate::dfu) devices: Devices,
    pub(in crate::dfu) campaigns: Campaigns,
}

pub(in crate::dfu) fn release(version: &str) -> Arc<Release> {
    Arc::new(Release {
        name: "sensor".to_owned(),
        version: version.to_owned(),
        image: format!("sha256:{version}"),
        size: 7,
        checksum: [9; 32],
        from: Vec::new(),
    })
}

/// Nobody has said what it runs.
fn silent(_: &str) -> Option<String> {
    None
}

impl World {
    pub(in crate::dfu) async fn new() -> Self {
        Self::with(CampaignsConfig::default()).await
    }

    async fn with(config: CampaignsConfig) -> Self {
        let home = tempfile::tempdir().unwrap();
        let registry = &mut Registry::default();
        let store = Store::open(home.path(), &Default::default(), StoreMetrics::new(registry)).unwrap();
        let devices = Devices::open(store.clone(), &Default::default(), DevicesMetrics::new(registry)).unwrap();
        for number in 0..10 {
            devices.add(&format!("d{number}"), DeviceChange::default()).await.unwrap();
        }
        let campaigns =
            Campaigns::open(store.clone(), devices.clone(), &config, CampaignsMetrics::new(registry)).unwrap();
        Self { _home: home, store, devices, campaigns }
    }

    /// The same store, read again as at a start.
    fn reopened(&self) -> Campaigns {
        let metrics = CampaignsMetrics::new(&mut Registry::default());
        Campaigns::open(self.store.clone(), self.devices.clone(), &self.campaigns.parts.config, metrics).unwrap()
    }

    fn order(&self, id: &str, query: &str, plan: Plan) -> Order {
        Order {
            id: id.to_owned(),
            release: release("0.2.0"),
            reference: "sensor:0.2.0".to_owned(),
            asked: Asked::Query(query.to_owned()),
            devices: self.campaigns.matching(&query.parse().unwrap(), &silent),
            plan,
            operator: "ops".to_owned(),
        }
    }

    pub(in crate::dfu) async fn begin(&self, id: &str, query: &str, plan: Plan) {
        let order = self.order(id, query, Plan { start: Start::Now, ..plan });
        self.campaigns.create(order, &silent, NOW).await.unwrap();
    }

    /// A device's update turns, as the ledger writes it.
    pub(in crate::dfu) async fn turn(&self, id: &str, device: &str, turn: Turn) {
        self.write(id, device, turn).await;
        self.settle().await;
    }

    async fn write(&self, id: &str, device: &str, turn: Turn) {
        let change = Change::of_turn(&turn, NOW);
        let row = CampaignRow { campaign: id.to_owned(), device: device.to_owned(), change };
        let also = self.campaigns.turned(row);
        self.store.write_synced(move |tx| also(tx)).await.unwrap();
    }

    /// Devices that were found done or unfit, of which the store does not know yet.
    pub(in crate::dfu) fn noticed(&self) -> usize {
        self.campaigns.parts.pending().notices.len()
    }

    pub(in crate::dfu) async fn settle(&self) {
        self.campaigns.catch_up(NOW).await.unwrap();
        self.campaigns.advance(NOW).await;
    }

    /// Lets campaigns work by themselves until a device stands so.
    async fn until(&self, campaigns: &Campaigns, id: &str, device: &str, standing: Standing) {
        let deadline = Duration::from_secs(10);
        let run = campaigns.clone().run(Clock::new(0));
        let stands = async || campaigns.target(id, device).await.unwrap().unwrap().standing == standing;
        let found = async {
            while !stands().await {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = run => unreachable!("it never ends"),
            found = tokio::time::timeout(deadline, found) => found.expect("it comes to stand so"),
        }
    }

    async fn state(&self, id: &str) -> (State, u32) {
        let progress = &self.campaigns.show(id).await.unwrap().campaign.progress;
        // What is on the disk is what is shown.
        assert_eq!(self.reopened().show(id).await.unwrap().campaign.progress, *progress);
        (progress.state, progress.wave)
    }

    /// How far the devices are, in the order of the campaign.
    async fn standings(&self, id: &str) -> Vec<(String, u32, Standing)> {
        let (id, every) = (id.to_owned(), Page { limit: 100, ..Page::default() });
        let rows = self.store.read(move |connection| rows::devices(connection, &id, &every)).await.unwrap();
        rows.into_iter().map(|(device, target)| (device, target.wave, target.standing)).collect()
    }
}

fn waves(sizes: &[&str]) -> Plan {
    Plan { waves: sizes.iter().map(|size| size.parse().unwrap()).collect(), ..Plan::default() }
}

fn failed() -> Turn {
    Turn::Failed { attempt: 1, reason: "it runs 0.1.0 again".to_owned() }
}

#[tokio::test]
async fn a_dry_run_shows_what_is_made() {
    let world = World::new().await;
    let running = |device: &str| match device {
        "d0" => Some("0.2.0".to_owned()),
        "d1" => Some("0.3.0".to_owned()),
        "d2" => Some("0.1.0".to_owned()),
        _ => None,
    };
    let order = world.order("one", "id=d*", waves(&["1", "50%"]));
    let drawn = world.campaigns.draw(&order, &running, NOW).unwrap();
    world.campaigns.create(order, &running, NOW).await.unwrap();
    let made = world.standings("one").await;
    let shown: Vec<_> =
        drawn.iter().map(|drawn| (drawn.device.clone(), drawn.target.wave, drawn.target.standing)).collect();
    assert_eq!(made, shown);
    assert_eq!(made[0], ("d0".to_owned(), 0, Standing::Succeeded));
    assert_eq!(made[1], ("d1".to_owned(), 0, Standing::Skipped));
    assert!(drawn[1].target.reason.as_deref().unwrap().contains("older"), "{drawn:?}");
    let in_waves: Vec<_> = made.iter().map(|(_, wave, _)| *wave).collect();
    assert_eq!(in_waves, [0, 0, 1, 2, 2, 2, 2, 3, 3, 3]);
}

#[tokio::test]
async fn waves_go_on_with_what_devices_come_to_and_a_restart_changes_nothing() {
    let world = World::new().await;
    world.begin("one", "id=d0,d1,d2", waves(&["1", "1"])).await;
    assert_eq!(world.state("one").await, (State::Running, 1));
    assert!(matches!(world.campaigns.offer("d0", NOW).unwrap().offer, Offer::Get { swap: true }));
    assert_eq!(world.reopened().offer("d1", NOW).unwrap().offer, Offer::Stay);
    world.turn("one", "d0", Turn::Started).await;
    world.turn("one", "d0", Turn::Confirmed).await;
    assert_eq!(world.state("one").await, (State::Running, 2));
    world.turn("one", "d1", Turn::Confirmed).await;
    world.turn("one", "d2", Turn::Confirmed).await;
    assert_eq!(world.state("one").await, (State::Finished, 3));
    assert!(world.campaigns.offer("d0", NOW).is_none());
    let tallies = world.campaigns.show("one").await.unwrap().tallies;
    assert_eq!(tallies.iter().map(|tally| tally.count(Standing::Succeeded)).sum::<u64>(), 3);
}

#[tokio::test]
async fn a_wave_that_was_decided_but_not_opened_before_a_crash_opens_after_it() {
    let world = World::new().await;
    world.begin("one", "id=d0,d1", waves(&["1"])).await;
    let change = Change::of_turn(&Turn::Confirmed, NOW);
    let row = CampaignRow { campaign: "one".to_owned(), device: "d0".to_owned(), change };
    world.store.write_synced(move |tx| rows::change(tx, &row)).await.unwrap();
    let after = world.reopened();
    after.advance(NOW).await;
    assert_eq!(after.show("one").await.unwrap().campaign.progress.wave, 2);
}

#[tokio::test]
async fn too_many_failures_pause_and_its_devices_are_held() {
    let world = World::new().await;
    world.begin("one", "id=d*", Plan { error: Some(40), ..waves(&["5"]) }).await;
    world.turn("one", "d0", failed()).await;
    assert_eq!(world.state("one").await, (State::Running, 1));
    world.turn("one", "d1", failed()).await;
    assert_eq!(world.state("one").await, (State::Paused, 1));
    assert!(matches!(world.campaigns.offer("d2", NOW).unwrap().offer, Offer::Hold(_)));
    world.campaigns.command("one", Command::Resume, NOW).await.unwrap();
    assert_eq!(world.state("one").await, (State::Running, 1));
}

#[tokio::test]
async fn too_many_failures_abort_when_that_was_wanted() {
    let world = World::new().await;
    world.begin("one", "id=d*", Plan { on_error: OnError::Abort, ..waves(&["5"]) }).await;
    world.turn("one", "d0", failed()).await;
    assert_eq!(world.state("one").await.0, State::Aborted);
    assert!(world.standings("one").await.iter().all(|(_, _, standing)| *standing == Standing::Cancelled));
}

#[tokio::test]
async fn an_abort_reaches_every_device_and_one_that_had_the_release_still_counts() {
    let world = World::new().await;
    world.begin("one", "id=d*", waves(&["5"])).await;
    world.turn("one", "d0", Turn::SwapSent(1)).await;
    world.campaigns.command("one", Command::Pause, NOW).await.unwrap();
    world.campaigns.command("one", Command::Abort, NOW).await.unwrap();
    assert!((0..10).all(|number| world.campaigns.offer(&format!("d{number}"), NOW).is_none()));
    world.turn("one", "d0", Turn::Confirmed).await;
    world.turn("one", "d1", Turn::Started).await;
    let tallies = world.campaigns.show("one").await.unwrap().tallies;
    let count = |standing| tallies.iter().map(|tally| tally.count(standing)).sum::<u64>();
    assert_eq!((count(Standing::Succeeded), count(Standing::Cancelled)), (1, 9));
    let refused = world.campaigns.command("one", Command::Resume, NOW).await.unwrap_err();
    assert_eq!(refused.to_string(), "campaign `one`: it is aborted and cannot be resumed");
}

#[tokio::test]
async fn of_two_campaigns_the_one_that_began_first_has_the_device_until_it_is_done() {
    let world = World::new().await;
    world.begin("one", "id=d0,d1", Plan::default()).await;
    let order = world.order("two", "id=d0", Plan { start: Start::At(NOW + 1), ..Plan::default() });
    world.campaigns.create(order, &silent, NOW).await.unwrap();
    world.campaigns.command("two", Command::Start, NOW + 1).await.unwrap();
    assert_eq!(world.campaigns.offer("d0", NOW).unwrap().id, "one");
    world.turn("one", "d0", Turn::Confirmed).await;
    assert_eq!(world.campaigns.offer("d0", NOW).unwrap().id, "two");
}

#[tokio::test]
async fn a_device_that_failed_for_good_in_one_campaign_gets_what_another_one_has_for_it() {
    let world = World::new().await;
    world.begin("one", "id=d0,d1", Plan { error: Some(100), ..Plan::default() }).await;
    world.begin("two", "id=d0", Plan::default()).await;
    world.turn("one", "d0", failed()).await;
    assert_eq!(world.campaigns.offer("d0", NOW).unwrap().id, "one");
    world.turn("one", "d0", Turn::Quarantined).await;
    assert_eq!(world.campaigns.offer("d0", NOW).unwrap().id, "two");
    world.turn("two", "d0", Turn::Confirmed).await;
    // It may be forgiven as long as the campaign lasts.
    assert_eq!(world.campaigns.offer("d0", NOW).unwrap().id, "one");
}

#[tokio::test]
async fn a_device_that_is_removed_is_skipped() {
    let world = World::new().await;
    world.begin("one", "id=d0,d1", Plan::default()).await;
    let removing = async {
        tokio::task::yield_now().await;
        world.devices.remove("d0").await.unwrap();
    };
    tokio::join!(removing, world.until(&world.campaigns, "one", "d0", Standing::Skipped));
    world.turn("one", "d1", Turn::Confirmed).await;
    assert_eq!(world.state("one").await.0, State::Finished);
}

#[tokio::test]
async fn a_device_that_is_removed_while_nobody_looks_is_skipped_at_the_next_start() {
    let world = World::new().await;
    world.begin("one", "id=d0,d1", Plan::default()).await;
    world.devices.remove("d0").await.unwrap();
    let reopened = world.reopened();
    world.until(&reopened, "one", "d0", Standing::Skipped).await;
    assert_eq!(reopened.target("one", "d1").await.unwrap().unwrap().standing, Standing::Queued);
}

#[tokio::test]
async fn a_device_that_is_removed_before_its_campaign_begins_is_skipped_also_when_it_is_registered_anew() {
    let world = World::new().await;
    world.campaigns.create(world.order("one", "id=d0,d1", Plan::default()), &silent, NOW).await.unwrap();
    world.settle().await;
    world.devices.remove("d0").await.unwrap();
    world.until(&world.campaigns, "one", "d0", Standing::Skipped).await;
    world.devices.add("d0", DeviceChange::default()).await.unwrap();
    world.campaigns.command("one", Command::Start, NOW).await.unwrap();
    assert_eq!(world.campaigns.offer("d0", NOW).map(|found| found.offer), None);
    world.turn("one", "d1", Turn::Confirmed).await;
    assert_eq!(world.state("one").await.0, State::Finished);
}

#[tokio::test]
async fn a_device_that_was_removed_while_its_campaign_was_made_is_skipped() {
    let world = World::new().await;
    let order = world.order("one", "id=d0,d1", Plan::default());
    world.devices.remove("d0").await.unwrap();
    world.settle().await;
    world.campaigns.create(order, &silent, NOW).await.unwrap();
    world.settle().await;
    assert_eq!(world.standings("one").await[0].2, Standing::Skipped);
}

#[tokio::test]
async fn what_the_store_does_not_take_is_found_again() {
    let world = World::new().await;
    world.begin("one", "id=d0,d1", Plan::default()).await;
    world.devices.remove("d0").await.unwrap();
    let rename = async |from: &str, to: &str| {
        let rename = format!("alter table {from} rename to {to}");
        world.store.write(move |tx| tx.execute_batch(&rename)).await.unwrap();
    };
    rename("campaign_devices", "elsewhere").await;
    assert!(world.campaigns.catch_up(NOW).await.is_err());
    rename("elsewhere", "campaign_devices").await;
    world.settle().await;
    assert_eq!(world.standings("one").await[0].2, Standing::Skipped);
}

#[tokio::test]
async fn what_cannot_be_made_is_refused_with_the_reason() {
    let world = World::with(CampaignsConfig { max_campaigns: 2, max_devices: 5, ..Default::default() }).await;
    let refused = async |order: Order| world.campaigns.create(order, &silent, NOW).await.unwrap_err().to_string();
    let order = |id: &str, query: &str| world.order(id, query, Plan::default());
    assert!(refused(order("a/b", "*")).await.contains("is no name"));
    assert!(refused(order("preview", "*")).await.contains("is no name"));
    assert!(refused(order("one", "id=x")).await.contains("for no device"));
    let many = "campaigns that are not over may have 5 devices (campaigns.max_devices), and would have 10";
    assert_eq!(refused(order("one", "*")).await, many);
    world.campaigns.create(order("one", "id=d0"), &silent, NOW).await.unwrap();
    assert!(refused(order("one", "id=d0")).await.contains("already"));
    world.campaigns.create(order("two", "id=d0"), &silent, NOW).await.unwrap();
    assert!(refused(order("three", "id=d0")).await.contains("campaigns.max_campaigns"));
    let ids = ["d0", "x1", "d0", "x2"].map(str::to_owned);
    assert_eq!(world.campaigns.named(&ids).unwrap_err().to_string(), "there is no device `x1`, `x2`");
    assert_eq!(world.campaigns.named(&ids[..1]).unwrap().len(), 1);
}

#[tokio::test]
async fn only_what_is_over_is_deleted() {
    let world = World::new().await;
    world.begin("one", "id=d0", Plan::default()).await;
    let refused = world.campaigns.delete("one").await.unwrap_err().to_string();
    assert_eq!(refused, "campaign `one` is running; abort it before it is deleted");
    world.campaigns.command("one", Command::Abort, NOW).await.unwrap();
    world.campaigns.delete("one").await.unwrap();
    assert!(matches!(world.campaigns.show("one").await, Err(CampaignError::Unknown(_))));
    assert!(world.reopened().list().await.unwrap().is_empty());
    // What comes late to a campaign that is no more is nobody's.
    world.turn("one", "d0", Turn::Confirmed).await;
}

#[tokio::test]
async fn an_id_is_not_used_again_while_a_device_goes_by_it() {
    let world = World::new().await;
    world.begin("one", "id=d0", Plan::default()).await;
    let target = DfuTarget {
        name: "sensor".to_owned(),
        version: "0.2.0".to_owned(),
        image: "sha256:0.2.0".to_owned(),
        size: 7,
        by: By::Campaign("one".to_owned()),
        from: "0.1.0".to_owned(),
        restart: false,
        astray: false,
        waiting: false,
        started_ms: None,
        tally: Default::default(),
    };
    let mut stands = update::Standing { target: Some(Box::new(target)), ..Default::default() };
    let given = stands.clone();
    world.store.write(move |tx| dfu::put(tx, "d0", &given)).await.unwrap();
    world.campaigns.command("one", Command::Abort, NOW).await.unwrap();
    world.campaigns.delete("one").await.unwrap();
    let again = async || {
        let order = world.order("one", "id=d1", Plan::default());
        world.campaigns.create(order, &silent, NOW).await.map_err(|error| error.to_string())
    };
    let used = "`one` was a campaign before, and the updates of 1 devices still go by it; choose another name";
    assert_eq!(again().await, Err(used.to_owned()));
    stands.target = None;
    world.store.write(move |tx| dfu::put(tx, "d0", &stands)).await.unwrap();
    assert_eq!(again().await, Ok(()));
}

#[tokio::test]
async fn a_change_that_was_not_committed_is_not_seen() {
    let world = World::new().await;
    world.begin("one", "id=d0,d1", Plan::default()).await;
    let change = Change::of_turn(&Turn::Confirmed, NOW);
    let row = CampaignRow { campaign: "one".to_owned(), device: "d0".to_owned(), change };
    let also = world.campaigns.turned(row);
    let undone = world.store.write_synced(move |tx| also(tx).and(Err::<(), _>(rusqlite::Error::InvalidQuery))).await;
    assert!(undone.is_err());
    world.settle().await;
    assert!(matches!(world.campaigns.offer("d0", NOW).unwrap().offer, Offer::Get { .. }));
}
