//! `replay` against the kernel program, packet by packet: every capture of the corpus under the
//! shipped configuration, by the capture's clock on both sides.
//!
//! A policy before each packet sets the program's clock, so not one may differ, however busy the
//! machine is.
//!
//! And once more under a strict configuration, so that limits, strikes and bans decide as well.
//!
//! Sockets are left out: classes have none of the flags by which the program asks for one. All else
//! is as shipped: lists, sanity, classes with budgets and states, limits, bans, fragments.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use xdp_common::abi::{
    CLASS_PROOF, CLASS_SOLICITED, CLASS_SYN_COOKIES, Class, FLAG_COARSE_CLOCK, FLAG_FIXED_CLOCK,
    Policy, class_table,
};
use xdp_common::reason::Action;
use xdp_tests::capture::{self, Captured};
use xdp_tests::kernel::{Kernel, MIN_FRAME, Sizes, Slot, UNNAMED_INTERFACE, pin_to_cpu};
use xdp_tests::netns::Namespace;
use xdp_tests::netns::privilege::kernel_usable;
use xdp_user::config::Config;
use xdp_user::datapath::{ClassSet, Datapath as _};
use xdp_user::host::framing::Framing;
use xdp_user::replay::Engine;

const FOLDER: &str = "XDP_THROTTLE_CORPUS";
/// What a few packets go over.
const STRICT: &str = "[limits]\npackets = \"20pps\"\npackets_burst = 10\nbytes = \"100kbps\"\n\
    tcp_new = \"1cps\"\ntcp_new_burst = 2\n[ban]\nstrikes = 2\nduration = \"5s\"\n\
    [aggregate]\npackets = \"50pps\"\n";

#[test]
fn every_packet_of_the_corpus_is_judged_as_the_kernel_judges_it() -> Result<()> {
    let test = "every_packet_of_the_corpus_is_judged_as_the_kernel_judges_it";
    let Some(folder) = std::env::var_os(FOLDER) else {
        eprintln!("SKIP {test}: {FOLDER} is not set");
        return Ok(());
    };
    if !kernel_usable(test) {
        return Ok(());
    }
    let folder = PathBuf::from(folder);
    Namespace::new("replay")?.run(|| {
        pin_to_cpu(0)?;
        let mut stopped = 0;
        for part in ["attack", "benign"] {
            for path in capture::files(&folder.join(part))? {
                for config in ["", STRICT] {
                    let of = || path.display().to_string();
                    stopped += compare(&path, config).with_context(of)?;
                }
            }
        }
        // Or nothing was compared but packets that pass.
        ensure!(stopped > 1000, "{stopped} packets were stopped");
        Ok(())
    })?
}

/// Judges a capture on both sides; how many packets were stopped.
fn compare(path: &Path, config: &str) -> Result<u64> {
    let mut both = Both::new(&Config::parse(config, "test")?.config)?;
    let (mut stopped, mut differing) = (0, Vec::new());
    let packets = capture::Capture::read(path)?.packets;
    let count = packets.len();
    for (number, packet) in packets.into_iter().enumerate() {
        let judged = both.judge(packet)?;
        stopped += u64::from(judged.stopped);
        if let Some(difference) = judged.difference {
            differing.push(format!("packet {}: {difference}", number + 1));
        }
    }
    println!(
        "{}: {count} packets, {stopped} stopped, {} differ",
        path.display(),
        differing.len(),
    );
    ensure!(
        differing.is_empty(),
        "{} differ:\n{}",
        differing.len(),
        differing
            .iter()
            .take(20)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    );
    Ok(stopped)
}

struct Both {
    engine: Engine,
    kernel: Kernel,
    policy: Policy,
    /// The kernel's counter of each reason and outcome, as it should be.
    counted: std::collections::HashMap<(u8, bool), u64>,
}

struct Outcome {
    stopped: bool,
    difference: Option<String>,
}

impl Both {
    fn new(config: &Config) -> Result<Self> {
        let mut engine = Engine::new(config)?;
        let policy = Policy {
            flags: engine.policy().flags & !FLAG_COARSE_CLOCK | FLAG_FIXED_CLOCK,
            ..*engine.policy()
        };
        let classes = without_sockets(engine.escalations().set());
        engine.datapath().set_classes(&classes)?;
        engine.datapath().set_policy(&policy)?;
        let sizes = Sizes::default().sources(config.capacity.sources);
        let mut kernel = Kernel::load_with(&sizes.bans(config.capacity.bans))?;
        kernel.datapath().set_classes(&classes)?;
        kernel.set_policy(&policy)?;
        Ok(Self {
            engine,
            kernel,
            policy,
            counted: std::collections::HashMap::new(),
        })
    }

    fn judge(&mut self, packet: Captured) -> Result<Outcome> {
        let at = packet.at;
        let mut frame = packet
            .into_frame()
            .context("a kind of network that isn't read")?;
        frame.bytes.resize(frame.bytes.len().max(MIN_FRAME), 0);
        let judged = self.engine.judge(&frame, at)?;
        for change in &judged.escalated {
            let datapath = self.kernel.datapath();
            datapath.set_class_level(change.number, change.to.level())?;
        }
        self.policy.clock_offset_ns = self.engine.now_ns();
        self.kernel.set_policy(&self.policy)?;
        let action = match frame.framing {
            Framing::Ethernet => self.kernel.run(&frame.bytes)?,
            Framing::Bare => self.kernel.run_bare(&frame.bytes)?,
        };
        let verdict = judged.verdict;
        let dropped = verdict.action != Action::Pass;
        let counter = self.counted.entry((verdict.reason.code(), dropped));
        let counted = counter.or_default();
        *counted += 1;
        let slot = Slot {
            interface: UNNAMED_INTERFACE,
            reason: verdict.reason,
            dropped,
        };
        let in_kernel = self.kernel.count_of(slot)?.packets;
        let agrees = in_kernel == *counted && (action == Action::Pass) != dropped;
        let difference = (!agrees).then(|| {
            format!(
                "{} {:?}, the kernel {action:?}",
                verdict.reason.name(),
                verdict.action
            )
        });
        // Go on from what the kernel counted: one difference is told once.
        *counted = in_kernel;
        Ok(Outcome {
            stopped: dropped,
            difference,
        })
    }
}

/// The same classes, none of which asks for a socket.
fn without_sockets(set: &ClassSet) -> ClassSet {
    let strip = |class: &Class| Class {
        flags: class.flags & !(CLASS_PROOF | CLASS_SOLICITED | CLASS_SYN_COOKIES),
        ..*class
    };
    let mut stripped = ClassSet::default();
    for (number, class) in set.classes().iter().enumerate() {
        if number == 0 {
            stripped.set_other(strip(class));
        } else {
            stripped.add(strip(class));
        }
    }
    for place in 0..class_table::BYTES {
        stripped.assign(place, set.class_at(place));
    }
    stripped
}
