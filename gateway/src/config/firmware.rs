//! `firmware:` what devices are updated to: where it is kept, how large it may be, how its sources are asked.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::check::{below, item};
use super::path;
use super::section::section;
use super::setting::Notes;
use super::units::Size;

section! {
    /// The firmware that devices are updated to. Who gets which stands in `assignments` and in campaigns.
    FirmwareConfig {
        /// The folder of what `causeway firmware push` publishes without a registry, an OCI image layout; without it `<data_dir>/firmware`.
        dir: PathBuf = PathBuf::new() => restart;
        /// Largest image; it is below 4 GiB, because devices count in 32 bits.
        max_image: Size = Size::mib(256) => restart, in Size::kib(1)..=Size(u32::MAX as u64), hit "causeway_firmware_refused_total";
        /// Releases that are known at the same time, with their images in `artifacts.dir`; of more, those go that nobody asked for the longest.
        max_releases: usize = 128 => restart, in 1..=10_000, hit "causeway_firmware_forgotten_total";
        /// Images and patches that are open at the same time; one more closes the one that was not read the longest.
        max_open: usize = 32 => restart, in 1..=1_000, hit "causeway_firmware_closed_total";
        /// How often a registry is asked what a followed tag stands for.
        poll: Duration = Duration::from_secs(900) => restart, in Duration::from_secs(1)..=Duration::from_secs(7 * 86_400);
        /// How often a release is asked for again that could not be had.
        retry: Duration = Duration::from_secs(60) => restart, in Duration::from_secs(1)..=Duration::from_secs(86_400);
        /// Releases whose signature names another repository than the one that they are found in.
        signed_as: Vec<SignedAsConfig> = Vec::new() => restart;
        /// Patches for devices that can apply them.
        patches: PatchesConfig = PatchesConfig::default() => restart;
    }
}

section! {
    /// Patches between two releases, for devices that say they can apply them; others get the image. They are made in the background, one after the other.
    PatchesConfig {
        /// Whether any are made.
        enabled: bool = true => restart;
        /// Largest image that a patch is made from or to.
        max_image: Size = Size::mib(16) => restart, in Size::kib(1)..=Size::mib(256);
        /// Memory for making one: five bytes for each of the old image and two for each of the new one.
        max_memory: Size = Size::mib(128) => restart, in Size::kib(64)..=Size::gib(4);
        /// Time for making one, asked when the old image is sorted and at each step from then on.
        max_time: Duration = Duration::from_secs(30) => restart, in Duration::from_millis(10)..=Duration::from_secs(3_600), hit "causeway_firmware_patches_total";
        /// Largest patch, in percent of the image that it makes; a larger one is not worth its trouble.
        worth: u32 = 60 => restart, in 1..=100, hit "causeway_firmware_patches_total";
        /// Patches that are kept; of more, those go that nobody asked for the longest.
        keep: usize = 64 => restart, in 1..=10_000;
        /// Patches that wait to be made; a device that asks for one more gets the image.
        queue: usize = 16 => restart, in 1..=1_000, hit "causeway_firmware_patches_total";
    }
}

section! {
    /// A mirror, a layout or a stick with firmware that was signed for another place.
    SignedAsConfig {
        /// The references that are meant, or what they begin with, up to a `/`, a `:` or a `@`.
        below: String = String::new() => restart, required "oci-layout:///media/stick";
        /// The repository that the signature must name: `host[:port]/repository`.
        repository: String = String::new() => restart, required "registry.example.com/acme/motor";
    }
}

impl SignedAsConfig {
    /// A relative path begins at `base`.
    pub(super) fn resolve(&mut self, base: &Path) {
        if let Some(path) = self.below.strip_prefix("oci-layout://").filter(|path| !path.is_empty()) {
            self.below = format!("oci-layout://{}", base.join(path).display());
        }
    }
}

/// What references begin with that may have been signed for another place.
const PLACES: [&str; 2] = ["oci://", "oci-layout://"];

pub(super) fn check(firmware: &FirmwareConfig, notes: &mut Notes) {
    for (index, signed) in firmware.signed_as.iter().enumerate() {
        let mut at = path("firmware");
        at.extend(item("signed_as", index));
        let is_known = PLACES.iter().any(|place| signed.below.starts_with(place));
        if !signed.below.is_empty() && !is_known {
            let remedy = format!("write a reference, or what it begins with: {}", PLACES.join(", "));
            notes.at(below(&at, "below"), format!("`{}` begins no reference", signed.below), remedy);
        }
        if signed.repository.contains("://") {
            let remedy = "write it without a scheme: `registry.example.com/acme/motor`";
            notes.at(below(&at, "repository"), format!("`{}` is no repository", signed.repository), remedy);
        }
    }
}
