//! What two images have in common, found as bsdiff does it (Colin Percival, "Naive differences of executable code"): the new
//! one is parts of the old one with few bytes changed, and bytes that are new.
//!
//! A pure function with a bound of time: whoever calls it says when it is enough. Memory is four bytes for each of the old
//! image, beside both.

/// Bytes by which another place has to match better than where the last one went on.
const BETTER: usize = 8;

/// Longest match that is looked for at once; a longer one is found in parts.
const MAX_MATCH: usize = 16 << 10;

/// Searches between two questions whether it is enough.
const BETWEEN: usize = 256;

/// A part of the new image: bytes that the old one has nearly, and bytes that it has not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Part {
    /// Where the nearly equal bytes begin in the old image.
    pub(super) old: usize,
    /// And in the new one.
    pub(super) new: usize,
    /// How many they are.
    pub(super) nearly: usize,
    /// How many follow in the new image that the old one has not.
    pub(super) extra: usize,
}

/// It took too long.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// Gives each part of the new image in order, until all of it is given or `each` says that it wants no more.
///
/// # Errors
/// `enough` said so.
pub(super) fn parts(
    old: &[u8],
    new: &[u8],
    mut enough: impl FnMut() -> bool,
    mut each: impl FnMut(Part) -> bool,
) -> Result<(), TooLong> {
    let suffixes = Suffixes::of(old);
    if enough() {
        return Err(TooLong);
    }
    let (mut scan, mut found) = (0, Match::default());
    // What was given: up to `last.new` in the new image, which is at `last.old` in the old one.
    let mut last = Match::default();
    let mut searches = 0;
    while scan < new.len() {
        // How many bytes match where the last part would go on.
        let mut score = 0;
        scan += found.length;
        let mut counted = scan;
        while scan < new.len() {
            searches += 1;
            if searches % BETWEEN == 0 && enough() {
                return Err(TooLong);
            }
            found = suffixes.longest(tail(new, scan));
            while counted < scan + found.length {
                score += usize::from(goes_on(old, new, last, counted));
                counted += 1;
            }
            if found.length == score && found.length != 0 || found.length > score + BETTER {
                break;
            }
            score -= usize::from(goes_on(old, new, last, scan));
            scan += 1;
        }
        if found.length != score || scan >= new.len() {
            let (nearly, back) = stretch(old, new, last, Match { new: scan, ..found });
            let extra = (scan - back).saturating_sub(last.new + nearly);
            if !each(Part { old: last.old, new: last.new, nearly, extra }) {
                return Ok(());
            }
            last = Match { old: found.old.saturating_sub(back), new: scan - back, length: 0 };
        }
    }
    Ok(())
}

/// Equal bytes in both images.
#[derive(Clone, Copy, Debug, Default)]
struct Match {
    old: usize,
    new: usize,
    length: usize,
}

/// Whether a byte of the new image is what the old one has when the last part goes on.
fn goes_on(old: &[u8], new: &[u8], last: Match, at: usize) -> bool {
    let in_old = (last.old + at).checked_sub(last.new);
    in_old.and_then(|in_old| old.get(in_old)).is_some_and(|byte| new.get(at) == Some(byte))
}

/// How far the last part reaches forward, and the one that was found back: where more than half of the bytes are equal,
/// and each byte in one of them alone.
fn stretch(old: &[u8], new: &[u8], last: Match, found: Match) -> (usize, usize) {
    let between = found.new - last.new;
    let equal = |in_old: usize, in_new: usize| old.get(in_old).is_some_and(|byte| new.get(in_new) == Some(byte));
    let forward = best((0..between.min(old.len() - last.old)).map(|at| equal(last.old + at, last.new + at)));
    let back = if found.new >= new.len() {
        0
    } else {
        best((1..=between.min(found.old)).map(|at| equal(found.old - at, found.new - at)))
    };
    let Some(overlap) = (forward + back).checked_sub(between) else { return (forward, back) };
    // Where both claim bytes, the border is where the last one has been right most often.
    let (mut ahead, mut most, mut kept) = (0_isize, 0, 0);
    for at in 0..overlap {
        let from = forward - overlap + at;
        ahead += isize::from(equal(last.old + from, last.new + from));
        ahead -= isize::from(equal(found.old + at - back, found.new + at - back));
        if ahead > most {
            (most, kept) = (ahead, at + 1);
        }
    }
    (forward + kept - overlap, back - kept)
}

/// The length for which equal bytes are ahead of others by most.
fn best(equal: impl Iterator<Item = bool>) -> usize {
    let (mut ahead, mut most, mut length) = (0_isize, 0, 0);
    for (at, is_equal) in equal.enumerate() {
        ahead += if is_equal { 1 } else { -1 };
        if ahead > most {
            (most, length) = (ahead, at + 1);
        }
    }
    length
}

fn tail(bytes: &[u8], from: usize) -> &[u8] {
    bytes.get(from..).unwrap_or_default()
}

/// All ends of the old image, in order.
struct Suffixes<'o> {
    old: &'o [u8],
    sorted: Vec<i32>,
}

impl<'o> Suffixes<'o> {
    fn of(old: &'o [u8]) -> Self {
        let mut sorted = vec![0; old.len()];
        divsufsort::sort_in_place(old, &mut sorted);
        Self { old, sorted }
    }

    fn at(&self, index: usize) -> usize {
        self.sorted.get(index).and_then(|at| usize::try_from(*at).ok()).unwrap_or_default()
    }

    /// Where the old image has most of how `wanted` begins.
    fn longest(&self, wanted: &[u8]) -> Match {
        let wanted = wanted.get(..MAX_MATCH).unwrap_or(wanted);
        let (mut low, mut high) = (0, self.sorted.len());
        // The first suffix that is not before what is wanted; the best one is it, or the one before.
        while low < high {
            let middle = low.midpoint(high);
            let suffix = tail(self.old, self.at(middle));
            if suffix.get(..wanted.len()).unwrap_or(suffix) < wanted { low = middle + 1 } else { high = middle }
        }
        let candidates = [low.checked_sub(1), Some(low)].into_iter().flatten().filter(|at| *at < self.sorted.len());
        let found = candidates.map(|at| {
            let old = self.at(at);
            let length = tail(self.old, old).iter().zip(wanted).take_while(|(left, right)| left == right).count();
            Match { old, new: 0, length }
        });
        found.max_by_key(|found| found.length).unwrap_or_default()
    }
}
