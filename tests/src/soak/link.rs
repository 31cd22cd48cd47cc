//! The network between the members: a namespace for each, a TUN device in
//! each namespace, and a router between the devices in this process that
//! loses, delays and cuts off.
//!
//! The kernel at hand may lack netem, and a router of our own can do what netem
//! cannot: cut one pair off, by a seed. Packets of one pair keep their order, as
//! in a queue along the way: what jitters is the queue.

use core::time::Duration;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    io,
    net::Ipv4Addr,
    path::Path,
    process::Command,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use crate::{
    netns::{NamespaceError, ip},
    sim::rng::Rng,
};

/// Most packets of one pair that are under way; the router drops what comes
/// beyond them, as a full queue does.
const QUEUE: usize = 2048;
/// How long the delay of a pair stays the same.
const STEADY: Duration = Duration::from_millis(25);
/// The largest packet of a device.
const MTU: usize = 1500;
/// The spokes' first address; the hub has 1.
const FIRST: usize = 10;

/// The network could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No namespace, or no address.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// No device.
    #[error(
        "Could not make the TUN device {name}; root, CAP_NET_ADMIN and /dev/net/tun would be right"
    )]
    Device {
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What the network does to packets between spokes. Those of the hub are
/// spared: it watches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weather {
    /// How many of a thousand packets are lost.
    pub loss: u32,
    /// The longest delay.
    pub jitter: Duration,
}

/// What has become of packets.
#[derive(Debug, Default)]
struct Counters {
    sent: AtomicU64,
    lost: AtomicU64,
    cut: AtomicU64,
    overflowed: AtomicU64,
}

/// How many packets were sent on, lost by the weather, by a cut, by a full queue.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counted {
    /// Sent on.
    pub sent: u64,
    /// Lost at random.
    pub lost: u64,
    /// Lost where nobody is reached.
    pub cut: u64,
    /// Lost in a full queue.
    pub overflowed: u64,
}

#[derive(Debug, Default)]
struct Rules {
    weather: Weather,
    cut: BTreeSet<(usize, usize)>,
}

/// When a packet is due, as the how manyth of its place it came, from whom, and what.
type Packet = (Instant, u64, usize, Vec<u8>);

/// Packets that wait to reach one place.
#[derive(Default)]
struct Waiting {
    /// By when they are due, and in the order in which they came.
    packets: BinaryHeap<Reverse<Packet>>,
    /// How many of each sender.
    from: BTreeMap<usize, usize>,
    count: u64,
}

struct Port {
    device: SyncDevice,
    waiting: Mutex<Waiting>,
    woken: Condvar,
}

struct Router {
    subnet: u8,
    rules: RwLock<Rules>,
    counters: Counters,
    /// The spokes in their order, then the hub.
    ports: Vec<Port>,
}

/// A network of `count` spokes and a hub. Its namespaces go when it is dropped.
pub struct Link {
    router: Arc<Router>,
    spokes: Vec<Namespace>,
}

/// A namespace that goes when this is dropped, and with it its device.
#[derive(Debug)]
struct Namespace(String);

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = ip(&["netns", "del", &self.0]);
    }
}

impl Link {
    /// Makes the namespaces, and starts the router.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn new(count: usize, seed: u64) -> Result<Self, LinkError> {
        let id = std::process::id();
        let subnet = u8::try_from(id % 200).unwrap_or(0);
        let (mut spokes, mut ports) = (Vec::new(), Vec::new());
        for index in 0..count {
            let name = format!("s{id}n{index}");
            ip(&["netns", "add", &name])?;
            spokes.push(Namespace(name.clone()));
            let device = format!("s{id}t{index}");
            ports.push(Port::new(&device)?);
            // A device keeps its owner when it moves.
            ip(&["link", "set", "dev", &device, "netns", &name])?;
            let address = format!("10.214.{subnet}.{}/24", index + FIRST);
            ip(&["-n", &name, "addr", "add", &address, "dev", &device])?;
            ip(&["-n", &name, "link", "set", &device, "up"])?;
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
        }
        let hub = format!("s{id}hub");
        ports.push(Port::new(&hub)?);
        let address = format!("10.214.{subnet}.1/24");
        ip(&["addr", "add", &address, "dev", &hub])?;
        ip(&["link", "set", &hub, "up"])?;
        let router = Arc::new(Router {
            subnet,
            rules: RwLock::default(),
            counters: Counters::default(),
            ports,
        });
        let mut rng = Rng::new(seed);
        for index in 0..=count {
            let (reading, writing) = (router.clone(), router.clone());
            let dice = rng.fork();
            // They end with their device.
            thread::spawn(move || reading.read(index, dice));
            thread::spawn(move || writing.write(index));
        }
        Ok(Self { router, spokes })
    }

    /// The address of a spoke, or of the hub.
    #[must_use]
    pub fn address(&self, spoke: Option<usize>) -> Ipv4Addr {
        let host = spoke.map_or(1, |spoke| spoke + FIRST);
        let host = u8::try_from(host).unwrap_or(u8::MAX);
        Ipv4Addr::new(10, 214, self.router.subnet, host)
    }

    /// A command that runs a program in a spoke.
    #[must_use]
    pub fn command(&self, spoke: usize, program: &Path) -> Command {
        let mut command = Command::new("ip");
        let name = self.spokes.get(spoke).map_or("", |spoke| &spoke.0);
        command.args(["netns", "exec", name]).arg(program);
        command
    }

    /// Changes the weather between spokes.
    pub fn weather(&self, weather: Weather) {
        self.router.rules(|rules| rules.weather = weather);
    }

    /// Cuts two spokes off from each other, or joins them again.
    pub fn cut(&self, one: usize, other: usize, off: bool) {
        self.router.rules(|rules| {
            for pair in [(one, other), (other, one)] {
                if off {
                    rules.cut.insert(pair);
                } else {
                    rules.cut.remove(&pair);
                }
            }
        });
    }

    /// What has become of packets so far.
    #[must_use]
    pub fn counted(&self) -> Counted {
        let counters = &self.router.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counted {
            sent: read(&counters.sent),
            lost: read(&counters.lost),
            cut: read(&counters.cut),
            overflowed: read(&counters.overflowed),
        }
    }
}

