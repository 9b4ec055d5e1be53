//! Real captures through the program in the kernel, under the configuration that ships.
//!
//! `XDP_THROTTLE_CORPUS` names a folder with `attack/*.pcap` and `benign/*.pcap`. A capture that
//! kept less than the whole of a packet is filled up with zeros to the packet's length, so that its
//! headers are judged and not the capture's cut. Packets follow each other without the pauses that
//! they had: whatever passes here, passes at the speed it was captured at.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use xdp_common::reason::{Action, Reason};
use xdp_tests::capture::{self, Linktype};
use xdp_tests::kernel::{Counters, Kernel, MIN_FRAME, Sizes};
use xdp_tests::netns::privilege::kernel_usable;
use xdp_user::config::Config;
use xdp_user::control::policy;

const FOLDER: &str = "XDP_THROTTLE_CORPUS";
/// Dropped packets that are named, counted from 1 as in other tools.
const MOST_NAMED: usize = 20;

#[test]
fn no_packet_of_a_benign_capture_is_dropped_by_the_shipped_config() -> Result<()> {
    let test = "no_packet_of_a_benign_capture_is_dropped_by_the_shipped_config";
    let Some(folder) = folder(test) else {
        return Ok(());
    };
    let mut dropping = Vec::new();
    for capture in captures(&folder.join("benign"))? {
        let counters = replay(&capture)?;
        print_counts(&capture, &counters);
        if counters.packets_with_outcome(true) > 0 {
            dropping.push(capture.name);
        }
    }
    ensure!(dropping.is_empty(), "packets dropped in {dropping:?}");
    Ok(())
}

#[test]
fn every_packet_of_an_attack_capture_is_judged() -> Result<()> {
    let Some(folder) = folder("every_packet_of_an_attack_capture_is_judged") else {
        return Ok(());
    };
    for capture in captures(&folder.join("attack"))? {
        let counters = replay(&capture)?;
        print_counts(&capture, &counters);
        let judged: u64 = counters.iter().map(|(_, count)| count.packets).sum();
        ensure!(
            judged == capture.frames.len() as u64,
            "{}: {judged} of {} packets counted",
            capture.name,
            capture.frames.len()
        );
    }
    Ok(())
}

/// A capture's frames, each as long as the kernel wants it at least.
struct Capture {
    name: String,
    frames: Vec<Vec<u8>>,
    /// Frames that had to be filled up.
    filled: usize,
}

/// Every capture of a folder, by name.
fn captures(folder: &Path) -> Result<Vec<Capture>> {
    let read = |path: &PathBuf| {
        let capture = capture::Capture::read(path)?;
        let mut filled = 0;
        let frames = capture.packets.into_iter().map(|packet| {
            let kind = packet.link;
            ensure!(kind == Linktype::ETHERNET, "{kind} and not Ethernet");
            let mut frame = packet.bytes;
            filled += usize::from(packet.filled || frame.len() < MIN_FRAME);
            frame.resize(frame.len().max(MIN_FRAME), 0);
            Ok(frame)
        });
        Ok(Capture {
            frames: frames.collect::<Result<_>>()?,
            name: capture.name,
            filled,
        })
    };
    capture::files(folder)?.iter().map(read).collect()
}

/// The corpus, or nothing with the reason printed.
fn folder(test: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os(FOLDER) else {
        eprintln!("SKIP {test}: {FOLDER} is not set");
        return None;
    };
    kernel_usable(test).then(|| folder.into())
}

fn replay(capture: &Capture) -> Result<Counters> {
    let mut kernel = Kernel::load_with(&Sizes::default().sources(1 << 17).bans(1 << 12))?;
    kernel.set_policy(&policy::build(&Config::default(), policy::Live::default()))?;
    let mut dropped = Vec::new();
    for (number, frame) in capture.frames.iter().enumerate() {
        let action = kernel
            .run(frame)
            .with_context(|| format!("{}, packet {}", capture.name, number + 1))?;
        if action == Action::Drop {
            dropped.push(number + 1);
        }
    }
    if !dropped.is_empty() {
        dropped.truncate(MOST_NAMED);
        println!("{}: drops packets {dropped:?} …", capture.name);
    }
    kernel.counters()
}

fn print_counts(capture: &Capture, counters: &Counters) {
    println!(
        "{}: {} packets, {} of them filled up",
        capture.name,
        capture.frames.len(),
        capture.filled
    );
    for reason in Reason::ALL {
        let packets = counters.packets(*reason);
        if packets > 0 {
            println!("  {:<26}{packets:>8}", reason.name());
        }
    }
}
