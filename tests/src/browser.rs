//! Headless Chromium in a [`Namespace`], driven by its DevTools protocol over a pipe.
//!
//! Messages are JSON with a NUL behind each (`--remote-debugging-pipe`), so there is no port, no
//! WebSocket, and nothing to reach through the namespace's border. They are read untyped: the few
//! that are used haven't changed in years, while drivers with a type for every message refuse those
//! of a newer Chromium. <https://chromedevtools.github.io/devtools-protocol/>

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use command_fds::{CommandFdExt as _, FdMapping};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::netns::Namespace;
use crate::netns::privilege::REQUIRE_VARIABLE;
use crate::wait::wait_for;

/// In the order of preference. The first is the smallest: nothing of a desktop comes with it.
const PROGRAMS: [&str; 4] = [
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
];
/// For one answer, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// More events than this in one test are a page that runs wild.
const MOST_EVENTS: usize = 100_000;

/// A browser with one page. Dropped, it is killed and its profile removed.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    to: File,
    from: Receiver<Value>,
    session: String,
    last_id: u64,
    events: Vec<Value>,
    _profile: TempDir,
}

/// A node of the accessibility tree, as a screen reader gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accessible {
    /// `button`, `table`, `main` and such.
    pub role: String,
    /// What is read out.
    pub name: String,
}

/// Whether a browser is here; prints why not, and panics where none may be missing.
///
/// # Panics
/// Without one, when the environment has `XDP_THROTTLE_REQUIRE_KERNEL=1`.
#[must_use]
pub fn is_here(test: &str) -> bool {
    if program().is_some() {
        return true;
    }
    let why = "no Chromium: `cargo xtask setup --for pictures` installs it";
    let is_required = std::env::var_os(REQUIRE_VARIABLE).is_some_and(|value| value == "1");
    assert!(!is_required, "{test} can't run: {why}");
    println!("skipped {test}: {why}");
    false
}

fn program() -> Option<&'static str> {
    let works = |program: &&str| {
        let mut command = Command::new(program);
        let command = command.arg("--version").stdin(Stdio::null());
        command.output().is_ok_and(|output| output.status.success())
    };
    PROGRAMS.into_iter().find(works)
}

