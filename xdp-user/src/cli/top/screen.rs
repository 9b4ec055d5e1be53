//! The terminal, taken and given back as it was: at the end, on an error and on a panic.

use std::io::{self, IsTerminal};

use ratatui::{DefaultTerminal, Frame};

use crate::failure::{Failure, FailureKind};

/// The terminal in raw mode, on its alternate screen; dropped, it is as it was.
///
/// A panic gives the terminal back before its message is printed (see [`ratatui::try_init`]).
pub(super) struct Screen(DefaultTerminal);

impl Screen {
    pub(super) fn take() -> Result<Self, Failure> {
        if !io::stdout().is_terminal() {
            return Err(Failure::new(
                FailureKind::Invalid,
                "top draws on a terminal and standard output is none: say --once for a snapshot \
                 as text",
            ));
        }
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self(terminal)),
            Err(error) => {
                // It may have come half the way.
                ratatui::restore();
                let message = format!("can't draw on this terminal: {error}");
                Err(Failure::new(FailureKind::Failed, message))
            }
        }
    }

    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame)) -> io::Result<()> {
        self.0.draw(draw)?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing more can be done for a terminal that is gone.
        self.0.show_cursor().ok();
        ratatui::restore();
    }
}

#[cfg(test)]
mod tests {
    //! In a pseudo-terminal, with this test program as the child that draws.

    use std::fs::File;
    use std::io::Read;
    use std::os::fd::{AsFd, OwnedFd};
    use std::process::{Command, ExitStatus};

    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    use nix::pty::{Winsize, openpty};
    use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
    use ratatui::widgets::Paragraph;

    use super::*;

    const ENTER: &str = "\u{1b}[?1049h";
    const LEAVE: &str = "\u{1b}[?1049l";
    const SHOW_CURSOR: &str = "\u{1b}[?25h";

    #[test]
    #[ignore = "a child of the tests below"]
    fn child_ends() {
        let mut screen = Screen::take().unwrap();
        screen
            .draw(|frame| frame.render_widget(Paragraph::new("drawn"), frame.area()))
            .unwrap();
        let raw = tcgetattr(io::stdout().as_fd()).unwrap();
        assert!(
            !raw.local_flags
                .intersects(LocalFlags::ECHO | LocalFlags::ICANON)
        );
    }

    #[test]
    #[ignore = "a child of the tests below"]
    fn child_panics() {
        let mut screen = Screen::take().unwrap();
        screen
            .draw(|frame| frame.render_widget(Paragraph::new("drawn"), frame.area()))
            .unwrap();
        screen.draw(|_| panic!("the frame broke")).unwrap();
    }

    /// The modes before and after, and all that was written.
    fn in_terminal(child: &str) -> (Termios, Termios, String, ExitStatus) {
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let terminal = openpty(&size, None).unwrap();
        // What other tests start must not hold it open: that it is closed ends what is read.
        for end in [&terminal.master, &terminal.slave] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        }
        let before = tcgetattr(&terminal.slave).unwrap();
        let end = || terminal.slave.try_clone().unwrap();
        let mut running = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("cli::top::screen::tests::{child}")])
            .args(["--ignored", "--nocapture"])
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let master = terminal.master;
        let reader = std::thread::spawn(move || read_all(master));
        let status = running.wait().unwrap();
        let after = tcgetattr(&terminal.slave).unwrap();
        drop(terminal.slave);
        (before, after, reader.join().unwrap(), status)
    }

    /// Until the other end is closed, which reads as EIO.
    fn read_all(master: OwnedFd) -> String {
        let (mut file, mut text, mut part) = (File::from(master), Vec::new(), [0; 4096]);
        while let Ok(length) = file.read(&mut part) {
            if length == 0 {
                break;
            }
            text.extend_from_slice(&part[..length]);
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    fn assert_given_back(before: &Termios, after: &Termios, text: &str) {
        assert_eq!(before, after);
        let enter = text.find(ENTER).expect("the alternate screen");
        let drawn = text.find("drawn").expect("a frame");
        let leave = text.find(LEAVE).expect("the way back");
        assert!(enter < drawn && drawn < leave, "{text:?}");
        assert!(text.contains(SHOW_CURSOR), "{text:?}");
    }

    #[test]
    fn at_the_end_the_terminal_is_as_it_was() {
        let (before, after, text, status) = in_terminal("child_ends");
        assert!(status.success(), "{text}");
        assert_given_back(&before, &after, &text);
    }

    #[test]
    fn a_panic_gives_the_terminal_back_before_its_message() {
        let (before, after, text, status) = in_terminal("child_panics");
        assert!(!status.success(), "{text}");
        assert_given_back(&before, &after, &text);
        let (left, message) = (text.find(LEAVE), text.find("the frame broke"));
        assert!(left.is_some() && left < message, "{text:?}");
    }

    #[test]
    fn without_a_terminal_it_is_refused_with_what_to_do() {
        // Under a test runner standard output may be a terminal.
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "cli::top::screen::tests::child_ends"])
            .args(["--ignored", "--nocapture"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success(), "{text}");
        assert!(text.contains("say --once"), "{text}");
        assert!(!text.contains(ENTER), "{text:?}");
    }
}
