//! S3-FIFO as its paper describes it (Yang et al., SOSP 2023), as libCacheSim carries it over to
//! files of different sizes: its queues are bounded by bytes, that of what it merely remembers too.

use std::collections::{HashMap, HashSet, VecDeque};

use super::policies::Policy;
use super::workload::Request;

/// The share of what comes in first: one in so many bytes.
const SMALL_SHARE: u64 = 10;
/// Uses that are counted, and how many of them keep a file once it leaves the small queue.
const USES_MAX: u8 = 3;
const USES_TO_STAY: u8 = 2;

/// The cache.
pub(super) struct S3Fifo {
    small: Fifo,
    main: Fifo,
    uses: HashMap<u32, u8>,
    /// What has left the small queue, unused.
    ghosts: Fifo,
    remembered: HashSet<u32>,
}

#[derive(Default)]
struct Fifo {
    files: VecDeque<(u32, u64)>,
    bytes: u64,
    bytes_max: u64,
}

impl Fifo {
    fn push(&mut self, file: u32, weight: u64) {
        self.bytes += weight;
        self.files.push_back((file, weight));
    }

    fn pop(&mut self) -> Option<(u32, u64)> {
        let popped = self.files.pop_front()?;
        self.bytes -= popped.1;
        Some(popped)
    }
}

impl S3Fifo {
    pub(super) fn new(bytes_max: u64) -> Self {
        let small_bytes = bytes_max / SMALL_SHARE;
        let main_bytes = bytes_max - small_bytes;
        Self {
            small: Fifo { bytes_max: small_bytes, ..Fifo::default() },
            main: Fifo { bytes_max: main_bytes, ..Fifo::default() },
            uses: HashMap::new(),
            ghosts: Fifo { bytes_max: main_bytes, ..Fifo::default() },
            remembered: HashSet::new(),
        }
    }

    fn make_room(&mut self, weight: u64) {
        let bytes_max = self.small.bytes_max + self.main.bytes_max;
        while self.small.bytes + self.main.bytes + weight > bytes_max {
            if self.main.bytes > self.main.bytes_max || self.small.files.is_empty() {
                self.evict_main();
            } else {
                self.evict_small();
            }
        }
    }

    fn evict_small(&mut self) {
        while let Some((file, weight)) = self.small.pop() {
            if self.uses.get(&file).is_some_and(|uses| *uses >= USES_TO_STAY) {
                self.uses.insert(file, 0);
                self.main.push(file, weight);
            } else {
                self.uses.remove(&file);
                self.remember(file, weight);
                return;
            }
        }
    }

    fn evict_main(&mut self) {
        while let Some((file, weight)) = self.main.pop() {
            match self.uses.get_mut(&file) {
                Some(uses) if *uses > 0 => {
                    *uses -= 1;
                    self.main.push(file, weight);
                }
                _ => {
                    self.uses.remove(&file);
                    return;
                }
            }
        }
    }

    fn remember(&mut self, file: u32, weight: u64) {
        self.ghosts.push(file, weight);
        self.remembered.insert(file);
        while self.ghosts.bytes > self.ghosts.bytes_max
            && let Some((forgotten, _)) = self.ghosts.pop()
        {
            self.remembered.remove(&forgotten);
        }
    }
}

impl Policy for S3Fifo {
    fn request(&mut self, request: &Request, weight: u64) -> bool {
        let file = request.file;
        if let Some(uses) = self.uses.get_mut(&file) {
            *uses = USES_MAX.min(*uses + 1);
            return true;
        }
        let known = self.remembered.remove(&file);
        let room = if known { self.main.bytes_max } else { self.small.bytes_max };
        if weight > room {
            return false;
        }
        self.make_room(weight);
        self.uses.insert(file, 0);
        if known {
            self.main.push(file, weight)
        } else {
            self.small.push(file, weight)
        }
        false
    }
}