impl Port {
    fn new(name: &str) -> Result<Self, LinkError> {
        let made = DeviceBuilder::new().name(name).layer(Layer::L3);
        let device = made.build_sync().map_err(|source| LinkError::Device {
            name: name.to_owned(),
            source,
        })?;
        Ok(Self {
            device,
            waiting: Mutex::default(),
            woken: Condvar::new(),
        })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How one sender's packets travel to one place.
struct Way {
    delay: Duration,
    steady_until: Instant,
    last: Instant,
}

impl Router {
    fn rules(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.rules.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Where a packet goes: the last byte of an IPv4 destination in our network.
    fn to(&self, packet: &[u8]) -> Option<usize> {
        let version = packet.first()? >> 4;
        let destination = packet.get(16..20)?;
        let (subnet, host) = (destination.get(2)?, usize::from(*destination.get(3)?));
        if version != 4 || !destination.starts_with(&[10, 214]) || *subnet != self.subnet {
            return None;
        }
        let hub = self.ports.len().checked_sub(1)?;
        match host {
            1 => Some(hub),
            _ => host.checked_sub(FIRST).filter(|spoke| *spoke < hub),
        }
    }

    /// Takes what a place sends, and lets it wait where it goes.
    fn read(&self, from: usize, mut dice: Rng) {
        let Some(own) = self.ports.get(from) else {
            return;
        };
        let hub = self.ports.len().saturating_sub(1);
        let now = Instant::now();
        let mut paths: Vec<Way> = (0..self.ports.len())
            .map(|_| Way {
                delay: Duration::ZERO,
                steady_until: now,
                last: now,
            })
            .collect();
        let mut buffer = vec![0; MTU * 2];
        loop {
            let length = match own.device.recv(&mut buffer) {
                Ok(length) => length,
                // Until it is up.
                Err(error) if error.raw_os_error() == Some(nix::libc::EIO) => {
                    thread::sleep(STEADY);
                    continue;
                }
                Err(_) => return,
            };
            let packet = buffer.get(..length).unwrap_or_default();
            let Some(to) = self.to(packet) else {
                continue;
            };
            let (Some(port), Some(path)) = (self.ports.get(to), paths.get_mut(to)) else {
                continue;
            };
            let (mut weather, cut) = {
                let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
                (rules.weather, rules.cut.contains(&(from, to)))
            };
            if from == hub || to == hub {
                weather = Weather::default();
            }
            if cut {
                self.counters.cut.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            if dice.per_mille(weather.loss) {
                self.counters.lost.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let now = Instant::now();
            if now >= path.steady_until {
                path.delay = weather.jitter.mul_f64(dice.unit());
                path.steady_until = now + STEADY;
            }
            path.last = path.last.max(now + path.delay.min(weather.jitter));
            let due = path.last;
            let mut waiting = port.waiting();
            let under_way = waiting.from.entry(from).or_default();
            if *under_way >= QUEUE {
                self.counters.overflowed.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            *under_way += 1;
            waiting.count += 1;
            let count = waiting.count;
            let bytes = packet.to_vec();
            waiting.packets.push(Reverse((due, count, from, bytes)));
            drop(waiting);
            port.woken.notify_one();
        }
    }

    /// Hands a place what is due there.
    fn write(&self, to: usize) {
        let Some(port) = self.ports.get(to) else {
            return;
        };
        loop {
            let mut waiting = port.waiting();
            let packet = loop {
                let now = Instant::now();
                let due = waiting.packets.peek().map(|Reverse((due, ..))| *due);
                let left = match due {
                    Some(due) if due <= now => break waiting.packets.pop(),
                    Some(due) => due - now,
                    None => Duration::from_secs(1),
                };
                waiting = port
                    .woken
                    .wait_timeout(waiting, left)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            };
            let Some(Reverse((_, _, from, bytes))) = packet else {
                continue;
            };
            if let Some(under_way) = waiting.from.get_mut(&from) {
                *under_way = under_way.saturating_sub(1);
            }
            drop(waiting);
            if port.device.send(&bytes).is_ok() {
                self.counters.sent.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl core::fmt::Debug for Link {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Link")
            .field("spokes", &self.spokes)
            .finish_non_exhaustive()
    }
}
