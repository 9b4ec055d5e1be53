//! What `cargo xtask test-kernels` asks a kernel before the suites: does it load the program, and
//! does the program filter what comes over a wire. Needs root.

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use xdp_tests::daemon::scene::{HOST, Scene, from_v4};
use xdp_tests::kernel::policy;
use xdp_tests::oracle::Rules;
use xdp_user::api::types::ListKind;
use xdp_user::datapath::Datapath;
use xdp_user::datapath::contract::CAPACITY;
use xdp_user::datapath::kernel::KernelDatapath;
use xdp_user::domain::AttachMode;

const BLOCKED: &str = "203.0.113.7";
const OTHER: &str = "203.0.113.8";

#[derive(Debug, Parser)]
#[command(name = "kernel_check")]
enum Check {
    /// Loads the programs and prints how many instructions the verifier went through.
    Load,
    /// Attaches natively to a veth pair and sends over it.
    Native,
    /// The same in generic mode.
    Generic,
}

fn main() -> ExitCode {
    let result = match Check::parse() {
        Check::Load => load(),
        Check::Native => filters(AttachMode::Native),
        Check::Generic => filters(AttachMode::Generic),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:#}\nerror: {}", one_line(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

/// For the guest's protocol. Of a verifier's log the end matters.
fn one_line(text: &str) -> String {
    const START: usize = 300;
    const END: usize = 700;
    let characters: Vec<char> = text.replace('\n', "; ").chars().collect();
    if characters.len() <= START + END {
        return characters.into_iter().collect();
    }
    let (start, rest) = characters.split_at(START);
    let end = &rest[rest.len() - END..];
    format!("{} … {}", String::from_iter(start), String::from_iter(end))
}

fn load() -> Result<()> {
    let mut datapath = KernelDatapath::load(CAPACITY, 0)?;
    // The larger number of both programs is told.
    datapath.bare_program()?;
    let instructions = datapath
        .verified_instructions()
        .context("the kernel tells no number of verified instructions")?;
    println!("instructions: {instructions}");
    Ok(())
}

/// Between attaching and detaching, and then only, the blocked source's packets are missing.
fn filters(mode: AttachMode) -> Result<()> {
    let scene = Scene::new()?;
    let interface = HOST.parse()?;
    let mut datapath = scene.host.run(|| KernelDatapath::load(CAPACITY, 0))??;
    datapath.set_policy(&policy(&Rules::default()))?;
    datapath.put_entry(ListKind::Block, &BLOCKED.parse()?, 0, 0)?;

    ensure_passed(&scene, [true, true], "before attaching")?;
    let attached = scene.host.run(|| datapath.attach(&interface, mode))??;
    ensure!(
        attached.native == (mode == AttachMode::Native),
        "asked for {mode:?}, got {attached:?}"
    );
    ensure_passed(&scene, [false, true], "while attached")?;
    scene.host.run(|| datapath.detach(&interface))??;
    ensure_passed(&scene, [true, true], "after detaching")
}

fn ensure_passed(scene: &Scene, expected: [bool; 2], when: &str) -> Result<()> {
    let frames = [BLOCKED, OTHER].map(|source| from_v4(source).build());
    let passed = scene.passed(&frames)?;
    ensure!(
        passed == expected,
        "{when}: {BLOCKED} (blocked) and {OTHER} passed {passed:?}, not {expected:?}"
    );
    Ok(())
}
