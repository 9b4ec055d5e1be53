//! `completions`: for the shell's Tab key.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, output};

const EXAMPLES: &str = "\
Examples:
  xdp-throttle completions bash > /etc/bash_completion.d/xdp-throttle
  xdp-throttle completions zsh > /usr/local/share/zsh/site-functions/_xdp-throttle
  xdp-throttle completions fish > ~/.config/fish/completions/xdp-throttle.fish";

/// Print completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        output::print(&script(self.shell))
    }
}

fn script(shell: Shell) -> String {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "xdp-throttle", &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_the_verbs() {
        use clap::ValueEnum;
        for shell in Shell::value_variants() {
            let script = script(*shell);
            for verb in ["block", "explain", "sources"] {
                assert!(script.contains(verb), "{verb} in {shell}");
            }
        }
    }
}
