// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What a service leaves to the one that follows it: a key, and the ids that were not used yet.
//!
//! The kernel proves what memory a descriptor stands for, but not to whom it was given: whoever
//! acquired a buffer holds it as its owner does. So each buffer is handed out with a receipt, 64 bits
//! of SipHash-2-4 (Aumasson and Bernstein, 2012) under a secret key over everything that the service
//! knows of it, and the clients keep the books when the service dies. The key lives as long as the
//! boot, in a file that is the service's alone. Ids begin anew with each start, above all that were
//! given out before.

use std::fs::{self, OpenOptions};
// Deprecated for hash maps. It is SipHash-2-4 and takes a key, which nothing else in std does.
use std::hash::Hasher;
#[allow(deprecated)]
use std::hash::SipHasher;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use berth_kernel::identity::Identity;
use berth_kernel::random::Random;
use berth_kernel::KernelError;

use crate::request::{Request, Shape};

/// Where a device keeps it. init makes the folder.
pub const DEVICE_PATH: &str = "/data/vendor/berth/receipts";

/// The environment variable that names another file, except on Android.
pub const PATH_VARIABLE: &str = "BERTH_RECEIPTS";

/// The boot's id: a key is good for one boot, as memory is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Ids of one start of the service are so many bits.
const ID_BITS: u32 = 40;
/// Room for what is said of most buffers.
const PENDING_BYTES: usize = 128;
/// Ids are positive.
const MOST_STARTS: u64 = 1 << (62 - ID_BITS);

/// The file of this machine; `None` where nobody said one, so that nothing survives the service.
pub(crate) fn path() -> Option<PathBuf> {
    #[cfg(not(target_os = "android"))]
    return std::env::var_os(PATH_VARIABLE).map(PathBuf::from);
    #[cfg(target_os = "android")]
    Some(DEVICE_PATH.into())
}

/// Everything that a receipt is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// Who holds the buffer.
    pub(crate) uid: u32,
    /// Its id with whoever holds it.
    pub(crate) id: i64,
    /// Its id with its owner: the same, for the owner.
    pub(crate) owner: i64,
    /// How it was acquired, if it was.
    pub(crate) taken: Option<Taken>,
    /// What the first descriptor that was handed out stands for, and the second.
    pub(crate) marks: (Identity, Option<Identity>),
    pub(crate) bytes: u64,
    pub(crate) heap: &'a str,
    pub(crate) fallback: bool,
    pub(crate) recycled: bool,
    pub(crate) request: &'a Request,
}

/// How a buffer was acquired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Only to read.
    pub(crate) reads_only: bool,
    /// The public half of the token.
    pub(crate) token: u64,
}

/// What a token is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TokenFacts {
    /// The public half of the token.
    pub(crate) token: u64,
    /// The buffer's id with its owner.
    pub(crate) owner: i64,
    pub(crate) recipient_uid: u32,
    pub(crate) reads_only: bool,
}

/// The key, and where ids begin.
#[derive(Debug)]
pub(crate) struct Receipts {
    key: (u64, u64),
    starts: u64,
}

impl Receipts {
    /// Of a service that follows none and that none can follow.
    pub(crate) fn fresh(random: &Random) -> Result<Receipts, KernelError> {
        Ok(Receipts { key: (random.draw()?, random.draw()?), starts: 0 })
    }

    /// Of the service that follows.
    #[cfg(test)]
    pub(crate) fn next(&self) -> Receipts {
        Receipts { starts: self.starts + 1, ..*self }
    }

    /// Goes on where the service before this one ended, or begins, and notes it in the file. Without
    /// the file nothing survives the service, which is no reason not to serve.
    pub(crate) fn load(path: Option<&Path>, random: &Random) -> Result<Receipts, KernelError> {
        let Some(path) = path else { return Receipts::fresh(random) };
        let boot = fs::read_to_string(BOOT_ID).unwrap_or_default();
        let boot = boot.trim();
        let next = match former(path, boot) {
            Some(former) => Receipts { starts: former.starts.saturating_add(1), ..former },
            None => Receipts::fresh(random)?,
        };
        if next.starts >= MOST_STARTS {
            return Receipts::fresh(random);
        }
        if let Err(error) = next.write(path, boot) {
            log::warn!("{}: {error}; no buffer will survive this service", path.display());
            // A service that follows would give out the same ids under the same key.
            return Receipts::fresh(random);
        }
        Ok(next)
    }