impl Browser {
    /// Starts it with an empty page.
    ///
    /// # Errors
    /// When there is none, or it doesn't answer.
    pub fn start(namespace: &Namespace) -> Result<Self> {
        let program = program().context("no Chromium: `cargo xtask setup --for pictures`")?;
        let profile = tempfile::Builder::new().prefix("chromium-").tempdir()?;
        let (commands, to) = std::io::pipe()?;
        let (answers, from) = std::io::pipe()?;
        let mut command = namespace.command(program);
        command
            .args(["--headless", "--remote-debugging-pipe", "--no-first-run"])
            // Tests run as root, for whom Chromium has no sandbox; the namespace has no way out.
            .args(["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--disable-background-networking", "--hide-scrollbars"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.fd_mappings(vec![mapping(commands, 3), mapping(from, 4)])?;
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        // The command holds our copies of the browser's ends: without them gone, no end is seen.
        drop(command);
        let mut browser = Self {
            child,
            to: File::from(OwnedFd::from(to)),
            from: read_messages(answers)?,
            session: String::new(),
            last_id: 0,
            events: Vec::new(),
            _profile: profile,
        };
        browser.attach()?;
        Ok(browser)
    }

    fn attach(&mut self) -> Result<()> {
        let target = self.call("Target.createTarget", json!({"url": "about:blank"}))?;
        let target = json!({"targetId": target["targetId"], "flatten": true});
        let attached = self.call("Target.attachToTarget", target)?;
        let session = attached["sessionId"].as_str().context("no session")?;
        session.clone_into(&mut self.session);
        for domain in ["Page", "Runtime", "Log", "Network", "Accessibility"] {
            self.call(&format!("{domain}.enable"), json!({}))?;
        }
        Ok(())
    }

    /// A command of the protocol and its result.
    ///
    /// # Errors
    /// When the browser refuses it, is gone, or doesn't answer in time.
    pub fn call(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.last_id += 1;
        let id = self.last_id;
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        let mut bytes = serde_json::to_vec(&message)?;
        bytes.push(0);
        self.to.write_all(&bytes).context("the browser is gone")?;
        let mut answer = self.next_until(method, |message| message["id"] == id)?;
        match answer.get("error") {
            Some(error) => bail!("{method}: {error}"),
            None => Ok(answer["result"].take()),
        }
    }

    /// The next message that is wanted; events on the way are kept.
    fn next_until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let message = match self.from.recv_timeout(left) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => bail!("{what}: no answer in {PATIENCE:?}"),
                Err(RecvTimeoutError::Disconnected) => bail!("{what}: the browser ended"),
            };
            if wanted(&message) {
                return Ok(message);
            }
            ensure!(self.events.len() < MOST_EVENTS, "the page runs wild");
            self.events.push(message);
        }
    }

    /// Loads a page and waits until it is loaded.
    ///
    /// # Errors
    /// When nobody serves it.
    pub fn open(&mut self, url: &str) -> Result<()> {
        let loaded = self.call("Page.navigate", json!({"url": url}))?;
        let error = loaded["errorText"].as_str();
        ensure!(error.is_none(), "cannot open {url}: {error:?}");
        let is_end = |message: &Value| message["method"] == "Page.loadEventFired";
        // It may have come before the answer.
        match self.events.iter().position(is_end) {
            Some(place) => drop(self.events.remove(place)),
            None => drop(self.next_until(url, is_end)?),
        }
        Ok(())
    }

    /// The value of a script's expression in the page.
    ///
    /// # Errors
    /// When the script throws.
    pub fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let script = json!({
            "expression": expression, "returnByValue": true, "awaitPromise": true,
        });
        let mut result = self.call("Runtime.evaluate", script)?;
        match result.get("exceptionDetails") {
            Some(thrown) => bail!("{expression}: {thrown}"),
            None => Ok(result["result"]["value"].take()),
        }
    }

    /// The text of an expression.
    ///
    /// # Errors
    /// When it throws or is no text.
    pub fn text(&mut self, expression: &str) -> Result<String> {
        let value = self.evaluate(expression)?;
        let text = value.as_str().map(str::to_owned);
        text.with_context(|| format!("{expression} is {value}"))
    }

    /// Waits until an expression is true.
    ///
    /// # Errors
    /// After `timeout`; then with all of the page's text.
    pub fn wait_until(&mut self, expression: &str, timeout: Duration) -> Result<()> {
        let waited = wait_for(expression, timeout, || {
            let value = self.evaluate(expression);
            value.is_ok_and(|value| value == true).then_some(())
        });
        waited.or_else(|error| {
            let page = self.text("document.body.innerText")?;
            bail!("{error:#}; the page:\n{page}")
        })
    }

    /// Presses and releases a key: `Tab`, `Enter` or `Space`.
    ///
    /// # Errors
    /// When it is another key.
    pub fn press(&mut self, key: &str) -> Result<()> {
        let (code, name, text) = match key {
            "Tab" => (9, "Tab", ""),
            "Enter" => (13, "Enter", "\r"),
            "Space" => (32, " ", " "),
            other => bail!("no key {other}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let event = json!({
                "type": kind, "key": name, "code": key, "text": text,
                "windowsVirtualKeyCode": code,
            });
            self.call("Input.dispatchKeyEvent", event)?;
        }
        Ok(())
    }

    /// Sets the window's size in CSS pixels.
    ///
    /// # Errors
    /// When the browser refuses it.
    pub fn resize(&mut self, width: u32, height: u32) -> Result<()> {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
        });
        self.call("Emulation.setDeviceMetricsOverride", size)?;
        Ok(())
    }

    /// Sets a media feature, such as `prefers-color-scheme` to `dark`.
    ///
    /// # Errors
    /// When the browser refuses it.
    pub fn prefer(&mut self, feature: &str, value: &str) -> Result<()> {
        let media = json!({"features": [{"name": feature, "value": value}]});
        self.call("Emulation.setEmulatedMedia", media)?;
        Ok(())
    }

    /// What the window shows, as PNG.
    ///
    /// # Errors
    /// When the browser makes no picture.
    pub fn picture(&mut self) -> Result<Vec<u8>> {
        let picture = self.call("Page.captureScreenshot", json!({"format": "png"}))?;
        let data = picture["data"].as_str().context("no picture")?;
        Ok(STANDARD.decode(data)?)
    }

    /// The accessibility tree in its order, without what is ignored.
    ///
    /// # Errors
    /// When the browser has none.
    pub fn accessibility(&mut self) -> Result<Vec<Accessible>> {
        let tree = self.call("Accessibility.getFullAXTree", json!({}))?;
        let nodes = tree["nodes"].as_array().context("no nodes")?;
        let text = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        Ok(nodes
            .iter()
            .filter(|node| node["ignored"] == false)
            .map(|node| Accessible {
                role: text(&node["role"]),
                name: text(&node["name"]),
            })
            .collect())
    }

    /// Every address that the page asked for until now, the page's own included.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.events_of("Network.requestWillBeSent")
            .map(|event| {
                let url = event["request"]["url"].as_str();
                url.unwrap_or_default().to_owned()
            })
            .collect()
    }

    /// What the page complained of: exceptions, errors and warnings of scripts and of the browser.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let thrown = self.events_of("Runtime.exceptionThrown");
        let logged = self.events_of("Log.entryAdded");
        let said = self.events_of("Runtime.consoleAPICalled");
        thrown
            .chain(logged)
            .chain(said)
            .map(Value::to_string)
            .collect()
    }

    fn events_of(&self, method: &str) -> impl Iterator<Item = &Value> {
        let method = method.to_owned();
        self.events
            .iter()
            .filter(move |event| event["method"] == method.as_str())
            .map(|event| &event["params"])
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        drop(self.child.kill().and_then(|()| self.child.wait()));
    }
}

fn mapping(end: impl Into<OwnedFd>, child_fd: i32) -> FdMapping {
    FdMapping {
        parent_fd: end.into(),
        child_fd,
    }
}

/// Messages as they come, until the browser closes its end.
fn read_messages(answers: impl std::io::Read + Send + 'static) -> Result<Receiver<Value>> {
    let (sender, receiver) = channel();
    std::thread::Builder::new()
        .name("chromium".to_owned())
        .spawn(move || pass_on(answers, &sender))
        .context("cannot start a thread")?;
    Ok(receiver)
}

fn pass_on(answers: impl std::io::Read, sender: &Sender<Value>) {
    let mut answers = BufReader::new(answers);
    let mut bytes = Vec::new();
    while answers
        .read_until(0, &mut bytes)
        .is_ok_and(|length| length > 0)
    {
        let message = bytes.strip_suffix(&[0]).unwrap_or(&bytes);
        let Ok(message) = serde_json::from_slice(message) else {
            return;
        };
        if sender.send(message).is_err() {
            return;
        }
        bytes.clear();
    }
}
