//! A gateway that updates one device, for the tests of DFU plugins: it has the images in memory and the orders of a test.
//!
//! ```
//! use causeway_plugin::dfu::{Answer, Firmware, Handler, Orders, Refusal, Request, Setup, Status, Step};
//! use causeway_plugin::testing::Update;
//!
//! /// Speaks with devices that send their version as text, and are told `now` or `later`.
//! struct Shouting;
//!
//! impl Handler for Shouting {
//!     fn configure(_: &Setup) -> Result<Self, String> {
//!         Ok(Self)
//!     }
//!
//!     fn handle<F: Firmware + ?Sized>(&self, request: &Request, _: &F) -> Result<Answer, Refusal> {
//!         let version = String::from_utf8_lossy(&request.payload).into_owned();
//!         let (step, word) = match &request.orders {
//!             Orders::Update(release) if release.version != version => (Step::Swap, "now"),
//!             _ => (Step::Wait, "later"),
//!         };
//!         let status = Status { version, mtu: None, progress: None, formats: Vec::new() };
//!         Ok(Answer { status, step, command: word.into(), content_type: None })
//!     }
//! }
//!
//! let update = Update::to("0.1.1", b"image");
//! assert_eq!(update.ask(&Shouting, "0.1.0").unwrap().command, b"now");
//! assert_eq!(update.ask(&Shouting, "0.1.1").unwrap().command, b"later");
//! ```

use std::collections::HashMap;

use crate::dfu::{Answer, Assignment, Device, Firmware, Handler, Orders, Patch, ReadError, Refusal, Request, Setup};

/// The name of the assigned image, and the most bytes that are read at once.
const IMAGE: &str = "image";
const MAX_BLOCK: u32 = 64 << 10;

/// A device called `device`, and the release that it is to get.
#[derive(Clone, Debug)]
pub struct Update {
    request: Request,
    images: HashMap<String, Vec<u8>>,
    patches: Vec<(String, Patch)>,
    error: Option<ReadError>,
}

impl Update {
    /// The device is to get this version, and may be told to start it. The checksum is 32 bytes of 9.
    #[must_use]
    pub fn to(version: &str, image: &[u8]) -> Self {
        Self::ordered(Orders::Update(Assignment {
            name: "firmware".to_owned(),
            version: version.to_owned(),
            image: IMAGE.to_owned(),
            size: image.len() as u64,
            checksum: vec![9; 32],
            swap: true,
            attempt: 1,
            restart: false,
        }))
        .image(IMAGE, image)
    }

    /// The device keeps what it runs.
    #[must_use]
    pub fn stay() -> Self {
        Self::ordered(Orders::Stay)
    }

    /// The device is to ask again later.
    #[must_use]
    pub fn hold(reason: &str) -> Self {
        Self::ordered(Orders::Hold(reason.to_owned()))
    }

    fn ordered(orders: Orders) -> Self {
        let device = Device { id: "device".to_owned(), attributes: Vec::new(), parent: None };
        let request = Request {
            device,
            orders,
            poll: 300,
            topic: "dfu/device/status".to_owned(),
            payload: Vec::new(),
            content_type: None,
            received: 1_600_000_000_000,
        };
        Self { request, images: HashMap::new(), patches: Vec::new(), error: None }
    }

    /// Changes the assignment, if there is one.
    #[must_use]
    pub fn assignment(mut self, change: impl FnOnce(&mut Assignment)) -> Self {
        if let Orders::Update(assignment) = &mut self.request.orders {
            change(assignment);
        }
        self
    }

    /// After how many seconds the device is to ask again; 300 if a test does not say.
    #[must_use]
    pub const fn poll(mut self, seconds: u32) -> Self {
        self.request.poll = seconds;
        self
    }

    /// An attribute that the registry has of the device.
    #[must_use]
    pub fn attribute(mut self, name: &str, value: &str) -> Self {
        self.request.device.attributes.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The MQTT 5 content type of what the device sends.
    #[must_use]
    pub fn content_type(mut self, content_type: &str) -> Self {
        self.request.content_type = Some(content_type.to_owned());
        self
    }

    /// A patch from the version `running` to the assigned one.
    #[must_use]
    pub fn patch(mut self, running: &str, format: &str, bytes: &[u8]) -> Self {
        let image = format!("{running}/{format}");
        let patch = Patch { format: format.to_owned(), image: image.clone(), size: bytes.len() as u64 };
        self.patches.push((running.to_owned(), patch));
        self.image(&image, bytes)
    }

    /// Every read fails.
    #[must_use]
    pub fn failing(mut self, error: ReadError) -> Self {
        self.error = Some(error);
        self
    }

    fn image(mut self, name: &str, bytes: &[u8]) -> Self {
        self.images.insert(name.to_owned(), bytes.to_vec());
        self
    }

    /// The request for a status.
    #[must_use]
    pub fn request(&self, payload: impl Into<Vec<u8>>) -> Request {
        Request { payload: payload.into(), ..self.request.clone() }
    }

    /// Makes a plugin with this `config` section, a JSON object.
    ///
    /// # Errors
    /// The plugin refuses it.
    pub fn configure<H: Handler>(config: &str) -> Result<H, String> {
        H::configure(&Setup { gateway: "gateway".to_owned(), binding: "binding".to_owned(), config: config.to_owned() })
    }

    /// Asks the plugin about one status.
    ///
    /// # Errors
    /// The plugin's own.
    pub fn ask(&self, handler: &impl Handler, payload: impl Into<Vec<u8>>) -> Result<Answer, Refusal> {
        handler.handle(&self.request(payload), self)
    }
}

impl Firmware for Update {
    fn block(&self, image: &str, offset: u64, length: u32) -> Result<Vec<u8>, ReadError> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let bytes = self.images.get(image).ok_or_else(|| ReadError::Denied(format!("no image {image:?}")))?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let rest = bytes.get(from..).unwrap_or_default();
        let length = usize::try_from(length.min(MAX_BLOCK)).unwrap_or(usize::MAX).min(rest.len());
        Ok(rest.get(..length).unwrap_or_default().to_vec())
    }

    fn patch_from(&self, running: &str, formats: &[String]) -> Result<Option<Patch>, ReadError> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let fits = |(from, patch): &&(String, Patch)| from == running && formats.contains(&patch.format);
        Ok(self.patches.iter().find(fits).map(|(_, patch)| patch.clone()))
    }
}