    /// As a whole or not at all. It need not survive the machine.
    fn write(&self, path: &Path, boot: &str) -> io::Result<()> {
        let new = path.with_extension("new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        let Receipts { key: (first, second), starts } = self;
        writeln!(file, "boot {boot}\nkey {first:016x}{second:016x}\nstarts {starts}")?;
        drop(file);
        fs::rename(&new, path)
    }

    /// The first id of this service.
    pub(crate) fn first_id(&self) -> i64 {
        i64::try_from(self.starts.saturating_mul(1 << ID_BITS))
            .unwrap_or(i64::MAX)
            .saturating_add(1)
    }

    /// Whether an id can only be of a service before this one.
    pub(crate) fn is_former(&self, id: i64) -> bool {
        (1..self.first_id()).contains(&id)
    }

    /// The receipt for a buffer; never 0.
    pub(crate) fn of(&self, facts: &Facts<'_>) -> i64 {
        let Facts { uid, id, owner, taken, marks, bytes, heap, fallback, recycled, request } =
            facts;
        let has_other_owner = owner != id;
        let flags = [
            *fallback,
            *recycled,
            taken.is_some(),
            taken.is_some_and(|taken| taken.reads_only),
            marks.1.is_some(),
            has_other_owner,
        ];
        let flags = (0..).zip(flags).fold(0, |all, (bit, flag)| all | u64::from(flag) << bit);
        let request = *request.digest.get_or_init(|| self.digest(request));
        let (first, second) = marks;
        let who = u64::from(*uid) << 16 | flags << 8 | u64::from(b'b');
        let id = id.unsigned_abs();
        let mut hasher = self.hasher();
        write(&mut hasher, [who, id, first.device, first.inode, *bytes, request]);
        // The flags tell which of these are there.
        if has_other_owner {
            write(&mut hasher, [owner.unsigned_abs()]);
        }
        if let Some(taken) = taken {
            write(&mut hasher, [taken.token]);
        }
        if let Some(second) = second {
            write(&mut hasher, [second.device, second.inode]);
        }
        hasher.write(heap.as_bytes());
        // The same to every client: nobody learns which of the two it was.
        hasher.finish().max(1) as i64
    }

    fn digest(&self, request: &Request) -> u64 {
        let mut seal = self.seal(b'r');
        seal.request(request);
        seal.end()
    }

    /// Whether a receipt is for this.
    pub(crate) fn is_for(&self, receipt: i64, facts: &Facts<'_>) -> bool {
        std::hint::black_box(receipt ^ self.of(facts)) == 0
    }

    /// The secret half of a token.
    pub(crate) fn token_proof(&self, facts: &TokenFacts) -> u64 {
        let mut seal = self.seal(b't');
        seal.number(facts.token);
        seal.number(facts.owner.unsigned_abs());
        seal.number(u64::from(facts.recipient_uid));
        seal.number(u64::from(facts.reads_only));
        seal.end()
    }

    #[allow(deprecated)]
    fn hasher(&self) -> SipHasher {
        SipHasher::new_with_keys(self.key.0, self.key.1)
    }

    fn seal(&self, what: u8) -> Seal {
        let mut seal = Seal { hasher: self.hasher(), pending: [0; PENDING_BYTES], filled: 0 };
        seal.bytes(&[what]);
        seal
    }
}

/// What the file says, if it is of this boot and nobody else could read it.
fn former(path: &Path, boot: &str) -> Option<Receipts> {
    if fs::metadata(path).ok()?.mode() & 0o077 != 0 {
        log::warn!("{}: others may read it; its key is not used", path.display());
        return None;
    }
    let text = fs::read_to_string(path).ok()?;
    let field =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let key = field("key")?;
    let half = |range| u64::from_str_radix(key.get(range)?, 16).ok();
    if field("boot")? != boot || key.len() != 32 {
        return None;
    }
    Some(Receipts { key: (half(0..16)?, half(16..32)?), starts: field("starts")?.parse().ok()? })
}

/// Eight numbers in a step: every allocation waits for it.
#[allow(deprecated)]
fn write<const N: usize>(hasher: &mut SipHasher, numbers: [u64; N]) {
    for part in numbers.chunks(8) {
        let mut bytes = [0; 64];
        for (room, number) in bytes.chunks_exact_mut(8).zip(part) {
            room.copy_from_slice(&number.to_le_bytes());
        }
        hasher.write(bytes.get(..part.len().saturating_mul(8)).unwrap_or_default());
    }
}

/// What is hashed, each part of a known length.
#[allow(deprecated)]
struct Seal {
    hasher: SipHasher,
    /// What the hasher has not seen yet: it takes eight bytes a step of what comes at once, and much
    /// longer for as many parts.
    pending: [u8; PENDING_BYTES],
    filled: usize,
}

impl Seal {
    fn bytes(&mut self, bytes: &[u8]) {
        if bytes.len() > PENDING_BYTES.saturating_sub(self.filled) {
            self.flush();
        }
        let end = self.filled.saturating_add(bytes.len());
        match self.pending.get_mut(self.filled..end) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.filled = end;
            }
            None => self.hasher.write(bytes),
        }
    }

    fn flush(&mut self) {
        self.hasher.write(self.pending.get(..self.filled).unwrap_or_default());
        self.filled = 0;
    }

    fn number(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes(text.as_bytes());
    }

    fn request(&mut self, request: &Request) {
        self.text(&request.name);
        self.number(request.usage.bits());
        self.number(u64::from(request.flags().unsigned_abs()));
        self.number(request.purge_chunk_bytes.unwrap_or(0));
        self.number(u64::from(request.heap.is_some()));
        self.text(request.heap.as_deref().unwrap_or_default());
        match &request.shape {
            Shape::Linear(bytes) => [0, *bytes, 0, 0, 0],
            Shape::Region(bytes) => [1, *bytes, 0, 0, 0],
            Shape::Image(image, _) => [
                2,
                image.width.into(),
                image.height.into(),
                image.layers.into(),
                u64::from(image.format.value().unsigned_abs()),
            ],
        }
        .into_iter()
        .for_each(|number| self.number(number));
    }

    fn end(mut self) -> u64 {
        self.flush();
        self.hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_layout::Usage;
    use std::os::unix::fs::PermissionsExt;

    fn random() -> Random {
        Random::open().unwrap()
    }

    /// A folder of a test's own, removed when it ends.
    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("berth-{}-{test}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn request(name: &str) -> Request {
        Request { name: name.to_owned(), ..Request::of_shape(Shape::Linear(4096)) }
    }

    fn facts(request: &Request) -> Facts<'_> {
        let mark = Identity { device: 3, inode: 5 };
        Facts {
            uid: 10_001,
            id: 7,
            owner: 7,
            taken: None,
            marks: (mark, None),
            bytes: 4096,
            heap: "system",
            fallback: false,
            recycled: false,
            request,
        }
    }

    #[test]
    fn every_word_under_a_receipt_counts() {
        let receipts = Receipts::fresh(&random()).unwrap();
        let plain = request("a");
        let good = facts(&plain);
        let receipt = receipts.of(&good);
        assert!(receipts.is_for(receipt, &good));
        assert!((0..64).all(|bit| !receipts.is_for(receipt ^ 1 << bit, &good)));
        let other = Identity { device: 3, inode: 6 };
        let taken = |reads_only, token| Some(Taken { reads_only, token });
        let requests = [
            request("b"),
            request("a\0"),
            Request { usage: Usage::CPU_READ_OFTEN, ..request("a") },
            Request { heap: Some(String::new()), ..request("a") },
            Request { revoke_on_death: true, ..request("a") },
            Request { shape: Shape::Linear(4095), ..request("a") },
            Request { shape: Shape::Region(4096), ..request("a") },
        ];
        let mut wrong = vec![
            Facts { uid: 10_002, ..good },
            Facts { id: 8, ..good },
            Facts { owner: 8, ..good },
            Facts { taken: taken(false, 0), ..good },
            Facts { taken: taken(true, 0), ..good },
            Facts { taken: taken(false, 1), ..good },
            Facts { marks: (other, None), ..good },
            Facts { marks: (good.marks.0, Some(other)), ..good },
            Facts { bytes: 8192, ..good },
            Facts { heap: "system-uncached", ..good },
            Facts { fallback: true, ..good },
            Facts { recycled: true, ..good },
        ];
        wrong.extend(requests.iter().map(|request| Facts { request, ..good }));
        let all: std::collections::HashSet<i64> =
            wrong.iter().map(|one| receipts.of(one)).collect();
        assert_eq!(all.len(), wrong.len(), "no two of them have one receipt");
        assert!(!all.contains(&receipt));
    }

    #[test]
    fn what_is_hashed_does_not_depend_on_the_parts_in_which_it_comes() {
        let receipts = Receipts::fresh(&random()).unwrap();
        let text: Vec<u8> = (0..=255).cycle().take(3 * PENDING_BYTES + 7).collect();
        let whole = |bytes: &[u8]| {
            #[allow(deprecated)]
            let mut hasher = SipHasher::new_with_keys(receipts.key.0, receipts.key.1);
            hasher.write(bytes);
            hasher.finish()
        };
        for length in [0, 1, PENDING_BYTES - 2, PENDING_BYTES - 1, PENDING_BYTES, text.len() - 1] {
            for part in [1, 5, 8, PENDING_BYTES, PENDING_BYTES + 1] {
                let mut seal = receipts.seal(text[0]);
                text[1..=length].chunks(part).for_each(|part| seal.bytes(part));
                assert_eq!(seal.end(), whole(&text[..=length]), "{length} bytes by {part}");
            }
        }
    }

    #[test]
    fn another_key_gives_other_receipts() {
        let [one, other] = [(); 2].map(|()| Receipts::fresh(&random()).unwrap());
        assert_ne!(one.of(&facts(&request("a"))), other.of(&facts(&request("a"))));
    }

    #[test]
    fn a_service_that_follows_has_the_same_key_and_other_ids() {
        let folder = Folder::new("follows");
        let path = folder.0.join("receipts");
        let request = request("a");
        let first = Receipts::load(Some(&path), &random()).unwrap();
        assert_eq!(first.first_id(), 1);
        assert!(!first.is_former(1));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let second = Receipts::load(Some(&path), &random()).unwrap();
        assert!(second.is_for(first.of(&facts(&request)), &facts(&request)));
        assert_eq!(second.first_id(), (1 << 40) + 1);
        assert!(second.is_former(1 << 40) && !second.is_former((1 << 40) + 1));
        assert!(!second.is_former(0) && !second.is_former(-1) && !second.is_former(i64::MAX));
        assert!(Receipts::load(Some(&path), &random()).unwrap().first_id() > second.first_id());
    }

    #[test]
    fn a_key_of_another_boot_of_nonsense_or_that_others_could_read_is_not_used() {
        let folder = Folder::new("nonsense");
        let path = folder.0.join("receipts");
        let request = request("a");
        let good = Receipts::load(Some(&path), &random()).unwrap();
        let written = fs::read_to_string(&path).unwrap();
        let follows = |text: &str, mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let next = Receipts::load(Some(&path), &random()).unwrap();
            next.is_for(good.of(&facts(&request)), &facts(&request))
        };
        assert!(follows(&written, 0o600));
        assert!(!follows(&written.replace("boot ", "boot 0"), 0o600));
        assert!(!follows(&written.replace("key ", "key 0"), 0o600));
        assert!(!follows(&written.replace("key ", "key é"), 0o600));
        assert!(!follows(&written.replace("starts ", "starts -"), 0o600));
        assert!(!follows("", 0o600));
        assert!(!follows(&written, 0o644));
        let most = format!("starts {}", MOST_STARTS - 1);
        assert!(!follows(&written.replace("starts 0", &most), 0o600), "no ids are left");
    }

    #[test]
    fn without_a_folder_the_service_has_a_key_of_its_own() {
        let path = Path::new("/proc/berth/receipts");
        assert_eq!(Receipts::load(Some(path), &random()).unwrap().first_id(), 1);
    }
}
