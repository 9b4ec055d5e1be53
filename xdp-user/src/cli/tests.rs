use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("xdp-throttle").chain(line.split_whitespace()))
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_verb_is_understood() {
    for line in [
        "run",
        "run --config /etc/c.toml",
        "run --iface eth0 --iface eth1 --mode native --observe",
        "check c.toml",
        "check c.toml --output json",
        "apply",
        "apply c.toml",
        "status",
        "status --all",
        "sources --sort last-seen --limit 5 --match 203.0.113.0/24",
        "top --interval 500ms --sort drops --match 203.0.113.0/24 --ascii",
        "top --once --limit 5 --output json",
        "classes",
        "classes --settings --output json",
        "explain 203.0.113.9 --proto udp --dport 53 --length 1500",
        "explain 2001:db8::1 --flags syn,ack",
        "events",
        "capture -w f.pcapng --reason land,blocklisted --source 2001:db8::/32 --count 10",
        "capture -w - --passed --duration 5s --size 64 --rate 50/s",
        "events --follow --kind ban,unban --reason rate_packets --source 203.0.113.0/24 --limit 0",
        "block add 203.0.113.9 2001:db8::/32 --list bad --for 1h --comment scans --force",
        "block del 203.0.113.9 --list bad --strict",
        "block add 203.0.113.5/24 --for 3600",
        "block add 203.0.113.5 --for -1",
        "allow add 203.0.113.5 --for permanent",
        "block import - --for -1",
        "block test 203.0.113.5 - -q",
        "allow test 203.0.113.5",
        "block export --list bad",
        "allow export",
        "allow import f --replace --force",
        "allow flush --yes",
        "block list --list bad --match 203.0.113.9 --limit 10 --offset 20",
        "block import - --list bad --for 1d --force --replace",
        "block flush --list bad --yes",
        "allow add 198.51.100.7",
        "allow del 198.51.100.7",
        "allow list",
        "ban list",
        "ban lift 203.0.113.9 --strict",
        "ban lift --all",
        "limit show",
        "limit set --prefix 203.0.113.0/24 --packets 20kpps --packets-burst 40k",
        "limit set --bytes 200Mbps --bytes-burst 4MB --tcp-new 100/s --tcp-new-burst 500",
        "limit set --reset",
        "list show",
        "list show drop",
        "list refresh",
        "list refresh drop --force",
        "list diff drop",
        "completions zsh",
        "man --dir out",
        "generate-docs --dir docs",
    ] {
        parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn wrong_usage_ends_with_2_and_names_the_place() {
    for (line, place) in [
        ("", "Usage"),
        ("blok", "blok"),
        ("run --mode fast", "fast"),
        ("run --iface a/b", "--iface"),
        ("top --interval 1ms", "200ms"),
        ("top --limit 5", "--once"),
        ("block add", "PREFIX"),
        ("block add 203.0.113.5/33", "203.0.113.5/33"),
        ("block add 203.0.113.5 --for soon", "--for"),
        ("block add 203.0.113.5 --for 0s", "permanent"),
        ("block test", "ADDRESS"),
        ("block add 203.0.113.5 --list Bad", "--list"),
        ("block list --limit 10001", "10000"),
        ("ban lift", "SOURCE"),
        ("ban lift 203.0.113.5 --all", "--all"),
        ("limit set", "--packets"),
        ("list refresh --force", "NAME"),
        ("list diff", "NAME"),
        ("limit set --packets 20", "pps"),
        ("limit set --reset --packets 20kpps", "--reset"),
        ("explain nowhere", "nowhere"),
        ("explain 203.0.113.5 --flags syn,bad", "bad"),
        ("explain 203.0.113.5 --proto gre", "number"),
        ("capture", "--write"),
        ("capture -w f --size 300", "256"),
        ("capture -w f --passed --reason land", "--reason"),
        ("events --kind bans", "bans"),
        ("events --reason fast", "fast"),
        ("events --source 203.0.113.5/24", "203.0.113.0/24"),
        ("status --output yaml", "yaml"),
    ] {
        let refused = parse(line).unwrap_err();
        assert_eq!(refused.exit_code(), 2, "{line}");
        assert!(refused.to_string().contains(place), "{line}: {refused}");
    }
}

#[test]
fn global_options_stand_before_or_after_the_verb() {
    for line in [
        "--socket /tmp/s --output json status",
        "status --socket /tmp/s --output json",
    ] {
        let Global { socket, output, .. } = parse(line).unwrap().global;
        assert_eq!(socket, PathBuf::from("/tmp/s"));
        assert_eq!(output, Output::Json);
    }
}

#[test]
fn run_refuses_a_socket_that_it_wouldnt_use() {
    let cli = parse("run --iface eth0 --socket /tmp/s").unwrap();
    let refused = cli.execute(true).unwrap_err();
    assert_eq!(ExitCode::from(&refused), ExitCode::Invalid);
    assert!(refused.to_string().contains("[control]"), "{refused}");
}

#[test]
fn every_verb_teaches_with_examples() {
    fn visit(command: &mut clap::Command, seen: &mut usize) {
        let name = command.get_name().to_owned();
        if command.is_hide_set() || name == "help" {
            return;
        }
        let help = command.render_long_help().to_string();
        let teaches = help.contains("Example") || help.contains("First steps");
        assert!(teaches, "{name} has no examples:\n{help}");
        for argument in command.get_arguments() {
            let documented = argument.get_help().is_some() || argument.is_hide_set();
            assert!(documented, "{name}: {} has no help", argument.get_id());
        }
        let wide = help.lines().find(|line| line.chars().count() > 100);
        assert_eq!(wide, None, "{name}");
        *seen += 1;
        for verb in command.get_subcommands_mut() {
            visit(verb, seen);
        }
    }
    let mut command = Cli::command().term_width(100);
    command.build();
    let mut seen = 0;
    visit(&mut command, &mut seen);
    assert!(seen > 20, "{seen}");
}

#[test]
fn without_a_daemon_the_message_says_how_to_start_one() {
    let cli = parse("status --socket /nonexistent/control.sock").unwrap();
    let refused = cli.execute(true).unwrap_err();
    assert_eq!(ExitCode::from(&refused), ExitCode::Failed);
    let text = format!("{refused:#}");
    assert!(text.contains("/nonexistent/control.sock"), "{text}");
    assert!(text.contains("xdp-throttle run"), "{text}");
}
